//! Whether a guest can run the shell that every step is for, asked before anything is made.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use archive::tree::Content;

use crate::analyse::Elf;
use crate::guest::Layers;
use crate::sandbox::Bind;

/// What steps are run by.
const SHELL: &str = "/bin/sh";
/// Where packages have it, if `/bin` is a link.
const SHELL_BELOW_USR: &str = "/usr/bin/sh";
/// The kernel follows no more links on the way to a file.
const MOST_LINKS: usize = 40;
/// The kernel looks at no more of a script (`BINPRM_BUF_SIZE`).
const LONGEST_LINE: u64 = 256;
/// How many programs are looked through that name another at their beginning.
const MOST_INTERPRETERS: usize = 4;

/// Why the guest's shell can't be started. Paths are the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellFault {
    /// Nothing is there.
    Missing,
    /// It is a link to what isn't there.
    Dangling {
        /// Where the link leads.
        target: String,
    },
    /// A package has it below `/usr`, and no `/bin` leads there.
    NoRoot,
    /// It is no file that may be executed.
    NotExecutable {
        /// What it is a link to, or itself.
        path: String,
    },
    /// It is there, but not what the kernel runs it with.
    NoInterpreter {
        /// The shell, or what that is run with.
        program: String,
        /// What is missing, such as `/lib64/ld-linux-x86-64.so.2`.
        interpreter: String,
    },
    /// Steps before took it away.
    Removed,
}

impl fmt::Display for ShellFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADD: &str = "add a package that provides one, such as `busybox`, to `contents.packages` of the environment";
        match self {
            ShellFault::NoRoot => write!(
                f,
                "the guest has a shell in /usr/bin, but no /bin that leads there: add the package that lays out the root, such as `baselayout`, to `contents.packages` of the environment"
            ),
            ShellFault::Missing => write!(f, "the guest has no shell ({SHELL}): {ADD}"),
            ShellFault::Dangling { target } => write!(
                f,
                "the guest has no shell: its {SHELL} is a link to {target}, which no package of it has; {ADD}"
            ),
            ShellFault::NotExecutable { path } => write!(
                f,
                "the guest has no shell: its {SHELL} is {path}, which is no file that may be executed; {ADD}"
            ),
            ShellFault::NoInterpreter {
                program,
                interpreter,
            } => write!(
                f,
                "the guest's shell can't run: {program} needs {interpreter}, which no package of it has; add the package that has it, such as the C library, to `contents.packages` of the environment, or a shell that needs none, such as a static busybox"
            ),
            ShellFault::Removed => write!(
                f,
                "the guest's shell ({SHELL}) is gone: a step before this one removed it or what it needs"
            ),
        }
    }
}

/// Looks whether the shell is there, and all that the kernel needs to start it. What lies below one of
/// `binds` is taken to be there.
pub(super) fn check(layers: &Layers, binds: &[Bind]) -> Result<(), ShellFault> {
    let mut program = SHELL.to_owned();
    for _ in 0..MOST_INTERPRETERS {
        let found = match resolve(layers, binds, &program) {
            Found::File { path, place } => (path, place),
            Found::Unknown => return Ok(()),
            Found::Nothing { path } if program == SHELL => {
                let is_below_usr = || {
                    let found = resolve(layers, binds, SHELL_BELOW_USR);
                    path == SHELL && matches!(found, Found::File { .. })
                };
                return Err(match path.as_str() {
                    _ if is_below_usr() => ShellFault::NoRoot,
                    SHELL | SHELL_BELOW_USR => ShellFault::Missing,
                    _ => ShellFault::Dangling { target: path },
                });
            }
            Found::Nothing { path } => {
                return Err(ShellFault::NoInterpreter {
                    program: SHELL.to_owned(),
                    interpreter: path,
                });
            }
        };
        let (path, place) = found;
        let executable = place
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if !executable {
            return Err(ShellFault::NotExecutable { path });
        }
        // Whatever can't be read is left to the kernel.
        match interpreter(&place) {
            Some(interpreter) => match resolve(layers, binds, &interpreter) {
                Found::Nothing { .. } => {
                    return Err(ShellFault::NoInterpreter {
                        program: path,
                        interpreter,
                    });
                }
                _ => program = interpreter,
            },
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The program that runs another: a loader, or what a script begins with.
fn interpreter(place: &Path) -> Option<String> {
    let mut start = Vec::new();
    let file = File::open(place).ok()?;
    file.take(LONGEST_LINE).read_to_end(&mut start).ok()?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word = std::str::from_utf8(line).ok()?.split_whitespace().next()?;
        return word.starts_with('/').then(|| word.to_owned());
    }
    Elf::read(&Content::Disk(place.to_owned()))
        .ok()??
        .interpreter
}

enum Found {
    /// A file: its path in the guest without links, and where its layer has it.
    File { path: String, place: PathBuf },
    /// Nothing is at this path, which `path` led to.
    Nothing { path: String },
    /// Something that is not of the guest's packages.
    Unknown,
}

/// Follows a path of the guest through its layers, as the kernel does in their overlay; no link is
/// followed on this machine.
fn resolve(layers: &Layers, binds: &[Bind], path: &str) -> Found {
    let mut links = 0;
    let mut done: Vec<String> = Vec::new();
    let mut left: Vec<String> = parts(path);
    loop {
        let Some(part) = left.pop() else {
            let path = done.join("/");
            return match layers.find(&path) {
                Some(place) => Found::File {
                    path: format!("/{path}"),
                    place,
                },
                None => Found::Nothing {
                    path: format!("/{path}"),
                },
            };
        };
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(part);
        let path = done.join("/");
        if binds
            .iter()
            .any(|bind| Path::new(&format!("/{path}")).starts_with(&bind.target))
        {
            return Found::Unknown;
        }
        let Some(place) = layers.find(&path) else {
            done.extend(left.into_iter().rev());
            return Found::Nothing {
                path: format!("/{}", done.join("/")),
            };
        };
        if let Ok(target) = std::fs::read_link(&place) {
            links += 1;
            let Some(target) = target.to_str().filter(|_| links <= MOST_LINKS) else {
                return Found::Unknown;
            };
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            left.extend(parts(target));
        }
    }
}

/// The parts of a path, the last first.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .rev()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use base::Digest;
    use store::Store;

    use super::*;
    use crate::guest::GuestError;
    use crate::recipe::Accounts;

    /// A program of this machine that a loader starts.
    const DYNAMIC: &str = "/proc/self/exe";

    /// The layers of trees; a file's text is `-> target` for links, `!` for a program of this machine.
    fn layers(store: &Store, trees: &[&[(&str, &str)]]) -> Layers {
        let made: Vec<(Digest, PathBuf)> = trees
            .iter()
            .map(|files| {
                let key = Digest::of(format!("{files:?}").as_bytes());
                let path = store.tree::<GuestError>(&key, |tree| {
                    for (path, text) in *files {
                        let path = tree.join(path);
                        fs::create_dir_all(path.parent().unwrap()).unwrap();
                        match text.strip_prefix("-> ") {
                            Some(target) => symlink(target, path).unwrap(),
                            None if *text == "!" => {
                                fs::copy(DYNAMIC, path).unwrap();
                            }
                            None => {
                                let (mode, text) = text.split_once(' ').unwrap();
                                fs::write(&path, text).unwrap();
                                let mode = u32::from_str_radix(mode, 8).unwrap();
                                fs::set_permissions(path, fs::Permissions::from_mode(mode))
                                    .unwrap();
                            }
                        }
                    }
                    Ok(())
                });
                (key, path.unwrap())
            })
            .collect();
        Layers::stack(store, &made, &Accounts::default()).unwrap()
    }

    #[test]
    fn what_is_missing_of_a_shell_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let found = |trees: &[&[(&str, &str)]]| match check(&layers(&store, trees), &[]) {
            Ok(()) => "fine".to_owned(),
            Err(fault) => fault.to_string(),
        };
        let loader = Elf::read(&Content::Disk(DYNAMIC.into())).unwrap().unwrap();
        let loader = loader.interpreter.unwrap();
        let at = loader.trim_start_matches('/');
        const ADD: &str = "add a package that provides one, such as `busybox`, to `contents.packages` of the environment";

        assert_eq!(
            found(&[]),
            format!("the guest has no shell (/bin/sh): {ADD}")
        );
        // `/bin` is merged into `/usr/bin`, and nothing is there.
        assert_eq!(
            found(&[&[("bin", "-> usr/bin"), ("usr/bin/env", "755 x")]]),
            format!("the guest has no shell (/bin/sh): {ADD}")
        );
        let no_root = found(&[&[("usr/bin/sh", "-> busybox"), ("usr/bin/busybox", "755 x")]]);
        assert!(no_root.contains("such as `baselayout`"), "{no_root}");
        // Nobody looks at the shell of this machine, which is there.
        assert_eq!(
            found(&[&[("bin", "-> /usr/bin"), ("etc/x", "644 x")]]),
            format!("the guest has no shell (/bin/sh): {ADD}")
        );
        assert_eq!(
            found(&[&[("bin/sh", "-> ../usr/bin/dash")]]),
            format!(
                "the guest has no shell: its /bin/sh is a link to /usr/bin/dash, which no package of it has; {ADD}"
            )
        );
        assert_eq!(
            found(&[&[("bin/sh", "644 echo")]]),
            format!(
                "the guest has no shell: its /bin/sh is /bin/sh, which is no file that may be executed; {ADD}"
            )
        );
        assert!(found(&[&[("bin/sh/x", "755 x")]]).contains("no file that may be executed"));
        for shell in [
            &[("usr/bin/bash", "!"), ("bin/sh", "-> /usr/bin/bash")][..],
            &[("bin/bash", "!"), ("bin/sh", "755 #!/bin/bash -e\n")],
        ] {
            let fault = found(&[shell]);
            let bash = format!("/{}", shell[0].0);
            assert!(
                fault.starts_with(&format!(
                    "the guest's shell can't run: {bash} needs {loader}, which no package of it has; "
                )),
                "{fault}"
            );
            assert_eq!(found(&[shell, &[(at, "755 loader")]]), "fine");
        }
        assert!(
            found(&[&[("bin/sh", "755 #! /bin/busybox sh\n")]])
                .contains("/bin/sh needs /bin/busybox, which no package of it has")
        );

        for fine in [
            &[("bin/busybox", "755 x"), ("bin/sh", "-> busybox")][..],
            &[("usr/bin/sh", "755 x"), ("bin", "-> usr/bin")],
            &[("usr/bin/sh", "755 x"), ("bin", "-> /usr/bin")],
            // What leads in a circle is the kernel's to judge.
            &[("bin/sh", "-> sh")],
            &[("bin/sh", "755 #!/bin/sh\n")],
        ] {
            assert_eq!(found(&[fine]), "fine", "{fine:?}");
        }
        let bind = Bind {
            source: "/bin".into(),
            target: "/bin".to_owned(),
            writable: false,
        };
        assert_eq!(check(&layers(&store, &[]), &[bind]), Ok(()));
    }
}
