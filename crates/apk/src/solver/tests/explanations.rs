use super::packages;
use crate::dependency::Dependency;
use crate::solver::{Repository, Request, Search, Sources, Universe, Unsolvable};

/// The explanation of why `world` has no solution among `index`, and `edge` (tagged `@edge`).
fn explain(index: &str, edge: &str, world: &str) -> String {
    unsolvable(index, edge, world).to_string()
}

fn unsolvable(index: &str, edge: &str, world: &str) -> Unsolvable {
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
    universe.solve(&request).unwrap_err()
}

#[test]
fn nothing_provides_a_name() {
    let index = "
        hello-1.0-r0 depends: libgreet so:libc.so.7
        libgreet-2-r1 depends: so:libc.so.7
        glibc-2.42-r0 provides: so:libc.so.6=6
        app-1 depends: hello";
    insta::assert_snapshot!(explain(index, "", "app"), @"
    no choice of packages satisfies all that is asked for
      hello-1.0-r0 and libgreet-2-r1 need so:libc.so.7, which nothing provides in ./packages (x86_64)
        app → app-1 → hello-1.0-r0 → so:libc.so.7
        app → app-1 → hello-1.0-r0 → libgreet-2-r1 → so:libc.so.7
        much like it is so:libc.so.6, which glibc-2.42-r0 provides
        help: drop app from the world
        or: add a repository that has so:libc.so.7 for x86_64
    ");
    insta::assert_snapshot!(explain(index, "", "app zsh"), @"
    no choice of packages satisfies all that is asked for; 2 things stand in the way
      hello-1.0-r0 and libgreet-2-r1 need so:libc.so.7, which nothing provides in ./packages (x86_64)
        app → app-1 → hello-1.0-r0 → so:libc.so.7
        app → app-1 → hello-1.0-r0 → libgreet-2-r1 → so:libc.so.7
        much like it is so:libc.so.6, which glibc-2.42-r0 provides
        help: drop app from the world
        or: add a repository that has so:libc.so.7 for x86_64
      zsh is asked for, which nothing provides in ./packages (x86_64)
        help: drop zsh from the world
        or: add a repository that has zsh for x86_64
    ");
    insta::assert_snapshot!(explain("", "", "busybox"), @"
    no choice of packages satisfies all that is asked for
      busybox is asked for, which nothing provides in ./packages (x86_64)
        help: drop busybox from the world
        or: add a repository that has busybox for x86_64
    ");
}

#[test]
fn several_provide_a_name() {
    let index = "
        postfix-3.10-r0 provides: smtp-server
        exim-4-r0 provides: smtp-server
        exim-5-r0 provides: smtp-server
        cron-1 depends: smtp-server";
    insta::assert_snapshot!(explain(index, "", "cron"), @"
    no choice of packages satisfies all that is asked for
      cron-1 needs smtp-server, which postfix and exim provide and none by preference
        cron → cron-1 → smtp-server
        help: ask for postfix too
        or: ask for exim too
        or: drop cron from the world
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
    insta::assert_snapshot!(explain(index, "", "a"), @"
    no choice of packages satisfies all that is asked for
      b-1 needs d<2.0 and a-3 needs d>1.5, but no d is all of that
        a → a-3 → d>1.5
        a → a-3 → b-1 → d<2.0
        there are d-1.0, d-1.5 and d-2.0
        help: drop a from the world
        or: add a repository that has d<2.0 and d>1.5 for x86_64
        or: build b-1 anew with d<=2.0 instead of d<2.0
        or: build a-3 anew with d>=1.5 instead of d>1.5
    ");
    insta::assert_snapshot!(explain(index, "", "d>3"), @"
    no choice of packages satisfies all that is asked for
      d>3 is asked for, but there is no such version
        there are d-1.0, d-1.5 and d-2.0
        help: relax d>3 to d>=2.0
        or: drop d>3 from the world
        or: add a repository that has d>3 for x86_64
    ");
    insta::assert_snapshot!(explain(index, "", "d=1.0 d=2.0"), @"
    no choice of packages satisfies all that is asked for
      d=1.0 is asked for and d=2.0 is asked for, but no d is all of that
        there are d-1.0, d-1.5 and d-2.0
        help: relax d=1.0 to d=2.0
        or: relax d=2.0 to d=1.0
        or: drop d=1.0 from the world
        or: drop d=2.0 from the world
    ");
}

#[test]
fn a_package_is_ruled_out() {
    let index = "
        web-1 depends: openssl
        openssl-3
        libressl-4 depends: !openssl
        tls-1 depends: libressl";
    insta::assert_snapshot!(explain(index, "", "web !openssl"), @"
    no choice of packages satisfies all that is asked for
      openssl is ruled out (`!openssl`), but web-1 needs openssl
        web → web-1 → openssl
        help: drop `!openssl` from the world
        or: drop web from the world
    ");
    insta::assert_snapshot!(explain(index, "", "web tls"), @"
    no choice of packages satisfies all that is asked for
      libressl-4 rules out openssl (`!openssl`), but web-1 needs openssl
        web → web-1 → openssl
        tls → tls-1 → libressl-4 → !openssl
        help: drop tls from the world
        or: drop web from the world
        or: build libressl-4 anew without `!openssl`
    ");
}

#[test]
fn two_own_a_name() {
    let index = "
        server-a-1 provides: server=1
        server-b-2 provides: server=2
        stack-1 depends: server-a server-b
        twice-1 provides: it=1 it=2";
    insta::assert_snapshot!(explain(index, "", "stack"), @"
    no choice of packages satisfies all that is asked for
      server-a-1 and server-b-2 both own the name server, which only one package can
        stack → stack-1 → server-a
        stack → stack-1 → server-b
        help: drop stack from the world
    ");
    insta::assert_snapshot!(explain(index, "", "twice"), @"
    no choice of packages satisfies all that is asked for
      twice-1 conflicts with itself: it provides it twice
        twice is asked for
        help: drop twice from the world
    ");
}

#[test]
fn out_of_reach() {
    let edge = "new-2 depends: lib>1
        lib-2";
    let index = "lib-1
        alien-1 arch: riscv64
        odd-1 defect: the field X is unknown";
    insta::assert_snapshot!(explain(index, edge, "new"), @"
    no choice of packages satisfies all that is asked for
      new is asked for, but new-2 is only in a repository tagged @edge
        help: use tag @edge: ask for new@edge instead of new
        or: drop new from the world
    ");
    insta::assert_snapshot!(explain(index, edge, "lib@testing"), @"
    no choice of packages satisfies all that is asked for
      lib@testing is asked for, but no repository has the tag @testing
        the only tag is @edge
        help: use tag @edge: ask for lib@edge instead of lib@testing
        or: ask for lib without a tag
        or: drop lib@testing from the world
    ");
    insta::assert_snapshot!(explain(index, edge, "lib>1"), @"
    no choice of packages satisfies all that is asked for
      lib>1 is asked for, but lib-2 is only in a repository tagged @edge
        help: use tag @edge: ask for lib@edge>1 instead of lib>1
        or: relax lib>1 to lib>=1
        or: drop lib>1 from the world
    ");
    insta::assert_snapshot!(explain(index, edge, "alien"), @"
    no choice of packages satisfies all that is asked for
      alien is asked for, but alien-1 is for riscv64, not for x86_64
        help: drop alien from the world
        or: add a repository that has alien for x86_64
    ");
    insta::assert_snapshot!(explain(index, edge, "odd"), @"
    no choice of packages satisfies all that is asked for
      odd is asked for, but odd-1 cannot be installed: the field X is unknown
        help: drop odd from the world
        or: add a repository that has odd for x86_64
    ");
}

#[test]
fn chains_are_cut_short() {
    let mut index: String = (1..9).fold(String::new(), |index, n| {
        format!("{index}p{n}-1 depends: p{}\n", n + 1)
    });
    index.push_str("p9-1 depends: nowhere");
    insta::assert_snapshot!(explain(&index, "", "p1"), @"
    no choice of packages satisfies all that is asked for
      p9-1 needs nowhere, which nothing provides in ./packages (x86_64)
        p1 → p1-1 → (6 more) → p8-1 → p9-1 → nowhere
        help: drop p1 from the world
        or: add a repository that has nowhere for x86_64
    ");
}

/// The newest cannot be had, but an older one can.
#[test]
fn an_older_version_would_do() {
    let index = "
        a-1
        a-1.1 depends: nothing
        a-2 depends: nothing
        b-1 depends: a";
    insta::assert_snapshot!(explain(index, "", "b"), @"
    no choice of packages satisfies all that is asked for
      a-2 needs nothing, which nothing provides in ./packages (x86_64)
        b → b-1 → a-2 → nothing
        help: ask for a<1.1 too
        or: drop b from the world
        or: add a repository that has nothing for x86_64
    ");
    insta::assert_snapshot!(explain(index, "", "a>1"), @"
    no choice of packages satisfies all that is asked for
      a-2 needs nothing, which nothing provides in ./packages (x86_64)
        a>1 → a-2 → nothing
        help: drop a>1 from the world
        or: add a repository that has nothing for x86_64
    ");
}

/// Two changes are needed, but no single one will do.
#[test]
fn two_changes_at_once() {
    let index = "
        app-1 depends: lib>2 tool
        tool-1 depends: lib<2
        lib-1
        lib-3 depends: !tool";
    insta::assert_snapshot!(explain(index, "", "app"), @"
    no choice of packages satisfies all that is asked for
      lib-3 rules out tool (`!tool`), but app-1 needs tool
        app → app-1 → tool
        app → app-1 → lib-3 → !tool
      tool-1 needs lib<2 and app-1 needs lib>2, but no lib is all of that
        app → app-1 → lib>2
        app → app-1 → tool-1 → lib<2
        there are lib-1 and lib-3
        help: drop app from the world
        or: build app-1 anew with lib>=1 instead of lib>2
    ");
    insta::assert_snapshot!(explain("lib-1\napp-1 depends: lib>2 tool>2\ntool-1", "", "app"), @"
    no choice of packages satisfies all that is asked for
      app-1 needs lib>2, but there is no such version
        app → app-1 → lib>2
        there is only lib-1
      app-1 needs tool>2, but there is no such version
        app → app-1 → tool>2
        there is only tool-1
        help: drop app from the world
        or: add a repository that has lib>2 for x86_64, and add a repository that has tool>2 for x86_64
        or: add a repository that has lib>2 for x86_64, and build app-1 anew with tool>=1 instead of tool>2
        or: add a repository that has tool>2 for x86_64, and build app-1 anew with lib>=1 instead of lib>2
        or: build app-1 anew with lib>=1 instead of lib>2, and build app-1 anew with tool>=1 instead of tool>2
    ");
}

#[test]
fn as_json() {
    let index = "
        a-3 depends: d>1.5 b
        b-1 depends: d<2.0
        d-1.0
        d-2.0";
    let unsolvable = unsolvable(index, "", "a zsh d");
    insta::assert_snapshot!(serde_json::to_string_pretty(&unsolvable).unwrap(), @r#"
    {
      "conflicts": [
        {
          "kind": "missing",
          "name": "zsh",
          "required_by": [
            {
              "by": null,
              "term": "zsh",
              "chain": [],
              "unasked": false
            }
          ],
          "providers": [],
          "suggestion": null
        },
        {
          "kind": "package",
          "name": "d",
          "version": "2.0",
          "uninstallable": false,
          "defects": [],
          "arch": null,
          "masked": [],
          "rivals": [],
          "breaks": [
            {
              "by": "b-1",
              "term": "d<2.0",
              "chain": [
                "a",
                "a-3",
                "b-1"
              ],
              "unasked": false
            }
          ],
          "satisfies": [
            {
              "by": null,
              "term": "d",
              "chain": [],
              "unasked": false
            },
            {
              "by": "a-3",
              "term": "d>1.5",
              "chain": [
                "a",
                "a-3"
              ],
              "unasked": false
            }
          ],
          "alternatives": [
            {
              "package": "d-1.0",
              "version": "1.0"
            },
            {
              "package": "d-2.0",
              "version": "2.0"
            }
          ]
        }
      ],
      "causes": [
        {
          "terms": [
            "a"
          ],
          "conflicts": [
            {
              "kind": "package",
              "name": "d",
              "version": "2.0",
              "uninstallable": false,
              "defects": [],
              "arch": null,
              "masked": [],
              "rivals": [],
              "breaks": [
                {
                  "by": "b-1",
                  "term": "d<2.0",
                  "chain": [
                    "a",
                    "a-3",
                    "b-1"
                  ],
                  "unasked": false
                }
              ],
              "satisfies": [
                {
                  "by": "a-3",
                  "term": "d>1.5",
                  "chain": [
                    "a",
                    "a-3"
                  ],
                  "unasked": false
                }
              ],
              "alternatives": [
                {
                  "package": "d-1.0",
                  "version": "1.0"
                },
                {
                  "package": "d-2.0",
                  "version": "2.0"
                }
              ]
            }
          ],
          "remedies": [
            {
              "changes": [
                {
                  "kind": "drop",
                  "term": "a"
                }
              ]
            },
            {
              "changes": [
                {
                  "kind": "add_repository",
                  "terms": [
                    "d<2.0",
                    "d>1.5"
                  ],
                  "arches": [
                    "x86_64"
                  ]
                }
              ]
            },
            {
              "changes": [
                {
                  "kind": "relax_package",
                  "package": "b-1",
                  "term": "d<2.0",
                  "with": "d<=2.0"
                }
              ]
            },
            {
              "changes": [
                {
                  "kind": "relax_package",
                  "package": "a-3",
                  "term": "d>1.5",
                  "with": "d>=1.0"
                }
              ]
            }
          ]
        },
        {
          "terms": [
            "zsh"
          ],
          "conflicts": [
            {
              "kind": "missing",
              "name": "zsh",
              "required_by": [
                {
                  "by": null,
                  "term": "zsh",
                  "chain": [],
                  "unasked": false
                }
              ],
              "providers": [],
              "suggestion": null
            }
          ],
          "remedies": [
            {
              "changes": [
                {
                  "kind": "drop",
                  "term": "zsh"
                }
              ]
            },
            {
              "changes": [
                {
                  "kind": "add_repository",
                  "terms": [
                    "zsh"
                  ],
                  "arches": [
                    "x86_64"
                  ]
                }
              ]
            }
          ]
        }
      ],
      "search": "complete",
      "repositories": [
        "./packages"
      ],
      "arches": [
        "x86_64"
      ]
    }
    "#);
}

#[test]
fn too_many_tags() {
    let packages = packages("a-1");
    let tags: Vec<String> = (0..64).map(|number| format!("t{number}")).collect();
    let repositories: Vec<Repository<'_>> = tags
        .iter()
        .map(|tag| Repository {
            name: "./packages",
            tag: Some(tag),
            available: true,
            packages: &packages,
        })
        .collect();
    let world = Dependency::parse_list("a@t62").unwrap();
    let solve = |repositories: &[Repository<'_>]| {
        let universe = Universe::new(Sources {
            repositories,
            ..Sources::default()
        });
        let solution = universe.solve(&Request {
            world: &world,
            ..Request::default()
        });
        solution.map(|solution| solution.packages().count())
    };
    assert_eq!(solve(&repositories[..63]).unwrap(), 1);
    let unsolvable = solve(&repositories).unwrap_err();
    insta::assert_snapshot!(unsolvable, @"
    no choice of packages satisfies all that is asked for
      64 repository tags are in use, but no more than 63 can be told apart; leave some repositories out, or let several share a tag
    ");
    insta::assert_snapshot!(unsolvable.to_apk_text(80), @"  Too many repository tags: 64, at most 63");
    // The number of repositories has no limit.
    let many: Vec<Repository<'_>> = repositories
        .iter()
        .cycle()
        .take(1000)
        .map(|repository| Repository {
            tag: None,
            ..*repository
        })
        .collect();
    let universe = Universe::new(Sources {
        repositories: &many,
        ..Sources::default()
    });
    let world = Dependency::parse_list("a").unwrap();
    let solution = universe.solve(&Request {
        world: &world,
        ..Request::default()
    });
    assert_eq!(solution.unwrap().packages().count(), 1);
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
    insta::assert_snapshot!(explain(index, "", "d b"), @"
    no choice of packages satisfies all that is asked for
      d is asked for and a-1 needs v, but d-1 had been ruled out before other choices were made, and the search does not go back on a choice
        b → b-1 → a-1 → v
        help: ask for d=1 too
        or: drop b from the world
    ");
}

/// apk's search finds no packages for `a` alone, but does for `a` and `b`.
#[test]
fn what_helps_all_that_is_asked_for_need_not_help_a_part() {
    let index = "
        a-2 depends: c; provides: v=1
        b-1 provides: v=1
        c-1 depends: b v=1; provides: a=2";
    insta::assert_snapshot!(explain(index, "", "a b v>=2"), @"
    no choice of packages satisfies all that is asked for
      v>=2 is asked for, but there is no such version
        a → c-1 → v=1
        a → c-1 → b
        there are a-2 and b-1
        help: relax v>=2 to v>=1
        or: drop v>=2 from the world
    ");
}

/// What is proposed costs more the more stands in the way; nobody reads a thousand conflicts.
#[test]
fn of_very_many_conflicts_no_causes_are_looked_for() {
    let depends: Vec<String> = (0..1_000).map(|number| format!("n{number}")).collect();
    let index = format!("x-1 depends: {}", depends.join(" "));
    let unsolvable = unsolvable(&index, "", "x");
    assert_eq!(unsolvable.conflicts.len(), 1_000);
    assert_eq!(unsolvable.search, Search::Limited);
    assert!(unsolvable.causes.is_empty());
}
