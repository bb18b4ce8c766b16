//! Indexes that are damaged or point anywhere.

use super::*;

#[test]
fn an_index_is_checked_as_packages_are() {
    let of = |hashes: &[u8], names: &[u8], description: &[u8]| {
        let mut builder = Builder::new();
        let fields = [builder.blob(b"x"), builder.blob(b"1"), builder.blob(hashes)];
        let package = builder.object(&fields);
        let fields = [
            builder.blob(description),
            builder.array(&INFOS, Tag::Object, vec![package]),
            builder.blob(names),
        ];
        let root = builder.object(&fields);
        builder.set_root(root);
        let bytes = file_of(INDEX_ID, &builder.finish().unwrap(), &[]);
        match Index::from_bytes(Path::new("Packages.adb"), &bytes, None) {
            Ok(index) => format!("{} packages", index.entries.len()),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(of(&[1; 32], b"", b""), "1 packages");
    for (hashes, names, description, why) in [
        (&[][..], &b""[..], &b""[..], "`hashes` of x-1 has 0 bytes"),
        (&[1; 31], b"", b"", "`hashes` of x-1 has 31 bytes"),
        (
            &[1; 32],
            b"${nothing}",
            b"",
            "variables may be name, version, arch and hash alone",
        ),
        (&[1; 32], b"${name", b"", "a variable is written"),
        (&[1; 32], b"a\nb", b"", "`pkgname-spec` holds a NUL"),
        (&[1; 32], b"", b"a\0b", "`description` holds a NUL"),
    ] {
        let verdict = of(hashes, names, description);
        assert!(verdict.contains(why), "wanted `{why}`, got `{verdict}`");
    }
}

/// What is said of an index whose root is this word, over these bytes that follow the header.
fn raw_index(root: u32, rest: &[u8]) -> String {
    let payload = [&[0; 4], &root.to_le_bytes(), rest].concat();
    let bytes = file_of(INDEX_ID, &payload, &[]);
    match Index::from_bytes(Path::new("Packages.adb"), &bytes, None) {
        Ok(index) => format!("{} packages", index.entries.len()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_index_that_points_anywhere_is_refused() {
    let words = |words: &[u32]| -> Vec<u8> {
        let words = words.iter().flat_map(|word| word.to_le_bytes());
        words.collect()
    };
    let twice = {
        let payload = Made::default().payload();
        let mut writer = Writer::new(Vec::new(), INDEX_ID).unwrap();
        writer.block(BlockKind::Adb, &payload).unwrap();
        writer.block(BlockKind::Adb, &payload).unwrap();
        Index::from_bytes(Path::new("Packages.adb"), &writer.into_inner(), None)
            .unwrap_err()
            .to_string()
    };
    let verdicts = [
        raw_index(0, &[]),
        raw_index(0xe000_0000 | 1_000_000, &[]),
        raw_index(0xe000_0008, &words(&[u32::MAX])),
        raw_index(0xe000_0008, &words(&[0])),
        raw_index(0x8000_0008, b"\x01x"),
        // A description that reaches beyond the end, by its length or by its place.
        raw_index(0xe000_0008, &words(&[2, 0x8000_0010, 0xff])),
        raw_index(0xe000_0008, &words(&[2, 0xa000_0010, u32::MAX])),
        raw_index(0xe000_0008, &words(&[2, 0x8fff_ffff])),
        // Packages that are the root again, and a text.
        raw_index(0xe000_0008, &words(&[3, 0, 0xe000_0008])),
        raw_index(0xe000_0008, &words(&[3, 0, 0x8000_0014, 0x6101])),
        // A package that is its list.
        raw_index(0xe000_0008, &words(&[3, 0, 0xd000_0014, 2, 0xd000_0014])),
        twice,
    ];
    insta::assert_snapshot!(verdicts.join("\n"), @"
    0 packages
    index Packages.adb can't be used: a value points outside its payload: 4 bytes at 1000000, of 8 bytes; get it again from its source
    index Packages.adb can't be used: a value points outside its payload: 17179869176 bytes at 8, of 12 bytes; get it again from its source
    index Packages.adb can't be used: the object at 8 has a count of 0, which should count itself; get it again from its source
    index Packages.adb can't be used: Blob8(0x8) stands where an object or array should; get it again from its source
    index Packages.adb can't be used: a value points outside its payload: 255 bytes at 16, of 20 bytes; get it again from its source
    index Packages.adb can't be used: a value points outside its payload: 4294967295 bytes at 16, of 20 bytes; get it again from its source
    index Packages.adb can't be used: a value points outside its payload: 1 bytes at 268435455, of 16 bytes; get it again from its source
    index Packages.adb can't be used: a info has no `name`; get it again from its source
    index Packages.adb can't be used: Blob8(0x14) stands where an object or array should; get it again from its source
    index Packages.adb can't be used: Array(0x14) stands where text or bytes should; get it again from its source
    index Packages.adb can't be used: a ADB block stands where another one stood already; get it again from its source
    ");
}
