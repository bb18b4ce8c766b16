//! The program of a guest's first process, taken apart so that it runs where none of its libraries
//! is installed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use object::read::elf::{FileHeader, ProgramHeader};
use serde::{Deserialize, Serialize};

use super::{INIT_ARGUMENT, InitProgram, SandboxError};
use crate::signing;

/// The word that makes `sandbox-init` tell of what it consists.
pub(super) const PARTS: &str = "parts";

/// Where the program is found in a guest.
pub(super) const GUEST_FOLDER: &str = "/run/polpo";

/// Its name there.
const NAME: &str = "polpo";

/// The files that a program consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    /// The program itself, what loads it, and its libraries.
    files: Vec<PathBuf>,
}

/// In the program: says which files the kernel has mapped for it, and ends.
pub(super) fn tell() -> ! {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| {
        // address permissions offset device inode path
        let path = line.split_whitespace().nth(5)?;
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    let files: BTreeSet<PathBuf> = std::env::current_exe().into_iter().chain(mapped).collect();
    let program = Program {
        files: files.into_iter().collect(),
    };
    let told =
        serde_json::to_vec(&program).is_ok_and(|json| std::io::stdout().write_all(&json).is_ok());
    std::process::exit(i32::from(!told));
}

impl Program {
    /// Asks `init` for its parts, and puts them into `folder`. What is started in a guest, where the
    /// folder is [`GUEST_FOLDER`].
    ///
    /// # Errors
    /// It does not answer, or its files can't be copied.
    pub(super) fn place(init: &InitProgram, folder: &Path) -> Result<Vec<String>, SandboxError> {
        let output = signing::command(&init.program)
            .args(&init.arguments)
            .args([INIT_ARGUMENT, PARTS])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(SandboxError::at("start", &init.program))?;
        let parts = serde_json::from_slice::<Program>(&output.stdout).ok();
        let Some(parts) = parts.filter(|parts| !parts.files.is_empty()) else {
            return Err(SandboxError::NotInit {
                program: init.program.clone(),
            });
        };
        let program = init
            .program
            .canonicalize()
            .map_err(SandboxError::at("read", &init.program))?;
        for file in &parts.files {
            let name = match file.file_name() {
                Some(name) if *file != program => name,
                _ => NAME.as_ref(),
            };
            let bytes = fs::read(file).map_err(SandboxError::at("read", file))?;
            let to = folder.join(name);
            fs::write(&to, loaded(&bytes)).map_err(SandboxError::at("write", &to))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&to, mode).map_err(SandboxError::at("set the mode of", &to))?;
        }
        let inside = |name: &str| format!("{GUEST_FOLDER}/{name}");
        let bytes = fs::read(&program).map_err(SandboxError::at("read", &program))?;
        let mut command = Vec::new();
        if let Some(loader) = interpreter(&bytes) {
            let loader = loader
                .canonicalize()
                .map_err(SandboxError::at("read", &loader))?;
            let name = loader.file_name().unwrap_or_default().to_string_lossy();
            command.extend([
                inside(&name),
                "--library-path".to_owned(),
                GUEST_FOLDER.to_owned(),
            ]);
        }
        command.push(inside(NAME));
        command.extend(
            init.arguments
                .iter()
                .map(|argument| argument.to_string_lossy().into_owned()),
        );
        Ok(command)
    }
}

/// The program that loads an ELF file, if it needs one.
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    type Header = object::elf::FileHeader64<object::Endianness>;
    let header = Header::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let path = segments
        .iter()
        .find_map(|segment| segment.interpreter(endian, bytes).ok().flatten())?;
    std::str::from_utf8(path).ok().map(PathBuf::from)
}

/// Whether there is an ELF program at `path` that needs nothing else to be loaded.
pub(crate) fn is_static(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF") && interpreter(&bytes).is_none())
}

/// What of an ELF file is loaded, without what only debuggers read.
fn loaded(bytes: &[u8]) -> Vec<u8> {
    type Header = object::elf::FileHeader64<object::Endianness>;
    /// `e_shoff`, and `e_shentsize`, `e_shnum` and `e_shstrndx` (elf(5)).
    const SECTIONS: [std::ops::Range<usize>; 2] = [0x28..0x30, 0x3a..0x40];
    let end = || {
        let header = Header::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, bytes).ok()?;
        let ends = segments.iter().map(|segment| {
            let end = segment
                .p_offset(endian)
                .checked_add(segment.p_filesz(endian))?;
            usize::try_from(end).ok().filter(|end| *end <= bytes.len())
        });
        ends.collect::<Option<Vec<usize>>>()?.into_iter().max()
    };
    let Some(end) = end() else {
        return bytes.to_vec();
    };
    let mut kept = bytes[..end.max(64)].to_vec();
    for range in SECTIONS {
        kept[range].fill(0);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_is_loaded_without_what_debuggers_read() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let less = loaded(&own);
        assert!(less.len() < own.len());
        assert!(interpreter(&less).is_some_and(|loader| loader.is_file()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, less).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = Command::new(path).arg("--help").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"));
        assert_eq!(loaded(b"no ELF file"), b"no ELF file");
    }
}
