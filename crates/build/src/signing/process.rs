//! The builder's side.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use apk::index::Stamping;
use apk::signature::Keyring;
use attest::rebuild::Signature;
use base::Digest;
use key::{KeyError, PublicKey};
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};

use super::SIGNER_ARGUMENT;
use super::protocol::{self, Answer, Frame, IndexTerms, Purpose, Request};
use crate::provenance::BuildFacts;
use crate::recording::Recording;

/// The program that is the signer: one that calls [`serve_if_requested`](super::serve_if_requested)
/// before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerProgram {
    /// Its path.
    pub program: PathBuf,
    /// What comes before its own arguments; mostly nothing.
    pub arguments: Vec<OsString>,
    /// The user and the group that it runs as, if they are others than the builder's: only root can
    /// ask for that.
    pub user: Option<(u32, u32)>,
}

/// What makes a package a signed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What goes in front of it.
    pub signature: Vec<u8>,
    /// SHA-256 of the whole.
    pub digest: Digest,
    /// The signed statement of how it was made, a line.
    pub statement: Vec<u8>,
}

/// Nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The process can't be started.
    #[error("the signer `{program}` can't be started: {source}", program = program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can't open the key.
    #[error("{reason}")]
    Key {
        /// Why not.
        reason: String,
    },
    /// It can't be run as this user.
    #[error(
        "the signer can't be started as the user {uid}: {source}; only root can choose another user for it"
    )]
    User {
        /// The user.
        uid: u32,
        /// Why not.
        source: io::Error,
    },
    /// It is gone.
    #[error(
        "the signer is gone (something killed it, or it failed): nothing was put into the repository; build again"
    )]
    Gone,
    /// It can't be talked to.
    #[error("the signer can't be asked: {0}")]
    Talk(#[source] io::Error),
    /// It answers something else.
    #[error(
        "the signer answers what was not asked; are builder and signer the same version of polpo?"
    )]
    Answer,
    /// It won't.
    #[error("the signer refuses: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// Its public key is none.
    #[error("the signer's public key can't be used: {0}")]
    Public(#[source] KeyError),
    /// A file that it is to read can't be opened.
    #[error("`{path}` can't be handed to the signer: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A signer that runs, until this is dropped.
#[derive(Debug)]
pub struct SigningProcess {
    name: String,
    public: PublicKey,
    line: Line,
}

/// A process and the way to it.
#[derive(Debug)]
struct Line {
    stream: Mutex<UnixStream>,
    child: Child,
}

impl SignerProgram {
    /// The program that is running now.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn this() -> Result<SignerProgram, SigningError> {
        let program = std::env::current_exe().map_err(|source| SigningError::Start {
            program: PathBuf::from("/proc/self/exe"),
            source,
        })?;
        Ok(SignerProgram {
            program,
            arguments: Vec::new(),
            user: None,
        })
    }
}

impl SigningProcess {
    /// Starts the signer and waits until it has opened the key, for which it may ask for a password
    /// on the terminal.
    ///
    /// # Errors
    /// It can't be started, or it can't open the key.
    pub fn start(
        program: &SignerProgram,
        key: &Path,
        purpose: Purpose,
    ) -> Result<SigningProcess, SigningError> {
        let failed = |source| SigningError::Start {
            program: program.program.clone(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let copy = unreadable(&program.program).map_err(failed)?;
        let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
        command
            .arg0(&program.program)
            .args(&program.arguments)
            .args([SIGNER_ARGUMENT, purpose.word()])
            .arg(key)
            // Its input stays ours: a password may be typed where we are called on a terminal.
            .stdout(Stdio::from(OwnedFd::from(theirs)));
        if let Some((uid, gid)) = program.user {
            // No further groups are kept.
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().map_err(|source| match program.user {
            Some((uid, _)) if source.kind() == io::ErrorKind::PermissionDenied => {
                SigningError::User { uid, source }
            }
            _ => failed(source),
        })?;
        // It would keep the other end open.
        drop(command);
        drop(copy);
        let line = Line {
            stream: Mutex::new(ours),
            child,
        };
        let asked = line.ask(&Request::Name, &[], None);
        let asked = asked.map_err(|error| match error {
            SigningError::Refused { reason } => SigningError::Key { reason },
            error => error,
        })?;
        let Answer::Name { name, public } = asked.head else {
            return Err(SigningError::Answer);
        };
        let public = PublicKey::from_pem(&public).map_err(SigningError::Public)?;
        Ok(SigningProcess { name, public, line })
    }

    /// The file name of the public half, which packages name.
    pub fn key_name(&self) -> &str {
        &self.name
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A keyring of this key alone.
    pub fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add(self.name.clone(), self.public.clone());
        keyring
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.line.child.id()
    }

    /// Commits to what is going to be carried out; `keyring` tells who may have signed the index
    /// that the packages join, and `stamping` what the next one is stamped with. These two are the
    /// same each time, or the signer refuses.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn begin(
        &self,
        facts: &BuildFacts,
        keyring: &Keyring,
        stamping: Stamping,
    ) -> Result<(), SigningError> {
        let keys = keyring.keys();
        let request = Request::Begin {
            facts: Box::new(facts.clone()),
            terms: IndexTerms {
                keyring: keys
                    .map(|(name, key)| (name.to_owned(), key.to_pem()))
                    .collect(),
                stamping,
            },
        };
        self.done(&request, &[], None)
    }

    /// Says what the steps got from the network, of a build that records it.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn recorded(&self, recording: &Recording) -> Result<(), SigningError> {
        let request = Request::Recorded(Box::new(recording.clone()));
        self.done(&request, &[], None)
    }

    /// Has the package at `path` signed, which came out of what was committed to.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn seal(&self, path: &Path) -> Result<Sealed, SigningError> {
        let Frame { head, tail, .. } = self.line.ask(&Request::Seal, &[], Some(&open(path)?))?;
        let Answer::Sealed { digest, signature } = head else {
            return Err(SigningError::Answer);
        };
        Ok(Sealed {
            signature: hex::decode(signature).map_err(|_| SigningError::Answer)?,
            digest,
            statement: tail,
        })
    }

    /// Shows the signed package at `path`, which came out of the same build earlier, with the
    /// statement that the signer made of it then.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn known(&self, path: &Path, statement: &[u8]) -> Result<(), SigningError> {
        self.done(&Request::Known, statement, Some(&open(path)?))
    }

    /// The signed index of the packages that were shown since [`SigningProcess::begin`] and of what
    /// is in the index at `before`, stamped.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn index(&self, before: Option<&Path>) -> Result<Vec<u8>, SigningError> {
        let before = before.map(open).transpose()?;
        self.made(&Request::Index, before.as_ref())
    }

    /// The signed statement that the package at `path`, with this digest, was built again, a line
    /// without its end.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn rebuilt(
        &self,
        path: &Path,
        digest: Digest,
        file_name: &str,
        signature: Signature,
    ) -> Result<Vec<u8>, SigningError> {
        let request = Request::Rebuilt {
            digest,
            file_name: file_name.to_owned(),
            signature,
        };
        self.made(&request, Some(&open(path)?))
    }

    fn done(
        &self,
        request: &Request,
        tail: &[u8],
        file: Option<&File>,
    ) -> Result<(), SigningError> {
        match self.line.ask(request, tail, file)?.head {
            Answer::Done => Ok(()),
            _ => Err(SigningError::Answer),
        }
    }

    fn made(&self, request: &Request, file: Option<&File>) -> Result<Vec<u8>, SigningError> {
        match self.line.ask(request, &[], file)? {
            Frame {
                head: Answer::Made,
                tail,
                ..
            } => Ok(tail),
            _ => Err(SigningError::Answer),
        }
    }
}

impl Line {
    fn ask(
        &self,
        request: &Request,
        tail: &[u8],
        file: Option<&File>,
    ) -> Result<Frame<Answer>, SigningError> {
        let line = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => SigningError::Gone,
            _ => SigningError::Talk(error),
        };
        protocol::write(&line, request, tail, file).map_err(failed)?;
        let frame = protocol::read::<Answer>(&line).map_err(failed)?;
        let frame = frame.ok_or(SigningError::Gone)?;
        match frame.head {
            Answer::Refused(reason) => Err(SigningError::Refused { reason }),
            _ => Ok(frame),
        }
    }
}

impl Drop for Line {
    /// Lets the signer end, and waits for it.
    fn drop(&mut self) {
        let line = self
            .stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // It ends as its input does; if that fails, it is gone.
        let _ = line.shutdown(Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// A copy of a program, in memory, that can be executed and neither read nor changed. From the first
/// instruction of a process that runs what its user can't read, the kernel keeps that user's other
/// processes out of its memory; what a process does itself about that comes an instant late.
fn unreadable(program: &Path) -> io::Result<OwnedFd> {
    let found = find(program);
    let mut source = File::open(found.as_deref().unwrap_or(program))?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Older kernels do not know that this is to be executed, and need not be told.
    let copy = memfd_create("polpo", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("polpo", flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut source, &mut copy)?;
    fchmod(&copy, Mode::from_raw_mode(0o111))?;
    fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(copy.into())
}

/// Where a program that is named without a folder is.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return None;
    }
    let paths = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&paths).map(|folder| folder.join(program));
    places.find(|place| place.is_file())
}

fn open(path: &Path) -> Result<File, SigningError> {
    File::open(path).map_err(|source| SigningError::Open {
        path: path.to_owned(),
        source,
    })
}
