use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// A program to run, with what it is to see.
#[derive(Debug)]
pub struct Program {
    command: Command,
    shown: String,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Program {
    /// A program by name or path. Standard input is closed.
    pub fn new(program: impl AsRef<OsStr>) -> Program {
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Program { command, shown }
    }

    /// A program that `scripts/install test` puts into `target/tools`.
    pub fn tool(name: &str) -> Program {
        let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin"));
        Program::new(tools.join(name))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.shown.push(' ');
        self.shown.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        arguments.into_iter().fold(self, Program::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// Runs in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Program {
        self.command.current_dir(folder);
        self
    }

    /// The command beneath, for what this type has no word for.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started: a real program that a test names must be there.
    pub fn run(mut self) -> Finished {
        let output = self.command.output().unwrap_or_else(|error| {
            panic!(
                "{} can't be run: {error}; scripts/install test brings it",
                self.shown
            )
        });
        Finished {
            shown: self.shown,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Copies a program that the test will run, by a process of its own: a file that this one had open for
/// writing, a program that another test starts meanwhile would have open too, and the copy could not be run.
///
/// # Panics
/// When it can't be copied.
pub fn copy_program(from: &Path, to: &Path) {
    Program::new("cp").arg(from).arg(to).run().success();
}

impl Finished {
    /// Passes on a success; fails the test with all that was said otherwise.
    ///
    /// # Panics
    /// When the program failed.
    #[track_caller]
    pub fn success(self) -> Finished {
        assert!(
            self.status.success(),
            "{}: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Passes on a failure with this exit code.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn code(self, code: i32) -> Finished {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.stdout,
            self.stderr
        );
        self
    }
}
