use std::io::{Read, Write};

use archive::Limits;

use super::{AdbError, BlockKind, Compression, Compressor, Reader, Signed, Writer};
use crate::signature::{Keyring, KeyringError, SignatureError, Signer};

/// How a file is signed again.
#[derive(Clone, Debug, Default)]
pub struct Resign<'a> {
    /// Who signs it; nobody, if it is only to be compressed otherwise.
    pub signers: &'a [&'a Signer],
    /// Whether the signatures that it has are left out.
    pub reset: bool,
    /// How it is compressed then; as it is, if there is none.
    pub compression: Option<Compression>,
    /// The keys of which one must have signed it; anyone may, if there are none.
    pub keyring: Option<&'a Keyring>,
}

/// A file can't be signed again.
#[derive(Debug, thiserror::Error)]
pub enum ResignError {
    /// It can't be read or written.
    #[error(transparent)]
    Adb(#[from] AdbError),
    /// Nobody trusted signed it.
    #[error(transparent)]
    Untrusted(#[from] SignatureError),
    /// A signer failed.
    #[error(transparent)]
    Sign(#[from] KeyringError),
}

/// Copies a file block by block and puts signatures behind those that it has, as `apk adbsign`
/// does. The contents of data blocks are not looked at.
///
/// # Errors
/// See [`ResignError`]; what was written until then is to be thrown away.
pub fn resign<W: Write>(
    file: impl Read + Send,
    out: W,
    how: &Resign<'_>,
    limits: Limits,
) -> Result<W, ResignError> {
    let mut reader = Reader::new(file, limits)?;
    let head = reader.head()?;
    if let Some(keyring) = how.keyring {
        keyring.verify_adb(&head, reader.schema())?;
    }
    let signed = Signed::new(reader.schema(), &head.payload);
    let mut signatures = if how.reset {
        Vec::new()
    } else {
        head.signatures
    };
    for signer in how.signers {
        signatures.push(signer.sign_adb(&signed)?);
    }
    let compression = how.compression.unwrap_or(reader.compression());
    let compressor = Compressor::new(out, compression).map_err(AdbError::Io)?;
    let mut writer = Writer::new(compressor, reader.schema()).map_err(AdbError::Io)?;
    writer
        .head(&head.payload, &signatures)
        .map_err(AdbError::Io)?;
    while let Some((_, length)) = reader.next_block()? {
        writer
            .stream(BlockKind::Data, &[], length, &mut reader)
            .map_err(AdbError::from_copy)?;
    }
    let out = writer.into_inner().finish().map_err(AdbError::Io)?;
    Ok(out)
}
