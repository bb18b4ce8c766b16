//! git as a program that is told nothing but what polpo tells it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::GitError;

/// No command takes longer.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// What git prints for us is no longer.
const LONGEST_OUTPUT: u64 = 256 << 20;

/// How much of what it says to people is kept: the end of it.
const LAST_BYTES: usize = 16 << 10;
const LAST_LINES: usize = 12;

/// The user's own ways to servers: who they are, whom they trust, where proxies are. All else that
/// they have configured, and whatever could run a program of a repository, is out of reach.
const ENVIRONMENT: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "HTTP_PROXY",
];

/// The settings of the user's that stay: how they are known to servers.
const USER_SETTINGS: &str =
    r"^(credential\.|http\.(.*\.)?(extraheader|sslcainfo|sslcapath|proxy)$)";

const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.fileMode", "true"),
    ("core.symlinks", "true"),
    ("core.protectNTFS", "true"),
    ("core.protectHFS", "true"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("commit.gpgSign", "false"),
    ("index.threads", "1"),
    ("index.version", "2"),
    ("pack.threads", "1"),
    ("pack.writeReverseIndex", "false"),
    ("safe.directory", "*"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "120"),
    // Every object is looked at: names that lead out, links in place of git's own files.
    ("transfer.fsckObjects", "true"),
    // Harmless slips of old programs, in the histories of many projects.
    ("fetch.fsck.badDate", "ignore"),
    ("fetch.fsck.badDateOverflow", "ignore"),
    ("fetch.fsck.badEmail", "ignore"),
    ("fetch.fsck.badFilemode", "ignore"),
    ("fetch.fsck.badName", "ignore"),
    ("fetch.fsck.badTagName", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.duplicateEntries", "ignore"),
    ("fetch.fsck.emptyName", "ignore"),
    ("fetch.fsck.gitmodulesParse", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    ("fetch.fsck.missingTaggerEntry", "ignore"),
    ("fetch.fsck.multipleAuthors", "ignore"),
    ("fetch.fsck.nulInCommit", "ignore"),
    ("fetch.fsck.treeNotSorted", "ignore"),
    ("fetch.fsck.zeroPaddedDate", "ignore"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
];

/// git, ready to work for one repository.
#[derive(Debug)]
pub(super) struct Git {
    repository: String,
    environment: Vec<(OsString, OsString)>,
}

impl Git {
    /// `repository` is its name in messages; `scratch` an empty folder that git may look around in.
    pub(super) async fn new(
        repository: &str,
        scratch: &Path,
        local: bool,
    ) -> Result<Git, GitError> {
        let mut environment: Vec<(OsString, OsString)> = ENVIRONMENT
            .iter()
            .filter_map(|name| Some((OsString::from(*name), std::env::var_os(name)?)))
            .collect();
        let protocols = if local { "file" } else { "https:http:git:ssh" };
        for (name, value) in [
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "true"),
            ("SSH_ASKPASS", "true"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_ALLOW_PROTOCOL", protocols),
        ] {
            environment.push((name.into(), value.into()));
        }
        environment.push(("GIT_CEILING_DIRECTORIES".into(), scratch.as_os_str().into()));
        let mut git = Git {
            repository: repository.to_owned(),
            environment,
        };
        let mut settings: Vec<(String, String)> = Vec::new();
        if !local {
            settings = git.user_settings(scratch).await?;
        }
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ] {
            git.environment.push((name.into(), value.into()));
        }
        settings.extend(
            SETTINGS
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let count = settings.len().to_string();
        git.environment
            .push(("GIT_CONFIG_COUNT".into(), count.into()));
        for (number, (name, value)) in settings.into_iter().enumerate() {
            let key = |what| OsString::from(format!("GIT_CONFIG_{what}_{number}"));
            git.environment.push((key("KEY"), name.into()));
            git.environment.push((key("VALUE"), value.into()));
        }
        Ok(git)
    }

    async fn user_settings(&self, scratch: &Path) -> Result<Vec<(String, String)>, GitError> {
        let arguments = ["config", "--null", "--get-regexp", USER_SETTINGS];
        let output = match self
            .run("read its settings", scratch, &arguments, b"")
            .await
        {
            Ok(output) => output,
            // It says so when there are none.
            Err(GitError::Failed { lines, .. }) if lines.is_empty() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&output).into_owned();
        let entries = text.split('\0').filter(|entry| !entry.is_empty());
        Ok(entries
            .map(|entry| entry.split_once('\n').unwrap_or((entry, "true")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// Runs git in `directory` with `input`: what it prints. `action` is what it is to do, in words.
    pub(super) async fn run(
        &self,
        action: &str,
        directory: &Path,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        self.run_with(action, directory, arguments, &[], input)
            .await
    }

    /// As [`Git::run`], with further variables of the environment.
    pub(super) async fn run_with(
        &self,
        action: &str,
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, PathBuf)],
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        let failed = |source| GitError::Program {
            repository: self.repository.clone(),
            source,
        };
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let work = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that does not want it all ends by itself, and says why.
                    let _ = stdin.write_all(input).await;
                }
            };
            let ((), output, said) = tokio::join!(write, all(stdout), end_of(stderr));
            let status = child.wait().await?;
            io::Result::Ok((status, output?, said?))
        };
        let Ok(done) = tokio::time::timeout(LONGEST, work).await else {
            return Err(GitError::TimedOut {
                repository: self.repository.clone(),
                action: action.to_owned(),
                seconds: LONGEST.as_secs(),
            });
        };
        let (status, output, said) = done.map_err(failed)?;
        if status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let skipped = lines.len().saturating_sub(LAST_LINES);
        Err(GitError::Failed {
            repository: self.repository.clone(),
            action: action.to_owned(),
            lines: lines.into_iter().skip(skipped).map(printable).collect(),
        })
    }

    /// As [`Git::run`], for one line of text.
    pub(super) async fn line(
        &self,
        action: &str,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<String, GitError> {
        let output = self.run(action, directory, arguments, b"").await?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

/// What servers say goes to people's terminals.
fn printable(line: &str) -> String {
    line.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

async fn all(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(from) = from {
        let mut from = from.take(LONGEST_OUTPUT + 1);
        from.read_to_end(&mut output).await?;
        if output.len() as u64 > LONGEST_OUTPUT {
            return Err(io::Error::other("it prints without end"));
        }
    }
    Ok(output)
}

async fn end_of(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut from) = from else {
        return Ok(kept);
    };
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * LAST_BYTES {
            kept.drain(..kept.len() - LAST_BYTES);
        }
    }
}
