//! An EROFS image as a tar, for whoever reads layers.

use std::fs::File;
use std::io::{self, BufWriter, PipeReader, PipeWriter, Read, Write};
use std::thread::JoinHandle;

use super::{Image, ImageError};
use crate::Limits;
use crate::tar::{WriteError, Writer};

/// An image can't be made a tar. It comes inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Tar(#[from] WriteError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the thread that read the EROFS image was lost")]
    Thread,
}

/// What an EROFS image holds, as a tar: everything but the root, depth first, hard links after their
/// files. It is made while it is read, on a thread of its own; what is wrong with the image is an
/// error of the returned reader.
///
/// # Errors
/// It is no such image, or there can be no thread.
pub fn as_tar(image: File, limits: Limits) -> io::Result<Box<dyn Read + Send>> {
    let image = Image::open(image).map_err(io::Error::other)?;
    let (reading, writing) = io::pipe()?;
    let thread = std::thread::Builder::new()
        .name("erofs".to_owned())
        .spawn(move || write(image, limits, writing))?;
    Ok(Box::new(Stream {
        reading,
        thread: Some(thread),
    }))
}

fn write(mut image: Image<File>, limits: Limits, out: PipeWriter) -> Result<(), StreamError> {
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, out));
    image.visit(&limits, |header, content| {
        match header.path.as_str() {
            "." => {}
            _ => writer.append(header, content)?,
        }
        Ok::<(), StreamError>(())
    })?;
    Ok(writer.finish()?.flush()?)
}

struct Stream {
    reading: PipeReader,
    thread: Option<JoinHandle<Result<(), StreamError>>>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reading.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(thread) = self.thread.take()
        {
            let result = thread.join().unwrap_or(Err(StreamError::Thread));
            result.map_err(io::Error::other)?;
        }
        Ok(count)
    }
}
