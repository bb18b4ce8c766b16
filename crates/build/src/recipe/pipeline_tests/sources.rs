//! Pipelines that bring sources and change them.

use std::fs;
use std::process::Command;

use super::workbench::Workbench;
use super::*;

fn checkouts(with: &str) -> Result<Vec<GitCheckout>, String> {
    let recipe = format!(
        "package: {{name: x, version: '1'}}\npipeline:\n  - if: ${{{{build.arch}}}} == 'x86_64'\n    working-directory: deps\n    pipeline:\n      - uses: git-checkout\n        with: {with}\n"
    );
    let library = PipelineLibrary::default();
    let resolved = Recipe::parse(SourceText::new("x.yaml", recipe))
        .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::X86_64, &library)))
        .map_err(|problems| {
            let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
            messages.join("\n")
        })?;
    let checkout = |request: &SourceRequest<'_>| match request {
        SourceRequest::GitCheckout(checkout) => Some((*checkout).clone()),
        SourceRequest::Fetch(_) => None,
    };
    Ok(resolved.sources().iter().filter_map(checkout).collect())
}

#[test]
fn git_checkout_is_native() {
    let commit = "0123456789ABCDEF0123456789abcdef01234567";
    let depth = |with: &str| {
        let with = format!("{{repository: 'https://example.org/a.git', {with}}}");
        checkouts(&with).unwrap().remove(0).depth
    };
    assert_eq!(
        depth(&format!("tag: v1, expected-commit: {commit}")),
        Some(1)
    );
    assert_eq!(
        depth(&format!("branch: b, expected-commit: {commit}")),
        None
    );
    assert_eq!(depth("branch: b"), Some(1));
    assert_eq!(depth("branch: b, depth: -1"), None);
    assert_eq!(depth("branch: b, depth: 20"), Some(20));
    let tip = "expected-commit-is-branch-tip: true";
    assert_eq!(
        depth(&format!("branch: b, expected-commit: {commit}, {tip}")),
        Some(1)
    );
    let everything = format!(
        "{{repository: 'https://example.org/a.git', tag: v1, expected-commit: {commit}, destination: src, recurse-submodules: true, \
         submodule-jobs: 4, shallow-submodules: true, sparse-paths: \"a b/c\\nd\", type-hint: gitlab, max-retries: 1, \
         cherry-picks: \"# none\\n\\nrelease/1.x/abcdef12:  fix   this #99\\nabcd: that: too\\n\"}}"
    );
    insta::assert_debug_snapshot!(checkouts(&everything).unwrap(), @r#"
    [
        GitCheckout {
            repository: "https://example.org/a.git",
            destination: "src",
            depth: Some(
                1,
            ),
            branch: None,
            tag: Some(
                "v1",
            ),
            expected_commit: Some(
                "0123456789abcdef0123456789abcdef01234567",
            ),
            must_be_tip: false,
            submodules: Some(
                Submodules {
                    shallow: true,
                    jobs: 4,
                },
            ),
            cherry_picks: [
                CherryPick {
                    branch: Some(
                        "release/1.x",
                    ),
                    commit: "abcdef12",
                    comment: "fix this",
                },
                CherryPick {
                    branch: None,
                    commit: "abcd",
                    comment: "that: too",
                },
            ],
            sparse_paths: [
                "a",
                "b/c",
                "d",
            ],
            type_hint: "gitlab",
            retries: Retries {
                limit: 1,
                first_pause: 2,
                longest_pause: 60,
            },
        },
    ]
    "#);
    let mut said = String::new();
    for with in [
        "tag: a, branch: b",
        "branch: '--upload-pack=x'",
        "tag: 'a b'",
        "depth: 0",
        "depth: all",
        "tag: v1, expected-commit-is-branch-tip: true",
        "recurse-submodules: perhaps",
        "cherry-picks: abcdef1",
        "cherry-picks: 'abcdef1:'",
        "cherry-picks: 'b/$(evil): why'",
        "sparse-paths: ../x",
        "expected-commit: abc",
        "max-retries: '-1'",
    ] {
        let with = format!("{{repository: 'https://example.org/a.git', {with}}}");
        said += &(checkouts(&with).unwrap_err() + "\n");
    }
    for repository in ["ext::sh -c evil", "--upload-pack=evil", "ftp://x/y"] {
        said += &(checkouts(&format!("{{repository: '{repository}'}}")).unwrap_err() + "\n");
    }
    insta::assert_snapshot!(said, @"
    x.yaml:7:62: it is the branch `b` or the tag `a`, not both
    x.yaml:7:65: `--upload-pack=x` can't be the name of a branch
    x.yaml:7:62: `a b` can't be the name of a tag
    x.yaml:7:64: `depth` is a number from 1 to 100000, not `0`
    x.yaml:7:64: `depth` is a number from 1 to 100000, not `all`
    x.yaml:7:97: `expected-commit-is-branch-tip` says something of a `branch` and an `expected-commit`
    x.yaml:7:77: `recurse-submodules` is `true` or `false`, not `perhaps`
    x.yaml:7:71: the cherry-pick `abcdef1` has no colon
    x.yaml:7:71: the cherry-pick `abcdef1:` does not say why
    x.yaml:7:71: the cherry-pick `b/$(evil): why` names no commit by its hash
    x.yaml:7:71: `../x` is no folder of the repository
    x.yaml:7:74: `expected-commit` has 40 hexadecimal digits, not 3
    x.yaml:7:70: `max-retries` is a number from 0 to 100000, not `-1`
    x.yaml:7:28: the repository `ext::sh -c evil` can't be used: that is no URL
    x.yaml:7:28: the repository `--upload-pack=evil` can't be used: that is no URL
    x.yaml:7:28: the repository `ftp://x/y` can't be used: its scheme is none of https, http, git, ssh, file
    ");
}

#[test]
fn a_source_of_which_nothing_is_known_is_named_as_such() {
    let with = BTreeMap::from([
        ("uri".to_owned(), "https://example.org/x.tar".to_owned()),
        ("expected-none".to_owned(), "it changes daily".to_owned()),
    ]);
    let steps = resolved("fetch", &with);
    let Action::Fetch(fetch) = &steps[0].action else {
        panic!()
    };
    assert_eq!(fetch.expected, None);
}

/// A repository's patches become commits with the same hashes at any time.
#[test]
fn patches_become_commits() {
    let heads: Vec<String> = (0..2)
        .map(|_| {
            let bench = Workbench::new(&[]);
            bench.write("file", "one\n");
            let git = |arguments: &[&str]| {
                let output = Command::new("git")
                    .args(arguments)
                    .current_dir(bench.path(""))
                    .env("GIT_CONFIG_GLOBAL", "/dev/null")
                    .env("GIT_AUTHOR_DATE", "1600000000 +0000")
                    .env("GIT_COMMITTER_DATE", "1600000000 +0000")
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            git(&["init", "-q", "."]);
            git(&["config", "user.name", "A"]);
            git(&["config", "user.email", "a@example.org"]);
            git(&["add", "file"]);
            git(&["commit", "-q", "-m", "one"]);
            bench.write("file", "two\n");
            git(&["commit", "-q", "-a", "-m", "two"]);
            bench.write("../my.patch", &git(&["format-patch", "--stdout", "HEAD^"]));
            git(&["reset", "-q", "--hard", "HEAD^"]);
            bench.passes("git-am", &[("patches", "\n ../my.patch\n")]);
            assert_eq!(fs::read_to_string(bench.path("file")).unwrap(), "two\n");
            let (succeeded, said) = bench.run("git-am", &[("patches", "none.patch")]);
            assert!(!succeeded && said.contains("none.patch"), "{said}");
            git(&["rev-parse", "HEAD"])
        })
        .collect();
    assert_eq!(heads[0], heads[1]);
}
