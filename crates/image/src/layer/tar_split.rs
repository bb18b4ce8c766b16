//! What a tar is but for its files' contents, in the form of github.com/vbatts/tar-split: a line of JSON
//! for each run of bytes that are no content, and one for each file. Programs that keep a layer's files
//! alone make the same tar again with it.

use archive::tar::Header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(Serialize)]
struct Line<'l> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'l str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    /// A segment's bytes, or a file's CRC-64; an empty file has none.
    payload: Option<String>,
    position: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Default)]
pub(super) struct TarSplit {
    text: Vec<u8>,
    position: u64,
    /// Zeros of the last file, which stand before the next header.
    padding: usize,
}

impl TarSplit {
    /// Adds an entry: its header's bytes, and of a file that isn't empty the sum of its content.
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        header: &Header,
        crc64: Option<u64>,
        padding: usize,
    ) -> Result<(), serde_json::Error> {
        self.segment(bytes)?;
        self.line(&Line {
            kind: FILE,
            name: &header.path,
            size: header.kind.size(),
            payload: crc64.map(|crc64| STANDARD.encode(crc64.to_be_bytes())),
            position: self.position,
        })?;
        self.padding = padding;
        Ok(())
    }

    /// Ends it with the bytes that end the tar.
    pub(super) fn finish(mut self, end: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        self.segment(end)?;
        Ok(self.text)
    }

    fn segment(&mut self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let mut payload = vec![0; std::mem::take(&mut self.padding)];
        payload.extend_from_slice(bytes);
        self.line(&Line {
            kind: SEGMENT,
            name: "",
            size: 0,
            payload: Some(STANDARD.encode(payload)),
            position: self.position,
        })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(&mut self.text, line)?;
        self.text.push(b'\n');
        self.position += 1;
        Ok(())
    }
}

/// ISO 3309's polynomial, its bits reversed.
const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;

/// For each byte what it adds, and the same with one to seven bytes of zeros behind it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// CRC-64 (ISO 3309) of `bytes`, going on from that of what stands before them.
pub(super) fn crc64(before: u64, bytes: &[u8]) -> u64 {
    let mut crc = !before;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mixed = (crc ^ u64::from_le_bytes(*eight)).to_le_bytes();
        crc = 0;
        for (table, byte) in TABLES.iter().rev().zip(mixed) {
            crc ^= table[usize::from(byte)];
        }
    }
    for byte in rest {
        crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_go() {
        // crc64.Checksum(…, crc64.MakeTable(crc64.ISO)) of Go.
        assert_eq!(crc64(0, b""), 0);
        assert_eq!(crc64(0, b"123456789"), 0xb909_56c7_75a4_1001);
        let text = b"The quick brown fox jumps over the lazy dog";
        for cut in 0..text.len() {
            let (one, other) = text.split_at(cut);
            assert_eq!(crc64(crc64(0, one), other), crc64(0, text));
        }
    }

    #[test]
    fn a_line_for_each_run_of_bytes_and_each_file() {
        let mut split = TarSplit::default();
        split
            .add(b"AB", &Header::directory("etc"), None, 0)
            .unwrap();
        let header = Header::file("etc/x", 510);
        split.add(b"C", &header, Some(1), 2).unwrap();
        let text = split.finish(&[0]).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r#"
        {"type":2,"payload":"QUI=","position":0}
        {"type":1,"name":"etc","payload":null,"position":1}
        {"type":2,"payload":"Qw==","position":2}
        {"type":1,"name":"etc/x","size":510,"payload":"AAAAAAAAAAE=","position":3}
        {"type":2,"payload":"AAAA","position":4}
        "#);
    }
}
