use std::fs;
use std::io;
use std::path::PathBuf;

use attest::sigstore::mirror;

use super::signatory;
use crate::arguments::trust::TrustFetch;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

#[derive(Debug, thiserror::Error)]
enum FolderError {
    #[error("can't write into {folder}: {source}", folder = .folder.display())]
    Write { folder: PathBuf, source: io::Error },
    #[error(
        "{folder} has no root.json yet: name the first root that is believed, with --root",
        folder = .folder.display()
    )]
    NoRoot { folder: PathBuf },
}

pub(crate) async fn run(arguments: &TrustFetch, session: &Session<'_>) -> Result<(), Failure> {
    let folder = &arguments.folder;
    let what = || format!("{} was not brought up to date", folder.display());
    let first = folder.join("root.json");
    let root = match &arguments.root {
        Some(root) => root,
        None if first.exists() => &first,
        None => {
            let folder = folder.clone();
            return Err(Failure::failed(what(), FolderError::NoRoot { folder }));
        }
    };
    let root = signatory::read(root).map_err(|error| Failure::failed(what(), error))?;
    let unwritable = |source| {
        let folder = folder.clone();
        Failure::failed(what(), FolderError::Write { folder, source })
    };
    fs::create_dir_all(folder).map_err(unwritable)?;
    // Whether metadata has expired is a question to the clock; nothing that is made depends on it.
    let now = settings::now();
    let kept = folder.join("metadata");
    let network = session.network();
    let published = mirror::fetch(&arguments.mirror, &root, &kept, now, &network)
        .await
        .map_err(|error| Failure::failed(what(), error))?;
    // What can't be used is not put in the place of what can.
    attest::sigstore::Authorities::from_json(&published.trusted_root)
        .map_err(|error| Failure::failed(what(), error))?;
    let mut files = vec![("root.json", root)];
    match published.signing_config {
        Some(config) => files.push(("signing_config.json", config)),
        // Services that are no longer named are asked no more.
        None => match fs::remove_file(folder.join("signing_config.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
            _ => {}
        },
    }
    // Last, so that whoever finds it finds the others too.
    files.push(("trusted_root.json", published.trusted_root));
    for (name, contents) in files {
        store::write_atomically(&folder.join(name), &contents)
            .map_err(|error| Failure::failed(what(), error))?;
    }
    session.notice(&format!("{} is up to date", folder.display()));
    Ok(())
}
