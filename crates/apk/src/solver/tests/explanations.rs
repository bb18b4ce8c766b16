use super::packages;
use crate::dependency::Dependency;
use crate::solver::{Repository, Request, Sources, Universe};

/// The explanation of why `world` has no solution among `index`, and `edge` (tagged `@edge`).
fn explain(index: &str, edge: &str, world: &str) -> String {
    let (index, edge) = (packages(index), packages(edge));
    let mut repositories = vec![Repository {
        name: "./packages",
        tag: None,
        available: true,
        packages: &index,
    }];
    if !edge.is_empty() {
        repositories.push(Repository {
            name: "./edge",
            tag: Some("edge"),
            available: true,
            packages: &edge,
        });
    }
    let universe = Universe::new(Sources {
        arches: &["x86_64"],
        repositories: &repositories,
        ..Sources::default()
    });
    let world = Dependency::parse_list(world).unwrap();
    let request = Request {
        world: &world,
        ..Request::default()
    };
    universe.solve(&request).unwrap_err().to_string()
}

#[test]
fn nothing_provides_a_name() {
    let index = "
        hello-1.0-r0 depends: libgreet so:libc.so.7
        libgreet-2-r1 depends: so:libc.so.7
        glibc-2.42-r0 provides: so:libc.so.6=6
        app-1 depends: hello";
    insta::assert_snapshot!(explain(index, "", "app"), @"");
    insta::assert_snapshot!(explain(index, "", "app zsh"), @"");
    insta::assert_snapshot!(explain("", "", "busybox"), @"");
}

#[test]
fn several_provide_a_name() {
    let index = "
        postfix-3.10-r0 provides: smtp-server
        exim-4-r0 provides: smtp-server
        exim-5-r0 provides: smtp-server
        cron-1 depends: smtp-server";
    insta::assert_snapshot!(explain(index, "", "cron"), @"");
}

#[test]
fn versions_do_not_meet() {
    let index = "
        a-3 depends: d>1.5 b
        b-1 depends: d<2.0
        d-1.0
        d-1.5
        d-2.0";
    insta::assert_snapshot!(explain(index, "", "a"), @"");
    insta::assert_snapshot!(explain(index, "", "d>3"), @"");
    insta::assert_snapshot!(explain(index, "", "d=1.0 d=2.0"), @"");
}

#[test]
fn a_package_is_ruled_out() {
    let index = "
        web-1 depends: openssl
        openssl-3
        libressl-4 depends: !openssl
        tls-1 depends: libressl";
    insta::assert_snapshot!(explain(index, "", "web !openssl"), @"");
    insta::assert_snapshot!(explain(index, "", "web tls"), @"");
}

#[test]
fn two_own_a_name() {
    let index = "
        server-a-1 provides: server=1
        server-b-2 provides: server=2
        stack-1 depends: server-a server-b
        twice-1 provides: it=1 it=2";
    insta::assert_snapshot!(explain(index, "", "stack"), @"");
    insta::assert_snapshot!(explain(index, "", "twice"), @"");
}

#[test]
fn out_of_reach() {
    let edge = "new-2 depends: lib>1
        lib-2";
    let index = "lib-1
        alien-1 arch: riscv64
        odd-1 defect: the field X is unknown";
    insta::assert_snapshot!(explain(index, edge, "new"), @"");
    insta::assert_snapshot!(explain(index, edge, "lib@testing"), @"");
    insta::assert_snapshot!(explain(index, edge, "lib>1"), @"");
    insta::assert_snapshot!(explain(index, edge, "alien"), @"");
    insta::assert_snapshot!(explain(index, edge, "odd"), @"");
}

#[test]
fn chains_are_cut_short() {
    let mut index: String = (1..9).fold(String::new(), |index, n| {
        format!("{index}p{n}-1 depends: p{}\n", n + 1)
    });
    index.push_str("p9-1 depends: nowhere");
    insta::assert_snapshot!(explain(&index, "", "p1"), @"");
}
