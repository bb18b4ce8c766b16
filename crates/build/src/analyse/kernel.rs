//! The version of a Linux kernel image and of the modules made for it.

use std::io::{self, Read};

use archive::Limits;
use archive::decompress;
use archive::tree::Content;
use object::Object;
use object::read::pe::{PeFile32, PeFile64};
use object::read::{ObjectSection, ReadCache, ReadRef};

/// No kernel or module unpacks to more.
const MAX_UNPACKED: u64 = 2 << 30;

/// No kernel within a unified image is longer.
const MAX_INNER: u64 = 512 << 20;

/// The longest version line that is read.
const MAX_LINE: usize = 4096;

/// The version of the kernel image in `content`, such as `6.17.7-test`; `None` if it is none.
pub(super) fn image_version(content: &Content) -> io::Result<Option<String>> {
    if let Some(inner) = unified(content)? {
        return image(&Content::Bytes(inner.into()));
    }
    image(content)
}

fn image(content: &Content) -> io::Result<Option<String>> {
    let mut start = Vec::new();
    unpacked(content)?.take(0x1_0400).read_to_end(&mut start)?;
    if let Some(version) = boot_header(&start) {
        return Ok(Some(version));
    }
    // An ARM zImage carries the kernel gzipped behind its own code.
    if let Some(offset) = find(unpacked(content)?, &[0x1f, 0x8b, 0x08])?.0 {
        let mut reader = unpacked(content)?;
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        let inner = decompress::open(reader, limits())?;
        // What follows the kernel is no gzip, so an error here only ends the search.
        if let Ok(Some(version)) = line_after(inner, b"Linux version ") {
            return Ok(Some(version));
        }
    }
    line_after(unpacked(content)?, b"Linux version ")
}

/// The version that a module in `content` was made for; `None` if it is no module.
pub(super) fn module_version(content: &Content) -> io::Result<Option<String>> {
    line_after(unpacked(content)?, b"vermagic=")
}

fn limits() -> Limits {
    Limits {
        bytes: MAX_UNPACKED,
        ..Limits::default()
    }
}

fn unpacked(content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
    decompress::open(content.open()?, limits())
}

/// The `.linux` section of a unified kernel image.
fn unified(content: &Content) -> io::Result<Option<Vec<u8>>> {
    fn section<'d, R: ReadRef<'d>>(data: R) -> Option<Vec<u8>> {
        fn bytes<'d: 'f, 'f>(file: &'f impl Object<'d>) -> Option<Vec<u8>> {
            let section = file.section_by_name(".linux")?;
            (section.size() <= MAX_INNER).then_some(())?;
            Some(section.data().ok()?.to_vec())
        }
        if data.read_bytes_at(0, 2).ok()? != b"MZ" {
            return None;
        }
        PeFile64::parse(data)
            .ok()
            .and_then(|file| bytes(&file))
            .or_else(|| bytes(&PeFile32::parse(data).ok()?))
    }
    Ok(match content {
        Content::Bytes(bytes) => section(&bytes[..]),
        Content::Part { .. } => section(&content.read()?[..]),
        Content::Disk(path) => section(&ReadCache::new(std::fs::File::open(path)?)),
    })
}

/// The version in an x86 boot header: Linux's `Documentation/arch/x86/boot.rst`, `kernel_version`
/// at 0x20e is an offset from 0x200.
fn boot_header(start: &[u8]) -> Option<String> {
    if start.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let pointer = u16::from_le_bytes(start.get(0x20e..0x210)?.try_into().ok()?);
    if pointer == 0 {
        return None;
    }
    version(start.get(usize::from(pointer) + 0x200..)?)
}

/// The version at the start of a line: `6.12.57-example (gcc 14) #1 SMP`.
fn version(line: &[u8]) -> Option<String> {
    let version: String = line
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|letter| *letter == ' ')
        .take_while(|letter| letter.is_ascii_alphanumeric() || ".-_".contains(*letter))
        .take(256)
        .collect();
    (!version.is_empty()).then_some(version)
}

fn line_after(reader: impl Read, needle: &[u8]) -> io::Result<Option<String>> {
    let (found, rest) = find(reader, needle)?;
    Ok(found.and_then(|_| version(&rest)))
}

/// Where `needle` stands first, and up to [`MAX_LINE`] bytes after it.
fn find(mut reader: impl Read, needle: &[u8]) -> io::Result<(Option<u64>, Vec<u8>)> {
    let mut window: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut start = 0u64;
    loop {
        let count = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        window.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let position = position(&window, needle);
        if let Some(position) = position {
            let end = position + needle.len();
            let mut rest = window.get(end..).unwrap_or_default().to_vec();
            // A damaged end may be what stops a stream that has told enough already.
            let _ = reader.take(MAX_LINE as u64).read_to_end(&mut rest);
            return Ok((Some(start + position as u64), rest));
        }
        if count == 0 {
            return Ok((None, Vec::new()));
        }
        let gone = window.len().saturating_sub(needle.len().saturating_sub(1));
        window.drain(..gone);
        start += gone as u64;
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let rest = haystack.get(from..)?;
        let next = from + rest.iter().position(|byte| *byte == first)?;
        if haystack.get(next..)?.starts_with(needle) {
            return Some(next);
        }
        from = next + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_across_buffers() {
        struct Slowly<'b>(&'b [u8]);
        impl Read for Slowly<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(3).min(buffer.len());
                let (now, later) = self.0.split_at(count);
                buffer[..count].copy_from_slice(now);
                self.0 = later;
                Ok(count)
            }
        }
        let bytes = b"LinLinux Linux version 6.1-x y\0";
        let (at, rest) = find(Slowly(bytes), b"Linux version ").unwrap();
        assert_eq!((at, version(&rest).as_deref()), (Some(9), Some("6.1-x")));
        assert_eq!(find(Slowly(bytes), b"absent").unwrap().0, None);
    }
}
