//! What is read of a `.PKGINFO` is written, and written again it is the same.
#![no_main]

use apk::package::PackageInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(info) = PackageInfo::parse(bytes)
        && let Ok(text) = info.to_pkginfo()
    {
        let again = PackageInfo::parse(text.as_bytes()).expect("what was written is read");
        assert_eq!(again.to_pkginfo().as_ref(), Ok(&text));
    }
});
