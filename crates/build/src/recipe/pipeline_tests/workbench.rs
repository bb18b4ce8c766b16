//! Running pipelines beside programs that only write down how they are called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::super::{Action, Step};
use super::resolved;

/// A folder in which `/home/build` of the scripts lies, and programs that only write down how they
/// are called.
pub(super) struct Workbench(pub(super) tempfile::TempDir);

impl Workbench {
    pub(super) fn new(programs: &[&str]) -> Workbench {
        let bench = Workbench(tempfile::tempdir().unwrap());
        for program in programs {
            bench.program(program, "");
        }
        bench
    }

    /// A program that does `more` after it has written down how it is called.
    pub(super) fn program(&self, name: &str, more: &str) {
        let path = self.0.path().join("programs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let log = self.0.path().join("log");
        let text = format!(
            "#!/bin/sh\n{{ printf '%s' {name}; for a; do printf ' <%s>' \"$a\"; done; printf '\\n'; }} >> '{}'\n{more}\n",
            log.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("build").join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs `pipeline`: whether it succeeded, and what was called and printed.
    pub(super) fn run(&self, pipeline: &str, with: &[(&str, &str)]) -> (bool, String) {
        let _ = fs::remove_file(self.0.path().join("log"));
        let home = self.path("");
        fs::create_dir_all(&home).unwrap();
        let here = home.display().to_string();
        let here = here.trim_end_matches('/');
        let with = with
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut said = String::new();
        let succeeded = self.steps(&resolved(pipeline, &with.collect()), here, &mut said);
        let log = fs::read_to_string(self.0.path().join("log")).unwrap_or_default();
        (succeeded, (log + &said).replace(here, "/home/build"))
    }

    pub(super) fn steps(&self, steps: &[Step], here: &str, said: &mut String) -> bool {
        let path = format!(
            "{}:{}",
            self.0.path().join("programs").display(),
            std::env::var("PATH").unwrap()
        );
        let at = |text: &str| {
            let root = self.0.path().display();
            text.replace("/home/build", here)
                .replace("/root/", &format!("{root}/root/"))
                .replace("/var/cache/melange", &format!("{root}/cache"))
        };
        steps.iter().all(|step| {
            if let Action::Run { script } = &step.action {
                let environment = step
                    .environment
                    .iter()
                    .map(|(name, value)| (name, at(value)));
                let done = Command::new("bash")
                    .args(["-c", &format!("set -eo pipefail\n{}\nexit 0", at(script))])
                    .current_dir(here)
                    .envs(environment)
                    .env("PATH", &path)
                    .env("HOME", here)
                    .env("SOURCE_DATE_EPOCH", "7")
                    .env_remove("RUSTFLAGS")
                    .output()
                    .unwrap();
                *said += &String::from_utf8_lossy(&done.stdout);
                *said += &String::from_utf8_lossy(&done.stderr);
                if !done.status.success() {
                    return false;
                }
            }
            self.steps(&step.steps, here, said)
        })
    }

    pub(super) fn passes(&self, pipeline: &str, with: &[(&str, &str)]) -> String {
        let (succeeded, said) = self.run(pipeline, with);
        assert!(succeeded, "{pipeline}: {said}");
        said
    }
}
