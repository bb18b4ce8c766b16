//! Files of format 3 as text and back: apk's `adbdump` and `adbgen`.
//!
//! The text says what the values are, not where in the payload they lie, so what is read back from
//! it is written anew; after that it stays the same, byte for byte. Of texts of many lines it has
//! lost empty lines and the last line end, and of bytes longer than 128 all but their number, as
//! apk's own text has.

mod dump;
mod parse;
mod scalar;

pub use dump::{Dump, DumpError};
pub use parse::{Parsed, TextError, TextErrorKind, parse};

/// The longest text that bytes are written as; apk has no longer buffer.
const MAXIMUM_HEX: usize = 256;
