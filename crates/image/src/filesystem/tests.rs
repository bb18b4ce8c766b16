use apk::dependency::Dependency;

use super::*;

fn package(name: &str, origin: &str, replaces: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: "1.0-r0".to_owned(),
        origin: origin.to_owned(),
        replaces: Dependency::parse_list(replaces).unwrap(),
        ..PackageInfo::default()
    }
}

fn entry(path: &str, node: Node) -> PackageEntry {
    PackageEntry {
        path: TreePath::new(path).unwrap(),
        checksum: None,
        node,
    }
}

fn link(target: &str) -> Node {
    Node::new(NodeKind::HardLink {
        target: TreePath::new(target).unwrap(),
    })
}

fn merged(
    packages: &[PackageInfo],
    entries: Vec<Vec<PackageEntry>>,
) -> Result<Filesystem, FilesystemError> {
    let mut filesystem = Filesystem::default();
    filesystem.add_packages(packages, entries)?;
    Ok(filesystem)
}

fn owner(filesystem: &Filesystem, path: &str) -> Option<usize> {
    filesystem
        .entry(&TreePath::new(path).unwrap())
        .and_then(|(_, placed)| placed.owner)
}

#[test]
fn who_has_a_file() {
    let cases = [
        // (first's origin and replaces, second's, contents equal, winner)
        (("a", ""), ("b", ""), true, Some(0)),
        (("a", ""), ("b", ""), false, None),
        (("a", ""), ("b", "first"), false, Some(1)),
        (("a", ""), ("b", "first<1"), false, None),
        (("a", ""), ("b", "first<2"), false, Some(1)),
        (("a", "second"), ("b", ""), false, Some(0)),
        (("a", "second"), ("b", "first"), false, Some(1)),
        (("a", ""), ("a", ""), false, Some(1)),
        (("", ""), ("", ""), false, None),
    ];
    for (number, (first, second, equal, winner)) in cases.into_iter().enumerate() {
        let packages = [
            package("first", first.0, first.1),
            package("second", second.0, second.1),
        ];
        let other: &[u8] = if equal { b"one" } else { b"two" };
        let result = merged(
            &packages,
            vec![
                vec![entry("f", Node::file(*b"one"))],
                vec![entry("f", Node::file(other))],
            ],
        );
        let found = result.ok().and_then(|filesystem| owner(&filesystem, "f"));
        assert_eq!(found, winner, "case {number}");
    }
}

#[test]
fn priority_decides_between_mutual_claims() {
    let mut packages = [
        package("first", "a", "second"),
        package("second", "b", "first"),
    ];
    packages[0].replaces_priority = Some(2);
    packages[1].replaces_priority = Some(1);
    let files = || {
        vec![
            vec![entry("f", Node::file(*b"1"))],
            vec![entry("f", Node::file(*b"2"))],
        ]
    };
    assert_eq!(owner(&merged(&packages, files()).unwrap(), "f"), Some(0));
    packages[1].replaces_priority = Some(2);
    assert_eq!(owner(&merged(&packages, files()).unwrap(), "f"), Some(1));
}

#[test]
fn conflicts_are_told() {
    let packages = [package("first", "a", ""), package("second", "b", "")];
    let told = |one: Node, other: Node| {
        merged(
            &packages,
            vec![vec![entry("usr/x", one)], vec![entry("usr/x", other)]],
        )
        .unwrap_err()
        .to_string()
    };
    insta::assert_snapshot!(told(Node::file(*b"1"), Node::file(*b"2")), @"second 1.0-r0 and first 1.0-r0 both have /usr/x, with different contents; have one of them say `replaces: first`, or leave one out");
    insta::assert_snapshot!(told(Node::directory(), Node::symlink("y")), @"/usr/x is a directory in first 1.0-r0 but a symbolic link in second 1.0-r0; build one of them for the other's layout");
}

#[test]
fn links_outlive_a_replaced_file() {
    let packages = [package("first", "a", ""), package("second", "b", "first")];
    let filesystem = merged(
        &packages,
        vec![
            vec![
                entry("a", Node::file(*b"old")),
                entry("b", link("a")),
                entry("c", link("a")),
            ],
            vec![entry("a", Node::file(*b"new"))],
        ],
    )
    .unwrap();
    assert_eq!(filesystem.read("a").unwrap().unwrap(), b"new");
    assert_eq!(filesystem.read("b").unwrap().unwrap(), b"old");
    assert_eq!(filesystem.read("c").unwrap().unwrap(), b"old");
    assert_eq!(
        filesystem.node(&TreePath::new("c").unwrap()).unwrap(),
        &link("b")
    );

    // The same when the later package loses the file its links lead to.
    let packages = [package("first", "a", "second"), package("second", "b", "")];
    let filesystem = merged(
        &packages,
        vec![
            vec![entry("a", Node::file(*b"kept"))],
            vec![entry("a", Node::file(*b"lost")), entry("b", link("a"))],
        ],
    )
    .unwrap();
    assert_eq!(filesystem.read("a").unwrap().unwrap(), b"kept");
    assert_eq!(filesystem.read("b").unwrap().unwrap(), b"lost");
}

#[test]
fn the_first_directory_stays() {
    let packages = [package("first", "a", ""), package("second", "b", "")];
    let filesystem = merged(
        &packages,
        vec![
            vec![entry("d", Node::directory().with_mode(0o700))],
            vec![entry("d", Node::directory().with_mode(0o777))],
        ],
    )
    .unwrap();
    assert_eq!(
        filesystem.node(&TreePath::new("d").unwrap()).unwrap().mode,
        0o700
    );
}

#[test]
fn links_are_followed_inside_only() {
    let mut filesystem = Filesystem::default();
    filesystem
        .put("etc/escape", Node::symlink("../../../../../outside"))
        .unwrap();
    filesystem.put("absolute", Node::symlink("/etc")).unwrap();
    filesystem.put("loop", Node::symlink("loop")).unwrap();
    let follow = |path: &str| {
        filesystem
            .follow(path)
            .map(|path| path.map(|path| path.as_str().to_owned()))
    };
    assert_eq!(follow("etc/escape/x").unwrap().unwrap(), "outside/x");
    assert_eq!(follow("absolute/../y").unwrap().unwrap(), "y");
    assert_eq!(follow("absolute").unwrap().unwrap(), "etc");
    assert_eq!(follow("/..").unwrap(), None);
    assert!(matches!(
        follow("loop"),
        Err(FilesystemError::LinkLoop { .. })
    ));
    assert!(tree_path("../x").is_err());

    filesystem
        .write("absolute/file", b"x".to_vec(), 0o600)
        .unwrap();
    assert_eq!(filesystem.read("etc/file").unwrap().unwrap(), b"x");
}

#[test]
fn a_change_of_a_link_is_its_files() {
    let packages = [package("first", "a", "")];
    let mut filesystem = merged(
        &packages,
        vec![vec![entry("a", Node::file(*b"x")), entry("b", link("a"))]],
    )
    .unwrap();
    let path = TreePath::new("b").unwrap();
    filesystem.change(&path, |node| node.mode = 0o600);
    for (path, placed) in filesystem.iter() {
        assert_eq!(placed.node.mode, 0o600, "{path:?}");
        assert!(!placed.pristine);
    }
}

/// All at once, and one after the other: the same files, or the same conflict.
#[test]
fn packages_come_together_as_one_by_one() {
    let mut state = 1_u64;
    let mut chance = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let names = ["one", "two", "three", "four"];
    let paths = ["a", "b", "c", "d", "e", "e/f", "e-f", "g"];
    let (mut whole, mut refused) = (0, 0);
    for round in 0..20_000 {
        let packages: Vec<PackageInfo> = names
            .iter()
            .map(|name| {
                let replaced = names[chance(4) as usize];
                let replaces = if chance(3) > 0 { replaced } else { "" };
                package(name, &format!("{}", chance(3)), replaces)
            })
            .collect();
        let entries: Vec<Vec<PackageEntry>> = packages
            .iter()
            .map(|_| {
                let mut entries = Vec::new();
                for path in paths {
                    let node = match chance(24) {
                        0..=8 => continue,
                        9..=10 => Node::file(*b"one"),
                        11..=13 => Node::file(*b"two"),
                        14..=16 => link(paths[chance(3) as usize]),
                        17 if path != "e" => Node::symlink("a"),
                        _ if path == "e" => Node::directory().with_mode(0o700 + chance(8) as u32),
                        _ => Node::file(chance(90).to_string().into_bytes()),
                    };
                    entries.push(entry(path, node));
                    if chance(30) == 0 {
                        entries.push(entry(path, Node::file(*b"again")));
                    }
                }
                entries
            })
            .collect();
        let mut by_one = Filesystem::default();
        let mut outcome = Ok(());
        for (index, own) in entries.iter().enumerate() {
            let mut alone = vec![Vec::new(); entries.len()];
            alone[index].clone_from(own);
            outcome = outcome.and_then(|()| by_one.add_packages(&packages, alone));
        }
        match (merged(&packages, entries), outcome) {
            (Ok(together), Ok(())) => {
                let shown = |filesystem: &Filesystem| {
                    let each = filesystem.iter();
                    each.map(|each| format!("{each:?}")).collect::<Vec<_>>()
                };
                assert_eq!(shown(&together), shown(&by_one), "round {round}");
                whole += 1;
            }
            (Err(together), Err(by_one)) => {
                assert_eq!(together.to_string(), by_one.to_string(), "round {round}");
                refused += 1;
            }
            (together, by_one) => panic!("round {round}: {together:?}, {by_one:?}"),
        }
    }
    assert!(whole > 500 && refused > 500, "{whole} {refused}");
}
