//! Any bytes are a package or an error; what is a package has segments that inflate, or none.
#![no_main]

use apk::package::Package;
use archive::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.apk");
    std::fs::write(&file, bytes).expect("a file");
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1 << 10,
        ..Limits::default()
    };
    let Ok(package) = Package::open(&file) else {
        return;
    };
    let Ok(manifest) = package.manifest(&limits) else {
        return;
    };
    if let Some(segments) = package.segments(&manifest, &limits).expect("it was read") {
        let whole = segments.directories.length + segments.files.length + 1024;
        assert_eq!(whole, manifest.length);
    }
});
