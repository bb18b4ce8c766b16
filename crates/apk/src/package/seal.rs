use base::{Digest, Epoch, Sha256Hasher};

use super::{Package, PackageError};
use crate::signature::Signer;

/// What makes a package that nobody has signed yet a signed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The member that goes in front of the file.
    pub signature: Vec<u8>,
    /// SHA-256 of the file with it.
    pub digest: Digest,
    /// Bytes of the file with it.
    pub size: u64,
}

impl Package {
    /// Signs the control member that was read, without touching the file. Each byte of the data is
    /// read once: what is compared with the datahash is what the digest is of.
    ///
    /// # Errors
    /// The package is of format 3 or signed already, its data is not that of its datahash, or the
    /// signer fails.
    pub fn seal(&self, signer: &Signer, epoch: Epoch) -> Result<Seal, PackageError> {
        let signatures = self.signatures();
        let unsigned = signatures.known.is_empty() && signatures.skipped.is_empty();
        if self.adb.is_some() || !unsigned {
            return Err(PackageError::Sealed {
                path: self.path().to_owned(),
            });
        }
        let recorded = self.recorded_datahash()?;
        let signature =
            signer
                .sign(self.control(), epoch)
                .map_err(|source| PackageError::Sign {
                    path: self.path().to_owned(),
                    source,
                })?;
        let (mut whole, mut data) = (Sha256Hasher::default(), Sha256Hasher::default());
        whole.update(&signature);
        whole.update(self.control());
        let mut size = (signature.len() + self.control().len()) as u64;
        self.take(self.data_offset(), |bytes| {
            whole.update(bytes);
            data.update(bytes);
            size += bytes.len() as u64;
        })?;
        let actual = data.finish();
        if actual != recorded {
            return Err(PackageError::WrongDatahash {
                path: self.path().to_owned(),
                recorded,
                actual,
            });
        }
        Ok(Seal {
            signature,
            digest: whole.finish(),
            size,
        })
    }
}
