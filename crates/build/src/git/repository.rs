//! A work tree and its `.git` as bytes that every checkout of the same contents has.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use archive::tar::{EntryKind, Header, Writer};
use base::Digest;
use store::{Store, without_credentials};

use super::process::Git;
use super::{EARLIEST, GitError, IndexError, index};

/// How deep submodules may nest.
const DEEPEST: usize = 32;

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
}

/// What the repository is told of itself.
pub(super) struct Settings<'s> {
    /// Where it comes from, without credentials.
    pub(super) url: &'s str,
    /// The branch that is on.
    pub(super) branch: Option<&'s str>,
    /// Whether files are missing that were not asked for.
    pub(super) partial: bool,
    pub(super) identity: Identity,
}

/// A checkout in the store.
pub(super) struct Archived {
    pub(super) head: String,
    pub(super) tree: Digest,
}

/// `value` of a setting, as git's files have it (git-config(1), Syntax).
pub(super) fn setting(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\t{name} = \"{value}\"\n")
}

/// A repository: `.git` itself, or that of a submodule in it.
struct Module {
    /// Its folder, from `.git`; empty for `.git` itself.
    folder: PathBuf,
    /// Its work tree, from the root of the whole; empty for that itself.
    work: PathBuf,
}

/// Makes `.git` anew and puts all of `work` into the store.
pub(super) async fn archived(
    git: &Git,
    repository: &str,
    work: &Path,
    settings: &Settings<'_>,
    store: &Store,
) -> Result<Archived, GitError> {
    let anew = Anew {
        git,
        repository,
        work,
        settings,
        fresh: work.with_extension("fresh"),
    };
    let head = git
        .line("find the commit", work, &["rev-parse", "--verify", "HEAD"])
        .await?;
    let time = git
        .line(
            "find the commit's time",
            work,
            &["log", "-1", "--format=%ct"],
        )
        .await?;
    // Git has 32 bits for it in the index.
    let mtime = time.parse::<u32>().unwrap_or_default().max(EARLIEST as u32);
    for module in anew.modules()? {
        anew.make(&module, mtime).await?;
    }
    let old = work.join(".git");
    fs::remove_dir_all(&old).map_err(anew.io("remove", &old))?;
    fs::rename(&anew.fresh, &old).map_err(anew.io("rename", &anew.fresh))?;

    let file = store.temp_file().map_err(anew.store())?;
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file));
    anew.append(&mut writer, Path::new(""), u64::from(mtime))?;
    let written = writer.finish().map_err(|error| anew.archive(error))?;
    let file = written
        .into_inner()
        .map_err(|error| anew.archive(error.into_error().into()))?;
    let path = file.path().to_owned();
    let reading = File::open(&path).map_err(anew.io("read", &path))?;
    let blob = store.put(reading).map_err(anew.store())?;
    Ok(Archived {
        head,
        tree: blob.digest,
    })
}

struct Anew<'a> {
    git: &'a Git,
    repository: &'a str,
    work: &'a Path,
    settings: &'a Settings<'a>,
    /// What takes the place of `.git`.
    fresh: PathBuf,
}

impl Anew<'_> {
    fn io(&self, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GitError {
        let (repository, path) = (self.repository.to_owned(), path.to_owned());
        move |source| GitError::Io {
            repository,
            action,
            path,
            source,
        }
    }

    fn store(&self) -> impl FnOnce(store::StoreError) -> GitError {
        let repository = self.repository.to_owned();
        move |source| GitError::Store { repository, source }
    }

    fn archive(&self, source: archive::tar::WriteError) -> GitError {
        GitError::Archive {
            repository: self.repository.to_owned(),
            source,
        }
    }

    fn index(&self, source: IndexError) -> GitError {
        GitError::Index {
            repository: self.repository.to_owned(),
            source,
        }
    }

    fn unsupported(&self, reason: String) -> GitError {
        GitError::Unsupported {
            repository: self.repository.to_owned(),
            reason,
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, GitError> {
        fs::read(path).map_err(self.io("read", path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), GitError> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        fs::write(path, bytes).map_err(self.io("write", path))
    }

    fn folder(&self, path: &Path) -> Result<(), GitError> {
        fs::create_dir_all(path).map_err(self.io("create", path))
    }

    /// The repository and its submodules that are checked out, at any depth.
    fn modules(&self) -> Result<Vec<Module>, GitError> {
        let mut modules = vec![Module {
            folder: PathBuf::new(),
            work: PathBuf::new(),
        }];
        let mut next = 0;
        while let Some(Module { folder, work }) = modules.get(next) {
            let git = self.work.join(".git");
            let (index, work) = (git.join(folder).join("index"), work.clone());
            if work.components().count() > DEEPEST * 16 || next > 10_000 {
                return Err(self.unsupported("its submodules nest without end".to_owned()));
            }
            // A repository without a file has no index.
            let paths = match index.exists() {
                true => {
                    index::submodules(&self.read(&index)?).map_err(|error| self.index(error))?
                }
                false => Vec::new(),
            };
            for path in paths {
                let work = work.join(OsStr::from_bytes(&path));
                let link = self.work.join(&work).join(".git");
                if !link
                    .symlink_metadata()
                    .is_ok_and(|metadata| metadata.is_file())
                {
                    continue;
                }
                let text = self.read(&link)?;
                let folder = gitdir(&work, &text).ok_or_else(|| {
                    let path = work.display();
                    self.unsupported(format!(
                        "the submodule `{path}` is kept in an unknown place"
                    ))
                })?;
                modules.push(Module { folder, work });
            }
            next += 1;
        }
        Ok(modules)
    }

    /// Makes one repository anew: with the commit that is checked out, its history and the tags on
    /// it, and nothing that tells of the machine.
    async fn make(&self, module: &Module, mtime: u32) -> Result<(), GitError> {
        let old = self.work.join(".git").join(&module.folder);
        let fresh = self.fresh.join(&module.folder);
        let work = self.work.join(&module.work);
        let is_main = module.folder.as_os_str().is_empty();
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
            self.folder(&fresh.join(folder))?;
        }
        let head = self
            .git
            .line("find the commit", &work, &["rev-parse", "--verify", "HEAD"])
            .await?;
        let branch = self.settings.branch.filter(|_| is_main);
        let on = match branch {
            Some(branch) => format!("ref: refs/heads/{branch}\n"),
            None => format!("{head}\n"),
        };
        self.write(&fresh.join("HEAD"), on.as_bytes())?;

        let format = "--format=%(refname) %(objectname) %(*objectname)";
        let merged = format!("--merged={head}");
        let arguments = [
            "for-each-ref",
            "--sort=refname",
            &merged,
            format,
            "refs/tags",
        ];
        let tags = self
            .git
            .run("list the tags", &work, &arguments, b"")
            .await?;
        let tags = String::from_utf8_lossy(&tags).into_owned();
        let mut references = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        let mut wanted = format!("{head}\n");
        if let Some(branch) = branch {
            references += &format!("{head} refs/heads/{branch}\n");
            references += &format!("{head} refs/remotes/origin/{branch}\n");
        }
        for line in tags.lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(object)) = (words.next(), words.next()) else {
                continue;
            };
            references += &format!("{object} {name}\n");
            wanted += &format!("{object}\n");
            if let Some(commit) = words.next().filter(|commit| !commit.is_empty()) {
                references += &format!("^{commit}\n");
            }
        }
        self.write(&fresh.join("packed-refs"), references.as_bytes())?;
        self.shallow(&old, &fresh, &work, &head).await?;
        self.pack(&fresh, &work, &wanted).await?;
        self.configure(module, &old, &fresh).await?;

        let index = old.join("index");
        if index.exists() {
            let bytes = index::rewritten(&self.read(&index)?, mtime, |entry| {
                let path = work.join(OsStr::from_bytes(entry.path));
                let metadata = path.symlink_metadata().map_err(self.io("look at", &path))?;
                // Git keeps the low 32 bits.
                Ok(metadata.len() as u32)
            })
            .map_err(|error: Problem| match error {
                Problem::Index(error) => self.index(error),
                Problem::Git(error) => *error,
            })?;
            self.write(&fresh.join("index"), &bytes)?;
        }
        Ok(())
    }

    /// Keeps of the commits whose parents are missing those that belong to the history.
    async fn shallow(
        &self,
        old: &Path,
        fresh: &Path,
        work: &Path,
        head: &str,
    ) -> Result<(), GitError> {
        let path = old.join("shallow");
        if !path.exists() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.read(&path)?).into_owned();
        let history = self
            .git
            .run("list the history", work, &["rev-list", head], b"")
            .await?;
        let history = String::from_utf8_lossy(&history).into_owned();
        let history: std::collections::BTreeSet<&str> = history.lines().collect();
        let mut kept: Vec<&str> = text.lines().filter(|line| history.contains(line)).collect();
        kept.sort_unstable();
        kept.dedup();
        if kept.is_empty() {
            return Ok(());
        }
        self.write(&fresh.join("shallow"), (kept.join("\n") + "\n").as_bytes())
    }

    /// Packs the objects that `wanted` names, and all that those lead to, by one thread and without
    /// a look at how they came.
    async fn pack(&self, fresh: &Path, work: &Path, wanted: &str) -> Result<(), GitError> {
        let prefix = fresh.join("objects/pack/pack");
        let prefix = prefix.display().to_string();
        let mut arguments = vec![
            "pack-objects",
            "--quiet",
            "--revs",
            "--threads=1",
            "--no-reuse-delta",
            "--no-reuse-object",
            "--delta-base-offset",
            "--window=10",
            "--depth=50",
            "--compression=6",
        ];
        if self.settings.partial {
            arguments.push("--missing=allow-promisor");
        }
        arguments.push(&prefix);
        let action = "pack the objects";
        let name = self
            .git
            .run(action, work, &arguments, wanted.as_bytes())
            .await?;
        if self.settings.partial {
            // Says that objects may be missing that those in the pack name.
            let name = String::from_utf8_lossy(&name).trim().to_owned();
            self.write(Path::new(&format!("{prefix}-{name}.promisor")), b"")?;
        }
        Ok(())
    }

    async fn configure(&self, module: &Module, old: &Path, fresh: &Path) -> Result<(), GitError> {
        let path = old.join("config").display().to_string();
        let arguments = ["config", "--file", &path, "--null", "--list"];
        let entries = self
            .git
            .run("read its settings", self.work, &arguments, b"")
            .await?;
        let entries = String::from_utf8_lossy(&entries).into_owned();
        let mut entries: Vec<(&str, &str)> = entries
            .split('\0')
            .filter_map(|entry| entry.split_once('\n'))
            .collect();
        entries.sort_unstable();
        let value = |name: &str| {
            let entry = entries.iter().rev().find(|(known, _)| *known == name);
            entry.map(|(_, value)| *value)
        };
        let is_main = module.folder.as_os_str().is_empty();
        let partial = self.settings.partial;
        let mut text = String::from("[core]\n");
        text += &format!("\trepositoryformatversion = {}\n", u8::from(partial));
        text += "\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";
        // Lengths and times are compared, not what is other on each machine.
        text += "\tcheckstat = minimal\n\ttrustctime = false\n";
        if let Some(worktree) = value("core.worktree") {
            text += &setting("worktree", worktree);
        }
        if partial && is_main {
            text += "\tsparsecheckout = true\n\tsparsecheckoutcone = true\n";
            let patterns = old.join("info/sparse-checkout");
            self.write(&fresh.join("info/sparse-checkout"), &self.read(&patterns)?)?;
        }
        if partial {
            text += "[extensions]\n\tpartialclone = origin\n";
        }
        text += "[user]\n";
        text += &setting("name", self.settings.identity.name);
        text += &setting("email", self.settings.identity.email);
        text += "[advice]\n\tdetachedhead = false\n[remote \"origin\"]\n";
        let url = match is_main {
            true => self.settings.url.to_owned(),
            false => without_credentials(value("remote.origin.url").unwrap_or_default()),
        };
        text += &setting("url", &url);
        text += "\tfetch = +refs/heads/*:refs/remotes/origin/*\n";
        if partial {
            text += "\tpromisor = true\n\tpartialclonefilter = blob:none\n";
        }
        if let Some(branch) = self.settings.branch.filter(|_| is_main) {
            let name = branch.replace('\\', "\\\\").replace('"', "\\\"");
            text += &format!("[branch \"{name}\"]\n\tremote = origin\n");
            text += &setting("merge", &format!("refs/heads/{branch}"));
        }
        let mut section = "";
        for (name, value) in &entries {
            let Some((submodule, key)) = name
                .strip_prefix("submodule.")
                .and_then(|name| name.rsplit_once('.'))
            else {
                continue;
            };
            if submodule != section {
                let name = submodule.replace('\\', "\\\\").replace('"', "\\\"");
                text += &format!("[submodule \"{name}\"]\n");
                section = submodule;
            }
            text += &setting(key, &without_credentials(value));
        }
        self.write(&fresh.join("config"), text.as_bytes())
    }

    /// Appends what is in `folder`, by name.
    fn append<W: io::Write>(
        &self,
        writer: &mut Writer<W>,
        folder: &Path,
        mtime: u64,
    ) -> Result<(), GitError> {
        let here = self.work.join(folder);
        let read = fs::read_dir(&here).map_err(self.io("read", &here))?;
        let mut names = Vec::new();
        for entry in read {
            names.push(entry.map_err(self.io("read", &here))?.file_name());
        }
        names.sort_unstable();
        for name in names {
            let path = folder.join(&name);
            let whole = self.work.join(&path);
            let Some(text) = path.to_str() else {
                let name = path.display();
                return Err(self.unsupported(format!("the name of `{name}` is not UTF-8")));
            };
            let metadata = whole
                .symlink_metadata()
                .map_err(self.io("look at", &whole))?;
            let mut header = if metadata.is_dir() {
                Header::directory(text)
            } else if metadata.is_symlink() {
                let target = fs::read_link(&whole).map_err(self.io("read", &whole))?;
                let Some(target) = target.to_str() else {
                    return Err(self.unsupported(format!("the target of `{text}` is not UTF-8")));
                };
                Header::symlink(text, target)
            } else {
                Header::file(text, metadata.len())
            };
            header.mtime = mtime;
            if matches!(header.kind, EntryKind::File { .. }) {
                if metadata.permissions().mode() & 0o100 != 0 {
                    header.mode = 0o755;
                }
                let file = File::open(&whole).map_err(self.io("read", &whole))?;
                writer.append(&header, BufReader::new(file))
            } else {
                writer.append(&header, io::empty())
            }
            .map_err(|error| self.archive(error))?;
            if metadata.is_dir() {
                self.append(writer, &path, mtime)?;
            }
        }
        Ok(())
    }
}

/// What can be wrong while an index is read.
enum Problem {
    Index(IndexError),
    Git(Box<GitError>),
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Problem {
        Problem::Index(error)
    }
}

impl From<GitError> for Problem {
    fn from(error: GitError) -> Problem {
        Problem::Git(Box::new(error))
    }
}

/// Where the repository of the submodule in `work` is, from `.git`: `text` is its file `.git`, whose
/// path must lead into the repository around it.
fn gitdir(work: &Path, text: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(text).ok()?;
    let path = Path::new(text.strip_prefix("gitdir: ")?.trim_end_matches('\n'));
    let mut whole = Vec::new();
    for component in work.join(path).components() {
        match component {
            Component::Normal(name) => whole.push(name.to_owned()),
            Component::ParentDir => {
                whole.pop()?;
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let folder: PathBuf = whole.iter().collect();
    let folder = folder.strip_prefix(".git").ok()?;
    let within = folder.components().count() >= 2 && folder.starts_with("modules");
    within.then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_submodules_are_within() {
        let at = |work: &str, text: &str| gitdir(Path::new(work), text.as_bytes());
        assert_eq!(
            at("a/b", "gitdir: ../../.git/modules/x/y\n"),
            Some(PathBuf::from("modules/x/y"))
        );
        for text in [
            "gitdir: ../../../.git/modules/x",
            "gitdir: /etc",
            "gitdir: ../../.git",
            "gitdir: ../../src",
            "gitdir: ../../.git/modules/../..",
            "x",
        ] {
            assert_eq!(at("a/b", text), None, "{text}");
        }
    }

    #[test]
    fn settings_are_quoted() {
        assert_eq!(
            setting("url", "a\"b\\c;#\n"),
            "\turl = \"a\\\"b\\\\c;#\\n\"\n"
        );
    }
}
