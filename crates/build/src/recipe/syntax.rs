//! Whether a shell can read a script, asked of the host's bash before anything is built.
//!
//! Steps run in the guest's own shell, which is met much later. What bash can't read no usual shell
//! reads; where the host has no bash, the step tells.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use base::Digest;

use crate::sandbox::in_path;

/// The host's bash.
#[derive(Debug)]
pub struct Bash {
    program: PathBuf,
    /// What it said of the scripts that it was shown already.
    said: Mutex<BTreeMap<Digest, Option<String>>>,
}

impl Bash {
    /// The one in `PATH`, if there is one.
    pub fn find() -> Option<Bash> {
        Some(Bash {
            program: in_path("bash")?,
            said: Mutex::default(),
        })
    }

    /// What bash has against `script`, which it reads and does not run; `None` too if it can't be
    /// asked.
    pub(super) fn objection(&self, script: &str) -> Option<String> {
        let digest = Digest::of(script.as_bytes());
        if let Ok(said) = self.said.lock()
            && let Some(objection) = said.get(&digest)
        {
            return objection.clone();
        }
        // A script may switch on patterns such as `!(a)`, and bash does not run what does so.
        let objection = self
            .ask(script, false)
            .and_then(|objection| self.ask(script, true).map(|_| objection));
        if let Ok(mut said) = self.said.lock() {
            said.insert(digest, objection.clone());
        }
        objection
    }

    fn ask(&self, script: &str, patterns: bool) -> Option<String> {
        const OPTIONS: [&str; 2] = ["-O", "extglob"];
        let mut command = Command::new(&self.program);
        command.args(["--noprofile", "--norc"]);
        if patterns {
            command.args(OPTIONS);
        }
        let mut child = command
            // A file's lines are counted.
            .args(["-n", "/dev/stdin"])
            // Where bash looks for scripts of its caller's, and for the language of what it says.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        // It may end before it has read all.
        let _ = child.stdin.take()?.write_all(script.as_bytes());
        let output = child.wait_with_output().ok()?;
        // Each line is `/dev/stdin: line 3: syntax error near unexpected token `fi'`, or a warning; not
        // all that bash can't read makes it fail.
        let text = String::from_utf8_lossy(&output.stderr);
        let mut told = text.lines().filter_map(|line| line.split_once(": line "));
        let (_, objection) = told.find(|(_, told)| !told.contains(": warning: "))?;
        Some(format!("line {objection}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_tells_what_it_can_not_read_and_runs_nothing() {
        let bash = Bash::find().expect("bash must be installed for these tests");
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let traced = format!("echo x > {0}; $(echo x > {0})\n", trace.display());
        for (script, said) in [
            (
                "if true; then",
                Some("line 2: syntax error: unexpected end of file"),
            ),
            (
                "if [[ uname -m == 'x86_64']]; then\n  echo \"aarch64\"\nfi",
                Some("line 1: conditional binary operator expected"),
            ),
            (
                "echo \"open",
                Some("line 1: unexpected EOF while looking for matching `\"'"),
            ),
            (
                "echo )",
                Some("line 1: syntax error near unexpected token `)'"),
            ),
            ("cat <<EOF\nx", None), // a warning
            (
                "#!/bin/bash\nset -e\nfor x in a b; do echo $x; done # {",
                None,
            ),
            ("shopt -s extglob; rm -r !(a|b)", None),
            ("if !(true); then x; fi", None),
            ("a=(1 2); [[ ${a[0]} =~ ^1 ]] && diff <(x) <(y)", None),
            ("", None),
        ] {
            let objection = bash.objection(script);
            assert_eq!(objection.as_deref(), said, "{script}");
        }
        for end in ["", "if", "fi"] {
            let _ = bash.objection(&format!("{traced}{end}"));
        }
        assert!(!trace.exists());
    }
}
