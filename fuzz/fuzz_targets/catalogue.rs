//! Any bytes in the place of a kept catalogue are one or are not used; whatever forged ones say, it
//! can be asked for.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use apk::catalogue::{Catalogue, Reachable};
use apk::index::{Index, IndexEntry};
use libfuzzer_sys::fuzz_target;
use store::Store;
use tempfile::TempDir;

/// Bytes of the header; of them, those that its sum ends before.
const HEADER: usize = 168;
const COVERED: usize = 48;
const BLOCK: usize = 1 << 17;
/// Bytes of a block's check.
const CHECK: usize = 4;

struct Place {
    _folder: TempDir,
    index: PathBuf,
    store: Store,
    kept: PathBuf,
    /// What the bytes begin with.
    magic: [u8; 12],
}

/// An index, and where what is made of it is kept.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let index = folder.path().join("APKINDEX");
        let text = "C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:a\nV:1\nT:x\nD:b>1 !c\np:d=2\ni:e\n\n";
        let entries = Index::parse(text).expect("an index");
        let bytes = Index {
            entries,
            ..Index::default()
        };
        let bytes = bytes.to_bytes(None, base::Epoch(0)).expect("it fits");
        std::fs::write(&index, bytes).expect("a file");
        let store = Store::open(folder.path().join("store")).expect("a store");
        Catalogue::open(&index, None, Some(&store)).expect("it is sound");
        let kept = std::fs::read_dir(store.root().join("catalogues"))
            .expect("it was kept")
            .next()
            .expect("one")
            .expect("a file")
            .path();
        let genuine = std::fs::read(&kept).expect("it was kept");
        let mut sealed = genuine.clone();
        sealed[16..COVERED].fill(0);
        let blocks = blocks_of(&sealed);
        sealed[HEADER..HEADER + CHECK * blocks].fill(0);
        seal(&mut sealed);
        assert_eq!(sealed, genuine, "the form is another one");
        Place {
            magic: *genuine.first_chunk().expect("a header"),
            _folder: folder,
            index,
            store,
            kept,
        }
    })
}

fn blocks_of(bytes: &[u8]) -> usize {
    u32::from_le_bytes(*bytes[12..].first_chunk().expect("four")) as usize
}

/// Gives bytes the checks and the sum that they would have to have.
fn seal(bytes: &mut [u8]) {
    let blocks = blocks_of(bytes);
    let (header, rest) = bytes.split_at_mut(HEADER);
    let (checks, body) = rest.split_at_mut(CHECK * blocks);
    for (check, block) in checks.chunks_exact_mut(CHECK).zip(body.chunks(BLOCK)) {
        check.copy_from_slice(&crc32fast::hash(block).to_le_bytes());
    }
    let covered = [&header[COVERED..], checks].concat();
    header[16..COVERED].copy_from_slice(blake3::hash(&covered).as_bytes());
}

/// A whole file of an input that has all but magic, sums and the length of the details.
fn forged(magic: &[u8; 12], input: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = input.split_at_checked(HEADER - COVERED)?;
    let blocks = u32::try_from(body.len().div_ceil(BLOCK)).ok()?;
    let mut bytes = magic.to_vec();
    bytes.extend(blocks.to_le_bytes());
    bytes.extend([0; 32]);
    bytes.extend(header);
    bytes.resize(HEADER + CHECK * blocks as usize, 0);
    bytes.extend(body);
    // Behind two keys of the hash tables.
    let details = COVERED + 16;
    let start = u32::from_le_bytes(*bytes[details..].first_chunk()?);
    let length = u32::try_from(bytes.len()).ok()?.checked_sub(start)?;
    bytes[details + 4..details + 8].copy_from_slice(&length.to_le_bytes());
    seal(&mut bytes);
    Some(bytes)
}

/// Asks for all that can be asked for.
fn ask(catalogue: &Catalogue) {
    let _ = (catalogue.names(), catalogue.description());
    let candidates = catalogue.candidates();
    assert_eq!(candidates.len(), catalogue.len());
    for (place, candidate) in candidates.iter().enumerate().take(32) {
        // Damaged details are an error.
        let entry = catalogue.entry(place);
        let name = catalogue.name(place).expect("there are as many");
        let version = catalogue.version(place).expect("there are as many");
        assert_eq!((name, version), (&*candidate.name, &*candidate.version));
        let terms = [&candidate.depends, &candidate.provides];
        for term in terms.into_iter().flatten().take(32) {
            let _ = catalogue.providers(&term.name).count();
        }
        let _ = (
            catalogue.named(name).count(),
            catalogue.find(name, version),
            candidate
                .identity
                .and_then(|of| catalogue.find_identity(&of)),
        );
        if let Ok(entry) = entry {
            assert_eq!(entry.info.name, candidate.name);
        }
    }
    assert!(catalogue.entry(catalogue.len()).is_err());
    let sound = Index::parse("C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:a\nV:1\nD:e\np:b\n");
    let sound: Vec<IndexEntry> = sound.expect("an index");
    let known: Vec<_> = sound.iter().map(IndexEntry::candidate).collect();
    let other = Catalogue::of(&Index {
        entries: sound,
        ..Index::default()
    });
    let other = other.expect("it is small");
    let reachable = Reachable::find(&[catalogue, &other], &known, ["a", "d", ""]);
    assert!(reachable.candidates(0).len() <= catalogue.len());
    assert_eq!(reachable.candidates(0).len(), reachable.places(0).len());
}

fuzz_target!(|input: &[u8]| {
    let place = place();
    // As they are, or with sums that hold: nobody would guess those.
    let bytes = match input.strip_prefix(b"as they are") {
        Some(bytes) => Some(bytes.to_vec()),
        None => forged(&place.magic, input),
    };
    let Some(bytes) = bytes else {
        return;
    };
    std::fs::remove_file(&place.kept).ok();
    std::fs::write(&place.kept, bytes).expect("a file");
    let catalogue = Catalogue::open(&place.index, None, Some(&place.store));
    ask(&catalogue.expect("the index is sound"));
});
