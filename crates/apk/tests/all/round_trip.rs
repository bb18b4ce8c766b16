//! What is read is written again as it was: packages at the level of their archives, indexes through
//! format 3 and its text.

use std::fs;
use std::io::Read;
use std::path::Path;

use archive::Limits;
use archive::gzip::Members;
use archive::tar::{self, End, Header, Writer};
use polpo_apk::adb::schema::{INDEX_FILE, PACKAGE_FILE};
use polpo_apk::adb::text::{Dump, parse};
use polpo_apk::adb::{Compression, Reader};
use polpo_apk::index::{FILE_NAME, Index};
use polpo_apk::package::PackageInfo;
use polpo_apk::serialize::{Form, Serializer};
use testkit::corpus;

use crate::corpus::{files, packages};

/// Packages that GNU tar made: it records when files were last looked at, and fills up blocks of
/// 20. What it says of the files is the same when it is written again.
const OTHERS: [&str; 2] = [
    "alpine-baselayout-3.2.0-r23.apk",
    "alpine-baselayout-3.4.0-r0.apk",
];

type Entries = Vec<(Header, Vec<u8>)>;

fn entries(archive: &[u8], end: End) -> Entries {
    let mut reader = tar::Reader::new(archive, Limits::default()).ending(end);
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next().unwrap() {
        let header = entry.header().clone();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        entries.push((header, contents));
    }
    entries
}

fn written(entries: &Entries) -> Writer<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    for (header, contents) in entries {
        writer.append(header, &contents[..]).unwrap();
    }
    writer
}

/// The archives of a file's members, and whether the last of them is there too.
fn members(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut archives = Vec::new();
    let mut members = Members::new(bytes, Limits::default());
    loop {
        match members.next() {
            Ok(Some(mut member)) => {
                let mut archive = Vec::new();
                if member.read_to_end(&mut archive).is_err() || member.finish().is_err() {
                    return (archives, false);
                }
                archives.push(archive);
            }
            Ok(None) => return (archives, true),
            Err(_) => return (archives, false),
        }
    }
}

#[test]
fn archives_of_packages_are_written_as_they_were() {
    let (mut same, mut other) = (0, 0);
    for path in packages() {
        let bytes = fs::read(&path).unwrap();
        let (archives, whole) = members(&bytes);
        let name = path.file_name().unwrap().to_str().unwrap();
        let last = archives.len() - usize::from(whole);
        for (number, archive) in archives.iter().enumerate() {
            let data = whole && number == last;
            let end = if data { End::Blocks } else { End::Segment };
            let read = entries(archive, end);
            let writer = written(&read);
            let again = match data {
                true => writer.finish().unwrap(),
                false => writer.into_inner(),
            };
            if OTHERS.contains(&name) {
                assert_eq!(entries(&again, end), read, "{}", path.display());
                other += 1;
            } else {
                assert!(again == *archive, "{}: member {number}", path.display());
                same += 1;
            }
        }
    }
    assert_eq!((same, other), (91, 9));
}

/// A file of format 3 as text, without the remark that says how large its payload is.
fn text_of(file: &[u8]) -> String {
    let mut text = Vec::new();
    let mut out = Serializer::new(Form::Yaml, false, &mut text);
    let mut reader = Reader::new(file, Limits::default()).unwrap();
    Dump::new(&mut out)
        .file(&mut reader, &polpo_apk::signature::Keyring::default())
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# ADB block"));
    lines.collect::<Vec<_>>().join("\n")
}

fn file_of(payload: &[u8]) -> Vec<u8> {
    let mut writer = polpo_apk::adb::Writer::new(Vec::new(), INDEX_FILE.id).unwrap();
    writer.head(payload, &[]).unwrap();
    writer.into_inner()
}

#[test]
fn indexes_survive_both_formats_and_their_texts() {
    let indexes = files(&corpus(), &|path| path.ends_with(FILE_NAME));
    let mut read = 0;
    for path in &indexes {
        // Some are packages by that name, or damaged on purpose.
        let Ok(index) = Index::read_unverified(path) else {
            continue;
        };
        read += 1;
        let once = index.to_adb(&[], Compression::None).unwrap();
        let again = Index::from_bytes(Path::new("Packages.adb"), &once, None).unwrap();
        assert_eq!(again.entries.len(), index.entries.len());
        for entry in &index.entries {
            let version = (&entry.info.name, &entry.info.version);
            let same = again.entries.iter().filter(|other| {
                (&other.info.name, &other.info.version) == version
                    && other.identity == entry.identity
                    && other.size == entry.size
            });
            assert!(same.count() > 0, "{version:?}");
        }
        let text = text_of(&once);
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.schema, INDEX_FILE.id);
        let generated = file_of(&parsed.payload);
        assert!(text_of(&generated) == text, "{}", path.display());
        let twice = parse(text_of(&generated).as_bytes()).unwrap();
        assert!(twice == parsed, "{}", path.display());
    }
    assert_eq!((indexes.len(), read), (9, 8));
}

#[test]
fn texts_of_indexes_stay_as_they_are() {
    for path in files(&corpus(), &|path| path.ends_with(FILE_NAME)) {
        let Ok(index) = Index::read_unverified(&path) else {
            continue;
        };
        let once = index.to_text();
        let entries = Index::parse(&once).unwrap();
        let again = Index {
            entries,
            ..Index::default()
        };
        assert!(again.to_text() == once, "{}", path.display());
    }
}

/// Versions that follow no grammar belong to names, whatever operator stands between.
#[test]
fn dependencies_of_texts_stay_what_they_are() {
    let dump = |payload: &[u8]| {
        let mut out = Vec::new();
        let mut serializer = Serializer::new(Form::Yaml, false, &mut out);
        Dump::new(&mut serializer)
            .payload(payload, PACKAGE_FILE.id)
            .unwrap();
        String::from_utf8(out).unwrap()
    };
    let read = |depends: &str| {
        let text = format!("#%SCHEMA: 676B6370\ninfo:\n  depends: {depends}\n");
        let parsed = match parse(text.as_bytes()) {
            Ok(parsed) => parsed,
            Err(error) => return error.to_string(),
        };
        let text = dump(&parsed.payload);
        let sorted = parse(text.as_bytes()).unwrap();
        assert_eq!(dump(&sorted.payload).lines().count(), text.lines().count());
        let again = parse(dump(&sorted.payload).as_bytes()).unwrap();
        assert_eq!(again, sorted);
        let items = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- "));
        items.collect::<Vec<_>>().join(" ")
    };
    let texts = [
        read("0de00*0 0d~00="),
        read("a>=one !b<two"),
        read("d~="),
        read("d<=>one"),
        read("d=\u{1}"),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    0d~00= 0de00*0
    a>=one '!b<two'
    line 3: `d~=`: `` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    line 3: `d<=>one`: `one` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    line 3: `d=\u{1}`: `\u{1}` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    ");
}

/// Who can't be installed for a term doesn't become so by having it written again.
#[test]
fn terms_that_follow_no_grammar_stay_in_an_index() {
    let text = "C:Q1C4uoV7SdMdDhYg4OCVmI71D8HIA=\nP:a\nV:1\nA:x86_64\nS:1\nI:1\nT:\nU:\nL:\n\
                D:foo =bar fu>one !\np:x=one =2 y><zz z\ni:x =1\nr:q=two r\n\n";
    let entries = Index::parse(text).unwrap();
    let info = &entries[0].info;
    assert_eq!(info.depends.len() + info.install_if.len(), 1);
    assert!(info.defects.iter().any(|defect| defect.fatal));
    let index = Index {
        entries: entries.clone(),
        ..Index::default()
    };
    assert_eq!(index.to_text(), text);
    let json = serde_json::to_string(info).unwrap();
    assert_eq!(&serde_json::from_str::<PackageInfo>(&json).unwrap(), info);
}
