//! Requests that a real distribution's index cannot satisfy: 5,004 packages.

use std::fmt::Write as _;

use super::apk_cases::corpus;
use crate::dependency::Dependency;
use crate::index::Index;
use crate::solver::{Candidate, Repository, Request, Sources, Universe};

fn explain(worlds: &[&str]) -> String {
    let path = corpus().join("apko/apk/alpine-317/APKINDEX.tar.gz");
    let index = Index::read_unverified(&path).unwrap();
    let packages: Vec<Candidate> = index
        .entries
        .iter()
        .map(|entry| entry.candidate())
        .collect();
    let repositories = [Repository {
        name: "main",
        tag: None,
        available: true,
        packages: &packages,
    }];
    let arches = [index.entries[0].info.arch.as_str()];
    let universe = Universe::new(Sources {
        arches: &arches,
        repositories: &repositories,
        ..Sources::default()
    });
    let mut text = String::new();
    for world in worlds {
        let terms = Dependency::parse_list(world).unwrap();
        let request = Request {
            world: &terms,
            ..Request::default()
        };
        let unsolvable = universe.solve(&request).unwrap_err();
        writeln!(text, "{world}: {unsolvable}").unwrap();
    }
    text
}

#[test]
fn real_requests() {
    let text = explain(&[
        "buisybox nginx",
        "python3<3.10",
        "postgresql15=15.1-r99 nginx git",
        "libressl-dev openssl-dev",
        "nginx>=1.24 postgresql15 git-daemon>3 pyhton3",
        "alpine-base build-base git nginx !musl-utils",
        "busybox ssl_client !libcrypto3",
        "php8 php81 go=1.18 rust nodejs-current nodejs",
    ]);
    insta::assert_snapshot!(text, @"
    buisybox nginx: no choice of packages satisfies all that is asked for
      buisybox is asked for, which nothing provides in main (aarch64)
        help: ask for busybox instead of buisybox
        or: drop buisybox from the world
        or: add a repository that has buisybox for aarch64
    python3<3.10: no choice of packages satisfies all that is asked for
      python3<3.10 is asked for, but there is no such version
        there is only python3-3.10.11-r0
        help: relax python3<3.10 to python3<=3.10.11-r0
        or: drop python3<3.10 from the world
        or: add a repository that has python3<3.10 for aarch64
    postgresql15=15.1-r99 nginx git: no choice of packages satisfies all that is asked for
      postgresql15=15.1-r99 is asked for, but there is no such version
        there is only postgresql15-15.3-r0
        help: relax postgresql15=15.1-r99 to postgresql15=15.3-r0
        or: drop postgresql15=15.1-r99 from the world
        or: add a repository that has postgresql15=15.1-r99 for aarch64
    libressl-dev openssl-dev: no choice of packages satisfies all that is asked for
      libressl-dev is asked for, which nothing provides in main (aarch64)
        help: ask for libretls-dev instead of libressl-dev
        or: drop libressl-dev from the world
        or: add a repository that has libressl-dev for aarch64
    nginx>=1.24 postgresql15 git-daemon>3 pyhton3: no choice of packages satisfies all that is asked for; 3 things stand in the way
      git-daemon>3 is asked for, but there is no such version
        there is only git-daemon-2.38.5-r0
        help: relax git-daemon>3 to git-daemon>=2.38.5-r0
        or: drop git-daemon>3 from the world
        or: add a repository that has git-daemon>3 for aarch64
      nginx>=1.24 is asked for, but there is no such version
        there is only nginx-1.22.1-r0
        help: relax nginx>=1.24 to nginx>=1.22.1-r0
        or: drop nginx>=1.24 from the world
        or: add a repository that has nginx>=1.24 for aarch64
      pyhton3 is asked for, which nothing provides in main (aarch64)
        help: ask for python3 instead of pyhton3
        or: drop pyhton3 from the world
        or: add a repository that has pyhton3 for aarch64
    alpine-base build-base git nginx !musl-utils: no choice of packages satisfies all that is asked for
      musl-utils is ruled out (`!musl-utils`), but libc-utils-0.7.2-r3 needs musl-utils
        alpine-base → alpine-base-3.17.3-r0 → libc-utils-0.7.2-r3 → musl-utils
        help: drop alpine-base from the world
        or: drop `!musl-utils` from the world
    busybox ssl_client !libcrypto3: no choice of packages satisfies all that is asked for
      libcrypto3 is ruled out (`!libcrypto3`), but libssl3-3.0.8-r4 and ssl_client-1.35.0-r29 need so:libcrypto.so.3
        ssl_client → ssl_client-1.35.0-r29 → libssl3-3.0.8-r4 → so:libcrypto.so.3
        ssl_client → ssl_client-1.35.0-r29 → so:libcrypto.so.3
        help: drop `!libcrypto3` from the world
        or: drop ssl_client from the world
    php8 php81 go=1.18 rust nodejs-current nodejs: no choice of packages satisfies all that is asked for; 5 things stand in the way
      go=1.18 is asked for, which nothing provides in main (aarch64)
        help: drop go=1.18 from the world
        or: add a repository that has go=1.18 for aarch64
      nodejs-current is asked for, which nothing provides in main (aarch64)
        help: drop nodejs-current from the world
        or: add a repository that has nodejs-current for aarch64
      php8 is asked for, which nothing provides in main (aarch64)
        help: drop php8 from the world
        or: add a repository that has php8 for aarch64
      php81 is asked for, which nothing provides in main (aarch64)
        help: drop php81 from the world
        or: add a repository that has php81 for aarch64
      rust is asked for, which nothing provides in main (aarch64)
        help: drop rust from the world
        or: add a repository that has rust for aarch64
    ");
}
