//! The small gzip members of a package or an index: a few entries, written in memory.

use std::cell::Cell;
use std::error::Error;
use std::io;

use archive::LimitExceeded;
use archive::tar::{Header, WriteError, Writer};
use base::Epoch;

/// Whose the entries are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// `root:root` by name: packages and signatures.
    Root,
    /// Number 0 without a name: indexes.
    Nameless,
}

/// How the tar stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Without end blocks: another member continues it.
    Open,
    /// With two zero blocks.
    Blocks,
}

/// An entry: name, mode, contents.
pub(crate) type SmallEntry<'a> = (&'a str, u32, &'a [u8]);

/// The entries as one gzip member.
pub(crate) fn small_member(
    entries: &[SmallEntry<'_>],
    owner: Owner,
    epoch: Epoch,
    end: End,
) -> Result<Vec<u8>, WriteError> {
    let mut tar = Writer::new(Vec::new());
    for (name, mode, bytes) in entries {
        let mut header = Header::file(*name, bytes.len() as u64);
        header.mode = *mode;
        header.mtime = epoch.0;
        if owner == Owner::Root {
            header.user = "root".to_owned();
            header.group = "root".to_owned();
        }
        tar.append(&header, *bytes)?;
    }
    let tar = match end {
        End::Open => tar.into_inner(),
        End::Blocks => tar.finish()?,
    };
    Ok(archive::gzip::compress(&tar))
}

/// Whether an error, or one beneath it, says that its stream ended too early.
pub(crate) fn is_truncation(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        matches!(
            error.downcast_ref(),
            Some(archive::gzip::GzipError::Truncated { .. })
        ) || error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    })
}

/// The limit, if an error, or one beneath it, says that more bytes came out.
pub(crate) fn exceeded_bytes(error: &(dyn Error + 'static)) -> Option<u64> {
    chain(error).find_map(|error| match error.downcast_ref() {
        Some(LimitExceeded::Bytes(limit)) => Some(*limit),
        _ => None,
    })
}

/// Whether an error, or one beneath it, says that a limit was exceeded.
pub(crate) fn is_excess(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<LimitExceeded>())
}

/// The error and those beneath it. What `io::Error` wraps is not its `source`.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = beneath(error);
        Some(error)
    })
}

fn beneath<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// Counts the bytes that pass, where the one who wants to know has given the stream away.
pub(crate) struct Counted<'c, S> {
    inner: S,
    count: &'c Cell<u64>,
}

impl<'c, S> Counted<'c, S> {
    /// Counts on in `count`.
    pub(crate) fn new(inner: S, count: &'c Cell<u64>) -> Counted<'c, S> {
        Counted { inner, count }
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl<W: io::Write> io::Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
