//! What a build starts from: fetched sources, and the files beside its recipe.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::{Digest, Epoch, Event, Reporter};
use regex::Regex;
use store::{Expected, FetchError, Origin, Origins, Source, Store, StoreError};

use crate::git::{self, CheckedOut, GitError};
use crate::plan::{PlacedFile, PlannedSource};
use crate::recipe::{Fetch, GitCheckout, SourceRequest};

/// The file that says which files beside a recipe are none of its own.
pub const IGNORE_FILE: &str = ".melangeignore";

/// No source whose hash is not known is larger.
const LARGEST_UNPINNED: u64 = 4 << 30;

/// Sources can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A source can't be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A source without a checksum can't be fetched.
    #[error("can't fetch {uri}, whose checksum is not known: {refusal}")]
    Unpinned {
        /// Where it is.
        uri: String,
        /// Why not.
        refusal: Box<store::Refusal>,
    },
    /// A repository can't be checked out.
    #[error(transparent)]
    Git(#[from] Box<GitError>),
    /// A file beside the recipe can't be read.
    #[error("can't read `{path}`: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file's name is not text.
    #[error("the name of `{path}` is not UTF-8; rename it, or list it in `{IGNORE_FILE}`", path = path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a source of a build came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOrigin {
    /// Where the recipe says it comes from.
    pub uri: String,
    /// Its bytes.
    pub digest: Digest,
    /// Where they were found this time.
    pub origin: Origin,
    /// The commit, if it is a git repository.
    pub commit: Option<String>,
}

/// Sources that are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    digests: BTreeMap<Expected, Digest>,
    unpinned: BTreeMap<String, Digest>,
    checkouts: BTreeMap<GitCheckout, CheckedOut>,
    /// Each source once, in the order of the steps.
    pub origins: Vec<SourceOrigin>,
    /// What sources without a checksum were before, by their URIs: they must be the same.
    recorded: BTreeMap<String, Digest>,
}

impl Sources {
    /// Fetches what is not in the store yet: from mirrors by hash, then from the recipe's URI.
    /// Commits that are put upon a git repository's are dated `epoch`.
    ///
    /// # Errors
    /// One can't be had anywhere.
    pub async fn fetch(
        store: &Store,
        wanted: &[SourceRequest<'_>],
        origins: &Origins,
        epoch: Epoch,
        reporter: &dyn Reporter,
    ) -> Result<Sources, SourceError> {
        Sources::fetch_recorded(store, wanted, origins, epoch, BTreeMap::new(), reporter).await
    }

    /// As [`Sources::fetch`], where it is known what sources without a checksum were before: these
    /// are had by hash, as the others are.
    ///
    /// # Errors
    /// One can't be had anywhere.
    pub async fn fetch_recorded(
        store: &Store,
        wanted: &[SourceRequest<'_>],
        origins: &Origins,
        epoch: Epoch,
        recorded: BTreeMap<String, Digest>,
        reporter: &dyn Reporter,
    ) -> Result<Sources, SourceError> {
        let mut sources = Sources {
            recorded,
            ..Sources::default()
        };
        for request in wanted {
            match request {
                SourceRequest::Fetch(fetch) => {
                    sources.file(store, fetch, origins, reporter).await?;
                }
                SourceRequest::GitCheckout(checkout) => {
                    sources
                        .checkout(store, checkout, origins, epoch, reporter)
                        .await?;
                }
            }
        }
        Ok(sources)
    }

    async fn file(
        &mut self,
        store: &Store,
        fetch: &Fetch,
        origins: &Origins,
        reporter: &dyn Reporter,
    ) -> Result<(), SourceError> {
        let Some(expected) = fetch.expected else {
            return self.unknown_file(store, fetch, origins, reporter).await;
        };
        if self.digests.contains_key(&expected) {
            return Ok(());
        }
        let source = Source {
            name: fetch.file_name.clone(),
            url: fetch.uri.clone(),
            expected,
        };
        let fetched = store::fetch(store, &source, origins, reporter).await?;
        self.digests.insert(expected, fetched.digest);
        self.origins.push(SourceOrigin {
            uri: fetch.uri.clone(),
            digest: fetched.digest,
            origin: fetched.origin,
            commit: None,
        });
        Ok(())
    }

    /// Fetches a file that may be another one each time. Without the network, it is the last one.
    async fn unknown_file(
        &mut self,
        store: &Store,
        fetch: &Fetch,
        origins: &Origins,
        reporter: &dyn Reporter,
    ) -> Result<(), SourceError> {
        const RECORD: &str = "unpinned-source";
        if self.unpinned.contains_key(&fetch.uri) {
            return Ok(());
        }
        if let Some(digest) = self.recorded.get(&fetch.uri) {
            let source = Source {
                name: fetch.file_name.clone(),
                url: fetch.uri.clone(),
                expected: Expected::Sha256(*digest),
            };
            let fetched = store::fetch(store, &source, origins, reporter).await?;
            self.unpinned.insert(fetch.uri.clone(), fetched.digest);
            self.origins.push(SourceOrigin {
                uri: fetch.uri.clone(),
                digest: fetched.digest,
                origin: fetched.origin,
                commit: None,
            });
            return Ok(());
        }
        let uri = store::without_credentials(&fetch.uri);
        let key = Digest::of(fetch.uri.as_bytes());
        let before: Option<Digest> = store.record_get(RECORD, &key)?;
        let before = before.filter(|digest| origins.network.is_offline() && store.contains(digest));
        let (digest, origin) = match before {
            Some(digest) => (digest, Origin::Store),
            None => {
                let failed = |refusal| SourceError::Unpinned {
                    uri: uri.clone(),
                    refusal: Box::new(refusal),
                };
                let url = url::Url::parse(&fetch.uri)
                    .map_err(|_| failed(store::Refusal::Url(uri.clone())))?;
                let wanted = store::Wanted {
                    name: &fetch.file_name,
                    url: &url,
                    limit: LARGEST_UNPINNED,
                    size: None,
                    expected: None,
                    only_https: false,
                };
                let fetching = origins.network.fetch(store, &wanted, reporter);
                let arrived = fetching.await.map_err(failed)?;
                let digest = arrived.digest();
                arrived.keep(store)?;
                store.record_put(RECORD, &key, &digest)?;
                (digest, Origin::Upstream(uri.clone()))
            }
        };
        let message = format!("{uri} has no checksum in the recipe; today it is {digest}");
        reporter.report(Event::Notice { message: &message });
        self.unpinned.insert(fetch.uri.clone(), digest);
        self.origins.push(SourceOrigin {
            uri: fetch.uri.clone(),
            digest,
            origin,
            commit: None,
        });
        Ok(())
    }

    async fn checkout(
        &mut self,
        store: &Store,
        checkout: &GitCheckout,
        origins: &Origins,
        epoch: Epoch,
        reporter: &dyn Reporter,
    ) -> Result<(), SourceError> {
        if self.checkouts.contains_key(checkout) {
            return Ok(());
        }
        let checked_out = git::check_out(store, checkout, origins, epoch, reporter)
            .await
            .map_err(Box::new)?;
        let uri = store::without_credentials(&checkout.repository);
        self.origins.push(SourceOrigin {
            digest: checked_out.tree,
            origin: Origin::Upstream(uri.clone()),
            uri,
            commit: Some(checked_out.head.clone()),
        });
        self.checkouts.insert(checkout.clone(), checked_out);
        Ok(())
    }

    /// The blob that a step fetches.
    pub fn digest(&self, fetch: &Fetch) -> Option<Digest> {
        match &fetch.expected {
            Some(expected) => self.digests.get(expected).copied(),
            None => self.unpinned.get(&fetch.uri).copied(),
        }
    }

    /// The blobs of which the recipe knows nothing, by their URIs.
    pub fn unpinned(&self) -> &BTreeMap<String, Digest> {
        &self.unpinned
    }

    /// What a step checks out.
    pub fn checked_out(&self, checkout: &GitCheckout) -> Option<&CheckedOut> {
        self.checkouts.get(checkout)
    }

    /// The commit of each repository, before cherry-picks.
    pub fn commits(&self) -> BTreeMap<GitCheckout, String> {
        let commit = |(checkout, found): (&GitCheckout, &CheckedOut)| {
            (checkout.clone(), found.commit.clone())
        };
        self.checkouts.iter().map(commit).collect()
    }

    /// Every blob, by what the recipe says it hashes to.
    pub fn digests(&self) -> &BTreeMap<Expected, Digest> {
        &self.digests
    }

    /// The sources as a plan lists them.
    pub fn planned(&self) -> Vec<PlannedSource> {
        let planned = |origin: &SourceOrigin| PlannedSource {
            uri: origin.uri.clone(),
            digest: origin.digest,
            commit: origin.commit.clone(),
        };
        self.origins.iter().map(planned).collect()
    }
}

/// What lies beside a recipe, all sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipeFiles {
    /// Regular files.
    pub files: Vec<PlacedFile>,
    /// Symbolic links and their targets.
    pub links: BTreeMap<String, String>,
    /// Folders with nothing in them.
    pub folders: Vec<String>,
}

/// Stores the files of `folder` and those beneath, and lists them by path with links and empty
/// folders; none that [`IGNORE_FILE`] names. A missing folder has none.
///
/// # Errors
/// One can't be read.
pub fn recipe_files(store: &Store, folder: &Path) -> Result<RecipeFiles, SourceError> {
    let ignored = Ignored::read(&folder.join(IGNORE_FILE))?;
    let mut found = RecipeFiles::default();
    let mut pending = vec![(folder.to_owned(), String::new())];
    while let Some((here, prefix)) = pending.pop() {
        let failed = |source| SourceError::Read {
            path: here.clone(),
            source,
        };
        let entries = match fs::read_dir(&here) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && prefix.is_empty() => break,
            Err(error) => return Err(failed(error)),
        };
        let mut empty = true;
        for entry in entries {
            empty = false;
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(SourceError::Name { path });
            };
            let relative = format!("{prefix}{name}");
            if relative == IGNORE_FILE || ignored.covers(&relative, kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                pending.push((path, format!("{relative}/")));
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(failed)?;
                let executable = metadata.permissions().mode() & 0o100 != 0;
                found.files.push(PlacedFile {
                    path: relative,
                    digest: store.put_file(&path)?.digest,
                    // As git sees modes: whoever checked the recipe out, with whatever umask.
                    mode: if executable { 0o755 } else { 0o644 },
                });
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(failed)?;
                let target = target.into_os_string().into_string();
                let target = target.map_err(|_| SourceError::Name { path })?;
                found.links.insert(relative, target);
            }
        }
        if empty && let Some(path) = prefix.strip_suffix('/') {
            found.folders.push(path.to_owned());
        }
    }
    found.files.sort();
    found.folders.sort();
    Ok(found)
}

/// The patterns of an ignore file, as gitignore(5) has them.
struct Ignored(Vec<Pattern>);

struct Pattern {
    regex: Regex,
    negated: bool,
    folders_only: bool,
}

impl Ignored {
    fn read(path: &Path) -> Result<Ignored, SourceError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Ignored(text.lines().filter_map(Pattern::parse).collect())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Ignored(Vec::new()))
            }
            Err(source) => Err(SourceError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Whether the last pattern that matches says so.
    fn covers(&self, path: &str, folder: bool) -> bool {
        self.0
            .iter()
            .rev()
            .find(|pattern| (folder || !pattern.folders_only) && pattern.regex.is_match(path))
            .is_some_and(|pattern| !pattern.negated)
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Pattern> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (line, negated) = line
            .strip_prefix('!')
            .map_or((line, false), |rest| (rest, true));
        let (line, folders_only) = line
            .strip_suffix('/')
            .map_or((line, false), |rest| (rest, true));
        let anchored = line.contains('/');
        let line = line.trim_start_matches('/');
        let mut text = String::from(if anchored { "^" } else { "(?:^|/)" });
        let mut rest = line;
        while let Some(letter) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**/") {
                text.push_str("(?:.*/)?");
                rest = after;
                continue;
            }
            if let Some(after) = rest.strip_prefix("**") {
                text.push_str(".*");
                rest = after;
                continue;
            }
            match letter {
                '*' => text.push_str("[^/]*"),
                '?' => text.push_str("[^/]"),
                other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            rest = &rest[letter.len_utf8()..];
        }
        text.push('$');
        Some(Pattern {
            regex: Regex::new(&text).ok()?,
            negated,
            folders_only,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_a_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let beside = folder.path().join("hello");
        for (name, text) in [
            (
                ".melangeignore",
                "# ours\n*.orig\n/notes/\n!keep.orig\ndocs/**/draft\n",
            ),
            ("fix.patch", "patch"),
            ("fix.patch.orig", "old"),
            ("keep.orig", "kept"),
            ("notes/a", "n"),
            ("deep/notes/a", "n"),
            ("docs/x/y/draft", "d"),
        ] {
            let path = beside.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::set_permissions(beside.join("fix.patch"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", beside.join("link")).unwrap();
        fs::create_dir_all(beside.join("empty/inner")).unwrap();
        let found = recipe_files(&store, &beside).unwrap();
        let files = &found.files;
        let lines: Vec<String> = files
            .iter()
            .map(|file| format!("{:o} {}", file.mode, file.path))
            .collect();
        assert_eq!(
            lines,
            ["644 deep/notes/a", "755 fix.patch", "644 keep.orig"]
        );
        assert_eq!(files[1].digest, Digest::of(b"patch"));
        assert_eq!(found.links["link"], "/etc/passwd");
        assert_eq!(found.folders, ["empty/inner"]);
        let none = recipe_files(&store, &folder.path().join("none")).unwrap();
        assert_eq!(none, RecipeFiles::default());
    }
}
