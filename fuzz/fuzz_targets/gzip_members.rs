//! Members' bounds cover the stream without a gap, and each member alone reads the same.
#![no_main]

use std::io::Read;

use archive::Limits;
use archive::gzip::Members;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 20,
        metadata: 1 << 12,
        ..Limits::default()
    };
    let mut members = Members::new(bytes, limits);
    let mut end = 0;
    while let Ok(Some(mut member)) = members.next() {
        let mut content = Vec::new();
        if member.read_to_end(&mut content).is_err() {
            return;
        }
        let summary = member.finish().expect("it was read to its end");
        assert_eq!(summary.offset, end);
        end += summary.compressed;
        let alone = &bytes[summary.offset as usize..end as usize];
        let mut again = Members::new(alone, limits);
        let mut member = again.next().expect("a member").expect("a member");
        let mut same = Vec::new();
        member.read_to_end(&mut same).expect("its content");
        assert_eq!(same, content);
        assert!(again.next().expect("the end").is_none());
    }
});
