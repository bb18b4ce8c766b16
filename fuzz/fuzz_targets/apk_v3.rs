//! Any payload with any data behind it is a package or an index of format 3, or an error; what is
//! one is written again.
#![no_main]

use std::path::Path;

use apk::adb::schema::{INDEX_FILE, PACKAGE_FILE};
use apk::adb::{Compression, Writer};
use apk::index::Index;
use apk::package::Package;
use archive::Limits;
use libfuzzer_sys::fuzz_target;

fn file(schema: u32, payload: &[u8], data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), schema).expect("memory takes all");
    writer.head(payload, &[]).expect("memory takes all");
    let mut bytes = writer.into_inner();
    bytes.extend_from_slice(data);
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    // How long the payload is, the payload, and the data behind it.
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length));
    let Some((payload, data)) = rest.split_at_checked(length) else {
        return;
    };
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1 << 10,
        ..Limits::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.apk");
    std::fs::write(&path, file(PACKAGE_FILE.id, payload, data)).expect("a file");
    if let Ok(package) = Package::open(&path) {
        let into = folder.path().join("files");
        std::fs::create_dir(&into).expect("a folder");
        if let Ok(manifest) = package.manifest(&limits) {
            let unpacked = package.unpack(&into, &limits);
            assert!(unpacked.is_err() || unpacked.is_ok_and(|unpacked| unpacked == manifest));
        }
    }
    let path = Path::new("Packages.adb");
    if let Ok(index) = Index::from_bytes(path, &file(INDEX_FILE.id, payload, &[]), None) {
        let written = index.to_adb(&[], Compression::None).expect("it fits again");
        let again = Index::from_bytes(path, &written, None).expect("what was written is read");
        assert_eq!(again.entries.len(), index.entries.len());
        // Dependencies that were out of order are put in order once, their texts where they were.
        let written = again.to_adb(&[], Compression::None).expect("it fits again");
        let same = Index::from_bytes(path, &written, None).expect("what was written is read");
        assert_eq!(same, again);
        assert_eq!(
            same.to_adb(&[], Compression::None).expect("it fits again"),
            written
        );
    }
});
