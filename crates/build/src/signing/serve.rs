//! The signer's side.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use apk::index::{FILE_NAME, Index, IndexEntry, IndexError, MAXIMUM_INDEX, Stamping};
use apk::package::{Package, PackageError};
use apk::signature::{Keyring, Signer};
use attest::bundle::BundleError;
use attest::rebuild::{Rebuild, Signature};
use attest::slsa::Builder;
use base::Digest;
use key::{KeyError, PublicKey};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::SIGNER_ARGUMENT;
use super::protocol::{self, Answer, Frame, IndexTerms, Purpose, Request};
use crate::build_recipe::joined;
use crate::emit::{EmitError, RECIPE_FILE, recipe_record};
use crate::plan::Network;
use crate::provenance::{BuildFacts, LOCAL_BUILDER, ProvenanceError};

/// What the files that are handed over are called in errors, where their names are not known.
const HANDED_OVER: &str = "handed over";

/// The program's version, for statements.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the signer signs nothing.
#[derive(Debug, thiserror::Error)]
enum RefusedError {
    #[error("nothing was committed to, so there is nothing that this could have come out of")]
    Uncommitted,
    #[error("this key was opened for something else")]
    Purpose,
    #[error("no file came along")]
    NoFile,
    #[error(
        "{name}-{version} for {arch} is none of the packages of {recipe}, which was committed to"
    )]
    OtherPackage {
        name: String,
        version: String,
        arch: String,
        recipe: String,
    },
    #[error(
        "the recipe in {package} is not the one that was committed to before it was carried out"
    )]
    OtherRecipe { package: String },
    #[error("{package} bears another time than the one that was committed to")]
    OtherTime { package: String },
    #[error("{package} was signed already in this build: it would be two packages by one name")]
    Twice { package: String },
    #[error("the plan that was committed to records nothing, or all that was recorded is known")]
    Unrecorded,
    #[error("the statement about {package} is not what this key stated of this very build")]
    OtherStatement { package: String },
    #[error("what was handed over is not the {file_name} that was compared")]
    OtherBytes { file_name: String },
    #[error(
        "an index was to be joined by the keys, and stamped with the time, that were named first; these are others"
    )]
    OtherTerms,
    #[error("a key of the keyring can't be used: {0}")]
    Keyring(KeyError),
    #[error("the file that was handed over can't be read: {0}")]
    Read(io::Error),
    #[error("the index is larger than {MAXIMUM_INDEX} bytes")]
    LargeIndex,
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Recipe(#[from] EmitError),
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Rebuilt(#[from] BundleError),
}

/// The process is not safe enough to open a key in.
#[derive(Debug, thiserror::Error)]
enum ExposedError {
    #[error("can't keep other processes out of its memory: {0}")]
    Open(io::Error),
    #[error("process {0} traces it, and would read the key: end that, and call again")]
    Traced(String),
    #[error(
        "other processes of its user could get into its memory while it started: its program was made \
         readable meanwhile, or the kernel is set to let them (fs.suid_dumpable is 1)"
    )]
    Readable,
}

/// Becomes the signer if this process was started to be one, and never returns then. `open` opens
/// the key at a path for a purpose, or says why it can't; it may ask for a password.
pub fn serve_if_requested(open: impl FnOnce(&Path, Purpose) -> Result<Signer, String>) {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != SIGNER_ARGUMENT) {
        return;
    }
    let purpose = arguments
        .next()
        .and_then(|word| Purpose::of_word(word.to_str()?));
    let (Some(purpose), Some(key)) = (purpose, arguments.next().map(PathBuf::from)) else {
        std::process::exit(2);
    };
    let Ok(line) = io::stdout().as_fd().try_clone_to_owned() else {
        std::process::exit(2);
    };
    // It was executed by a number.
    let _ = rustix::thread::set_name(c"polpo-signer");
    let opened = shut().map_err(|error| format!("the signer does not open the key: {error}"));
    let opened = opened.and_then(|()| open(&key, purpose));
    // From here on nothing that is typed ends it, and it keeps no folder.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let served = serve(&UnixStream::from(line), purpose, opened);
    std::process::exit(i32::from(served.is_err()));
}

/// Keeps others out of this process: its memory can't be read, written or dumped, and no program
/// that it starts has more rights than it.
fn shut() -> Result<(), ExposedError> {
    let failed = |error: rustix::io::Errno| ExposedError::Open(error.into());
    let began = rustix::process::dumpable_behavior().map_err(failed)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(failed)?;
    // Whoever traced it before that still does.
    let status = fs::read_to_string("/proc/self/status").map_err(ExposedError::Open)?;
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))
        .map_or("0", str::trim);
    if tracer != "0" {
        return Err(ExposedError::Traced(tracer.to_owned()));
    }
    // Whoever opened its memory before it was shut still has it. Root can read every program, and is kept
    // out of nothing.
    match began {
        DumpableBehavior::Dumpable if !rustix::process::geteuid().is_root() => {
            Err(ExposedError::Readable)
        }
        _ => Ok(()),
    }
}

/// Answers until nobody asks any more.
fn serve(line: &UnixStream, purpose: Purpose, opened: Result<Signer, String>) -> io::Result<()> {
    let mut opened = opened.map(|signer| Service {
        signer,
        purpose,
        terms: None,
        committed: None,
    });
    while let Some(frame) = protocol::read(line)? {
        let (answer, tail) = match &mut opened {
            Ok(service) => service
                .answer(frame)
                .unwrap_or_else(|error| (Answer::Refused(error.to_string()), Vec::new())),
            Err(reason) => (Answer::Refused(reason.clone()), Vec::new()),
        };
        protocol::write(line, &answer, &tail, None)?;
    }
    Ok(())
}

struct Service {
    signer: Signer,
    purpose: Purpose,
    /// What was named at the first beginning, before any step ran.
    terms: Option<IndexTerms>,
    committed: Option<Committed>,
}

/// What is being carried out, and what came out of it.
struct Committed {
    facts: BuildFacts,
    /// Who may have signed the index that is there.
    keyring: Keyring,
    stamping: Stamping,
    /// The packages' entries in an index, by name.
    entries: BTreeMap<String, IndexEntry>,
}

impl Service {
    fn answer(&mut self, frame: Frame<Request>) -> Result<(Answer, Vec<u8>), RefusedError> {
        let done = |answer| Ok((answer, Vec::new()));
        let is_for_rebuilds = matches!(frame.head, Request::Rebuilt { .. });
        let is_fit = match self.purpose {
            Purpose::Packages => !is_for_rebuilds,
            Purpose::Rebuilds => is_for_rebuilds || matches!(frame.head, Request::Name),
        };
        if !is_fit {
            return Err(RefusedError::Purpose);
        }
        match frame.head {
            Request::Name => done(Answer::Name {
                name: self.signer.key_name().to_owned(),
                public: self.signer.public().to_pem(),
            }),
            Request::Begin { facts, terms } => {
                self.committed = None;
                if self.terms.as_ref().is_some_and(|first| *first != terms) {
                    return Err(RefusedError::OtherTerms);
                }
                let mut trusted = self.signer.keyring();
                for (name, pem) in &terms.keyring {
                    let key = PublicKey::from_pem(pem).map_err(RefusedError::Keyring)?;
                    trusted.add(name.clone(), key);
                }
                let stamping = terms.stamping;
                self.terms = Some(terms);
                self.committed = Some(Committed {
                    facts: *facts,
                    keyring: trusted,
                    stamping,
                    entries: BTreeMap::new(),
                });
                done(Answer::Done)
            }
            Request::Recorded(recording) => {
                let committed = self.committed()?;
                let facts = &mut committed.facts;
                if facts.plan.network != Network::Recorded || !committed.entries.is_empty() {
                    return Err(RefusedError::Unrecorded);
                }
                facts.plan = facts.plan.clone().replaying(*recording);
                facts.parameters.network = facts.plan.network;
                done(Answer::Done)
            }
            Request::Seal => self.seal(handed_over(frame.file)?),
            Request::Known => {
                self.known(handed_over(frame.file)?, &frame.tail)?;
                done(Answer::Done)
            }
            Request::Index => Ok((Answer::Made, self.index(frame.file)?)),
            Request::Rebuilt {
                digest,
                file_name,
                signature,
            } => {
                let package = handed_over(frame.file)?;
                if package.digest()? != digest {
                    return Err(RefusedError::OtherBytes { file_name });
                }
                let line = self.rebuilt(&package, digest, &file_name, signature)?;
                Ok((Answer::Made, line))
            }
        }
    }

    fn committed(&mut self) -> Result<&mut Committed, RefusedError> {
        self.committed.as_mut().ok_or(RefusedError::Uncommitted)
    }

    /// Signs a package that came out, and states of what.
    fn seal(&mut self, package: Package) -> Result<(Answer, Vec<u8>), RefusedError> {
        let committed = self.committed.as_mut().ok_or(RefusedError::Uncommitted)?;
        let mut entry = committed.entry(&package)?;
        let seal = package.seal(&self.signer, committed.facts.parameters.epoch())?;
        entry.size = seal.size;
        let key = Some(self.signer.key());
        let file_name = entry.file_name();
        let line = committed
            .facts
            .line(&file_name, seal.digest, VERSION, key)?;
        committed.entries.insert(entry.info.name.clone(), entry);
        let answer = Answer::Sealed {
            digest: seal.digest,
            signature: hex::encode(seal.signature),
        };
        Ok((answer, line))
    }

    /// Takes a package for what came out of the same build earlier, by what was stated then.
    fn known(&mut self, package: Package, line: &[u8]) -> Result<(), RefusedError> {
        let own = self.signer.keyring();
        let public = self.signer.public().clone();
        let committed = self.committed()?;
        let entry = committed.entry(&package)?;
        // The control member as it was read, whatever the file holds when it is hashed.
        package.verify(&own)?;
        let digest = package.digest()?;
        if !committed.facts.are_stated(line, &digest, Some(&public)) {
            return Err(RefusedError::OtherStatement {
                package: entry.file_name(),
            });
        }
        committed.entries.insert(entry.info.name.clone(), entry);
        Ok(())
    }

    /// The index that is there, with what came out.
    fn index(&mut self, before: Option<File>) -> Result<Vec<u8>, RefusedError> {
        let committed = self.committed.as_ref().ok_or(RefusedError::Uncommitted)?;
        let before = match before {
            None => None,
            Some(file) => {
                let mut bytes = Vec::new();
                file.take(MAXIMUM_INDEX + 1)
                    .read_to_end(&mut bytes)
                    .map_err(RefusedError::Read)?;
                if bytes.len() as u64 > MAXIMUM_INDEX {
                    return Err(RefusedError::LargeIndex);
                }
                // What this key does not vouch for yet, it must not begin to vouch for.
                let path = Path::new(FILE_NAME);
                Some(Index::from_bytes(path, &bytes, Some(&committed.keyring))?)
            }
        };
        let entries = committed.entries.values().cloned();
        let joined = joined(before.as_ref(), entries, committed.stamping);
        let index = joined.or(before).unwrap_or_default();
        Ok(index.to_bytes([&self.signer], committed.facts.parameters.epoch())?)
    }

    fn rebuilt(
        &self,
        package: &Package,
        digest: Digest,
        file_name: &str,
        signature: Signature,
    ) -> Result<Vec<u8>, RefusedError> {
        let info = package.info();
        let identities = package.identities();
        let rebuild = Rebuild {
            package: info.name.clone(),
            version: info.version.clone(),
            arch: info.arch.clone(),
            identities: identities.iter().map(ToString::to_string).collect(),
            signature,
            builder: Builder {
                id: LOCAL_BUILDER.to_owned(),
                version: BTreeMap::from([("polpo".to_owned(), VERSION.to_owned())]),
            },
        };
        Ok(rebuild.sign(file_name, digest, self.signer.key())?)
    }
}

impl Committed {
    /// The entry in an index of a package, if it is one that was to be made and none was before.
    fn entry(&self, package: &Package) -> Result<IndexEntry, RefusedError> {
        let (info, recipe) = (package.info(), &self.facts.recipe);
        let is_planned = info.arch == recipe.arch.apk()
            && recipe
                .packages()
                .any(|one| (&one.name, &one.full_version) == (&info.name, &info.version));
        if !is_planned {
            return Err(RefusedError::OtherPackage {
                name: info.name.clone(),
                version: info.version.clone(),
                arch: info.arch.clone(),
                recipe: recipe.package.name.clone(),
            });
        }
        let entry = IndexEntry::of(package);
        let of_package = || entry.file_name();
        if package.extras().get(RECIPE_FILE) != Some(&recipe_record(recipe)?) {
            return Err(RefusedError::OtherRecipe {
                package: of_package(),
            });
        }
        if info.build_time.unwrap_or(0) != self.facts.parameters.source_date_epoch {
            return Err(RefusedError::OtherTime {
                package: of_package(),
            });
        }
        if self.entries.contains_key(&info.name) {
            return Err(RefusedError::Twice {
                package: of_package(),
            });
        }
        Ok(entry)
    }
}

fn handed_over(file: Option<File>) -> Result<Package, RefusedError> {
    let file = file.ok_or(RefusedError::NoFile)?;
    Ok(Package::from_file(Path::new(HANDED_OVER), file)?)
}
