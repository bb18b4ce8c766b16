//! Running apt with a private state, and finding files in its lists.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use base::{Arch, Digest, Reporter, Task, Unit, Verb};

use super::config::{self, Archive};
use super::paragraph::{Paragraph, Paragraphs};
use crate::disk::lock;
use crate::{Blob, Store, StoreError, WriteError, write_atomically};

const HELPER: &str = "/usr/lib/apt/apt-helper";

/// apt can't help.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A program of apt's is missing.
    #[error("can't run {program}: {source}; apt mirrors need a Debian host with apt")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program of apt's failed.
    #[error("{program} failed ({status}):\n{messages}")]
    Failed {
        /// The program and what it was to do.
        program: String,
        /// How it ended.
        status: String,
        /// What it printed, its last lines.
        messages: String,
    },
    /// The host knows no Debian archive.
    #[error(
        "the host's apt knows no Debian archive: no entry of /etc/apt/sources.list or sources.list.d has the suite `{codename}`, the component main and Debian's own keyring"
    )]
    NoArchive {
        /// The host's VERSION_CODENAME, or `none`.
        codename: String,
    },
    /// The name is no suite.
    #[error("`{0}` is not the name of a suite; use one such as bookworm or trixie")]
    Suite(String),
    /// The network may not be used.
    #[error("{what} would need the network, which is not to be used (offline)")]
    Offline {
        /// What was wanted.
        what: String,
    },
    /// apt's list holds something unexpected.
    #[error("apt's lists of {suites}: {reason}")]
    List {
        /// The suites.
        suites: String,
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the state can't be read or written.
    #[error(transparent)]
    Disk(#[from] WriteError),
}

/// Which lists of the archive are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// Source packages.
    Sources,
    /// Binary packages for one architecture.
    Packages(Arch),
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path beneath the archive's URI: `pool/main/z/zlib/…`.
    pub path: String,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A binary package as the archive's `Packages` list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version in Debian's grammar.
    pub version: String,
    /// Debian's name of its architecture, or `all`.
    pub architecture: String,
    /// `Pre-Depends`, as written.
    pub pre_depends: String,
    /// `Depends`, as written.
    pub depends: String,
    /// `Provides`, as written.
    pub provides: String,
    /// `Priority`, as written.
    pub priority: String,
    /// The .deb.
    pub file: File,
}

/// The host's apt with a private state for some suites' lists.
#[derive(Clone, Debug)]
pub struct Apt {
    store: Store,
    folder: PathBuf,
    archives: Vec<Archive>,
    suites: Vec<String>,
    lists: Lists,
    offline: bool,
}

impl Apt {
    /// Sets up the state for `suites` (the host's own when empty). Touches no network.
    ///
    /// # Errors
    /// The host knows no Debian archive, or the state can't be written.
    pub fn open(
        store: &Store,
        lists: Lists,
        suites: &[String],
        offline: bool,
    ) -> Result<Apt, AptError> {
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = config::codename(&os_release);
        let archives = codename.map_or_else(Vec::new, |codename| {
            config::archives(&config::host_files(Path::new("/etc/apt")), codename)
        });
        let suites = match (suites, codename) {
            ([], Some(codename)) => vec![codename.to_owned()],
            _ => suites.to_vec(),
        };
        if archives.is_empty() {
            return Err(AptError::NoArchive {
                codename: codename.unwrap_or("none").to_owned(),
            });
        }
        if let Some(suite) = suites.iter().find(|suite| !config::is_suite(suite)) {
            return Err(AptError::Suite(suite.clone()));
        }
        let kind = match lists {
            Lists::Sources => "sources".to_owned(),
            Lists::Packages(arch) => format!("packages-{}", arch.debian()),
        };
        let folder = store
            .root()
            .join("apt")
            .join(format!("{kind}-{}", suites.join("+")));
        let apt = Apt {
            store: store.clone(),
            folder,
            archives,
            suites,
            lists,
            offline,
        };
        apt.write_configuration()?;
        Ok(apt)
    }

    /// The archives that the host knows, in its order.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// The suites looked into.
    pub fn suites(&self) -> &[String] {
        &self.suites
    }

    fn write_configuration(&self) -> Result<(), AptError> {
        let folder = &self.folder;
        for part in ["lists/partial", "cache/archives/partial", "etc", "log"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).map_err(WriteError::at("create the folder", &part))?;
        }
        let kind = match self.lists {
            Lists::Sources => "deb-src",
            Lists::Packages(_) => "deb",
        };
        let mut sources = String::new();
        for archive in &self.archives {
            for suite in &self.suites {
                let Archive { uri, signed_by } = archive;
                let _ = writeln!(sources, "{kind} [signed-by={signed_by}] {uri} {suite} main");
            }
        }
        let arch = match self.lists {
            Lists::Sources => Arch::host(),
            Lists::Packages(arch) => arch,
        };
        let mut text = String::new();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} \"{value}\";");
        };
        let within = |part: &str| folder.join(part).display().to_string();
        set("APT::Architecture", arch.debian());
        set("APT::Architectures", arch.debian());
        set("Acquire::Languages", "none");
        set("Dir::State", &within("."));
        set("Dir::State::lists", &within("lists"));
        set("Dir::State::status", &within("status"));
        set("Dir::Cache", &within("cache"));
        set("Dir::Log", &within("log"));
        set("Dir::Etc", &within("etc"));
        set("Dir::Etc::sourcelist", &within("sources.list"));
        set("Dir::Etc::sourceparts", "/dev/null");
        set("Dir::Etc::main", "/dev/null");
        set("Dir::Etc::parts", "/dev/null");
        if rustix::process::geteuid().is_root() {
            // The store may be where apt's own user can't look.
            set("APT::Sandbox::User", "root");
        }
        text.push_str(&self.host_network()?);
        for (name, contents) in [
            ("sources.list", sources.as_str()),
            ("status", ""),
            ("apt.conf", text.as_str()),
        ] {
            let path = folder.join(name);
            if std::fs::read_to_string(&path).ok().as_deref() != Some(contents) {
                write_atomically(&path, contents.as_bytes())?;
            }
        }
        Ok(())
    }

    /// How the host reaches the network: proxies, timeouts and the like.
    fn host_network(&self) -> Result<String, AptError> {
        let output = run(Command::new("apt-config").arg("dump"), "apt-config")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let wanted = [
            "Acquire::http::",
            "Acquire::https::",
            "Acquire::Check-Valid-Until ",
            "Acquire::Check-Date ",
            "Acquire::Retries ",
        ];
        let lines = text
            .lines()
            .filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)));
        Ok(lines.fold(String::new(), |all, line| all + line + "\n"))
    }

    fn command(&self, program: &'static str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(std::process::Stdio::null());
        command
    }

    /// Brings the lists up to date, once per process.
    ///
    /// # Errors
    /// Offline, or apt failed.
    pub fn update(&self) -> Result<(), AptError> {
        static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if done.contains(&self.folder) {
            return Ok(());
        }
        if self.offline {
            return Err(AptError::Offline {
                what: format!("the list of {}", self.suites.join(", ")),
            });
        }
        let _held = lock(&self.folder.join("lock"))?;
        run(
            self.command("apt-get")
                .args(["update", "-q", "--error-on=any"]),
            "apt-get update",
        )?;
        done.insert(self.folder.clone());
        Ok(())
    }

    /// The files of the lists wanted; empty when they were never fetched.
    fn list_files(&self) -> Result<Vec<PathBuf>, AptError> {
        let created_by = match self.lists {
            Lists::Sources => "Created-By: Sources",
            Lists::Packages(_) => "Created-By: Packages",
        };
        let output = run(
            self.command("apt-get")
                .args(["indextargets", "--format", "$(FILENAME)", created_by]),
            "apt-get indextargets",
        )?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(PathBuf::from).collect())
    }

    /// The text of all lists, fetched when they are missing.
    ///
    /// # Errors
    /// The lists can't be fetched or read.
    pub fn list_texts(&self) -> Result<Vec<String>, AptError> {
        let mut files = self.list_files()?;
        if files.is_empty() {
            self.update()?;
            files = self.list_files()?;
        }
        if files.is_empty() {
            return Err(AptError::List {
                suites: self.suites.join(", "),
                reason: "apt fetched none; is the suite's name right?".to_owned(),
            });
        }
        files
            .iter()
            .map(|file| {
                let output = run(
                    self.command(HELPER).arg("cat-file").arg(file),
                    "apt-helper cat-file",
                )?;
                String::from_utf8(output.stdout).map_err(|_| AptError::List {
                    suites: self.suites.join(", "),
                    reason: format!("{} is not UTF-8", file.display()),
                })
            })
            .collect()
    }

    /// Every binary package of the suites, in the lists' order.
    ///
    /// # Errors
    /// The lists can't be fetched or hold a package without the fields needed.
    pub fn packages(&self) -> Result<Vec<Package>, AptError> {
        let mut packages = Vec::new();
        for text in self.list_texts()? {
            for paragraph in Paragraphs::of(&text) {
                packages.push(package(&paragraph).ok_or_else(|| AptError::List {
                    suites: self.suites.join(", "),
                    reason: format!(
                        "`{}` lacks Version, Architecture, Filename, Size or SHA256",
                        paragraph.get("Package").unwrap_or("a package")
                    ),
                })?);
            }
        }
        Ok(packages)
    }

    /// The file with this SHA-256, if the suites have it. The lists are fetched when they are
    /// missing, and once more when the file is not in them.
    ///
    /// # Errors
    /// The lists can't be fetched or read.
    pub fn find(&self, digest: &Digest) -> Result<Option<File>, AptError> {
        if let Some(file) = self.look_up(digest)? {
            return Ok(Some(file));
        }
        if self.offline {
            return Ok(None);
        }
        self.update()?;
        self.look_up(digest)
    }

    fn look_up(&self, digest: &Digest) -> Result<Option<File>, AptError> {
        let table = self.table()?;
        let hex = digest.hex();
        // Sorted lines `HEX SIZE PATH`, found by halving.
        let (mut low, mut high) = (0, table.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = table[..middle].rfind('\n').map_or(0, |end| end + 1);
            let end = table[start..]
                .find('\n')
                .map_or(table.len(), |length| start + length);
            let mut words = table[start..end].splitn(3, ' ');
            let (found, size, path) = (words.next(), words.next(), words.next());
            match found.unwrap_or_default().cmp(&hex) {
                std::cmp::Ordering::Less => low = end + 1,
                std::cmp::Ordering::Greater => high = start,
                std::cmp::Ordering::Equal => {
                    let size = size.and_then(|size| size.parse().ok());
                    return Ok(size.zip(path).map(|(size, path)| File {
                        path: path.to_owned(),
                        digest: *digest,
                        size,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// All files of the lists, one line each, sorted by digest. Kept until the lists change.
    fn table(&self) -> Result<String, AptError> {
        let files = self.list_files()?;
        let mut key = String::new();
        for file in &files {
            let metadata = std::fs::metadata(file).map_err(WriteError::at("read", file))?;
            let modified = age(&metadata);
            let _ = writeln!(key, "{} {} {modified}", file.display(), metadata.len());
        }
        let path = self.folder.join("files");
        if !files.is_empty()
            && let Ok(text) = std::fs::read_to_string(&path)
            && let Some(table) = text.strip_prefix(&format!("{key}\n"))
        {
            return Ok(table.to_owned());
        }
        if files.is_empty() && self.offline {
            return Err(AptError::Offline {
                what: format!("the list of {}", self.suites.join(", ")),
            });
        }
        let mut lines = BTreeSet::new();
        for text in self.list_texts()? {
            for paragraph in Paragraphs::of(&text) {
                file_lines(&paragraph, &mut lines);
            }
        }
        let table = lines
            .into_iter()
            .fold(String::new(), |all, line| all + &line + "\n");
        if !files.is_empty() {
            write_atomically(&path, format!("{key}\n{table}").as_bytes())?;
        }
        Ok(table)
    }

    /// Brings files of the archive into the store, checked; those that are there stay. The blobs
    /// come in the order of `files`.
    ///
    /// # Errors
    /// Offline, no archive has a file, or its contents are wrong.
    pub fn download(&self, files: &[File], reporter: &dyn Reporter) -> Result<Vec<Blob>, AptError> {
        let missing: Vec<&File> = files
            .iter()
            .filter(|file| !self.store.contains(&file.digest))
            .collect();
        if let (Some(first), true) = (missing.first(), self.offline) {
            return Err(AptError::Offline {
                what: match missing.len() {
                    1 => first.path.clone(),
                    count => format!("{} and {} more files", first.path, count - 1),
                },
            });
        }
        if !missing.is_empty() {
            let total = missing.iter().map(|file| file.size).sum();
            let subject = match missing.as_slice() {
                [file] => file.path.clone(),
                _ => format!("{} files of {}", missing.len(), self.suites.join(", ")),
            };
            let task = Task::start(reporter, Verb::Fetch, &subject, Some(total), Unit::Bytes);
            for batch in missing.chunks(24) {
                self.download_batch(batch)?;
                task.advance(batch.iter().map(|file| file.size).sum());
            }
            task.done();
        }
        Ok(files
            .iter()
            .map(|file| Blob {
                digest: file.digest,
                size: file.size,
            })
            .collect())
    }

    fn download_batch(&self, batch: &[&File]) -> Result<(), AptError> {
        let mut failure = None;
        for archive in &self.archives {
            let folder = self.store.temp_dir()?;
            let mut command = self.command(HELPER);
            command.arg("download-file");
            for file in batch {
                command
                    .arg(format!("{}/{}", archive.uri, file.path))
                    .arg(folder.path().join(file.digest.hex()))
                    .arg(format!("SHA256:{}", file.digest.hex()));
            }
            match run(&mut command, "apt-helper download-file") {
                Ok(_) => {
                    for file in batch {
                        let path = folder.path().join(file.digest.hex());
                        let read =
                            std::fs::File::open(&path).map_err(WriteError::at("read", &path))?;
                        self.store.put_expecting(read, file.digest)?;
                    }
                    return Ok(());
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// A list's age as text, for telling whether it is still the same file.
fn age(metadata: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{}.{:09} {}",
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino()
    )
}

fn package(paragraph: &Paragraph<'_>) -> Option<Package> {
    let text = |field| paragraph.get(field).unwrap_or_default().to_owned();
    Some(Package {
        name: paragraph.get("Package")?.to_owned(),
        version: paragraph.get("Version")?.to_owned(),
        architecture: paragraph.get("Architecture")?.to_owned(),
        pre_depends: text("Pre-Depends"),
        depends: text("Depends"),
        provides: text("Provides"),
        priority: text("Priority"),
        file: File {
            path: paragraph.get("Filename")?.to_owned(),
            digest: paragraph.get("SHA256")?.parse().ok()?,
            size: paragraph.get("Size")?.parse().ok()?,
        },
    })
}

/// The lines of the table for one package, binary or source.
fn file_lines(paragraph: &Paragraph<'_>, lines: &mut BTreeSet<String>) {
    if let (Some(digest), Some(size), Some(path)) = (
        paragraph.get("SHA256"),
        paragraph.get("Size"),
        paragraph.get("Filename"),
    ) {
        lines.insert(format!("{digest} {size} {path}"));
    }
    let (Some(directory), Some(checksums)) = (
        paragraph.get("Directory"),
        paragraph.get("Checksums-Sha256"),
    ) else {
        return;
    };
    for line in checksums.lines() {
        let mut words = line.split_whitespace();
        if let (Some(digest), Some(size), Some(name)) = (words.next(), words.next(), words.next()) {
            lines.insert(format!("{digest} {size} {directory}/{name}"));
        }
    }
}

fn run(command: &mut Command, name: &'static str) -> Result<Output, AptError> {
    let output = command.output().map_err(|source| AptError::Run {
        program: name,
        source,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.len().saturating_sub(12);
    Err(AptError::Failed {
        program: name.to_owned(),
        status: output.status.to_string(),
        messages: lines[tail..].join("\n"),
    })
}
