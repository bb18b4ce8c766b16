//! What commands need, made out of arguments and environment.

use std::path::{Path, PathBuf};

use base::Reporter;
use store::Store;

use crate::arguments::Global;
use crate::output::Progress;
use crate::output::failure::Failure;

/// One run of the program.
pub(crate) struct Session<'p> {
    pub(crate) progress: &'p Progress,
    pub(crate) offline: bool,
    store_root: PathBuf,
}

impl<'p> Session<'p> {
    pub(crate) fn new(global: Global, progress: &'p Progress) -> Result<Session<'p>, Failure> {
        let store_root = match global.store {
            Some(root) => root,
            None => Store::default_root()
                .map_err(|error| Failure::Usage(format!("{error}; name a folder with --store")))?,
        };
        Ok(Session { progress, offline: global.offline, store_root })
    }

    pub(crate) fn reporter(&self) -> &'p dyn Reporter {
        self.progress
    }

    /// Opens the store; commands that need none don't make one.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Store::open(&self.store_root).map_err(|error| Failure::failed("the store can't be opened", error))
    }
}

/// Reads a private key and knows the name that signatures carry: the file name of its public part.
pub(crate) fn signer(path: &Path) -> Result<apk::signature::Signer, Failure> {
    let key = key::load_private(path).map_err(|error| {
        Failure::failed(format!("the signing key {} can't be used", path.display()), error)
    })?;
    let public = key::public_path(path);
    let name = public.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Failure::Usage(format!("{} is no key file", path.display())))?;
    Ok(apk::signature::Signer::new(name, key))
}
