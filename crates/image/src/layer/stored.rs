//! Packages as the store keeps them for layers: one file each that has all their entries but directories.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use apk::package::{Deflated, Package, Run, Segment};
use archive::Limits;
use archive::tree::Content;
use base::Digest;
use store::{Store, TreeError};

use crate::build::BuildError;
use crate::filesystem::PackageEntry;

/// Part of every key: a change of what is kept makes other folders.
const FORMAT: &str = "apk-run-3";
/// The kind of the store's records of packages.
const RUNS: &str = "package-run";
/// The files of a run's folder.
const RUN: &str = "run.tar";
const DEFLATED: &str = "run.deflate";

/// A package whose run is in the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredPackage {
    /// SHA-256 of the .apk, which is a blob of the store.
    pub(crate) digest: Digest,
    pub(crate) run: Arc<Run>,
    /// The run's file.
    file: Arc<Path>,
}

/// Where a package's run is deflated.
#[derive(Clone, Debug)]
pub(super) enum DeflatedRun {
    /// A part of the .apk with this digest.
    Package(Digest, Segment),
    /// So many bytes: the whole of that file.
    Beside(Arc<Path>, u64),
}

impl StoredPackage {
    /// Reads a package once, whose file has this digest; every hash of it is checked then.
    pub(crate) fn take_in(
        store: &Store,
        digest: &Digest,
        package: &Package,
    ) -> Result<StoredPackage, BuildError> {
        let key = Digest::of(&serde_json::to_vec(&(FORMAT, digest))?);
        let known: Option<Run> = store.record_get(RUNS, &key)?;
        let (run, folder) = match (known, store.tree_path(&key)) {
            (Some(run), Some(folder)) => (run, folder),
            _ => {
                let limits = Limits::default();
                let mut made = None;
                let write = |folder: &Path| {
                    let create = |name| File::create_new(folder.join(name));
                    let (mut run, mut deflated) = (
                        create(RUN).map_err(apk::package::RunError::Write)?,
                        create(DEFLATED).map_err(apk::package::RunError::Write)?,
                    );
                    package.write_run(&limits, &mut run, &mut deflated)
                };
                let folder = store.tree(&key, |folder| {
                    made = Some(write(folder)?);
                    Ok::<(), BuildError>(())
                });
                let folder = folder.map_err(|error| match error {
                    TreeError::Store(error) => BuildError::Store(error),
                    TreeError::Fill(error) => error,
                })?;
                let run = match made {
                    Some(run) => run,
                    // Another process made the folder just now, and has not written its record yet.
                    None => write(store.temp_dir()?.path())?,
                };
                store.record_put(RUNS, &key, &run)?;
                (run, folder)
            }
        };
        Ok(StoredPackage {
            digest: *digest,
            run: Arc::new(run),
            file: folder.join(RUN).into(),
        })
    }

    /// How many entries it has that are no directories.
    pub(crate) fn files(&self) -> usize {
        let entries = self.run.manifest.entries.iter();
        entries.filter(|entry| !entry.is_directory()).count()
    }

    /// The run's file.
    pub(super) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// Where the whole run is deflated, if it is.
    pub(super) fn deflated(&self) -> Option<DeflatedRun> {
        match self.run.deflated {
            Deflated::Within(segment) => Some(DeflatedRun::Package(self.digest, segment)),
            Deflated::Beside(size) => {
                let file = self.file.with_file_name(DEFLATED);
                Some(DeflatedRun::Beside(file.into(), size))
            }
            Deflated::No => None,
        }
    }

    /// A file's content, by its place in the manifest.
    pub(crate) fn content(&self, place: usize) -> Option<Content> {
        self.run.content(place, &self.file)
    }

    /// The bytes of the file at `path`; none where there is no file.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut entries = self.run.manifest.entries.iter();
        let place = entries.position(|entry| entry.path == path)?;
        self.content(place)?.read().ok()
    }

    /// What it puts into an image.
    pub(crate) fn entries(&self) -> Vec<PackageEntry> {
        let nodes = self.run.nodes(&self.file);
        nodes
            .map(|(path, node, checksum)| PackageEntry {
                path,
                node,
                checksum,
            })
            .collect()
    }
}
