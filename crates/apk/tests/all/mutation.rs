//! Bytes that were changed or cut off are noticed, whatever bytes they are.

use std::fs;
use std::path::Path;

use archive::Limits;
use polpo_apk::index::{Index, IndexEntry, IndexError};
use polpo_apk::package::{Package, PackageError};
use polpo_apk::signature::Keyring;
use proptest::prelude::*;

use crate::sample::{EPOCH, sample, signer};

/// Everything that a reader who trusts `keyring` does with a package.
fn check(path: &Path, keyring: &Keyring) -> Result<(), PackageError> {
    let package = Package::open(path)?;
    package.verify(keyring)?;
    let limits = Limits {
        bytes: 16 << 20,
        ..Limits::default()
    };
    let manifest = package.manifest(&limits)?;
    package.segments(&manifest, &limits)?;
    Ok(())
}

fn index() -> (Vec<u8>, Keyring) {
    let (_folder, _, written) = sample();
    let index = Index {
        description: "of tests".to_owned(),
        entries: vec![IndexEntry::written(&written)],
        ..Index::default()
    };
    let bytes = index.to_bytes(Some(signer()), EPOCH).unwrap();
    (bytes, signer().keyring())
}

/// Bytes of the first gzip member, that of the signature.
fn signature_length(bytes: &[u8]) -> usize {
    let mut members = archive::gzip::Members::new(bytes, Limits::control());
    let member = members.next().expect("gzip").expect("a member");
    member.finish().expect("a whole member").compressed as usize
}

/// Of the signature's own member, some bits mean nothing: the time in its gzip header, say. Those
/// may change, what they vouch for may not.
#[test]
fn a_flipped_bit_anywhere_in_an_index_is_noticed() {
    let (bytes, keyring) = index();
    let path = Path::new("APKINDEX.tar.gz");
    let original = Index::from_bytes(path, &bytes, Some(&keyring)).unwrap();
    let signature = signature_length(&bytes);
    let mut meaningless = 0;
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = Index::from_bytes(path, &flipped, Some(&keyring)) {
            assert!(bit / 8 < signature, "byte {} of {}", bit / 8, bytes.len());
            assert_eq!(read, original);
            meaningless += 1;
        }
    }
    // The time, the level and the system, and what pads a block to a byte.
    assert!((48..80).contains(&meaningless), "{meaningless} bits");
}

#[test]
fn a_truncated_index_is_noticed() {
    let (bytes, keyring) = index();
    let path = Path::new("APKINDEX.tar.gz");
    for length in 0..bytes.len() {
        let error = Index::from_bytes(path, &bytes[..length], Some(&keyring)).unwrap_err();
        // The signature stands before what it covers: of the rest, any change is a wrong signature.
        assert!(
            matches!(
                error,
                IndexError::Truncated { .. }
                    | IndexError::NotAnIndex { .. }
                    | IndexError::Signature { .. }
            ),
            "{length}: {error}"
        );
        let unverified = Index::from_bytes(path, &bytes[..length], None).unwrap_err();
        assert!(
            matches!(
                unverified,
                IndexError::Truncated { .. } | IndexError::NotAnIndex { .. }
            ),
            "{length}: {unverified}"
        );
    }
}

#[test]
fn a_truncated_package_is_noticed() {
    let (_folder, file, _) = sample();
    let bytes = fs::read(&file).unwrap();
    let data = Package::open(&file).unwrap().data_offset() as usize;
    let lengths = (0..data + 64)
        .chain((data..bytes.len()).step_by(97))
        .chain([bytes.len() - 1]);
    for length in lengths {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = check(&file, &signer().keyring()).unwrap_err();
        let clear = match &error {
            PackageError::Truncated { .. } => length >= 2,
            PackageError::NotAPackage { .. } => length < 2,
            _ => false,
        };
        assert!(clear, "{length}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever bytes are changed: no panic, and an error unless all that is vouched for stayed.
    #[test]
    fn a_mutated_package_is_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        doubled in prop::option::of((any::<prop::sample::Index>(), 1usize..600)),
    ) {
        let (_folder, file, _) = sample();
        let original = fs::read(&file).unwrap();
        let mut bytes = original.clone();
        for (place, change) in changes {
            let place = place.index(bytes.len());
            bytes[place] ^= change;
        }
        if let Some((place, count)) = doubled {
            let place = place.index(bytes.len());
            let end = (place + count).min(bytes.len());
            let again = bytes[place..end].to_vec();
            bytes.splice(place..place, again);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&file, &bytes).unwrap();
        if check(&file, &signer().keyring()).is_ok() {
            let vouched_for = &original[signature_length(&original)..];
            prop_assert!(bytes.ends_with(vouched_for));
            prop_assert_eq!(bytes.len() - vouched_for.len(), signature_length(&bytes));
        }
    }

    /// Text of strangers: read or refused, never a panic, and what was read is written back.
    #[test]
    fn any_index_text_is_read_or_refused(text in "([A-Za-z]:[ -~]{0,12}\n|\n|[^\n]{0,4}\n){0,20}") {
        if let Ok(entries) = Index::parse(&text) {
            let index = Index { entries, ..Index::default() };
            let again = Index::parse(&index.to_text());
            prop_assert_eq!(again.unwrap().len(), index.entries.len());
        }
        if let Ok(packages) = polpo_apk::database::parse(&text) {
            let again = polpo_apk::database::parse(&polpo_apk::database::to_text(&packages));
            prop_assert_eq!(again.unwrap().len(), packages.len());
        }
    }

    #[test]
    fn any_bytes_are_no_index(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let path = Path::new("APKINDEX.tar.gz");
        prop_assert!(Index::from_bytes(path, &bytes, None).is_err());
        let packed = archive::gzip::compress(&bytes);
        prop_assert!(Index::from_bytes(path, &packed, None).is_err());
    }
}
