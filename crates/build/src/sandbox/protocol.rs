//! What polpo and the [agent](super::agent) in a container or a virtual machine say to each other.
//!
//! Both directions are frames: a letter, the length of what follows in four bytes, the lowest first,
//! and that.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Restrictions;
use super::bounds::Usage;
use super::identity::OneIdentity;
use super::ownership::Left;
use super::preflight::InitFailure;

/// No frame is longer; a step's script is the longest thing there is.
const LONGEST: usize = 64 << 20;

/// What a stream of bytes or a copy of a file is cut into.
pub(super) const CHUNK: usize = 32 << 10;

/// Once, before anything else: what all steps have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// How the agent's program is started again, for each step.
    pub(super) again: Vec<String>,
    /// Whom steps run as, in a user namespace of their own.
    pub(super) uid: u32,
    /// And its group.
    pub(super) gid: u32,
    /// Whether others than root are wanted there.
    pub(super) further_ids: bool,
    /// What they may do there.
    pub(super) capabilities: Vec<String>,
    pub(super) restrictions: Restrictions,
    /// The folder with the socket that takes the listening socket of a gateway.
    pub(super) gateway: Option<String>,
    /// Folders that are root's again at the end, whomever steps gave what is in them.
    pub(super) give_back: Vec<PathBuf>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Text for the shell.
    pub(super) script: String,
    /// The whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// Whether it reads what is typed.
    pub(super) typed: bool,
}

/// What polpo says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Setup(Setup),
    Run(Order),
    /// What was typed; nothing is its end.
    Typed(Vec<u8>),
    /// So many bytes on the exchange disk are to be unpacked into the workspace.
    Take(u64),
    /// The workspace is to be put onto the exchange disk: everything, or what packages need.
    Give(bool),
    /// What is in the folder is to be root's, and whose it was to be told.
    Collect(PathBuf),
    /// End, and with you everything inside.
    Quit,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It is set up; why there is nobody but root where steps run, if so.
    Ready(Option<OneIdentity>),
    /// The step printed this.
    Printed(Vec<u8>),
    /// What its processes take now.
    Usage(Usage),
    /// The step ended with this code, and so did all that it had started.
    Ended(i32),
    /// So many bytes of the exchange disk are the workspace.
    Given(u64),
    /// What was others' than root's.
    Collected(Left),
    /// The exchange failed, for this reason.
    Refused(String),
    /// bubblewrap has made no sandbox, and said this.
    Unmade(String),
    /// The step could not be started, or what it left behind not be ended.
    Failed(InitFailure),
}

impl Request {
    /// # Errors
    /// It can't be written.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Request::Setup(setup) => write(to, b'S', &serde_json::to_vec(setup)?),
            Request::Run(order) => write(to, b'R', &serde_json::to_vec(order)?),
            Request::Typed(bytes) => write(to, b'T', bytes),
            Request::Take(size) => write(to, b'I', &serde_json::to_vec(size)?),
            Request::Give(everything) => write(to, b'O', &serde_json::to_vec(everything)?),
            Request::Collect(folder) => write(to, b'C', &serde_json::to_vec(folder)?),
            Request::Quit => write(to, b'Q', &[]),
        }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
        let mut head = [0; 5];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut body = vec![0; length(&head)?];
        from.read_exact(&mut body)?;
        match head[0] {
            b'S' => Ok(Some(Request::Setup(serde_json::from_slice(&body)?))),
            b'R' => Ok(Some(Request::Run(serde_json::from_slice(&body)?))),
            b'T' => Ok(Some(Request::Typed(body))),
            b'I' => Ok(Some(Request::Take(serde_json::from_slice(&body)?))),
            b'O' => Ok(Some(Request::Give(serde_json::from_slice(&body)?))),
            b'C' => Ok(Some(Request::Collect(serde_json::from_slice(&body)?))),
            b'Q' => Ok(Some(Request::Quit)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Report {
    /// # Errors
    /// It can't be written.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Report::Ready(told) => write(to, b'r', &serde_json::to_vec(told)?),
            Report::Printed(bytes) => write(to, b'p', bytes),
            Report::Usage(usage) => write(to, b'u', &serde_json::to_vec(usage)?),
            Report::Ended(code) => write(to, b'e', &serde_json::to_vec(code)?),
            Report::Given(size) => write(to, b'g', &serde_json::to_vec(size)?),
            Report::Collected(owned) => write(to, b'c', &serde_json::to_vec(owned)?),
            Report::Refused(reason) => write(to, b'n', &serde_json::to_vec(reason)?),
            Report::Unmade(message) => write(to, b'b', &serde_json::to_vec(message)?),
            Report::Failed(failure) => write(to, b'f', &serde_json::to_vec(failure)?),
        }
    }
}

/// Reports out of bytes that come as they please.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pending: Vec<u8>,
}

impl Reports {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole one.
    ///
    /// # Errors
    /// The bytes are none: something else than the agent has written them.
    pub(super) fn next(&mut self) -> io::Result<Option<Report>> {
        let Some(head) = self.pending.first_chunk::<5>() else {
            return Ok(None);
        };
        let end = 5 + length(head)?;
        let Some(body) = self.pending.get(5..end) else {
            return Ok(None);
        };
        fn of<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
            Ok(serde_json::from_slice(body)?)
        }
        let report = match head[0] {
            b'r' => Report::Ready(of(body)?),
            b'p' => Report::Printed(body.to_vec()),
            b'u' => Report::Usage(of(body)?),
            b'e' => Report::Ended(of(body)?),
            b'g' => Report::Given(of(body)?),
            b'c' => Report::Collected(of(body)?),
            b'n' => Report::Refused(of(body)?),
            b'b' => Report::Unmade(of(body)?),
            b'f' => Report::Failed(of(body)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        self.pending.drain(..end);
        Ok(Some(report))
    }
}

fn length(head: &[u8; 5]) -> io::Result<usize> {
    let [_, bytes @ ..] = *head;
    let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(length)
}

fn write(to: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= LONGEST)
        .ok_or(io::ErrorKind::FileTooLarge)?;
    let mut frame = Vec::with_capacity(5 + body.len());
    frame.push(kind);
    frame.extend(length.to_le_bytes());
    frame.extend_from_slice(body);
    to.write_all(&frame)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_out_as_they_went_in_however_they_are_cut() {
        let reports = [
            Report::Ready(None),
            Report::Ready(Some(OneIdentity::NotGiven)),
            Report::Printed(vec![0, 255, b'\n']),
            Report::Printed(Vec::new()),
            Report::Usage(Usage {
                processes: 3,
                bytes: 1 << 40,
                refused: true,
            }),
            Report::Ended(-7),
        ];
        let mut bytes = Vec::new();
        for report in &reports {
            report.write(&mut bytes).unwrap();
        }
        for size in 1..=bytes.len() {
            let mut reader = Reports::default();
            let mut read = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.push(chunk);
                while let Some(report) = reader.next().unwrap() {
                    read.push(report);
                }
            }
            assert_eq!(read, reports, "{size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_memory_is_taken() {
        let mut reader = Reports::default();
        reader.push(b"p\xff\xff\xff\xff");
        assert!(reader.next().is_err());
        let mut reader = Reports::default();
        reader.push(b"?\0\0\0\0");
        assert!(reader.next().is_err());
        assert!(Request::read(&mut &b"R\xff\xff\xff\xff"[..]).is_err());
        assert_eq!(Request::read(&mut &b""[..]).unwrap(), None);
    }
}
