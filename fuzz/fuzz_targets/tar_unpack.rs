//! Unpacking changes nothing beside the folder it unpacks into.
#![no_main]

use archive::Limits;
use archive::tar::{End, Reader};
use archive::unpack::{Names, Options, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 16,
        entries: 64,
        metadata: 1 << 14,
        ..Limits::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let into = folder.path().join("into");
    std::fs::create_dir(&into).expect("a folder");
    std::fs::write(folder.path().join("beside"), "untouched").expect("a file");
    let reader = Reader::new(bytes, limits).ending(End::Lenient);
    let options = Options {
        names: Names::Any,
        ..Options::default()
    };
    let _ = unpack(reader, &into, &options);
    let beside = std::fs::read(folder.path().join("beside")).expect("the file");
    assert_eq!(beside, b"untouched");
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("the folder")
            .count(),
        2
    );
});
