//! A guest that is mounted once and used by many sandboxes, one after the other.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::identity::{Identities, OneIdentity};
use super::launch::StartFiles;
use super::preflight::{InitFailure, SandboxError};
use super::{
    Duty, Emulator, Entrance, INIT_ARGUMENT, InitProgram, Restrictions, Root, Specification,
};
use crate::signing;

/// What `sandbox-init` says when its user namespace is there and has no ids yet.
pub(super) const ASKS: &[u8; 1] = b"i";

/// What it is told when it has some; anything else: it maps its caller itself.
pub(super) const MAPPED: &[u8; 1] = b"m";

/// What it is told when it has none.
pub(super) const NOT_MAPPED: &[u8; 1] = b"n";

/// A root ready for sandboxes. An overlay stays mounted until this is dropped, in namespaces of a
/// process that does nothing else: mounting and unmounting hundreds of trees costs more than a step.
///
/// The kernel takes the thread that makes this for the process's parent: it must live as long.
#[derive(Debug)]
pub struct Held {
    root: Root,
    identities: Result<Identities, OneIdentity>,
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
        match root {
            Root::Folder { path, read_only } => Ok(Held::folder(path, read_only)),
            root => Held::for_steps(init, root, None, false, scratch),
        }
    }

    /// The same for many steps, of programs that need `emulator`. With `further_ids`, there are other
    /// users than root inside, if that can be.
    ///
    /// # Errors
    /// As [`Held::new`]; or the host lets nobody but root register an emulator.
    pub fn for_steps(
        init: &InitProgram,
        root: Root,
        emulator: Option<Emulator>,
        further_ids: bool,
        scratch: &Path,
    ) -> Result<Held, SandboxError> {
        let mut identities = match further_ids {
            true => Identities::of_caller(),
            false => Err(OneIdentity::NotNeeded),
        };
        let files = StartFiles::within(scratch)?;
        files.write(&Specification {
            parent: std::process::id(),
            entrance: Entrance::Fresh(root.clone(), emulator.clone(), identities.is_ok()),
            bubblewrap: Default::default(),
            arguments: Vec::new(),
            duty: Duty::Hold,
            arguments_file: files.arguments.clone(),
            status: files.status.clone(),
            failure: files.failure.clone(),
            gateway: None,
            restrictions: Restrictions::default(),
        })?;
        let program = &init.program;
        let mut child = signing::command(program)
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
        let heard = |child: &mut Child| {
            let mut byte = [0];
            let output = child.stdout.as_mut()?;
            output.read_exact(&mut byte).ok().map(|()| byte)
        };
        if identities.is_ok() && heard(&mut child) == Some(*ASKS) {
            let mapped = identities.and_then(|identities| {
                identities.map(child.id())?;
                Ok(identities)
            });
            let answer = if mapped.is_ok() { MAPPED } else { NOT_MAPPED };
            if let Some(input) = &mut child.stdin {
                // If it is gone, that is seen below.
                let _ = input.write_all(answer);
            }
            identities = mapped;
        }
        let ready = heard(&mut child);
        let held = Held {
            root: root.clone(),
            identities,
            holder: Some(child),
            joined: None,
        };
        if ready.is_some() {
            return Ok(held);
        }
        drop(held);
        if identities == Err(OneIdentity::Refused) {
            // Some were mapped, and others not: nothing more can be done with such a namespace.
            let mut held = Held::for_steps(init, root, emulator, false, scratch)?;
            held.identities = identities;
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
            identities: Err(OneIdentity::NotNeeded),
            holder: None,
            joined: None,
        }
    }

    /// Another root for sandboxes that can see this one, too, as long as it is there.
    pub(super) fn beside(&self, root: Root) -> Held {
        Held {
            root,
            identities: Err(OneIdentity::NotNeeded),
            holder: None,
            joined: self.holder.as_ref().map(Child::id),
        }
    }

    /// What is `/`.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Who there is inside besides root, or why there is nobody.
    ///
    /// # Errors
    /// There is nobody.
    pub fn identities(&self) -> Result<Identities, OneIdentity> {
        self.identities
    }

    pub(super) fn entrance(&self) -> Entrance {
        match self.holder.as_ref().map(Child::id).or(self.joined) {
            Some(holder) => Entrance::Join(holder),
            None => Entrance::Fresh(self.root.clone(), None, false),
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
