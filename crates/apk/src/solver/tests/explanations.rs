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
    insta::assert_snapshot!(explain(index, "", "app"), @r"
    no choice of packages satisfies all that is asked for
      hello-1.0-r0 and libgreet-2-r1 need so:libc.so.7, which nothing provides in ./packages (x86_64)
        hello-1.0-r0 is needed by app-1, which is asked for
        libgreet-2-r1 is needed by hello-1.0-r0, which is needed by app-1, which is asked for
        help: did you mean so:libc.so.6, which glibc-2.42-r0 provides?
    ");
    insta::assert_snapshot!(explain(index, "", "app zsh"), @r"
    no choice of packages satisfies all that is asked for
      zsh is asked for, which nothing provides in ./packages (x86_64)
        help: correct the name, or add a repository that has zsh
      hello-1.0-r0 and libgreet-2-r1 need so:libc.so.7, which nothing provides in ./packages (x86_64)
        hello-1.0-r0 is needed by app-1, which is asked for
        libgreet-2-r1 is needed by hello-1.0-r0, which is needed by app-1, which is asked for
        help: did you mean so:libc.so.6, which glibc-2.42-r0 provides?
    ");
    insta::assert_snapshot!(explain("", "", "busybox"), @r"
    no choice of packages satisfies all that is asked for
      busybox is asked for, which nothing provides in ./packages (x86_64)
        help: correct the name, or add a repository that has busybox
    ");
}

#[test]
fn several_provide_a_name() {
    let index = "
        postfix-3.10-r0 provides: smtp-server
        exim-4-r0 provides: smtp-server
        exim-5-r0 provides: smtp-server
        cron-1 depends: smtp-server";
    insta::assert_snapshot!(explain(index, "", "cron"), @r"
    no choice of packages satisfies all that is asked for
      cron-1 needs smtp-server, which several packages provide and none by preference
        cron-1 is asked for
        help: ask for one of them by name: postfix or exim
    ");
}

#[test]
fn versions_do_not_meet() {
    let index = "
        a-3 depends: d>1.5 b
        b-1 depends: d<2.0
        d-1.0
        d-1.5
        d-2.0";
    insta::assert_snapshot!(explain(index, "", "a"), @r"
    no choice of packages satisfies all that is asked for
      b-1 needs d<2.0 and a-3 needs d>1.5, but no d is all of that
        a-3 is asked for
        b-1 is needed by a-3, which is asked for
        help: there are d-1.0, d-1.5 and d-2.0
    ");
    insta::assert_snapshot!(explain(index, "", "d>3"), @r"
    no choice of packages satisfies all that is asked for
      d>3 is asked for, but there is no such version
        help: there are d-1.0, d-1.5 and d-2.0
    ");
    insta::assert_snapshot!(explain(index, "", "d=1.0 d=2.0"), @r"
    no choice of packages satisfies all that is asked for
      d=1.0 is asked for and d=2.0 is asked for, but no d is all of that
        help: there are d-1.0, d-1.5 and d-2.0
    ");
}

#[test]
fn a_package_is_ruled_out() {
    let index = "
        web-1 depends: openssl
        openssl-3
        libressl-4 depends: !openssl
        tls-1 depends: libressl";
    insta::assert_snapshot!(explain(index, "", "web !openssl"), @r"
    no choice of packages satisfies all that is asked for
      openssl is ruled out (`!openssl`), but web-1 needs openssl
        web-1 is asked for
        help: leave out one of them
    ");
    insta::assert_snapshot!(explain(index, "", "web tls"), @r"
    no choice of packages satisfies all that is asked for
      libressl-4 rules out openssl (`!openssl`), but web-1 needs openssl
        web-1 is asked for
        libressl-4 is needed by tls-1, which is asked for
        help: leave out one of them
    ");
}

#[test]
fn two_own_a_name() {
    let index = "
        server-a-1 provides: server=1
        server-b-2 provides: server=2
        stack-1 depends: server-a server-b
        twice-1 provides: it=1 it=2";
    insta::assert_snapshot!(explain(index, "", "stack"), @r"
    no choice of packages satisfies all that is asked for
      server-a-1 and server-b-2 both own the name server, which only one package can
        stack-1 needs server-a
        stack-1 is asked for
        stack-1 needs server-b
        help: leave out what needs one of them
    ");
    insta::assert_snapshot!(explain(index, "", "twice"), @r"
    no choice of packages satisfies all that is asked for
      twice-1 conflicts with itself: it provides it twice
        twice is asked for
        help: build the package anew, or ask for another version
    ");
}

#[test]
fn out_of_reach() {
    let edge = "new-2 depends: lib>1
        lib-2";
    let index = "lib-1
        alien-1 arch: riscv64
        odd-1 defect: the field X is unknown";
    insta::assert_snapshot!(explain(index, edge, "new"), @r"
    no choice of packages satisfies all that is asked for
      new is asked for, but new-2 is only in a repository tagged @edge
        help: ask for new@edge
    ");
    insta::assert_snapshot!(explain(index, edge, "lib@testing"), @r"
    no choice of packages satisfies all that is asked for
      lib@testing is asked for, but no repository has the tag @testing
        help: leave out the tag, or use @edge
    ");
    insta::assert_snapshot!(explain(index, edge, "lib>1"), @r"
    no choice of packages satisfies all that is asked for
      lib>1 is asked for, but lib-2 is only in a repository tagged @edge
        help: ask for lib@edge>1
    ");
    insta::assert_snapshot!(explain(index, edge, "alien"), @r"
    no choice of packages satisfies all that is asked for
      alien is asked for, but alien-1 is for riscv64, not for x86_64
        help: add a repository that has alien for x86_64
    ");
    insta::assert_snapshot!(explain(index, edge, "odd"), @r"
    no choice of packages satisfies all that is asked for
      odd is asked for, but odd-1 cannot be installed: the field X is unknown
        help: build the package anew, or ask for another version
    ");
}

#[test]
fn chains_are_cut_short() {
    let mut index: String = (1..9).fold(String::new(), |index, n| {
        format!("{index}p{n}-1 depends: p{}\n", n + 1)
    });
    index.push_str("p9-1 depends: nowhere");
    insta::assert_snapshot!(explain(&index, "", "p1"), @r"
    no choice of packages satisfies all that is asked for
      p9-1 needs nowhere, which nothing provides in ./packages (x86_64)
        p9-1 is needed by p8-1, which is needed by p7-1, which is needed by p6-1 and, 5 further on, by p1
        help: correct the name, or add a repository that has nowhere
    ");
}

/// apk's own report is at a loss here.
#[test]
fn a_dead_end() {
    let index = "
        a-1 depends: !v=1 v
        b-1 depends: a
        c-1 depends: v
        d-1 provides: v
        d-1.1";
    insta::assert_snapshot!(explain(index, "", "d b"), @r"
    no choice of packages satisfies all that is asked for
      d is asked for and a-1 needs v, but d-1 had been ruled out before other choices were made
        a-1 is needed by b-1, which is asked for
        help: the search does not go back on a choice: guide it by asking for the packages and versions that you want
      b-1 needs a, but a-1 had been ruled out before other choices were made
        b-1 is asked for
        help: the search does not go back on a choice: guide it by asking for the packages and versions that you want
    ");
}
