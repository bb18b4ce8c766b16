//! The ar format as Debian packages use it (deb(5)): `debian-binary`, `control.tar.*`, `data.tar.*`.

use std::io::{self, Read};

/// An ar archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// The stream beneath failed.
    #[error("cannot read the ar archive: {0}")]
    Io(#[source] io::Error),
    /// It does not start as one.
    #[error("this is not an ar archive (such as a .deb file): it does not start with `!<arch>`")]
    Magic,
    /// It ends inside a member or a header.
    #[error("the ar archive is truncated: it ends inside {0}; fetch it again")]
    Truncated(String),
    /// A member's header is wrong.
    #[error("the header at byte {offset} of the ar archive is damaged; fetch it again")]
    Header {
        /// Where the header starts.
        offset: u64,
    },
}

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Reads an ar archive member by member.
pub struct Reader<R> {
    inner: R,
    offset: u64,
    name: String,
    size: u64,
    /// Bytes of the present member that are still to come, and whether one of padding follows.
    left: u64,
    padding: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the magic.
    pub fn new(inner: R) -> Result<Reader<R>, ArError> {
        let mut reader = Reader {
            inner,
            offset: 0,
            name: String::new(),
            size: 0,
            left: 0,
            padding: false,
        };
        let mut magic = [0; MAGIC.len()];
        if reader.fill(&mut magic)? < magic.len() || magic != *MAGIC {
            return Err(ArError::Magic);
        }
        Ok(reader)
    }

    /// The next member; none at the end. What is left of the one before is skipped.
    #[expect(
        clippy::should_implement_trait,
        reason = "a member borrows the reader, which no iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Member<'_, R>>, ArError> {
        let mut buffer = [0; 8 << 10];
        while self.left > 0 {
            let wanted = self.left.min(buffer.len() as u64) as usize;
            let count = self.fill(&mut buffer[..wanted])?;
            self.left -= count as u64;
            if count < wanted {
                return Err(ArError::Truncated(format!("`{}`", self.name)));
            }
        }
        if std::mem::take(&mut self.padding) {
            // Some writers leave the padding of the last member out.
            self.fill(&mut [0])?;
        }
        let offset = self.offset;
        let mut header = [0; HEADER];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(ArError::Truncated("a header".to_owned())),
        }
        let damaged = || ArError::Header { offset };
        let text = std::str::from_utf8(&header).map_err(|_| damaged())?;
        if !text.ends_with("`\n") {
            return Err(damaged());
        }
        let name = text.get(..16).ok_or_else(damaged)?.trim_end();
        let name = name.strip_suffix('/').unwrap_or(name);
        // Tables of long names (`//`, `/123`) and of symbols (`/`) have no place in a package.
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(damaged());
        }
        let size = text.get(48..58).ok_or_else(damaged)?.trim_end();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(damaged());
        }
        self.name = name.to_owned();
        self.size = size.parse().map_err(|_| damaged())?;
        self.left = self.size;
        self.padding = self.size % 2 == 1;
        Ok(Some(Member { reader: self }))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ArError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArError::Io(error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

/// One member; reading from it gives its content.
pub struct Member<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Member<'_, R> {
    /// Its name, such as `control.tar.xz`.
    pub fn name(&self) -> &str {
        &self.reader.name
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        self.reader.size
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        let wanted = reader.left.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = reader.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            let truncated = ArError::Truncated(format!("`{}`", reader.name));
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
        }
        reader.left -= count as u64;
        reader.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let size = content.len();
        let mut bytes = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, 0, 100_644
        )
        .into_bytes();
        bytes.extend_from_slice(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    fn package() -> Vec<u8> {
        [
            MAGIC.to_vec(),
            member("debian-binary", b"2.0\n"),
            member("control.tar.xz/", b"odd"),
            member("data.tar.xz", b"data!!"),
        ]
        .concat()
    }

    #[test]
    fn members_are_read_or_skipped() {
        let bytes = package();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().name(), "debian-binary");
        let control = reader.next().unwrap().unwrap();
        assert_eq!((control.name(), control.size()), ("control.tar.xz", 3));
        let mut data = reader.next().unwrap().unwrap();
        let mut content = Vec::new();
        data.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"data!!");
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn damage_is_named() {
        fn all(bytes: &[u8]) -> Result<(), ArError> {
            let mut reader = Reader::new(bytes)?;
            while reader.next()?.is_some() {}
            Ok(())
        }
        let good = package();
        for (bytes, message) in [
            (
                b"PK".to_vec(),
                "this is not an ar archive (such as a .deb file): it does not start with `!<arch>`",
            ),
            (
                good[..good.len() - 2].to_vec(),
                "the ar archive is truncated: it ends inside `data.tar.xz`; fetch it again",
            ),
            (
                good[..80].to_vec(),
                "the ar archive is truncated: it ends inside a header; fetch it again",
            ),
            (
                [MAGIC.to_vec(), member("//", b"long/\n")].concat(),
                "the header at byte 8 of the ar archive is damaged; fetch it again",
            ),
            (
                [MAGIC.to_vec(), vec![b' '; 60]].concat(),
                "the header at byte 8 of the ar archive is damaged; fetch it again",
            ),
        ] {
            assert_eq!(all(&bytes).unwrap_err().to_string(), message);
        }
    }
}
