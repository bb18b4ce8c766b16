//! The first file system of a virtual machine: a cpio archive in the form `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fmt::Write as _;

/// An archive in memory.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    inodes: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Initramfs {
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// A program, or something else to read.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o755, (0, 0), content);
    }

    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inodes += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len()).unwrap_or(u32::MAX) + 1;
        let fields = [
            self.inodes,
            mode,
            0, // user
            0, // group
            1, // names
            0, // time
            size,
            0, // device that it is on
            0,
            device.0,
            device.1,
            name,
            0, // checksum
        ];
        let mut head = String::from("070701");
        for field in fields {
            let _ = write!(head, "{field:08X}");
        }
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned() {
        let mut archive = Initramfs::default();
        archive.folder("run");
        archive.file("run/x", b"12345");
        archive.device("dev-null", 1, 3);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).replace('\0', ".");
        insta::assert_snapshot!(text, @"07070100000001000041ED0000000000000000000000010000000000000000000000000000000000000000000000000000000400000000run...07070100000002000081ED0000000000000000000000010000000000000005000000000000000000000000000000000000000600000000run/x.12345...07070100000003000021800000000000000000000000010000000000000000000000000000000000000001000000030000000900000000dev-null..07070100000004000000000000000000000000000000010000000000000000000000000000000000000000000000000000000B00000000TRAILER!!!....");
    }
}
