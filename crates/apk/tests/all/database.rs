//! Installed databases made here.

use archive::Limits;
use archive::tree::FileTree;
use polpo_apk::database::{Database, DatabaseError, InstalledPackage, Place, parse, to_text};
use polpo_apk::dependency::Dependency;
use polpo_apk::package::Package;

use crate::sample::{EPOCH, path, sample, signer};

fn database() -> Database {
    let (_folder, file, _) = sample();
    let package = Package::open(&file).unwrap();
    let manifest = package.manifest(&Limits::default()).unwrap();
    let mut installed = InstalledPackage::new(&package, &manifest);
    installed.repository_tag = Some("local".to_owned());
    Database {
        arches: vec!["x86_64".to_owned()],
        world: Dependency::parse_list("sample@local>1 busybox").unwrap(),
        repositories: vec!["@local /srv/packages".to_owned()],
        keys: signer().keyring(),
        packages: vec![installed],
    }
}

#[test]
fn the_text_is_apks() {
    let mut text = to_text(&database().packages);
    // The identity depends on the compressor.
    let identity = database().packages[0].entry.identity.to_string();
    let size = format!("S:{}\n", database().packages[0].entry.size);
    text = text
        .replace(&identity, "IDENTITY")
        .replace(&size, "S:SIZE\n");
    text = text
        .replace(&"d".repeat(120), "DDD")
        .replace(&"n".repeat(180), "NNN");
    insta::assert_snapshot!(text, @r"
    C:IDENTITY
    P:sample
    V:1.2.3_rc4-r5
    A:x86_64
    S:SIZE
    I:4321
    T:one of everything = all
    U:https://example.org/?a = b
    L:(MIT OR BSD-3-Clause) AND GPL-2.0-only
    o:sampler
    m:A. N. Other <other@example.org>
    t:1700000000
    c:0123456789abcdef0123456789abcdef01234567
    k:7
    D:!conflicting<2 cmd:sh so:libc.so.6 zlib>=1.3
    p:cmd:sample=1.2.3_rc4-r5 so:libsample.so.1=1.0
    i:docs sampler=1.2.3_rc4-r5
    r:older other<3
    q:9
    s:local
    F:
    R:root-file
    a:0:0:600
    Z:Q1/B0uOG2KzbgiKNjlGiT+Vv6n3Oc=
    F:tmp
    M:0:0:1777
    F:usr
    F:usr/bin
    R:sample
    a:0:5:4755:Q1VPlHrB2BJWUBOx8bke3wOZ+7oo0=
    Z:Q1vZcb7IgUmVZFihD8nF7LPrmd1FI=
    R:sample-alias
    a:0:0:4755
    Z:Q1vZcb7IgUmVZFihD8nF7LPrmd1FI=
    F:usr/lib
    R:libsample.so
    a:0:0:777
    Z:Q1EEEm0dGeAfJqCHero4pLp1JNbkM=
    R:libsample.so.1.0
    Z:Q1fnV/O/52jDnqQvY9CLNjjuHAYcM=
    F:usr/lib-dash
    R:empty
    Z:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=
    F:usr/share
    R:dangling
    a:0:0:777
    Z:Q1vhKL6winr2e/zdQM5fy6dliU9Wo=
    F:usr/share/sample
    F:usr/share/sample/DDD
    R:NNN
    Z:Q1Pd5Z/z15/CMi9BkvdMHRrzDTLMY=
    F:var
    F:var/cache
    F:var/cache/sample
    R:grün.txt
    a:1000:1000:644
    Z:Q1KefU2ivK9bmq9ZpA7YJx0vfbzOw=
    F:var/empty
    M:22:22:2750
    ");
}

#[test]
fn what_is_written_is_read() {
    for place in [Place::UsrLib, Place::Lib] {
        let mut database = database();
        let tree = database.to_tree(place, EPOCH).unwrap();
        let names: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        assert!(names.contains(&"etc/apk/keys/tester.rsa.pub"), "{names:?}");
        assert!(tree.iter().all(|(_, node)| node.mtime == EPOCH.0));
        let read = Database::read(&tree).unwrap();
        // World is sorted, and licences are one text.
        database.world.sort_by_key(ToString::to_string);
        assert_eq!(read, database);
        assert_eq!(read.packages[0].scripts.len(), 2);
        assert_eq!(read.packages[0].entry.info.triggers.len(), 2);
        let again = read.to_tree(place, EPOCH).unwrap();
        assert_eq!(again, tree);
    }
    assert_eq!(
        Database::read(&FileTree::new()).unwrap(),
        Database::default()
    );
}

#[test]
fn replaced_files_are_left_out() {
    let mut package = database().packages.remove(0);
    package.retain_files(|path| path != "root-file" && path != "usr/bin/sample");
    let text = to_text(&[package]);
    assert!(!text.contains("R:root-file\n") && !text.contains("R:sample\n"));
    assert!(text.contains("R:sample-alias\n"));
}

#[test]
fn damage_is_named() {
    let start = "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1\n";
    for (rest, error) in [
        ("R:x\n", "line 4: `R:` stands before the first `F:`"),
        (
            "F:usr\nZ:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\n",
            "line 5: `Z:` stands before the first `R:` of its directory",
        ),
        (
            "F:usr\nM:0:0\n",
            "line 5: `M:0:0` is not owner:group:mode, the mode in octal",
        ),
        ("F:../etc\n", "line 4: `F:../etc` is no safe path"),
        ("F:usr\nR:a/b\n", "line 5: `R:a/b` is no file's name"),
        (
            "f:fq\n",
            "line 4: the flag 'q' in `f:` is not known to this version of polpo; \
             `--force-old-apk` goes on without it, and it is lost when the database is changed",
        ),
        (
            "y:1\n",
            "line 4: the field `y:` is not known to this version of polpo; \
             `--force-old-apk` goes on without it, and it is lost when the database is changed",
        ),
    ] {
        let said = parse(&format!("{start}{rest}")).unwrap_err().to_string();
        assert_eq!(said, error);
    }
    let mut tree = database().to_tree(Place::UsrLib, EPOCH).unwrap();
    let node = tree.get_mut("usr/lib/apk/db/scripts.tar").unwrap();
    *node = archive::tree::Node::file(vec![1; 700]);
    assert!(matches!(
        Database::read(&tree),
        Err(DatabaseError::Scripts { .. })
    ));
    tree.insert(
        path("etc/apk/keys/tester.rsa.pub"),
        archive::tree::Node::file(*b"no key"),
    );
    tree.remove("usr/lib/apk/db/scripts.tar");
    assert!(matches!(
        Database::read(&tree),
        Err(DatabaseError::Key { .. })
    ));
}
