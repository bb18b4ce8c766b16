use std::fs::File;
use std::io;
use std::path::PathBuf;

use base::{Arch, Digest, Problem, Reporter, SourceText};
use sha2::{Digest as _, Sha512};
use store::{Origins, Store};

pub use super::edits::Change;
use super::edits::Edits;
use crate::git::{self, GitError};
use crate::recipe::written::PipelineStep;
use crate::recipe::{
    Fetch, Piece, PipelineLibrary, Recipe, ResolveOptions, Scope, SourceRequest, Text,
    global_scope, pieces,
};
use crate::source::{SourceError, Sources};

/// What a recipe is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BumpRequest {
    /// The version. The recipe's own one means that it is packaged anew.
    pub version: String,
    /// The commit of checkouts whose tag follows the version; what their tags are, when not given.
    pub expected_commit: Option<String>,
}

/// A recipe of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bumped {
    /// The file's text: what didn't change is as it was, to the byte.
    pub text: String,
    /// What changed.
    pub changes: Vec<Change>,
}

/// A recipe can't get another version.
#[derive(Debug, thiserror::Error)]
pub enum BumpError {
    /// The recipe, or what it would become, is wrong.
    #[error("the recipe is wrong")]
    Recipe(Vec<Problem>),
    /// That is no version.
    #[error("`{0}` is no version of apk's; write one such as `1.2.3` or `1.2_rc1`, without `-rN`")]
    Version(String),
    /// That is no commit.
    #[error("`{0}` is no commit: 40 hexadecimal digits")]
    Commit(String),
    /// A source can't be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A tag's commit can't be asked for.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A fetched file can't be read.
    #[error("can't read `{path}`: {source}", path = path.display())]
    Read {
        /// The file in the store.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Gives a recipe another version: `version`; `epoch`, 0 or one more when the version stays; the digests
/// of fetched files whose URI follows the version; the commits of checkouts whose tag does, or of
/// the only one.
///
/// # Errors
/// The recipe is wrong, or a source can't be had.
pub async fn bump(
    source: &SourceText,
    request: &BumpRequest,
    store: &Store,
    origins: &Origins,
    reporter: &dyn Reporter,
) -> Result<Bumped, BumpError> {
    if !apk::version::is_valid(&request.version) || request.version.contains("-r") {
        return Err(BumpError::Version(request.version.clone()));
    }
    let is_commit =
        |text: &String| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(commit) = request
        .expected_commit
        .as_ref()
        .filter(|text| !is_commit(text))
    {
        return Err(BumpError::Commit(commit.clone()));
    }
    let before = Recipe::parse(source.clone()).map_err(BumpError::Recipe)?;
    let mut changes = Vec::new();
    let renewed = SourceText::new(
        source.name(),
        version_and_epoch(&before, request, &mut changes),
    );
    let after = Recipe::parse(renewed.clone()).map_err(BumpError::Recipe)?;
    let scopes = (scope(&before)?, scope(&after)?);
    let (old_steps, steps) = (steps(&before), steps(&after));
    let checkouts = steps
        .iter()
        .filter(|step| uses(step, "git-checkout"))
        .count();
    let mut edits = Edits {
        source: &renewed,
        made: Vec::new(),
    };
    for (old, step) in old_steps.iter().zip(&steps) {
        if uses(step, "fetch")
            && let (Some(old), Some(uri)) = (input(old, "uri"), input(step, "uri"))
        {
            let (was, is) = (value(old, &scopes.0), value(uri, &scopes.1));
            if was != is {
                digests(
                    step,
                    is,
                    &mut edits,
                    &mut changes,
                    (store, origins, reporter),
                )
                .await?;
            }
        }
        if uses(step, "git-checkout")
            && let (Some(tag), Some(commit), Some(repository)) = (
                input(step, "tag"),
                input(step, "expected-commit"),
                input(step, "repository"),
            )
            && !commit.contains("${{")
        {
            let was = input(old, "tag").map(|old| value(old, &scopes.0));
            let tag_now = value(tag, &scopes.1);
            let follows = tag.contains("${{") || checkouts == 1;
            let found = match &request.expected_commit {
                Some(commit) if follows => commit.to_ascii_lowercase(),
                None if was.as_ref() != Some(&tag_now) => {
                    let repository = value(repository, &scopes.1);
                    git::commit_of_tag(store, &repository, &tag_now, origins).await?
                }
                _ => continue,
            };
            edits.set("expected-commit", commit, &found, &mut changes);
        }
    }
    let text = edits.applied();
    Recipe::parse(SourceText::new(source.name(), text.as_str())).map_err(BumpError::Recipe)?;
    Ok(Bumped { text, changes })
}

/// The text with the version and the epoch changed.
fn version_and_epoch(recipe: &Recipe, request: &BumpRequest, changes: &mut Vec<Change>) -> String {
    let package = &recipe.contents.package;
    let mut edits = Edits {
        source: &recipe.source,
        made: Vec::new(),
    };
    let same = package.version.value == request.version;
    let epoch = if same {
        package.epoch.saturating_add(1)
    } else {
        0
    };
    edits.set("version", &package.version, &request.version, changes);
    let document = yaml::Document::parse(recipe.source.clone()).ok();
    let written = document
        .as_ref()
        .and_then(|document| document.root.get("package")?.get("epoch"));
    if epoch != package.epoch {
        changes.push(Change {
            key: "epoch",
            before: package.epoch.to_string(),
            after: epoch.to_string(),
        });
        match written.filter(|node| !node.span.is_empty()) {
            Some(node) => edits.made.push((node.span.clone(), epoch.to_string())),
            None => {
                // Below the version, as deep as it.
                let text = recipe.source.text();
                let span = package.version.span();
                let start = text[..span.start]
                    .rfind('\n')
                    .map_or(0, |newline| newline + 1);
                let line = &text[start..];
                let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
                let end = text[span.end..]
                    .find('\n')
                    .map_or(text.len(), |newline| span.end + newline);
                edits
                    .made
                    .push((end..end, format!("\n{indent}epoch: {epoch}")));
            }
        }
    }
    edits.applied()
}

/// Fetches what a step fetches now, and sets the digests it expects.
async fn digests(
    step: &PipelineStep,
    uri: String,
    edits: &mut Edits<'_>,
    changes: &mut Vec<Change>,
    (store, origins, reporter): (&Store, &Origins, &dyn Reporter),
) -> Result<(), BumpError> {
    let written = |name| input(step, name).filter(|text| !text.contains("${{"));
    let (sha256, sha512) = (written("expected-sha256"), written("expected-sha512"));
    if sha256.is_none() && sha512.is_none() {
        return Ok(());
    }
    let fetch = Fetch {
        file_name: uri.rsplit('/').next().unwrap_or_default().to_owned(),
        uri,
        expected: None,
        strip_components: 0,
        extract: false,
        delete: false,
        directory: String::new(),
        purl_name: String::new(),
        purl_version: String::new(),
    };
    let wanted = [SourceRequest::Fetch(&fetch)];
    let sources = Sources::fetch(store, &wanted, origins, base::Epoch(0), reporter).await?;
    let Some(digest) = sources.digest(&fetch) else {
        return Ok(());
    };
    if let Some(text) = sha256 {
        edits.set("expected-sha256", text, &digest.hex(), changes);
    }
    if let Some(text) = sha512 {
        edits.set(
            "expected-sha512",
            text,
            &sha512_of(store, &digest)?,
            changes,
        );
    }
    Ok(())
}

fn sha512_of(store: &Store, digest: &Digest) -> Result<String, BumpError> {
    let path = store.path(digest).unwrap_or_default();
    let failed = |source| BumpError::Read {
        path: path.clone(),
        source,
    };
    let mut file = File::open(&path).map_err(failed)?;
    let mut hasher = Sha512::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = io::Read::read(&mut file, &mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

fn scope(recipe: &Recipe) -> Result<Scope<'static>, BumpError> {
    let library = PipelineLibrary::closed();
    let arch = Arch::ALL.into_iter().find(|arch| recipe.targets(*arch));
    let options = ResolveOptions::new(arch.unwrap_or(Arch::host()), &library);
    let mut problems = Vec::new();
    let scope = global_scope(recipe, &options, &mut problems);
    if problems.is_empty() {
        Ok(scope)
    } else {
        Err(BumpError::Recipe(problems))
    }
}

fn value(text: &Text, scope: &Scope<'_>) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Text(plain) => plain,
            Piece::Reference { name, span } => match scope.get(name) {
                Some(Some(value)) => value,
                _ => &text.value[span],
            },
            Piece::Broken { span } => &text.value[span],
        })
        .collect()
}

/// Every step of the recipe, tests left out.
fn steps(recipe: &Recipe) -> Vec<&PipelineStep> {
    fn gather<'s>(steps: &'s [PipelineStep], out: &mut Vec<&'s PipelineStep>) {
        for step in steps {
            out.push(step);
            gather(&step.pipeline, out);
        }
    }
    let mut out = Vec::new();
    gather(&recipe.contents.pipeline, &mut out);
    for subpackage in &recipe.contents.subpackages {
        gather(&subpackage.pipeline, &mut out);
    }
    out
}

fn uses(step: &PipelineStep, name: &str) -> bool {
    step.uses.as_ref().is_some_and(|uses| uses.value == name)
}

fn input<'s>(step: &'s PipelineStep, name: &str) -> Option<&'s Text> {
    step.with.as_ref()?.value.get(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use base::Silent;

    use super::*;

    const RECIPE: &str = "# about hello\npackage:\n  name: hello\n  version: \"1.9\" # upstream's\n  epoch: 3\n\nvar-transforms:\n  - from: ${{package.version}}\n    match: \\.\n    replace: _\n    to: mangled\n\npipeline:\n  - uses: fetch\n    with:\n      # by its version\n      uri: https://example.org/hello-${{vars.mangled}}.tar.gz\n      expected-sha256: aaaa\n      expected-sha512:   'bbbb'\n\n  - uses: fetch\n    with:\n      uri: https://example.org/data.tar.gz\n      expected-sha256: cccc\n\n  - pipeline:\n      - uses: git-checkout\n        with:\n          repository: REPOSITORY\n          tag: v${{package.version}}\n          expected-commit: dddd\n\n  - uses: git-checkout\n    with:\n      repository: REPOSITORY\n      tag: v1\n      expected-commit: eeee\n";

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-C"])
            .arg(folder)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn bumped(
        recipe: &str,
        version: &str,
        commit: Option<&str>,
        store: &Store,
    ) -> Result<Bumped, BumpError> {
        let origins = Origins {
            network: store::Network::offline(),
            local_repositories: true,
            ..Origins::default()
        };
        let request = BumpRequest {
            version: version.to_owned(),
            expected_commit: commit.map(str::to_owned),
        };
        let source = SourceText::new("hello.yaml", recipe);
        bump(&source, &request, store, &origins, &Silent).await
    }

    #[tokio::test]
    async fn only_what_follows_the_version_changes() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path().join("store")).unwrap();
        let repository = scratch.path().join("hello");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "--quiet"]);
        git(
            &repository,
            &["commit", "--quiet", "--allow-empty", "-m", "x"],
        );
        git(&repository, &["tag", "-a", "-m", "annotated", "v1.10"]);
        let commit = git(&repository, &["rev-parse", "HEAD"]);
        // What the network gave last.
        let blob = scratch.path().join("blob");
        std::fs::write(&blob, "the archive").unwrap();
        let digest = store.put_file(&blob).unwrap().digest;
        let uri = Digest::of(b"https://example.org/hello-1_10.tar.gz");
        store.record_put("unpinned-source", &uri, &digest).unwrap();

        let recipe = RECIPE.replace("REPOSITORY", &repository.display().to_string());
        let found = bumped(&recipe, "1.10", None, &store).await.unwrap();
        let expected = recipe
            .replace("\"1.9\"", "\"1.10\"")
            .replace("epoch: 3", "epoch: 0")
            .replace("aaaa", &digest.hex())
            .replace("bbbb", &sha512_of(&store, &digest).unwrap())
            .replace("dddd", &commit);
        assert_eq!(found.text, expected);
        let keys: Vec<&str> = found.changes.iter().map(|change| change.key).collect();
        assert_eq!(
            keys,
            [
                "version",
                "epoch",
                "expected-sha256",
                "expected-sha512",
                "expected-commit"
            ]
        );

        // The same version: packaged anew, maybe of another commit.
        let again = bumped(&recipe, "1.9", None, &store).await.unwrap();
        assert_eq!(again.text, recipe.replace("epoch: 3", "epoch: 4"));
        let other = "a123456789012345678901234567890123456789";
        let again = bumped(&recipe, "1.9", Some(other), &store).await.unwrap();
        let expected = recipe
            .replace("epoch: 3", "epoch: 4")
            .replace("dddd", other);
        assert_eq!(again.text, expected);

        let unknown = bumped(&recipe, "1.11", None, &store).await.unwrap_err();
        assert!(
            unknown
                .to_string()
                .starts_with("can't fetch https://example.org/hello-1_11.tar.gz"),
            "{unknown}"
        );
    }

    #[tokio::test]
    async fn versions_and_epochs_of_every_spelling() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path().join("store")).unwrap();
        for (before, version, after) in [
            (
                "package:\n  name: a\n  version: 1.2.3\n",
                "1.2.4",
                "package:\n  name: a\n  version: 1.2.4\n",
            ),
            (
                "package:\n  name: a\n  version: 1.2.3\n",
                "1.10",
                "package:\n  name: a\n  version: \"1.10\"\n",
            ),
            (
                "package:\n    name: a\n    version: 1.2.3 # x\n",
                "1.2.3",
                "package:\n    name: a\n    version: 1.2.3 # x\n    epoch: 1\n",
            ),
            (
                "package:\n  version: '1'\n  epoch: 0x1\n  name: a",
                "2",
                "package:\n  version: '2'\n  epoch: 0\n  name: a",
            ),
        ] {
            let found = bumped(before, version, None, &store).await.unwrap();
            assert_eq!(found.text, after);
        }
        for (version, commit, message) in [
            (
                "one",
                None,
                "`one` is no version of apk's; write one such as `1.2.3` or `1.2_rc1`, without `-rN`",
            ),
            (
                "1-r2",
                None,
                "`1-r2` is no version of apk's; write one such as `1.2.3` or `1.2_rc1`, without `-rN`",
            ),
            (
                "1",
                Some("abc"),
                "`abc` is no commit: 40 hexadecimal digits",
            ),
        ] {
            let recipe = "package:\n  name: a\n  version: 1\n";
            let error = bumped(recipe, version, commit, &store).await.unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
