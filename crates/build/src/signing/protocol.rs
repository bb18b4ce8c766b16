//! What builder and signer say to each other.
//!
//! Both directions are frames: whether a file comes along (one byte), two lengths in four bytes each,
//! the lowest first, a value in JSON and bytes as they are. A file is handed over open.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use apk::index::{MAXIMUM_INDEX, Stamping};
use attest::rebuild::Signature;
use base::Digest;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::provenance::BuildFacts;
use crate::recording::Recording;

/// No part of a frame is longer; an index is the longest thing there is.
const LONGEST: u64 = MAXIMUM_INDEX + (64 << 20);

/// What a key is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Packages, indexes and provenance: an RSA key.
    Packages,
    /// Statements that packages were built again.
    Rebuilds,
}

impl Purpose {
    /// The word of the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Purpose::Packages => "packages",
            Purpose::Rebuilds => "rebuilds",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Purpose> {
        [Purpose::Packages, Purpose::Rebuilds]
            .into_iter()
            .find(|purpose| purpose.word() == word)
    }
}

/// What the builder says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Who are you?
    Name,
    /// This is going to be carried out. What was committed to before is over.
    Begin {
        facts: Box<BuildFacts>,
        terms: IndexTerms,
    },
    /// This is what steps got from the network, in a build that records it.
    Recorded(Box<Recording>),
    /// With a package that came out.
    Seal,
    /// With a package that came out of the same build earlier, and the statement of it.
    Known,
    /// Perhaps with the index that is there.
    Index,
    /// With a package that was built again, the digest of what was compared, and its file's name.
    Rebuilt {
        digest: Digest,
        file_name: String,
        signature: Signature,
    },
}

/// On what terms indexes are signed. They hold for as long as the signer runs, so that no step can
/// have others taken in their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexTerms {
    /// Who may have signed an index that packages join, in PEM by name.
    pub(super) keyring: Vec<(String, String)>,
    pub(super) stamping: Stamping,
}

/// What the signer says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The name that signatures carry, and the public half in PEM.
    Name { name: String, public: String },
    /// So be it.
    Done,
    /// The digest of the signed package, its first bytes in hex; the statement comes along.
    Sealed { digest: Digest, signature: String },
    /// What was asked for comes along.
    Made,
    /// No, for this reason.
    Refused(String),
}

/// Writes one frame.
///
/// # Errors
/// It can't be written, or is too long.
pub(super) fn write<T: Serialize>(
    to: &UnixStream,
    head: &T,
    tail: &[u8],
    file: Option<&File>,
) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let mut frame = vec![u8::from(file.is_some())];
    for part in [&head[..], tail] {
        let length = u32::try_from(part.len()).ok();
        let length = length.filter(|length| u64::from(*length) <= LONGEST);
        frame.extend(length.ok_or(io::ErrorKind::FileTooLarge)?.to_le_bytes());
    }
    frame.extend(head);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = file.map(|file| [file.as_fd()]);
    if let Some(files) = &files
        && !control.push(SendAncillaryMessage::ScmRights(files))
    {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // The file goes with the first byte, whatever of the rest does.
    let (first, rest) = frame.split_at(1);
    rustix::net::sendmsg(
        to,
        &[IoSlice::new(first)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut to = to;
    to.write_all(rest)?;
    to.write_all(tail)
}

/// What a frame holds.
pub(super) struct Frame<T> {
    pub(super) head: T,
    pub(super) tail: Vec<u8>,
    pub(super) file: Option<File>,
}

/// Reads one frame; `None` at the end.
///
/// # Errors
/// It can't be read, or is none.
pub(super) fn read<T: DeserializeOwned>(from: &UnixStream) -> io::Result<Option<Frame<T>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0];
    let received = loop {
        let mut buffers = [IoSliceMut::new(&mut first)];
        match rustix::net::recvmsg(from, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next().map(File::from),
        _ => None,
    });
    if file.is_some() != (first == [1]) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut from = from;
    let mut length = || {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes)?;
        let length = u32::from_le_bytes(bytes);
        if u64::from(length) > LONGEST {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(u64::from(length))
    };
    let (head, tail) = (length()?, length()?);
    // Memory is taken as bytes come, not as they are promised.
    let part = |length: u64| {
        let mut bytes = Vec::new();
        if from.take(length).read_to_end(&mut bytes)? as u64 == length {
            Ok(bytes)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        }
    };
    let head = part(head)?;
    Ok(Some(Frame {
        head: serde_json::from_slice(&head)?,
        tail: part(tail)?,
        file,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_with_their_file() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a package").unwrap();
        write(&one, &Request::Seal, b"", Some(&file)).unwrap();
        write(&one, &Request::Known, b"a line\n", None).unwrap();
        drop(one);
        let frame = read::<Request>(&other).unwrap().unwrap();
        assert!(matches!(frame.head, Request::Seal));
        let length = frame.file.unwrap().metadata().unwrap().len();
        assert_eq!((length, frame.tail.len()), (9, 0));
        let frame = read::<Request>(&other).unwrap().unwrap();
        assert!(matches!(frame.head, Request::Known) && frame.file.is_none());
        assert_eq!(frame.tail, b"a line\n");
        assert!(read::<Request>(&other).unwrap().is_none());
    }

    #[test]
    fn what_is_no_frame_is_refused_before_memory_is_taken() {
        let frames: [&[u8]; 6] = [
            b"\0\xff\xff\xff\xff\0\0\0\0",
            b"\0\0\0\0\0\xff\xff\xff\xff",
            b"\0\x02\0\0\0\0\0\0\0{}",
            b"\0\xff\xff\xff\x0f\0\0\0\0\"seal\"",
            b"\0\x06\0\0\0",
            // A file is promised, and none comes.
            b"\x01\x06\0\0\0\0\0\0\0\"seal\"",
        ];
        for bytes in frames {
            let (one, other) = UnixStream::pair().unwrap();
            (&one).write_all(bytes).unwrap();
            drop(one);
            assert!(read::<Request>(&other).is_err(), "{bytes:?}");
        }
    }
}
