use super::AdbError;

/// What a file is if it has no contents of its own: the file type bits of its mode in 2 bytes, then
/// the path it refers to, or the number of a device in 8 bytes, all little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A symbolic link to any text.
    Symlink(String),
    /// Another name of an earlier file: its path.
    HardLink(String),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

const FIFO: u16 = 0o010_000;
const CHARACTER: u16 = 0o020_000;
const BLOCK: u16 = 0o060_000;
const REGULAR: u16 = 0o100_000;
const SYMLINK: u16 = 0o120_000;

impl Target {
    /// The bytes that stand in a package.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mode, rest) = match self {
            Target::Symlink(target) => (SYMLINK, target.as_bytes().to_vec()),
            Target::HardLink(path) => (REGULAR, path.as_bytes().to_vec()),
            Target::CharDevice { major, minor } => (CHARACTER, device(*major, *minor)),
            Target::BlockDevice { major, minor } => (BLOCK, device(*major, *minor)),
            Target::Fifo => (FIFO, device(0, 0)),
        };
        let mut bytes = mode.to_le_bytes().to_vec();
        bytes.extend(rest);
        bytes
    }

    /// Reads the bytes that stand in a package.
    ///
    /// # Errors
    /// They are of another type of file, too short or too long, or no text.
    pub fn from_bytes(bytes: &[u8]) -> Result<Target, AdbError> {
        let wrong = |reason: &str| AdbError::Field {
            field: "target",
            reason: reason.to_owned(),
        };
        let (mode, rest) = bytes
            .split_first_chunk()
            .ok_or_else(|| wrong("is shorter than the 2 bytes that say what it is"))?;
        let path = || match std::str::from_utf8(rest) {
            Ok("") => Err(wrong("is a link to nothing")),
            Ok(path) if path.len() > 4094 => Err(wrong("is longer than any path")),
            Ok(path) if path.contains(|c: char| c.is_ascii_control()) => {
                Err(wrong("has a control character"))
            }
            Ok(path) => Ok(path.to_owned()),
            Err(_) => Err(wrong("is not UTF-8")),
        };
        let numbers = || match rest.try_into() {
            Ok(bytes) => match numbers(u64::from_le_bytes(bytes)) {
                (major, minor) if major < 1 << 12 && minor < 1 << 20 => Ok((major, minor)),
                (major, minor) => Err(wrong(&format!(
                    "is device {major}:{minor}, larger than the numbers 4095:1048575 that Linux has"
                ))),
            },
            Err(_) => Err(wrong("is a device without a number of 8 bytes")),
        };
        match u16::from_le_bytes(*mode) {
            SYMLINK => path().map(Target::Symlink),
            REGULAR => path().map(Target::HardLink),
            CHARACTER => numbers().map(|(major, minor)| Target::CharDevice { major, minor }),
            BLOCK => numbers().map(|(major, minor)| Target::BlockDevice { major, minor }),
            FIFO => numbers().map(|_| Target::Fifo),
            mode => Err(wrong(&format!(
                "is of type {mode:06o}, which is no link, device or pipe"
            ))),
        }
    }
}

/// Linux's number of a device.
fn device(major: u32, minor: u32) -> Vec<u8> {
    let (major, minor) = (u64::from(major), u64::from(minor));
    let number = (major & 0xffff_f000) << 32
        | (major & 0xfff) << 8
        | (minor & 0xffff_ff00) << 12
        | (minor & 0xff);
    number.to_le_bytes().to_vec()
}

fn numbers(device: u64) -> (u32, u32) {
    // Each mask leaves at most 32 bits.
    let major = (device >> 32) as u32 & 0xffff_f000 | (device >> 8) as u32 & 0xfff;
    let minor = (device >> 12) as u32 & 0xffff_ff00 | device as u32 & 0xff;
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn targets_are_read_as_written() {
        for target in [
            Target::Symlink("../x".to_owned()),
            Target::HardLink("etc/hi2".to_owned()),
            Target::CharDevice { major: 1, minor: 3 },
            Target::BlockDevice {
                major: 4095,
                minor: 0xf_ffff,
            },
            Target::Fifo,
        ] {
            assert_eq!(Target::from_bytes(&target.to_bytes()).unwrap(), target);
        }
        // As apk 3.0.6 writes /dev/null.
        let null = Target::CharDevice { major: 1, minor: 3 };
        assert_eq!(hex::encode(null.to_bytes()), "00200301000000000000");
    }

    #[test]
    fn other_types_are_refused() {
        for (bytes, why) in [
            (&b""[..], "shorter"),
            (b"\x00\xa0", "nothing"),
            (b"\x00\xa0a\nb", "control"),
            (b"\x00\xa0\xff", "UTF-8"),
            (b"\x00\x20\x01", "8 bytes"),
            (b"\x00\x20\x00\x00\x00\x00\x00\x10\x00\x00", "Linux"),
            (b"\x00\x40x", "040000"),
        ] {
            let error = Target::from_bytes(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
