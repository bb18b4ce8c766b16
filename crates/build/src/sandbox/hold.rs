//! A guest that is mounted once and used by many sandboxes, one after the other.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::launch::StartFiles;
use super::preflight::{InitFailure, SandboxError};
use super::{Emulator, Entrance, INIT_ARGUMENT, InitProgram, Restrictions, Root, Specification};

/// A root ready for sandboxes. An overlay stays mounted until this is dropped, in namespaces of a
/// process that does nothing else: mounting and unmounting hundreds of trees costs more than a step.
///
/// The kernel takes the thread that makes this for the process's parent: it must live as long.
#[derive(Debug)]
pub struct Held {
    root: Root,
    emulator: Option<Emulator>,
    holder: Option<Child>,
    /// Whose namespaces are entered, where they are another's.
    joined: Option<u32>,
}

impl Held {
    /// Makes the root ready. `scratch` is a folder that only this user can enter.
    ///
    /// # Errors
    /// The host refuses the namespaces or the overlay.
    pub fn new(init: &InitProgram, root: Root, scratch: &Path) -> Result<Held, SandboxError> {
        Held::emulated(init, root, None, scratch)
    }

    /// The same for programs that need `emulator`.
    ///
    /// # Errors
    /// As [`Held::new`]; or the host lets nobody but root register an emulator.
    pub fn emulated(
        init: &InitProgram,
        root: Root,
        emulator: Option<Emulator>,
        scratch: &Path,
    ) -> Result<Held, SandboxError> {
        if matches!(root, Root::Folder { .. }) {
            return Ok(Held {
                root,
                emulator,
                holder: None,
                joined: None,
            });
        }
        let files = StartFiles::within(scratch)?;
        files.write(&Specification {
            parent: std::process::id(),
            entrance: Entrance::Fresh(root.clone(), emulator.clone()),
            bubblewrap: Default::default(),
            arguments: Vec::new(),
            command: Vec::new(),
            arguments_file: files.arguments.clone(),
            status: files.status.clone(),
            failure: files.failure.clone(),
            gateway: None,
            restrictions: Restrictions::default(),
        })?;
        let program = &init.program;
        let mut child = Command::new(program)
            .args(&init.arguments)
            .arg(INIT_ARGUMENT)
            .arg(&files.specification)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(SandboxError::at("start", program))?;
        let ready = child
            .stdout
            .take()
            .and_then(|mut output| output.read_exact(&mut [0]).ok());
        let held = Held {
            root,
            emulator,
            holder: Some(child),
            joined: None,
        };
        if ready.is_some() {
            return Ok(held);
        }
        let failure = fs::read(&files.failure)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<InitFailure>(&bytes).ok());
        Err(failure.map_or_else(
            || SandboxError::NotInit {
                program: program.clone(),
            },
            SandboxError::from,
        ))
    }

    /// A folder, as it is: there is nothing to mount.
    pub fn folder(path: impl Into<PathBuf>, read_only: bool) -> Held {
        let path = path.into();
        Held {
            root: Root::Folder { path, read_only },
            emulator: None,
            holder: None,
            joined: None,
        }
    }

    /// Another root for sandboxes that can see this one, too, as long as it is there.
    pub(super) fn beside(&self, root: Root) -> Held {
        Held {
            root,
            emulator: None,
            holder: None,
            joined: self.holder.as_ref().map(Child::id),
        }
    }

    /// What is `/`.
    pub fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn entrance(&self) -> Entrance {
        match self.holder.as_ref().map(Child::id).or(self.joined) {
            Some(holder) => Entrance::Join(holder),
            None => Entrance::Fresh(self.root.clone(), self.emulator.clone()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}
