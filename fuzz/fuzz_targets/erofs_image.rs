//! Any bytes are an EROFS image or an error; what is visited has names that stay inside, each once.
#![no_main]

use std::collections::BTreeSet;
use std::io::{self, Cursor};

use archive::Limits;
use archive::erofs::{Image, ImageError};
use archive::tar::safe_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 24,
        entries: 10_000,
        ..Limits::default()
    };
    let Ok(mut image) = Image::open(Cursor::new(bytes)) else {
        return;
    };
    let mut met = BTreeSet::new();
    // What is damaged is an error.
    let _ = image.visit(&limits, |header, content| {
        assert!(header.path == "." || safe_path(&header.path) == Ok(header.path.as_str()));
        assert!(met.insert(header.path.clone()));
        io::copy(content, &mut io::sink()).map_err(ImageError::Io)?;
        Ok::<(), ImageError>(())
    });
});
