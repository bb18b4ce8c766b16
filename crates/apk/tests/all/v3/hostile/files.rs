//! Files as wholes: cut off, too large, changed meanwhile, signed for others.

use super::*;

#[test]
fn a_signature_over_another_file_is_no_signature() {
    let keyrings = keyrings();
    let (tool, meta) = (head_of(&tool()), head_of(&meta()));
    let file = |schema, payload: &[u8], signatures: &[polpo_apk::adb::Signature]| {
        let mut writer = Writer::new(Vec::new(), schema).unwrap();
        writer.head(payload, signatures).unwrap();
        writer.into_inner()
    };
    let borrowed = file(PACKAGE_ID, &meta.payload, &tool.signatures);
    for keyring in &keyrings {
        let error = opened(&borrowed).verify(keyring).unwrap_err().to_string();
        assert!(error.contains("is wrong: the file was changed"), "{error}");
    }
    // The schema is signed too.
    let signer = elliptic("signer.pub");
    let as_index = signer
        .sign_adb(&Signed::new(INDEX_ID, &meta.payload))
        .unwrap();
    let as_package = signer
        .sign_adb(&Signed::new(PACKAGE_ID, &meta.payload))
        .unwrap();
    let package = opened(&file(
        PACKAGE_ID,
        &meta.payload,
        std::slice::from_ref(&as_index),
    ));
    let error = package.verify(&signer.keyring()).unwrap_err().to_string();
    assert!(error.contains("is wrong"), "{error}");
    let both = opened(&file(
        PACKAGE_ID,
        &meta.payload,
        &[as_index, as_package.clone()],
    ));
    assert_eq!(both.verify(&signer.keyring()).unwrap(), "signer.pub");
    // So are the name of the key and the number of the hash.
    let other = elliptic("other.pub");
    let mut renamed = as_package.clone();
    renamed.key = other.public().short_id();
    let mut weaker = as_package.clone();
    weaker.hash = 5;
    let mut unknown = as_package;
    unknown.hash = 1;
    let cases = [
        (renamed, other.keyring(), "is wrong"),
        (weaker, signer.keyring(), "is wrong"),
        (unknown, signer.keyring(), "is not among the trusted keys"),
    ];
    for (signature, keyring, why) in cases {
        let package = opened(&file(PACKAGE_ID, &meta.payload, &[signature]));
        let error = package.verify(&keyring).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    // A signature of a later version is passed over.
    let mut writer = Writer::new(Vec::new(), PACKAGE_ID).unwrap();
    writer.head(&meta.payload, &[]).unwrap();
    writer.block(BlockKind::Signature, &[1; 100]).unwrap();
    let error = opened(&writer.into_inner())
        .verify(&keyrings[0])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it has 1 signature blocks of another version"),
        "{error}"
    );
}

/// Wherever the file is cut, it is noticed by one who needs a signature or the files.
#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let keyring = &keyrings()[0];
    let plain = |bytes: &[u8]| {
        let how = polpo_apk::adb::Resign {
            compression: Some(polpo_apk::adb::Compression::None),
            ..polpo_apk::adb::Resign::default()
        };
        polpo_apk::adb::resign(bytes, Vec::new(), &how, LIMITS).unwrap()
    };
    let mut reasons = BTreeSet::new();
    for whole in [tool(), plain(&tool())] {
        for end in 0..whole.len() {
            let (_folder, file) = placed(&whole[..end]);
            let used = Package::open(&file).and_then(|package| {
                package.verify(keyring)?;
                package.manifest(&LIMITS)
            });
            let reason = used.expect_err("a cut package is used").to_string();
            let reason = reason.split(": ").nth(1).unwrap_or(&reason).to_owned();
            reasons.insert(reason.split("; get").next().unwrap_or_default().to_owned());
        }
    }
    for whole in [index(), plain(&index())] {
        for end in 0..whole.len() {
            let read = Index::from_bytes(Path::new("x"), &whole[..end], Some(keyring));
            assert!(read.is_err(), "{end}");
        }
    }
    insta::assert_snapshot!(reasons.into_iter().collect::<Vec<_>>().join("\n"), @r"
    `etc/conf` has contents, but the package ends without its data block
    `usr/bin/alias` has contents, but the package ends without its data block
    it begins neither as gzip does nor with ADB
    it ends within a block
    it ends within a block's header
    it ends within its header
    it ends within the padding of a block
    it ends within what it holds compressed
    it has no ADB block
    it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)
    ");
}

#[test]
fn more_than_limits_allow_is_refused() {
    let (_folder, file) = placed(&tool());
    let package = Package::open(&file).unwrap();
    let few = archive::Limits {
        entries: 3,
        ..LIMITS
    };
    let error = package.manifest(&few).unwrap_err().to_string();
    assert!(error.contains("it has more than 3 entries"), "{error}");
    let small = archive::Limits {
        bytes: 100,
        ..LIMITS
    };
    let error = package.manifest(&small).unwrap_err().to_string();
    assert!(
        error.contains("it unpacks to more than 100 bytes"),
        "{error}"
    );
    // What is compressed can't claim memory that isn't there.
    let bomb = {
        let mut compressor =
            polpo_apk::adb::Compressor::new(Vec::new(), polpo_apk::adb::Compression::Zstd(1))
                .unwrap();
        let header = [
            &b"ADB."[..],
            &PACKAGE_ID.to_le_bytes(),
            &(200_u32 << 20).to_le_bytes(),
        ];
        std::io::Write::write_all(&mut compressor, &header.concat()).unwrap();
        std::io::copy(
            &mut std::io::Read::take(std::io::repeat(0), 200 << 20),
            &mut compressor,
        )
        .unwrap();
        compressor.finish().unwrap()
    };
    assert!(bomb.len() < 100_000);
    refused(&bomb, "it looks like a decompression bomb");
}

#[test]
fn files_that_change_meanwhile_are_noticed() {
    let (_folder, file) = placed(&tool());
    let package = Package::open(&file).unwrap();
    fs::write(&file, meta()).unwrap();
    let error = package.manifest(&LIMITS).unwrap_err().to_string();
    assert!(error.contains("it changed while it was read"), "{error}");
    let mut writer = Writer::new(Vec::new(), PACKAGE_ID).unwrap();
    let block = DataBlock {
        path: 1,
        file: 1,
        length: 3,
    };
    assert!(writer.data(block, &b"ab"[..]).is_err());
    assert!(writer.data(block, &b"abcd"[..]).is_err());
}
