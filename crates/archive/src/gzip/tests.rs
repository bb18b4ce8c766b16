use std::io::{Read, Write};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::Limits;

fn member(content: &[u8], level: u32) -> Vec<u8> {
    let mut writer = MemberWriter::new(Vec::new(), level);
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn read_all(bytes: &[u8], limits: Limits) -> Result<Vec<(Vec<u8>, MemberSummary)>, GzipError> {
    let mut members = Members::new(bytes, limits);
    let mut read = Vec::new();
    while let Some(mut member) = members.next()? {
        let mut content = Vec::new();
        if let Err(error) = member.read_to_end(&mut content) {
            return Err(error.downcast::<GzipError>().unwrap());
        }
        read.push((content, member.finish()?));
    }
    Ok(read)
}

fn error(bytes: &[u8]) -> String {
    let error = read_all(bytes, Limits::default()).unwrap_err();
    error.to_string()
}

/// Gives bytes in pieces, as a socket does.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (piece, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.0 = rest;
        Ok(count)
    }
}

proptest! {
    #[test]
    fn members_have_exact_bounds(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..5),
        level in 0..10u32,
        piece in 1..700usize,
    ) {
        let compressed: Vec<Vec<u8>> = contents.iter().map(|content| member(content, level)).collect();
        let stream = compressed.concat();
        let mut members = Members::new(Dribble(&stream, piece), Limits::default());
        let mut offset = 0;
        for (content, compressed) in contents.iter().zip(&compressed) {
            let mut member = members.next().unwrap().unwrap();
            prop_assert_eq!(member.offset(), offset);
            let mut read = vec![0; content.len()];
            member.read_exact(&mut read).unwrap();
            prop_assert_eq!(&read, content);
            let summary = member.finish().unwrap();
            prop_assert_eq!(summary, MemberSummary {
                offset,
                compressed: compressed.len() as u64,
                decompressed: content.len() as u64,
                crc32: crc32fast::hash(content),
            });
            offset += compressed.len() as u64;
        }
        prop_assert!(members.next().unwrap().is_none());
    }

    #[test]
    fn truncation_is_an_error(
        content in proptest::collection::vec(any::<u8>(), 0..2000),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = member(&content, 6);
        let cut = 1 + cut.index(bytes.len() - 1);
        prop_assert!(read_all(&bytes[..cut], Limits::default()).is_err());
    }

    #[test]
    fn damage_never_panics(
        content in proptest::collection::vec(any::<u8>(), 0..500),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = [member(&content, 6), member(b"second", 6)].concat();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let limits = Limits { bytes: 1 << 16, metadata: 64, ..Limits::default() };
        let _ = read_all(&bytes, limits);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = read_all(&noise, Limits::default());
        let headed = [&HEADER[..], &noise].concat();
        let _ = read_all(&headed, Limits::default());
    }
}

#[test]
fn skipped_members_are_checked_too() {
    let stream = [member(&[7; 300_000], 6), member(b"second", 6)].concat();
    let mut members = Members::new(&stream[..], Limits::default());
    members
        .next()
        .unwrap()
        .unwrap()
        .read_exact(&mut [0; 10])
        .unwrap();
    let mut second = members.next().unwrap().unwrap();
    let mut content = String::new();
    second.read_to_string(&mut content).unwrap();
    assert_eq!(content, "second");

    let mut damaged = stream.clone();
    damaged[40] ^= 1;
    let mut members = Members::new(&damaged[..], Limits::default());
    assert_eq!(members.next().unwrap().unwrap().offset(), 0);
    assert!(members.next().is_err());
}

#[test]
fn a_member_starts_with_a_fixed_header() {
    let bytes = compress(b"hello");
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    assert_eq!(bytes, member(b"hello", DEFAULT_LEVEL));
    // Flushing in between changes nothing.
    let mut writer = MemberWriter::new(Vec::new(), DEFAULT_LEVEL);
    writer.write_all(b"hel").unwrap();
    writer.flush().unwrap();
    writer.write_all(b"lo").unwrap();
    assert_eq!(writer.finish().unwrap(), bytes);
}

#[test]
fn members_of_the_gzip_program_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with a name");
    std::fs::write(&path, b"content".repeat(5000)).unwrap();
    let gzip = Command::new("gzip").arg("-c").arg(&path).output().unwrap();
    assert!(gzip.status.success());
    let read = read_all(&gzip.stdout, Limits::default()).unwrap();
    assert_eq!(read[0].0, b"content".repeat(5000));
}

#[test]
fn optional_fields_are_skipped_and_checked() {
    let plain = member(b"x", 6);
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 3];
    header.extend([3, 0, 9, 9, 9]);
    header.extend(b"name\0comment\0");
    let crc = crc32fast::hash(&header) as u16;
    let good = [&header[..], &crc.to_le_bytes(), &plain[10..]].concat();
    assert_eq!(read_all(&good, Limits::default()).unwrap()[0].0, b"x");
    let bad = [&header[..], &(!crc).to_le_bytes(), &plain[10..]].concat();
    assert_eq!(
        error(&bad),
        "the gzip member at byte 0 has a damaged header; fetch or make the file again"
    );
    let mut endless = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    endless.resize(2 << 20, b'n');
    assert_eq!(
        error(&endless),
        "the gzip stream is refused: the metadata before an entry is longer than 1048576 bytes; the \
         archive is damaged or hostile"
    );
}

#[test]
fn damage_is_named() {
    let good = [member(b"first", 6), member(&[5; 1000], 6)].concat();
    let second = member(b"first", 6).len();
    let changed = |from_end: usize| {
        let mut bytes = good.clone();
        let place = bytes.len() - from_end;
        bytes[place] ^= 1;
        bytes
    };
    for (bytes, message) in [
        (
            b"PK\x03\x04".to_vec(),
            "byte 0 of the stream should start a gzip member but does not; this is not a gzip file"
                .to_owned(),
        ),
        (
            [&good[..], &[0; 5]].concat(),
            format!(
                "byte {} of the stream should start a gzip member but does not; something was \
                 appended to the file",
                good.len()
            ),
        ),
        (
            good[..good.len() - 3].to_vec(),
            format!("the gzip member at byte {second} is truncated; fetch or make the file again"),
        ),
        (
            changed(8),
            format!(
                "the gzip member at byte {second} is damaged: the CRC-32 of its content is wrong; \
                 fetch or make the file again"
            ),
        ),
        (
            changed(1),
            format!(
                "the gzip member at byte {second} is damaged: the length of its content is wrong; \
                 fetch or make the file again"
            ),
        ),
        (
            [&HEADER[..], &[0xff; 40]].concat(),
            "the gzip member at byte 0 is damaged: its deflate stream is invalid; fetch or make the \
             file again"
                .to_owned(),
        ),
    ] {
        assert_eq!(error(&bytes), message);
    }
}

#[test]
fn a_bomb_stops_at_the_limits() {
    let bomb = member(&vec![0; 80 << 20], 9);
    let refused = |limits| read_all(&bomb, limits).unwrap_err().to_string();
    assert!(bomb.len() < 100_000);
    assert_eq!(
        refused(Limits {
            bytes: 1 << 20,
            ..Limits::default()
        }),
        "the gzip stream is refused: it unpacks to more than 1048576 bytes; raise the limit if the \
         archive is meant to be that large"
    );
    assert_eq!(
        refused(Limits {
            ratio: 100,
            ..Limits::default()
        }),
        "the gzip stream is refused: more than 100 bytes come out of each compressed byte; it looks \
         like a decompression bomb"
    );
    // Together, not each.
    let small = member(&[0; 600], 9);
    let limits = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    assert!(read_all(&small, limits).is_ok());
    assert!(read_all(&small.repeat(2), limits).is_err());
}
