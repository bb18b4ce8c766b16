//! The line-based texts: what is read is written, and written again it is the same.
#![no_main]

use apk::database;
use apk::index::Index;
use apk::package::PackageInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(info) = PackageInfo::parse(bytes)
        && let Ok(text) = info.to_pkginfo()
    {
        let again = PackageInfo::parse(text.as_bytes()).expect("what was written is read");
        assert_eq!(again.to_pkginfo().as_ref(), Ok(&text));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(entries) = Index::parse(text) {
        let index = Index {
            description: String::new(),
            entries,
        };
        let once = index.to_text();
        let entries = Index::parse(&once).expect("what was written is read");
        assert_eq!(Index { entries, ..index }.to_text(), once);
    }
    if let Ok(packages) = database::parse(text) {
        // Control characters become spaces, which may change the order of names once.
        let written = |packages: &[_]| {
            let text = database::to_text(packages);
            let again = database::parse(&text).expect("what was written is read");
            (text, again)
        };
        let (_, once) = written(&packages);
        let (text, twice) = written(&once);
        assert_eq!(written(&twice).0, text);
    }
});
