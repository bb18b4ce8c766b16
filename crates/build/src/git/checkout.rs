//! From a repository elsewhere to a work tree with the commit that is meant.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Epoch, Reporter, Task, Unit, Verb};
use store::{Store, without_credentials};

use super::process::Git;
use super::repository::{Identity, Settings, archived, setting};
use super::{CheckedOut, GitError, is_local};
use crate::recipe::{CherryPick, GitCheckout, Retries};

/// Who makes the commits that are made here: as melange has it, for the hashes to be the same.
const IDENTITY: Identity = Identity {
    name: "Melange Build",
    email: "melange-build@cgr.dev",
};

/// A checkout under way.
struct Checkout<'c> {
    checkout: &'c GitCheckout,
    /// The repository's name in messages.
    repository: String,
    git: Git,
    work: PathBuf,
    task: Task<'c>,
    notices: Vec<String>,
}

/// What the repository has under the names that the recipe gives.
struct Target {
    /// What it is, in words.
    what: String,
    /// Its full name in the repository.
    reference: String,
    /// The branch that is on afterwards; none after a tag.
    branch: Option<String>,
    is_tag: bool,
}

/// Makes a checkout and puts it into the store.
pub(super) async fn make(
    store: &Store,
    checkout: &GitCheckout,
    date: Epoch,
    reporter: &dyn Reporter,
) -> Result<CheckedOut, GitError> {
    let repository = without_credentials(&checkout.repository);
    let failed = |source| GitError::Store {
        repository: repository.clone(),
        source,
    };
    let folder = store.temp_dir().map_err(failed)?;
    let work = folder.path().join("work");
    let git = Git::new(&repository, folder.path(), is_local(&checkout.repository)).await?;
    let mut under_way = Checkout {
        checkout,
        git,
        work,
        task: Task::start(reporter, Verb::Fetch, &repository, None, Unit::Items),
        notices: Vec::new(),
        repository: repository.clone(),
    };
    under_way.begin().await?;
    let target = under_way.target().await?;
    let commit = under_way.fetch(&target).await?;
    under_way.switch(&target, &commit).await?;
    under_way.cherry_pick(date).await?;
    under_way.submodules().await?;
    under_way.task.step("keep it");
    let settings = Settings {
        url: &repository,
        branch: target.branch.as_deref(),
        partial: !checkout.sparse_paths.is_empty(),
        identity: IDENTITY,
    };
    let archived = archived(
        &under_way.git,
        &repository,
        &under_way.work,
        &settings,
        store,
    )
    .await?;
    under_way.task.done();
    Ok(CheckedOut {
        head: archived.head,
        commit,
        tree: archived.tree,
        notices: under_way.notices,
    })
}

/// Asks a repository for the commit of a tag.
pub(super) async fn commit_of_tag(
    store: &Store,
    repository: &str,
    tag: &str,
) -> Result<String, GitError> {
    let name = without_credentials(repository);
    let failed = |source| GitError::Store {
        repository: name.clone(),
        source,
    };
    let folder = store.temp_dir().map_err(failed)?;
    let git = Git::new(&name, folder.path(), is_local(repository)).await?;
    let action = "look for the tag";
    git.run(
        action,
        folder.path(),
        &["init", "--quiet", "--template="],
        b"",
    )
    .await?;
    // The URL is in no program's arguments: it may hold a password, or look like an option.
    let path = folder.path().join(".git/config");
    let text = format!("[remote \"origin\"]\n{}", setting("url", repository));
    fs::write(&path, text).map_err(|source| GitError::Io {
        repository: name.clone(),
        action: "write",
        path,
        source,
    })?;
    let reference = format!("refs/tags/{tag}");
    let peeled = format!("{reference}^{{}}");
    let arguments = ["ls-remote", "origin", &reference, &peeled];
    let listed = git.run(action, folder.path(), &arguments, b"").await?;
    let listed = String::from_utf8_lossy(&listed);
    let hash_of = |wanted: &str| {
        listed
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(_, name)| *name == wanted)
            .map(|(hash, _)| hash.to_owned())
    };
    // An annotated tag is an object of its own that leads to the commit.
    hash_of(&peeled)
        .or_else(|| hash_of(&reference))
        .ok_or_else(|| GitError::Missing {
            repository: name.clone(),
            what: format!("tag `{tag}`"),
        })
}

impl Checkout<'_> {
    async fn git(&self, action: &str, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.git.run(action, &self.work, arguments, b"").await
    }

    async fn line(&self, action: &str, arguments: &[&str]) -> Result<String, GitError> {
        self.git.line(action, &self.work, arguments).await
    }

    /// As [`Checkout::git`], again after a while if it fails.
    async fn patiently(&self, action: &str, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.task.step(action);
        let mut failures = 0;
        loop {
            match self.git(action, arguments).await {
                Err(GitError::Failed { .. }) if failures < self.checkout.retries.limit => {
                    failures += 1;
                    tokio::time::sleep(pause(&self.checkout.retries, failures)).await;
                }
                other => return other,
            }
        }
    }

    /// An empty repository that knows where the other one is. Its URL is in no program's arguments:
    /// it may hold a password, or look like an option.
    async fn begin(&self) -> Result<(), GitError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| GitError::Io {
                repository: self.repository.clone(),
                action,
                path,
                source,
            }
        };
        fs::create_dir(&self.work).map_err(io("create", &self.work))?;
        let template = "--template=";
        self.git("make a repository", &["init", "--quiet", template])
            .await?;
        let path = self.work.join(".git/config");
        let before = fs::read_to_string(&path).map_err(io("read", &path))?;
        let text = format!(
            "{before}[user]\n{}{}[remote \"origin\"]\n{}\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            setting("name", IDENTITY.name),
            setting("email", IDENTITY.email),
            setting("url", &self.checkout.repository),
        );
        fs::write(&path, text).map_err(io("write", &path))?;
        let info = self.work.join(".git/info");
        fs::create_dir_all(&info).map_err(io("create", &info))
    }

    fn missing<T>(&self, what: String) -> Result<T, GitError> {
        Err(GitError::Missing {
            repository: self.repository.clone(),
            what,
        })
    }

    /// Asks the repository for what the recipe names.
    async fn target(&self) -> Result<Target, GitError> {
        let mut names = vec!["HEAD".to_owned()];
        if let Some(branch) = &self.checkout.branch {
            names.push(format!("refs/heads/{branch}"));
            names.push(format!("refs/tags/{branch}"));
        }
        if let Some(tag) = &self.checkout.tag {
            names.push(format!("refs/tags/{tag}"));
        }
        let mut arguments = vec!["ls-remote", "--symref", "origin"];
        arguments.extend(names.iter().map(String::as_str));
        let listed = self
            .patiently("ask for its branches and tags", &arguments)
            .await?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let mut shown_branch = None;
        let mut found = Vec::new();
        for line in listed.lines() {
            let Some((value, name)) = line.split_once('\t') else {
                continue;
            };
            match value.strip_prefix("ref: refs/heads/") {
                Some(branch) if name == "HEAD" => shown_branch = Some(branch.to_owned()),
                _ if value.len() == 64 => {
                    return Err(GitError::Unsupported {
                        repository: self.repository.clone(),
                        reason: "its objects are named by SHA-256, which no recipe can name"
                            .to_owned(),
                    });
                }
                _ => found.push(name),
            }
        }
        let has = |name: &str| found.contains(&name);
        if let Some(tag) = &self.checkout.tag {
            let reference = format!("refs/tags/{tag}");
            if !has(&reference) {
                return self.missing(format!("tag `{tag}`"));
            }
            return Ok(Target {
                what: format!("the tag `{tag}`"),
                reference,
                branch: None,
                is_tag: true,
            });
        }
        if let Some(branch) = &self.checkout.branch {
            let reference = format!("refs/heads/{branch}");
            if has(&reference) {
                return Ok(Target {
                    what: format!("the end of the branch `{branch}`"),
                    reference,
                    branch: Some(branch.clone()),
                    is_tag: false,
                });
            }
            let reference = format!("refs/tags/{branch}");
            if has(&reference) {
                return Ok(Target {
                    what: format!("the tag `{branch}`"),
                    reference,
                    branch: None,
                    is_tag: true,
                });
            }
            return self.missing(format!("branch `{branch}`"));
        }
        match shown_branch {
            Some(branch) => Ok(Target {
                what: format!("the end of the branch `{branch}`"),
                reference: format!("refs/heads/{branch}"),
                branch: Some(branch),
                is_tag: false,
            }),
            None if has("HEAD") => Ok(Target {
                what: "HEAD".to_owned(),
                reference: "HEAD".to_owned(),
                branch: None,
                is_tag: false,
            }),
            None => self.missing("commit that it shows: it is empty".to_owned()),
        }
    }

    /// Fetches the target; the commit to begin with, after it was compared with the expected one.
    async fn fetch(&mut self, target: &Target) -> Result<String, GitError> {
        let local = match (&target.branch, target.is_tag) {
            (Some(branch), _) => format!("refs/remotes/origin/{branch}"),
            (None, true) => target.reference.clone(),
            (None, false) => "refs/remotes/origin/HEAD".to_owned(),
        };
        let depth = self.checkout.depth.map(|depth| format!("--depth={depth}"));
        let refspec = format!("+{}:{local}", target.reference);
        let mut arguments = vec!["fetch", "--quiet"];
        arguments.extend(depth.as_deref());
        // Tags that others may move later have no place beside the one that was asked for.
        if target.is_tag && depth.is_some() {
            arguments.push("--no-tags");
        }
        if !self.checkout.sparse_paths.is_empty() {
            arguments.push("--filter=blob:none");
        }
        arguments.extend(["origin", &refspec]);
        self.patiently("fetch it", &arguments).await?;
        let object = self
            .line("find what it fetched", &["rev-parse", "--verify", &local])
            .await?;
        let peeled = format!("{local}^{{commit}}");
        let found = self
            .line("find the commit", &["rev-parse", "--verify", &peeled])
            .await?;

        let Some(expected) = &self.checkout.expected_commit else {
            return Ok(found);
        };
        if *expected == found {
            return Ok(found);
        }
        if target.is_tag && *expected == object {
            self.notices.push(format!(
                "{}: {expected} is the object of {}, not its commit; set expected-commit to {found}",
                self.repository, target.what
            ));
            return Ok(found);
        }
        let help = if target.is_tag {
            "was the tag moved, or the version raised without the commit?"
        } else if self.checkout.must_be_tip {
            "the branch went on, or the version was raised without the commit"
        } else if self.checkout.depth.is_some() {
            "an earlier commit is only found with `depth: -1`"
        } else if self.is_ancestor(expected, &found).await? {
            return Ok(expected.clone());
        } else {
            "that is no earlier commit of it: the branches have gone different ways"
        };
        Err(GitError::Commit {
            repository: self.repository.clone(),
            what: target.what.clone(),
            expected: expected.clone(),
            tag_object: Some(object).filter(|object| *object != found),
            found,
            help,
        })
    }

    async fn is_ancestor(&self, earlier: &str, later: &str) -> Result<bool, GitError> {
        let arguments = ["merge-base", "--is-ancestor", earlier, later];
        match self.git("compare commits", &arguments).await {
            Ok(_) => Ok(true),
            // Another history, or a commit that is not there at all.
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn switch(&self, target: &Target, commit: &str) -> Result<(), GitError> {
        if !self.checkout.sparse_paths.is_empty() {
            let arguments = ["sparse-checkout", "set", "--cone", "--stdin"];
            let paths = self.checkout.sparse_paths.join("\n") + "\n";
            let action = "choose the folders";
            self.git
                .run(action, &self.work, &arguments, paths.as_bytes())
                .await?;
        }
        let arguments = match &target.branch {
            Some(branch) => vec!["checkout", "--quiet", "--no-track", "-B", branch, commit],
            None => vec!["checkout", "--quiet", "--detach", commit],
        };
        // A partial repository fetches the files now.
        self.patiently("check it out", &arguments).await.map(|_| ())
    }

    async fn cherry_pick(&self, date: Epoch) -> Result<(), GitError> {
        let mut fetched: Vec<&str> = Vec::new();
        for CherryPick { branch, commit, .. } in &self.checkout.cherry_picks {
            let shallow = self.work.join(".git/shallow").exists();
            let deeper = shallow.then_some("--unshallow");
            let wanted = branch.as_deref().filter(|branch| !fetched.contains(branch));
            if let Some(branch) = wanted {
                let refspec = format!("+refs/heads/{branch}:refs/cherry-picks/{branch}");
                let mut arguments = vec!["fetch", "--quiet"];
                arguments.extend(deeper);
                arguments.extend(["origin", &refspec]);
                self.patiently("fetch the branch of a cherry-pick", &arguments)
                    .await?;
                fetched.push(branch);
            } else if branch.is_none() && !self.has(commit).await? {
                let mut arguments = vec!["fetch", "--quiet"];
                arguments.extend(deeper);
                arguments.extend(["origin", commit]);
                self.patiently("fetch a cherry-pick", &arguments).await?;
            }
            let action = format!("cherry-pick {commit}");
            self.task.step(&action);
            let date = PathBuf::from(format!("@{} +0000", date.0));
            let arguments = ["cherry-pick", "-x", commit];
            let variables = [("GIT_COMMITTER_DATE", date)];
            self.git
                .run_with(&action, &self.work, &arguments, &variables, b"")
                .await?;
        }
        Ok(())
    }

    async fn has(&self, commit: &str) -> Result<bool, GitError> {
        let object = format!("{commit}^{{commit}}");
        match self
            .git("look for a commit", &["cat-file", "-e", &object])
            .await
        {
            Ok(_) => Ok(true),
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn submodules(&self) -> Result<(), GitError> {
        let Some(submodules) = self.checkout.submodules else {
            return Ok(());
        };
        let jobs = format!("--jobs={}", submodules.jobs);
        let mut arguments = vec![
            "submodule",
            "--quiet",
            "update",
            "--init",
            "--recursive",
            &jobs,
        ];
        if submodules.shallow {
            arguments.push("--depth=1");
        }
        self.patiently("check its submodules out", &arguments)
            .await
            .map(|_| ())
    }
}

/// The pause after so many failures.
fn pause(retries: &Retries, failures: u32) -> Duration {
    let doubled = u64::from(retries.first_pause) << (failures.saturating_sub(1)).min(20);
    Duration::from_secs(doubled.min(u64::from(retries.longest_pause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retries = Retries {
            limit: 5,
            first_pause: 2,
            longest_pause: 9,
        };
        let pauses: Vec<u64> = (1..=4).map(|n| pause(&retries, n).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 9]);
        assert_eq!(pause(&retries, u32::MAX).as_secs(), 9);
    }
}
