//! Repositories whose indexes are numbered, so that an older one is not taken for new.

use std::fs;
use std::path::Path;

use testkit::{Finished, Server};

use crate::world::{polpo, world};

/// What `apk update` says of the repository at `place`.
fn update(store: &Path, root: &Path, place: &str, options: &[&str]) -> Finished {
    polpo(store)
        .args(["apk", "--root"])
        .arg(root)
        .arg("--keys-dir")
        .arg(world().keys())
        .args(["-X", place])
        .args(options)
        .arg("update")
        .run()
}

#[test]
fn indexes_go_on_counting_and_nobody_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (out, store) = (folder.path().join("out"), folder.path().join("store"));
    let root = folder.path().join("root");
    polpo(&store)
        .args(["apk", "--initdb", "--arch", "x86_64", "--root"])
        .arg(&root)
        .arg("add")
        .run()
        .success();
    let index = out.join("x86_64/APKINDEX.tar.gz");
    let build = |recipe: &str, options: &[&str]| {
        world()
            .build(&world().store(), &[recipe], &out)
            .args(options)
            .run()
            .success()
    };
    build("hello", &["--stamp-index"]);
    let server = Server::of(out.clone());
    let place = server.url("");
    let updated = update(&store, &root, &place, &[]).success();
    assert!(
        updated.stdout.contains("[serial 1, 2"),
        "{}",
        updated.stdout
    );
    let kept = fs::read(&index).unwrap();
    build("hello", &[]);
    assert!(fs::read(&index).unwrap() == kept, "nothing is new");

    // It goes on by itself, also where apk's own command makes the index.
    build("zlib", &[]);
    let updated = update(&store, &root, &place, &["--index-max-age", "1d"]).success();
    assert!(updated.stdout.contains("[serial 2, "), "{}", updated.stdout);
    let second = fs::read(&index).unwrap();
    world()
        .polpo()
        .env("SOURCE_DATE_EPOCH", "4102444800")
        .args(["apk", "index", "--merge", "-x"])
        .arg(&index)
        .args(["-d", "polpo", "--keys-dir"])
        .arg(world().keys())
        .arg("--sign-key")
        .arg(world().signing_key())
        .arg("-o")
        .arg(&index)
        .run()
        .success();
    let updated = update(&store, &root, &place, &[]).success();
    assert!(
        updated
            .stdout
            .contains("polpo [serial 3, 2100-01-01T00:00:00Z] ["),
        "{}",
        updated.stdout
    );

    // What was signed before is refused, by every command that is to fetch it.
    fs::write(&index, &second).unwrap();
    let served = polpo(&store)
        .args(["apk", "version", "--indexes", "--allow-untrusted", "-X"])
        .arg(&out)
        .args(["--root"])
        .arg(&root)
        .run()
        .success();
    let time = served.stdout.split_once("[serial 2, ").unwrap().1;
    let time = time.split_once(']').unwrap().0;
    let shown = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("done in"));
        let text: Vec<&str> = lines.collect();
        text.join("\n")
            .replace(&place, "SERVER")
            .replace(time, "TIME")
    };
    let refused = update(&store, &root, &place, &[]).code(1);
    insta::assert_snapshot!(shown(&refused.stderr), @"WARNING: updating SERVER/x86_64/APKINDEX.tar.gz: its index (serial 2, TIME) is older than one seen before (serial 3, 2100-01-01T00:00:00Z): the server is behind, or somebody keeps what is newer from you; ask another mirror, or if it was begun anew, say --accept-older-index once");
    let image = |options: &[&str]| {
        polpo(&store)
            .args(["image", "packages"])
            .arg(crate::world::checkout().join("os/images/hello.yaml"))
            .args(["-r", &place, "-r"])
            .arg(world().packages())
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .args(options)
            .run()
    };
    let refused = image(&[]).code(1);
    insta::assert_snapshot!(shown(&refused.stderr), @"
    error: the repositories can't be used
      because: repository SERVER/: can't fetch the index for x86_64:
                 SERVER/x86_64/APKINDEX.tar.gz: its index (serial 2, TIME) is older than one seen before (serial 3, 2100-01-01T00:00:00Z): the server is behind, or somebody keeps what is newer from you; ask another mirror, or if it was begun anew, say --accept-older-index once
    ");
    let undated = image(&["--accept-older-index", "--index-max-age", "1d"]).code(1);
    assert!(
        undated.stderr.contains("doesn't say how old it is"),
        "{}",
        undated.stderr
    );
    image(&["--accept-older-index"]).success();
    image(&[]).success();
}
