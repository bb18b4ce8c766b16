//! The inputs of pipelines that polpo carries out itself, read and checked.

use std::ops::Range;

use base::Problem;
use store::Expected;

use super::built_in::Native;
use super::resolved::{Action, CherryPick, Fetch, GitCheckout, Retries, Submodules};
use super::substitute::{Place, Scope};
use super::text::Text;
use super::written::PipelineStep;

/// The most repetitions, seconds and jobs that a recipe can ask for: more is a slip of the finger.
const MOST: u32 = 100_000;

/// A step that uses such a pipeline, its inputs in scope.
pub(super) struct NativeInputs<'n> {
    pub(super) scope: &'n Scope<'n>,
    pub(super) written: &'n PipelineStep,
    /// Where the step names the pipeline.
    pub(super) uses: Range<usize>,
    pub(super) place: Place<'n>,
    pub(super) problems: &'n mut Vec<Problem>,
}

impl NativeInputs<'_> {
    /// What is to be done; `None` when there are problems.
    pub(super) fn action(&mut self, native: Native) -> Option<Action> {
        match native {
            Native::Fetch => self.fetch().map(Action::Fetch),
            Native::GitCheckout => self
                .git_checkout()
                .map(|checkout| Action::GitCheckout(Box::new(checkout))),
        }
    }

    /// The value of an input. One without has been reported.
    fn value(&self, name: &str) -> Option<String> {
        self.scope
            .get(&format!("inputs.{name}"))?
            .map(str::to_owned)
    }

    fn problem<T>(
        &mut self,
        rule: &'static str,
        name: &str,
        message: String,
        help: &str,
    ) -> Option<T> {
        let given = self.written.with.as_ref().and_then(|with| with.get(name));
        let span = given.map_or(self.uses.clone(), Text::span);
        self.problems
            .push(self.place.problem(rule, message, span, help));
        None
    }

    fn flag(&mut self, rule: &'static str, name: &str) -> Option<bool> {
        match self.value(name)?.as_str() {
            "true" => Some(true),
            "false" | "" => Some(false),
            other => {
                let message = format!("`{name}` is `true` or `false`, not `{other}`");
                self.problem(rule, name, message, "")
            }
        }
    }

    fn number(&mut self, rule: &'static str, name: &str, least: u32) -> Option<u32> {
        let value = self.value(name)?;
        match value.trim().parse() {
            Ok(number) if (least..=MOST).contains(&number) => Some(number),
            _ => {
                let message = format!("`{name}` is a number from {least} to {MOST}, not `{value}`");
                self.problem(rule, name, message, "")
            }
        }
    }

    fn fetch(&mut self) -> Option<Fetch> {
        const RULE: &str = "invalid-fetch";
        let uri = self.value("uri")?;
        let file_name = uri
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        if matches!(file_name.as_str(), "" | "." | "..") || uri.contains(char::is_whitespace) {
            return self.problem(RULE, "uri", format!("`{uri}` leads to no file"), "");
        }
        let expected = [
            self.value("expected-sha256")?,
            self.value("expected-sha512")?,
        ]
        .into_iter()
        .find(|digest| !digest.is_empty());
        if expected.is_none() && self.value("expected-none")?.is_empty() {
            return self.problem(
                RULE,
                "expected-none",
                "the source has no checksum: nothing shows that it is the same every time"
                    .to_owned(),
                "add `expected-sha256` or `expected-sha512`",
            );
        }
        let expected: Option<Expected> = match expected {
            // Digits of the wrong number or kind have been reported.
            Some(digest) => Some(digest.to_ascii_lowercase().parse().ok()?),
            None => None,
        };
        Some(Fetch {
            file_name,
            uri,
            expected,
            strip_components: self.number(RULE, "strip-components", 0)?,
            extract: self.flag(RULE, "extract")?,
            delete: self.flag(RULE, "delete")?,
            directory: self.value("directory")?,
            purl_name: self.value("purl-name")?,
            purl_version: self.value("purl-version")?,
        })
    }

    fn git_checkout(&mut self) -> Option<GitCheckout> {
        const RULE: &str = "invalid-checkout";
        let repository = self.value("repository")?;
        if let Err(reason) = check_repository(&repository) {
            return self.problem(RULE, "repository", reason, "");
        }
        let branch = self.reference("branch")?;
        let tag = self.reference("tag")?;
        if let (Some(branch), Some(tag)) = (&branch, &tag) {
            let message = format!("it is the branch `{branch}` or the tag `{tag}`, not both");
            return self.problem(RULE, "tag", message, "");
        }
        let expected_commit = Some(self.value("expected-commit")?.to_ascii_lowercase())
            .filter(|commit| !commit.is_empty());
        let must_be_tip = self.flag(RULE, "expected-commit-is-branch-tip")?;
        if must_be_tip && (branch.is_none() || expected_commit.is_none()) {
            let message =
                "`expected-commit-is-branch-tip` says something of a `branch` and an `expected-commit`"
                    .to_owned();
            return self.problem(
                RULE,
                "expected-commit-is-branch-tip",
                message,
                "give both, or leave it out",
            );
        }
        let depth = self.value("depth")?;
        let depth = match depth.trim() {
            // An earlier commit of a branch is only found where there is the history.
            "" | "unset" if branch.is_some() && expected_commit.is_some() && !must_be_tip => None,
            "" | "unset" => Some(1),
            "-1" => None,
            _ => Some(self.number(RULE, "depth", 1)?),
        };
        let submodules = self.flag(RULE, "recurse-submodules")?;
        let shallow = self.flag(RULE, "shallow-submodules")?;
        let jobs = self.number(RULE, "submodule-jobs", 1)?;
        let sparse_paths: Vec<String> = self
            .value("sparse-paths")?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if let Some(path) = sparse_paths.iter().find(|path| !is_sparse_path(path)) {
            let message = format!("`{path}` is no folder of the repository");
            return self.problem(RULE, "sparse-paths", message, "");
        }
        Some(GitCheckout {
            cherry_picks: self.cherry_picks()?,
            destination: Some(self.value("destination")?)
                .filter(|destination| !destination.is_empty())
                .unwrap_or_else(|| ".".to_owned()),
            depth,
            branch,
            tag,
            expected_commit,
            must_be_tip,
            submodules: submodules.then_some(Submodules { shallow, jobs }),
            sparse_paths,
            type_hint: self.value("type-hint")?,
            retries: Retries {
                limit: self.number(RULE, "max-retries", 0)?,
                first_pause: self.number(RULE, "initial-backoff", 0)?,
                longest_pause: self.number(RULE, "max-backoff", 0)?,
            },
            repository,
        })
    }

    /// A branch or tag that may be missing; the outer `None` is a problem.
    fn reference(&mut self, input: &str) -> Option<Option<String>> {
        let name = self.value(input)?;
        if name.is_empty() {
            return Some(None);
        }
        if is_reference(&name) {
            return Some(Some(name));
        }
        let message = format!("`{name}` can't be the name of a {input}");
        self.problem("invalid-checkout", input, message, "")
    }

    fn cherry_picks(&mut self) -> Option<Vec<CherryPick>> {
        const HELP: &str = "each line is `[BRANCH/]COMMIT: why it is picked`";
        let text = self.value("cherry-picks")?;
        let mut picks = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |what: &str| format!("the cherry-pick `{line}` {what}");
            let Some((place, comment)) = line.split_once(':') else {
                return self.problem(
                    "invalid-checkout",
                    "cherry-picks",
                    wrong("has no colon"),
                    HELP,
                );
            };
            let comment = comment.split_whitespace().collect::<Vec<_>>().join(" ");
            let (branch, commit) = match place.trim().rsplit_once('/') {
                Some((branch, commit)) => (Some(branch), commit),
                None => (None, place.trim()),
            };
            let reason = if comment.is_empty() {
                "does not say why"
            } else if !(4..=40).contains(&commit.len())
                || !commit.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                "names no commit by its hash"
            } else if branch.is_some_and(|branch| !is_reference(branch)) {
                "names no branch before the slash"
            } else {
                picks.push(CherryPick {
                    branch: branch.map(str::to_owned),
                    commit: commit.to_ascii_lowercase(),
                    comment,
                });
                continue;
            };
            return self.problem("invalid-checkout", "cherry-picks", wrong(reason), HELP);
        }
        Some(picks)
    }
}

/// Whether a repository can be had from there.
fn check_repository(text: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("the repository `{text}` can't be used: {why}"));
    if text.starts_with('-') || text.contains(|letter: char| letter.is_control() || letter == ' ') {
        return refused("that is no URL");
    }
    if text.contains("::") {
        return refused("git would run a program of that name; give an https:// URL");
    }
    match text.split_once("://") {
        Some((scheme, rest)) if !rest.trim_matches('/').is_empty() => match scheme {
            "https" | "http" | "git" | "ssh" | "git+ssh" | "file" => Ok(()),
            _ => refused("its scheme is none of https, http, git, ssh, file"),
        },
        Some(_) => refused("that is no URL"),
        None if text.starts_with(['/', '.']) => Ok(()),
        // As ssh's own programs write it, HOST:PATH.
        None if text.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.is_empty()
        }) =>
        {
            Ok(())
        }
        None => refused("that is no URL"),
    }
}

/// What git-check-ref-format(1) allows, and no option.
fn is_reference(name: &str) -> bool {
    let wrong =
        |letter: char| letter.is_control() || letter.is_whitespace() || "~^:?*[\\".contains(letter);
    !name.starts_with('-')
        && !name.contains(wrong)
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
        && !name.ends_with('.')
}

fn is_sparse_path(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    !path.starts_with(['-', '!'])
        && !path.contains(['*', '?', '[', '\\', '"', '\0'])
        && path
            .trim_start_matches('/')
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_that_git_may_be_told_of() {
        for good in [
            "https://example.org/a.git",
            "ssh://git@example.org/a",
            "git@example.org:a/b.git",
            "file:///srv/a.git",
            "/srv/a.git",
            "./a",
        ] {
            assert_eq!(check_repository(good), Ok(()), "{good}");
        }
        for bad in [
            "ext::sh -c touch% evil",
            "ext::evil",
            "--upload-pack=evil",
            "-oProxyCommand=evil",
            "fd::7",
            "ftp://example.org/a",
            "https://",
            "a",
            "a b:c",
            "https://example.org/a\nb",
        ] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_branches_and_tags() {
        for good in ["main", "v1.2.3", "release/1.x", "a@b", "+x"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a\nb", "a~1", "a^", "a:b", "a*", "@", "a@{0}", "/a", "a/",
            "a//b", ".a", "a.lock", "a.", "$(x) y", "a\\b",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
        assert!(is_sparse_path("src/lib/"));
        for bad in ["../x", "a/../b", "-x", "!x", "a*", ""] {
            assert!(!is_sparse_path(bad), "{bad}");
        }
    }
}
