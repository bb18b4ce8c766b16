//! Git repositories as sources.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::{Digest, Epoch};
use polpo_build::git::{CheckedOut, GitError, check_out};
use polpo_build::recipe::{CherryPick, GitCheckout, Retries, Submodules};
use store::{Network, Origins, Store};
use tempfile::TempDir;

use crate::support::{Lines, listing, runtime};

const EPOCH: Epoch = Epoch(1_700_000_000);

/// Runs git as its users have it, in `folder`.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "protocol.file.allow=always", "-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_AUTHOR_DATE", "1600000000 +0100")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.org")
        .env("GIT_COMMITTER_DATE", "1600000001 +0000")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with two branches, tags of both kinds and a submodule; and where it is.
struct Upstream {
    folder: TempDir,
}

impl Upstream {
    fn new() -> Upstream {
        let upstream = Upstream {
            folder: tempfile::tempdir().unwrap(),
        };
        let library = upstream.path("library");
        fs::create_dir(&library).unwrap();
        git(&library, &["init", "-q", "-b", "main"]);
        upstream.commit("library", "lib.c", "int x;\n");

        let main = upstream.path("main");
        fs::create_dir(&main).unwrap();
        git(&main, &["init", "-q", "-b", "trunk"]);
        git(&main, &["config", "uploadpack.allowFilter", "true"]);
        git(&main, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        upstream.commit("main", "README", "one\n");
        git(&main, &["tag", "v1"]);
        fs::create_dir_all(main.join("src/deep")).unwrap();
        fs::create_dir(main.join("other")).unwrap();
        fs::write(main.join("other/big"), "big\n").unwrap();
        fs::write(main.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(main.join("run"), fs::Permissions::from_mode(0o775)).unwrap();
        std::os::unix::fs::symlink("README", main.join("link")).unwrap();
        upstream.commit("main", "src/deep/a b.c", "int a;\n");
        git(&main, &["tag", "-a", "-m", "two", "v2"]);
        git(
            &main,
            &[
                "submodule",
                "--quiet",
                "add",
                "../library",
                "vendor/library",
            ],
        );
        upstream.commit("main", "README", "three\n");
        git(&main, &["tag", "v3"]);
        git(&main, &["checkout", "-q", "-b", "fixes", "v2"]);
        upstream.commit("main", "fix-1", "1\n");
        upstream.commit("main", "fix-2", "2\n");
        git(&main, &["checkout", "-q", "-f", "trunk"]);
        upstream
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn commit(&self, repository: &str, file: &str, text: &str) -> String {
        let folder = self.path(repository);
        fs::write(folder.join(file), text).unwrap();
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "-q", "-m", file]);
        git(&folder, &["rev-parse", "HEAD"])
    }

    fn hash(&self, name: &str) -> String {
        git(&self.path("main"), &["rev-parse", name])
    }

    fn checkout(&self) -> GitCheckout {
        GitCheckout {
            repository: self.path("main").display().to_string(),
            destination: ".".to_owned(),
            depth: Some(1),
            branch: None,
            tag: None,
            expected_commit: None,
            must_be_tip: false,
            submodules: None,
            cherry_picks: Vec::new(),
            sparse_paths: Vec::new(),
            type_hint: String::new(),
            retries: Retries {
                limit: 0,
                first_pause: 0,
                longest_pause: 0,
            },
        }
    }

    fn tag(&self, tag: &str) -> GitCheckout {
        GitCheckout {
            tag: Some(tag.to_owned()),
            expected_commit: Some(self.hash(&format!("{tag}^{{commit}}"))),
            ..self.checkout()
        }
    }

    fn branch(&self, branch: &str, commit: &str) -> GitCheckout {
        GitCheckout {
            depth: None,
            branch: Some(branch.to_owned()),
            expected_commit: Some(self.hash(commit)),
            ..self.checkout()
        }
    }
}

/// A store, and what comes of repositories in it.
struct Shelf {
    folder: TempDir,
    store: Store,
    local: bool,
    lines: Lines,
}

impl Shelf {
    /// `name` makes the store's paths longer or shorter.
    fn new(name: &str) -> Shelf {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join(name)).unwrap();
        Shelf {
            folder,
            store,
            local: true,
            lines: Lines::default(),
        }
    }

    fn get(&self, checkout: &GitCheckout) -> Result<CheckedOut, GitError> {
        let origins = Origins {
            network: Network::offline(),
            local_repositories: self.local,
            ..Origins::default()
        };
        runtime().block_on(check_out(
            &self.store,
            checkout,
            &origins,
            EPOCH,
            &self.lines,
        ))
    }

    /// Unpacks a checkout; the folder.
    fn unpacked(&self, tree: &Digest) -> PathBuf {
        let folder = self.folder.path().join(tree.hex());
        fs::create_dir_all(&folder).unwrap();
        let status = Command::new("tar")
            .arg("-xf")
            .arg(self.store.path(tree).unwrap())
            .arg("-C")
            .arg(&folder)
            .status()
            .unwrap();
        assert!(status.success());
        folder
    }

    /// What a checkout looks like: its files, and what git says of it.
    fn described(&self, checkout: &GitCheckout) -> String {
        let checked_out = self.get(checkout).unwrap();
        let folder = self.unpacked(&checked_out.tree);
        git(&folder, &["fsck", "--full"]);
        // Even those that don't look at files again find nothing changed.
        git(&folder, &["diff-index", "--quiet", "HEAD"]);
        assert_eq!(git(&folder, &["status", "--porcelain"]), "");
        assert_eq!(git(&folder, &["rev-parse", "HEAD"]), checked_out.head);
        let files: Vec<String> = listing(&folder)
            .lines()
            .filter(|line| !line.starts_with(".git/") && !line.starts_with(' '))
            .map(|line| line.split(" sha256").next().unwrap().to_owned())
            .collect();
        let mut text = files.join("\n");
        for command in [
            &["describe", "--tags", "--always", "--dirty"][..],
            &["symbolic-ref", "-q", "--short", "HEAD"],
            &["log", "--format=%s"],
            &["for-each-ref", "--format=%(refname)"],
        ] {
            let output = Command::new("git")
                .args(command)
                .current_dir(&folder)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .output()
                .unwrap();
            let output = String::from_utf8(output.stdout).unwrap();
            text += &format!("\n{}: {}", command[0], output.trim().replace('\n', " "));
        }
        text
    }
}

#[test]
fn a_tag_a_branch_and_what_is_shown() {
    let upstream = Upstream::new();
    let shelf = Shelf::new("store");
    insta::assert_snapshot!(shelf.described(&upstream.tag("v2")), @"
    .git 40755 
    README 100644
    link 120777 README
    other 40755 
    other/big 100644
    run 100755
    src 40755 
    src/deep 40755 
    src/deep/a b.c 100644
    describe: v2
    symbolic-ref: 
    log: src/deep/a b.c
    for-each-ref: refs/tags/v2
    ");
    insta::assert_snapshot!(shelf.described(&upstream.branch("trunk", "v2^{commit}")), @"
    .git 40755 
    README 100644
    link 120777 README
    other 40755 
    other/big 100644
    run 100755
    src 40755 
    src/deep 40755 
    src/deep/a b.c 100644
    describe: v2
    symbolic-ref: trunk
    log: src/deep/a b.c README
    for-each-ref: refs/heads/trunk refs/remotes/origin/trunk refs/tags/v1 refs/tags/v2
    ");
    insta::assert_snapshot!(shelf.described(&upstream.checkout()), @"
    .git 40755 
    .gitmodules 100644
    README 100644
    link 120777 README
    other 40755 
    other/big 100644
    run 100755
    src 40755 
    src/deep 40755 
    src/deep/a b.c 100644
    vendor 40755 
    vendor/library 40755 
    describe: v3
    symbolic-ref: trunk
    log: README
    for-each-ref: refs/heads/trunk refs/remotes/origin/trunk refs/tags/v3
    ");
}

#[test]
fn the_same_bytes_wherever_and_however_it_was_got() {
    let upstream = Upstream::new();
    let library = upstream.path("library");
    let checkouts = [
        upstream.tag("v2"),
        upstream.branch("trunk", "v2^{commit}"),
        GitCheckout {
            submodules: Some(Submodules {
                shallow: false,
                jobs: 2,
            }),
            ..upstream.tag("v3")
        },
        GitCheckout {
            cherry_picks: vec![CherryPick {
                branch: Some("fixes".to_owned()),
                commit: upstream.hash("fixes"),
                comment: "why".to_owned(),
            }],
            ..upstream.tag("v3")
        },
        GitCheckout {
            sparse_paths: vec!["src/deep".to_owned()],
            ..upstream.tag("v2")
        },
    ];
    let first = Shelf::new("s");
    let trees: Vec<CheckedOut> = checkouts
        .iter()
        .map(|checkout| first.get(checkout).unwrap())
        .collect();
    // Upstream goes on, packs its objects otherwise, and tags later commits.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let main = upstream.path("main");
    upstream.commit("main", "later", "later\n");
    git(&main, &["tag", "v4"]);
    git(&main, &["branch", "another"]);
    git(&main, &["gc", "-q", "--aggressive", "--prune=now"]);
    git(&library, &["gc", "-q"]);
    let second = Shelf::new("a-much-longer-name-for-the-folder-of-the-store");
    for (checkout, tree) in checkouts.iter().zip(&trees) {
        assert_eq!(second.get(checkout).unwrap(), *tree, "{checkout:?}");
    }
    // A record is enough: the repository may be gone.
    fs::remove_dir_all(&main).unwrap();
    for (checkout, tree) in checkouts.iter().zip(&trees) {
        assert_eq!(first.get(checkout).unwrap(), *tree);
    }
}

#[test]
fn submodules_sparse_folders_and_cherry_picks() {
    let upstream = Upstream::new();
    let shelf = Shelf::new("store");
    let with_submodules = GitCheckout {
        submodules: Some(Submodules {
            shallow: true,
            jobs: 1,
        }),
        ..upstream.tag("v3")
    };
    insta::assert_snapshot!(shelf.described(&with_submodules), @"
    .git 40755 
    .gitmodules 100644
    README 100644
    link 120777 README
    other 40755 
    other/big 100644
    run 100755
    src 40755 
    src/deep 40755 
    src/deep/a b.c 100644
    vendor 40755 
    vendor/library 40755 
    vendor/library/.git 100644
    vendor/library/lib.c 100644
    describe: v3
    symbolic-ref: 
    log: README
    for-each-ref: refs/tags/v3
    ");
    let tree = shelf.unpacked(&shelf.get(&with_submodules).unwrap().tree);
    let submodule = tree.join("vendor/library");
    assert_eq!(git(&submodule, &["status", "--porcelain"]), "");
    assert_eq!(
        git(&tree, &["submodule", "status"]).split(' ').nth(1),
        Some("vendor/library")
    );

    let sparse = GitCheckout {
        sparse_paths: vec!["src/deep".to_owned()],
        ..upstream.tag("v2")
    };
    let tree = shelf.unpacked(&shelf.get(&sparse).unwrap().tree);
    assert!(tree.join("src/deep/a b.c").exists() && tree.join("README").exists());
    assert!(!tree.join("other").exists());
    assert_eq!(git(&tree, &["status", "--porcelain"]), "");

    let pick = |branch: Option<&str>, commit: &str| CherryPick {
        branch: branch.map(str::to_owned),
        commit: upstream.hash(commit),
        comment: "why".to_owned(),
    };
    let picked = GitCheckout {
        cherry_picks: vec![pick(Some("fixes"), "fixes^"), pick(None, "fixes")],
        ..upstream.tag("v2")
    };
    insta::assert_snapshot!(shelf.described(&picked), @"
    .git 40755 
    README 100644
    fix-1 100644
    fix-2 100644
    link 120777 README
    other 40755 
    other/big 100644
    run 100755
    src 40755 
    src/deep 40755 
    src/deep/a b.c 100644
    vendor 40755 
    vendor/library 40755 
    describe: v2-2-g5a40bfe
    symbolic-ref: 
    log: fix-2 fix-1 src/deep/a b.c README
    for-each-ref: refs/tags/v1 refs/tags/v2
    ");
    let result = shelf.get(&picked).unwrap();
    let tree = shelf.unpacked(&result.tree);
    insta::assert_snapshot!(git(&tree, &["log", "-1", "--format=%H %an %ad %cn <%ce> %cI%n%B"]), @"
    5a40bfe20ad6ceeea443a847851d5c718889df8c A Sun Sep 13 13:26:40 2020 +0100 Melange Build <melange-build@cgr.dev> 2023-11-14T22:13:20+00:00
    fix-2

    (cherry picked from commit 583b82f6bc718845b7e409cd01062cf2b1c37d09)
    ");
    assert_ne!(result.head, result.commit);
    let main = upstream.path("main");
    git(&main, &["checkout", "-q", "-b", "conflict", "v3"]);
    upstream.commit("main", "README", "four\n");
    let conflicting = GitCheckout {
        cherry_picks: vec![pick(Some("conflict"), "conflict")],
        ..upstream.tag("v1")
    };
    let error = shelf.get(&conflicting).unwrap_err().to_string();
    assert!(error.contains("can't cherry-pick"), "{error}");
}

#[test]
fn another_commit_is_an_error_that_names_both() {
    let upstream = Upstream::new();
    let shelf = Shelf::new("store");
    let (one, two, three, fix) = (
        upstream.hash("v1"),
        upstream.hash("v2^{commit}"),
        upstream.hash("v3"),
        upstream.hash("fixes"),
    );
    let object = upstream.hash("v2");
    let annotated = GitCheckout {
        expected_commit: Some(object.clone()),
        ..upstream.tag("v2")
    };
    let checked_out = shelf.get(&annotated).unwrap();
    assert_eq!(checked_out.head, two);
    let notice = &checked_out.notices[0];
    assert!(
        notice.contains(&object) && notice.contains(&format!("set expected-commit to {two}")),
        "{notice}"
    );

    let mut said = String::new();
    for checkout in [
        GitCheckout {
            expected_commit: Some(one.clone()),
            ..upstream.tag("v2")
        },
        GitCheckout {
            expected_commit: Some(fix.clone()),
            ..upstream.branch("trunk", "v1")
        },
        GitCheckout {
            depth: Some(1),
            ..upstream.branch("trunk", "v1")
        },
        GitCheckout {
            must_be_tip: true,
            ..upstream.branch("trunk", "v1")
        },
        GitCheckout {
            expected_commit: Some("0".repeat(40)),
            ..upstream.branch("trunk", "v1")
        },
        GitCheckout {
            tag: Some("v9".to_owned()),
            ..upstream.checkout()
        },
        GitCheckout {
            branch: Some("none".to_owned()),
            ..upstream.checkout()
        },
        GitCheckout {
            repository: upstream.path("nowhere").display().to_string(),
            ..upstream.checkout()
        },
    ] {
        said += &format!("{}\n", shelf.get(&checkout).unwrap_err());
    }
    for (hash, name) in [
        (&one, "ONE"),
        (&two, "TWO"),
        (&three, "THREE"),
        (&fix, "FIX"),
        (&object, "OBJECT"),
    ] {
        said = said.replace(hash.as_str(), name);
    }
    let said = said.replace(&upstream.folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(said, @"
    FOLDER/main: the tag `v2` is commit TWO, not the expected ONE (the tag's own object is OBJECT); was the tag moved, or the version raised without the commit?
    FOLDER/main: the end of the branch `trunk` is commit THREE, not the expected FIX; that is no earlier commit of it: the branches have gone different ways
    FOLDER/main: the end of the branch `trunk` is commit THREE, not the expected ONE; an earlier commit is only found with `depth: -1`
    FOLDER/main: the end of the branch `trunk` is commit THREE, not the expected ONE; the branch went on, or the version was raised without the commit
    FOLDER/main: the end of the branch `trunk` is commit THREE, not the expected 0000000000000000000000000000000000000000; that is no earlier commit of it: the branches have gone different ways
    FOLDER/main has no tag `v9`
    FOLDER/main has no branch `none`
    FOLDER/nowhere: git can't ask for its branches and tags:
      fatal: 'FOLDER/nowhere' does not appear to be a git repository
      fatal: Could not read from remote repository.
      Please make sure you have the correct access rights
      and the repository exists.
    ");
}

#[test]
fn nothing_is_asked_that_may_not_be() {
    let upstream = Upstream::new();
    let mut shelf = Shelf::new("store");
    let elsewhere = GitCheckout {
        repository: "https://user:secret@example.org/a.git".to_owned(),
        ..upstream.tag("v1")
    };
    let error = shelf.get(&elsewhere).unwrap_err().to_string();
    assert!(
        error.contains("polpo source fetch") && !error.contains("secret"),
        "{error}"
    );
    shelf.local = false;
    let error = shelf.get(&upstream.tag("v1")).unwrap_err().to_string();
    assert!(error.contains("--local-repositories"), "{error}");
    let url = GitCheckout {
        repository: format!("file://{}", upstream.path("main").display()),
        ..upstream.tag("v1")
    };
    assert!(matches!(shelf.get(&url), Err(GitError::Local { .. })));
    shelf.local = true;
    assert_eq!(shelf.get(&url).unwrap().head, upstream.hash("v1"));
}

/// What a repository brings is data: no hook, filter, setting or submodule of it runs a program.
#[test]
fn hostile_repositories_run_nothing() {
    let upstream = Upstream::new();
    let main = upstream.path("main");
    let evil = upstream.path("evil");
    let script = format!("#!/bin/sh\ntouch '{}'\n", evil.display());
    for hook in [
        "post-checkout",
        "post-merge",
        "pre-auto-gc",
        "reference-transaction",
    ] {
        let path = main.join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(
        &main,
        &[
            "config",
            "filter.evil.smudge",
            &format!("touch '{}'; cat", evil.display()),
        ],
    );
    fs::write(main.join(".gitattributes"), "* filter=evil\n").unwrap();
    fs::remove_file(main.join(".gitmodules")).unwrap();
    fs::write(
        main.join(".gitmodules"),
        format!(
            "[submodule \"x\"]\n\tpath = vendor/library\n\turl = \"ext::touch {}\"\n",
            evil.display()
        ),
    )
    .unwrap();
    git(&main, &["config", "--unset", "filter.evil.smudge"]);
    upstream.commit("main", "more", "more\n");
    git(&main, &["tag", "v5"]);
    // The hooks ran for their owner.
    fs::remove_file(&evil).unwrap();
    let shelf = Shelf::new("store");
    shelf.get(&upstream.tag("v5")).unwrap();
    let with_submodules = GitCheckout {
        submodules: Some(Submodules {
            shallow: false,
            jobs: 1,
        }),
        ..upstream.tag("v5")
    };
    let error = shelf.get(&with_submodules).unwrap_err().to_string();
    assert!(error.contains("submodules"), "{error}");
    assert!(!evil.exists());
}
