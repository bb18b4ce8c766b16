use std::io::Read as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use store::Store;

use super::format::{self, BLOCK, Header, Layout};
use super::kept::{Shelf, Voucher};
use super::{Catalogue, CatalogueError, Contents, kept, made_of_text, text};
use crate::dependency::{Constraint, Dependency, Identity};
use crate::index::{Index, IndexEntry, IndexError, TextError};
use crate::package::{Defect, PackageInfo};
use crate::repository::NamePattern;
use crate::signature::{Keyring, Signer};

fn parse(text: &str) -> Result<Catalogue, TextError> {
    Catalogue::parse("about", text).map_err(|error| match error {
        CatalogueError::Text(error) => error,
        error => panic!("{error}"),
    })
}

/// As files are read: in pieces, each but the last ended by a blank line.
fn parse_pieces(text: &str) -> Result<Catalogue, TextError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(gap) = rest.find("\n\n") {
        let (piece, more) = rest.split_at(gap + 2);
        pieces.push(piece.as_bytes().to_vec());
        rest = more;
    }
    pieces.push(rest.as_bytes().to_vec());
    let builder = text::parse_pieces(text.len(), pieces, drop).map_err(|fault| match fault {
        text::Fault::Text(error) => error,
        text::Fault::NotUtf8 => panic!("it is a text"),
    })?;
    let made = builder.finish("about", "").unwrap();
    Ok(Catalogue::holding(Contents::Made(Box::new(made))))
}

/// All names, in the order in which packages mention them.
fn names(catalogue: &Catalogue) -> Vec<&str> {
    let view = catalogue.view();
    let places = 0..view.name_count() as u32;
    places.map(|place| view.name(place)).collect()
}

fn written(text: &str) -> Option<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    let made = made_of_text("about", text).ok()?;
    made.write(&file).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// A catalogue of bytes that are kept for an index which is no longer there.
fn kept(bytes: &[u8]) -> Option<Catalogue> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let sum = format::sum(b"the index");
    let source = folder.path().join("index");
    let shelf = Shelf::new(&store, &source, sum);
    let place = shelf.path(Voucher::Nobody);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, bytes).unwrap();
    let kept = shelf.find(Voucher::Nobody).unwrap();
    assert_eq!(place.exists(), kept.is_some());
    kept.map(|kept| Catalogue::holding(Contents::Kept(Box::new(kept))))
}

/// Gives forged bytes the checks and the sum that they would have to have.
fn seal(bytes: &mut [u8]) {
    let Some(layout) = Layout::of(bytes) else {
        return;
    };
    let blocks = layout.blocks_of(&(0..bytes.len())).end;
    for block in 0..blocks {
        let body = format::body(blocks).unwrap();
        let start = body + block * BLOCK;
        let check = format::check(&bytes[start..(start + BLOCK).min(bytes.len())]);
        let place = size_of::<Header>() + 4 * block;
        bytes[place..place + 4].copy_from_slice(&check.to_bytes());
    }
    let sum = format::sum(&bytes[format::COVERED..format::body(blocks).unwrap()]);
    bytes[16..48].copy_from_slice(&sum);
}

/// Everything that can be asked of a catalogue is what the entries say.
#[track_caller]
fn holds(catalogue: &Catalogue, entries: &[IndexEntry]) {
    let found: Result<Vec<IndexEntry>, CatalogueError> = catalogue.entries().collect();
    // Versions of different texts may be equal.
    assert_eq!(format!("{:#?}", found.unwrap()), format!("{entries:#?}"));
    assert_eq!(catalogue.len(), entries.len());
    let length = entries.len();
    let none = CatalogueError::NoEntry {
        place: length,
        length,
    };
    assert_eq!(catalogue.entry(length), Err(none));
    let mut names: Vec<&str> = vec!["", "nowhere"];
    let candidates = catalogue.candidates();
    assert_eq!(candidates.len(), entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let info = &entry.info;
        assert_eq!(candidates[place], entry.candidate());
        assert_eq!(catalogue.identity(place), Some(entry.identity));
        assert_eq!(catalogue.size(place), Some(entry.size));
        assert_eq!(catalogue.name(place), Some(info.name.as_str()));
        assert_eq!(catalogue.version(place), Some(info.version.as_str()));
        let same = |other: &IndexEntry| other.identity.shortened() == entry.identity.shortened();
        assert_eq!(
            catalogue.find_identity(&entry.identity),
            entries.iter().position(same)
        );
        let same =
            |other: &IndexEntry| other.info.name == info.name && other.info.version == info.version;
        assert_eq!(
            catalogue.find(&info.name, &info.version),
            entries.iter().position(same)
        );
        let terms = [&info.depends, &info.provides, &info.install_if];
        names.push(&info.name);
        names.extend(terms.into_iter().flatten().map(|term| term.name.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        let places = |has: &dyn Fn(&PackageInfo) -> bool| -> Vec<usize> {
            let entries = entries.iter().enumerate();
            let having = entries.filter(|(_, entry)| has(&entry.info));
            having.map(|(place, _)| place).collect()
        };
        let named: Vec<usize> = catalogue.named(name).collect();
        assert_eq!(named, places(&|info| info.name == name), "{name}");
        let providers: Vec<usize> = catalogue.providers(name).collect();
        let provides = |info: &PackageInfo| info.provides.iter().any(|term| term.name == name);
        let expected = places(&|info| info.name == name || provides(info));
        assert_eq!(providers, expected, "{name}");
    }
}

fn corpus() -> PathBuf {
    match std::env::var_os("POLPO_CORPUS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    }
}

#[test]
fn indexes_of_others() {
    let mut texts: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(corpus().join("apk/solver")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "repo")
        {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    for name in [
        "apk/alpine-316",
        "apk/alpine-317",
        "apk/signing",
        "cli/packages/x86_64",
    ] {
        let path = corpus().join("apko").join(name).join("APKINDEX.tar.gz");
        let index = Index::read_unverified(&path).unwrap();
        texts.push(index.to_text());
    }
    assert!(texts.len() > 20);
    for text in &texts {
        let entries = match Index::parse(text) {
            Ok(entries) => entries,
            Err(error) => {
                assert_eq!(parse(text).unwrap_err(), error);
                continue;
            }
        };
        holds(&parse(text).unwrap(), &entries);
        let index = Index {
            description: "about".to_owned(),
            names: Some(NamePattern::parse("${name}.${version}.apk").unwrap()),
            entries,
        };
        let catalogue = Catalogue::of(&index).unwrap();
        assert_eq!(catalogue.description(), index.description);
        assert_eq!(catalogue.names(), index.names);
        holds(&catalogue, &index.entries);
    }
}

/// All that no text of an index can say.
#[test]
fn what_only_other_formats_say() {
    let dependency = |text: &str| Dependency::parse(text).unwrap();
    let mut odd = dependency("odd=1");
    odd.constraint = Some(Constraint::Version(
        crate::version::Operator::Equal,
        crate::version::Version::as_written("no version"),
    ));
    let identity = Identity::Sha256(base::Digest::of(b"x"));
    let info = PackageInfo {
        name: "a".to_owned(),
        version: "1".to_owned(),
        packager: "P".to_owned(),
        licenses: vec!["MIT".to_owned(), String::new(), "ISC".to_owned()],
        depends: vec![dependency("!b@edge>1"), odd.clone(), dependency("b@edge")],
        provides: vec![odd],
        replaces: vec![dependency("!c@edge<2"), dependency("d")],
        recommends: vec![dependency(&format!("e><{identity}"))],
        vendored: vec!["v".to_owned(), "x".repeat(300)],
        triggers: vec!["/t".to_owned()],
        tags: vec!["t".to_owned(), "u".to_owned()],
        layer: Some(1),
        replaces_priority: Some(0),
        provider_priority: Some(0),
        build_time: Some(u64::MAX),
        datahash: Some(base::Digest::of(b"y")),
        defects: vec![
            Defect {
                field: "D".to_owned(),
                reason: "why".to_owned(),
                fatal: true,
            },
            Defect {
                field: String::new(),
                reason: String::new(),
                fatal: false,
            },
        ],
        ..PackageInfo::default()
    };
    let entry = |info: PackageInfo, identity| IndexEntry {
        identity,
        size: u64::MAX,
        info,
    };
    let plain = PackageInfo {
        depends: vec![dependency("odd")],
        defects: Vec::new(),
        ..info.clone()
    };
    let empty = PackageInfo::default();
    let index = Index {
        description: "grün".to_owned(),
        names: None,
        entries: vec![
            entry(plain, identity),
            entry(info.clone(), base::Sha1::of(b"z").into()),
            entry(empty, identity),
            entry(info, identity),
        ],
    };
    let catalogue = Catalogue::of(&index).unwrap();
    assert_eq!(catalogue.description(), "grün");
    assert_eq!(catalogue.names(), None);
    holds(&catalogue, &index.entries);
    holds(&Catalogue::of(&Index::default()).unwrap(), &[]);
}

/// A term that is kept for what it provides is still refused where it is asked for.
#[test]
fn the_same_text_in_another_place() {
    let record = |name: &str, fields: &str| {
        let identity = Identity::from(base::Sha1::of(name.as_bytes()));
        format!("C:{identity}\nP:{name}\nV:1\n{fields}\n\n")
    };
    let text = [
        record("a", "p:x=one"),
        record("b", "D:y z x=one q"),
        record("c", "D:y z q\ni:[a b]"),
        record("d", "D:y\nD:z"),
        record("e", "i:y x=one\nk:3"),
    ]
    .concat();
    holds(&parse(&text).unwrap(), &Index::parse(&text).unwrap());
}

fn written_index(folder: &Path) -> (PathBuf, Vec<IndexEntry>) {
    let entry = |name: &str, license: &str| IndexEntry {
        identity: base::Sha1::of(name.as_bytes()).into(),
        size: 1,
        info: PackageInfo {
            name: name.to_owned(),
            version: "1".to_owned(),
            description: "what it is".repeat(2000),
            licenses: vec![license.to_owned()],
            ..PackageInfo::default()
        },
    };
    let names = ('a'..='z').map(String::from);
    let entries: Vec<IndexEntry> = names.map(|name| entry(&name, "MIT")).collect();
    let index = Index {
        entries: entries.clone(),
        ..Index::default()
    };
    let path = folder.join("APKINDEX.tar.gz");
    index.write(&path, None, base::Epoch(0)).unwrap();
    (path, entries)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    // As no honest program would: in place.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_kept_is_found_again_and_made_again_when_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let (path, entries) = written_index(folder.path());
    let open = || Catalogue::open(&path, None, Some(&store)).unwrap();
    let is_kept = |catalogue: &Catalogue| matches!(*catalogue.contents, Contents::Kept(_));

    let first = open();
    assert!(!is_kept(&first));
    holds(&first, &entries);
    let second = open();
    assert!(is_kept(&second));
    holds(&second, &entries);

    let place = match files(&store.root().join("catalogues")).as_slice() {
        [one] => one.clone(),
        other => panic!("{other:?}"),
    };
    let whole = std::fs::read(&place).unwrap();
    let layout = Layout::of(&whole).unwrap();
    let solver = layout.end_of_sections();
    for position in (0..solver).step_by(97).chain([layout.details.start - 1]) {
        change(&place, |bytes| bytes[position] ^= 1);
        let again = open();
        assert!(!is_kept(&again), "byte {position}");
        holds(&again, &entries);
        assert_eq!(std::fs::read(&place).unwrap(), whole);
    }
    for cut in [0, 1, 47, 200, solver, whole.len() - 1] {
        change(&place, |bytes| bytes.truncate(cut));
        assert!(!is_kept(&open()), "{cut} bytes");
        assert_eq!(std::fs::read(&place).unwrap(), whole);
    }
    change(&place, |bytes| bytes.push(0));
    assert!(!is_kept(&open()));

    // The details are looked at only when they are asked for.
    change(&place, |bytes| bytes[layout.details.start + 7] ^= 1);
    let damaged = open();
    assert!(is_kept(&damaged) && place.exists());
    let last = entries.len() - 1;
    assert_eq!(damaged.entry(last).unwrap(), entries[last]);
    holds(&damaged, &entries);
    assert!(!place.exists(), "the damaged one is gone");
    assert!(!is_kept(&open()));

    change(&place, |bytes| bytes[layout.details.start + 7] ^= 1);
    let damaged = open();
    std::fs::remove_file(&path).unwrap();
    let error = damaged.entry(0).unwrap_err();
    assert_eq!(error, CatalogueError::Damaged { place: 0 });
    assert_eq!(damaged.entry(last).unwrap(), entries[last]);
}

#[test]
fn a_signature_is_remembered_for_its_key_its_name_and_these_very_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let (path, _) = written_index(folder.path());
    let index = Index::read_unverified(&path).unwrap();
    let keyring = |name: &str, key: &key::PublicKey| {
        let mut keyring = Keyring::default();
        keyring.add(name, key.clone());
        keyring
    };
    let [first, second] =
        [(); 2].map(|()| key::PrivateKey::generate(key::Algorithm::Rsa4096).unwrap());
    let good = keyring("one.rsa.pub", &first.public().unwrap());
    let forged = keyring("one.rsa.pub", &second.public().unwrap());
    let renamed = keyring("two.rsa.pub", &first.public().unwrap());
    let names = || files(&store.root().join("catalogues")).len();
    let is_kept = |keyring: Option<&Keyring>| {
        Catalogue::open(&path, keyring, Some(&store))
            .map(|catalogue| matches!(*catalogue.contents, Contents::Kept(_)))
            .map_err(|error| matches!(error, IndexError::Signature { .. }))
    };

    // Whoever made it: nobody's word is kept.
    let signer = Signer::new("one.rsa.pub", first).unwrap();
    index.write(&path, Some(&signer), base::Epoch(0)).unwrap();
    assert_eq!((is_kept(None), names()), (Ok(false), 1));
    assert_eq!(is_kept(Some(&forged)), Err(true));
    assert_eq!(is_kept(Some(&renamed)), Err(true));
    assert_eq!(names(), 1);
    // The signature is looked at once, and what was made without it is good enough then.
    assert_eq!((is_kept(Some(&good)), names()), (Ok(true), 2));
    assert_eq!((is_kept(Some(&good)), names()), (Ok(true), 2));
    assert_eq!(is_kept(Some(&forged)), Err(true));
    assert_eq!(is_kept(Some(&renamed)), Err(true));
    assert_eq!(is_kept(None), Ok(true));

    // Other bytes, which nobody signed.
    index.write(&path, None, base::Epoch(0)).unwrap();
    assert_eq!(is_kept(Some(&good)), Err(true));
    assert_eq!(names(), 2);
}

#[test]
fn another_index_is_another_catalogue_and_few_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let (path, entries) = written_index(folder.path());
    for count in 1..=entries.len() + 2 {
        let entries = &entries[..count.min(entries.len())];
        let index = Index {
            entries: entries.to_vec(),
            description: count.to_string(),
            ..Index::default()
        };
        index.write(&path, None, base::Epoch(0)).unwrap();
        let catalogue = Catalogue::open(&path, None, Some(&store)).unwrap();
        assert_eq!(catalogue.len(), entries.len());
        assert_eq!(catalogue.description(), index.description);
    }
    assert_eq!(files(&store.root().join("catalogues")).len(), kept::KEPT);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (
            prop::sample::select(vec!["", "", "", "!"]),
            prop::sample::select(vec!["a", "b", "cc", "so:x.so.1", "/bin/sh", "grün"]),
            prop::sample::select(vec![
                "", "", "=1", ">=1.2-r0", "<2", "~1", ">~1", "<=>1", "=>01", "=", "=one", "@edge",
                "><Q1C4uoV7SdMdDhYg4OCVmI71D8HIA=", "<>X10b8ba857b49d31d0e1620e0e095988ef50fc1c80",
            ]),
        )
            .prop_map(|(not, name, rest)| format!("{not}{name}{rest}")),
        1 => "[a-c=!@<> ]{0,6}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let terms = (
        prop::sample::select(vec!["D", "p", "i", "r"]),
        prop::collection::vec(word(), 0..4),
        prop::sample::select(vec![" ", "  ", "\t"]),
    );
    prop_oneof![
        8 => terms.prop_map(|(field, words, space)| format!("{field}:{}", words.join(space))),
        3 => prop::sample::select(vec!["A:x86_64", "A:noarch", "T:what it is", "T:", "U:u", "L:", "L:MIT", "o:a", "m:me", "c:0"])
            .prop_map(str::to_owned),
        2 => prop::sample::select(vec!["t:7", "k:3", "k:0", "q:2", "S:12", "I:+9", "I:0"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["Z:x", "F:x", "z:x", "x", "", "V:3", "P:zz", "i:[a b]", "i:[a"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["k:x", "S:-1", "xx", "é:x", "C:Q1x"]).prop_map(str::to_owned),
    ]
}

fn record() -> impl Strategy<Value = String> {
    let lines = (
        prop::sample::select(vec!["a", "b", "cc", "d", "grün"]),
        prop::sample::select(vec!["1", "1.2-r0", "01", "none"]),
        0..12u8,
        prop::collection::vec(line(), 0..7),
        prop::sample::select(vec![
            "\n\n", "\n\n", "\n\n", "\n\n", "\nx\n", "\n\n\n", "\n", "",
        ]),
    );
    lines.prop_map(|(name, version, identity, lines, end)| {
        let identity = Identity::from(base::Sha1::of(&[identity]));
        format!(
            "C:{identity}\nP:{name}\nV:{version}\n{}{end}",
            lines.join("\n")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_text_says_the_same_by_either_way(records in prop::collection::vec(record(), 0..6)) {
        let text = records.concat();
        match (parse(&text), Index::parse(&text)) {
            (Ok(catalogue), Ok(entries)) => {
                holds(&catalogue, &entries);
                holds(&kept(&written(&text).unwrap()).unwrap(), &entries);
                let index = Index { entries, ..Index::default() };
                holds(&Catalogue::of(&index).unwrap(), &index.entries);
                let pieces = parse_pieces(&text).unwrap();
                holds(&pieces, &index.entries);
                prop_assert_eq!(names(&pieces), names(&catalogue));
            }
            (catalogue, entries) => {
                prop_assert_eq!(parse_pieces(&text).map(drop), entries.clone().map(drop));
                prop_assert_eq!(catalogue.map(drop), entries.map(drop));
            }
        }
    }

    #[test]
    fn any_text_is_read_the_same(text in "([CPVDpiSk]:[a-z0-9=<!. ]{0,8}\n|\n|\\PC{0,9}){0,12}") {
        match (parse(&text), Index::parse(&text)) {
            (Ok(catalogue), Ok(entries)) => {
                holds(&catalogue, &entries);
                let pieces = parse_pieces(&text).unwrap();
                holds(&pieces, &entries);
                prop_assert_eq!(names(&pieces), names(&catalogue));
            }
            (catalogue, entries) => {
                prop_assert_eq!(parse_pieces(&text).map(drop), entries.clone().map(drop));
                prop_assert_eq!(catalogue.map(drop), entries.map(drop));
            }
        }
    }

    /// Bytes that somebody changed say nonsense, but nothing worse.
    #[test]
    fn nothing_forged_stops_the_program(
        records in prop::collection::vec(record(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let Some(mut bytes) = written(&records.concat()) else { return Ok(()) };
        let layout = Layout::of(&bytes).unwrap();
        // Not the zeros that fill a block.
        let solver = layout.end_of_sections();
        for (place, value) in changes {
            let place = place.index(solver + layout.details.len());
            let place = if place < solver { place } else { place - solver + layout.details.start };
            bytes[place] = value;
        }
        seal(&mut bytes);
        let Some(catalogue) = kept(&bytes) else { return Ok(()) };
        for place in 0..catalogue.len().min(50) {
            let _ = catalogue.entry(place);
            let _ = catalogue.name(place).map(|name| catalogue.providers(name).count());
        }
        let _ = catalogue.candidates();
        let _ = catalogue.named("a").count();
        let _ = catalogue.find_identity(&base::Sha1::of(&[1]).into());
    }
}

/// A text of several pieces is read as a whole, up to the line of what is wrong with it.
#[test]
fn long_texts_are_read_in_pieces() {
    let mut long = String::new();
    for number in 0..6000 {
        let terms = format!("so:lib{}.so.1>={number} base{}", number % 97, number % 11);
        let odd = if number % 50 == 7 { "X:odd\n" } else { "" };
        long += &format!(
            "C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=\nP:name{number}\nV:{number}-r0\nA:x86_64\nS:{number}\nI:1\n\
             T:{number} things, told of at some length: {}\nD:{terms}\np:cmd:n{number}=1\n{odd}\n",
            "more ".repeat(20)
        );
    }
    assert!(long.len() > 1 << 20);
    holds(&parse(&long).unwrap(), &Index::parse(&long).unwrap());
    long += "P:last\nno field\n\n";
    let error = parse(&long).map(drop).unwrap_err();
    assert_eq!(Some(&error), Index::parse(&long).as_ref().err());
    let before = long[..long.find("no field").unwrap()].matches('\n').count();
    assert_eq!(error.line, before + 1);
}

/// An entry with a term that follows no grammar is read again, and its terms come to lie elsewhere.
#[test]
fn terms_behind_an_odd_entry_are_those_of_their_texts() {
    let identity = |number| Identity::from(base::Sha1::of(&[number]));
    let text = format!(
        "C:{}\nP:first\nV:1\nD:b=>1 b>=1 c d=one\n\nC:{}\nP:second\nV:1\nD:c e b=>1\np:c=1\n\n",
        identity(1),
        identity(2)
    );
    holds(&parse(&text).unwrap(), &Index::parse(&text).unwrap());
}
