//! What the tar reader accepts, the writer writes, and reading that gives the same entries again.
#![no_main]

use std::io::Read;

use archive::Limits;
use archive::tar::{End, Header, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fn entries(bytes: &[u8], end: End, metadata: u64) -> Option<Vec<(Header, Vec<u8>)>> {
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1 << 10,
        metadata,
        ..Limits::default()
    };
    let mut reader = Reader::new(bytes, limits).ending(end);
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next().ok()? {
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        entries.push((header, content));
    }
    Some(entries)
}

fuzz_target!(|bytes: &[u8]| {
    // What stood in a header's fields may become a record, so the second limit is wider.
    let Some(read) = entries(bytes, End::Lenient, 1 << 14) else {
        return;
    };
    let mut writer = Writer::new(Vec::new());
    for (header, content) in &read {
        // Some of what other programs write has no form in ustar or pax.
        if writer.append(header, &content[..]).is_err() {
            return;
        }
    }
    let written = writer.finish().expect("memory takes all");
    assert_eq!(entries(&written, End::Blocks, 1 << 15), Some(read));
});
