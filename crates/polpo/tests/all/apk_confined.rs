//! Links, pipes and devices that lie in a root where apk's commands look: nothing outside the root is
//! read, written or removed, and nothing is waited for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use testkit::Server;

use crate::yard::{Yard, usual};

/// A folder beside the root, with a file.
fn outside(yard: &Yard, name: &str) -> PathBuf {
    yard.write(&format!("{name}/mine"), "mine");
    yard.path(name)
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pipe(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn a_cache_is_cleaned_inside_its_root() {
    for (link, climbs) in [
        ("etc/apk/cache", false),
        ("etc/apk/cache", true),
        ("var/cache", false),
        ("var/cache/apk", true),
    ] {
        let yard = Yard::new(&usual());
        let folder = outside(&yard, "outside");
        outside(&yard, "outside/apk");
        let target = match climbs {
            true => PathBuf::from(format!("../../../../../../../../..{}", folder.display())),
            false => folder.clone(),
        };
        let link = yard.root().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
        yard.says(&["cache", "clean"]);
        yard.says(&["cache", "purge"]);
        assert_eq!(names(&folder), ["apk", "mine"]);
        assert_eq!(names(&folder.join("apk")), ["mine"]);
    }
}

#[test]
fn a_cache_that_a_link_names_is_beneath_the_root() {
    let yard = Yard::new(&usual());
    let server = Server::of(yard.path("main"));
    yard.write(
        "root/etc/apk/repositories",
        &format!("{}\n", server.url("")),
    );
    // As on a system that runs from memory: the link's path is the system's own.
    let media = yard.root().join("media/disk/cache");
    fs::create_dir_all(&media).unwrap();
    symlink("/media/disk/cache", yard.root().join("etc/apk/cache")).unwrap();
    let said = yard.run(&["--network", "add", "libfoo"]).success();
    assert_eq!(said.stderr, "");
    let kept = names(&media);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept[0].starts_with("APKINDEX.") && kept[1].starts_with("libfoo-1.0-r0."));
    // It serves, and is cleaned.
    yard.says(&["del", "libfoo"]);
    yard.says(&["add", "libfoo"]);
    fs::write(media.join("junk"), "").unwrap();
    let elsewhere = outside(&yard, "outside");
    symlink(&elsewhere, media.join("link")).unwrap();
    yard.says(&["cache", "clean"]);
    assert_eq!(names(&media), kept);
    assert_eq!(names(&elsewhere), ["mine"]);
    // A link of the root's to a folder of this machine is a link to nothing.
    fs::remove_file(yard.root().join("etc/apk/cache")).unwrap();
    symlink(&elsewhere, yard.root().join("etc/apk/cache")).unwrap();
    yard.run(&["--network", "update"]).success();
    assert_eq!(names(&elsewhere), ["mine"]);
    assert_eq!(names(&yard.path("root/var/cache/apk")).len(), 1);
    // One that the command line names is where it says.
    let named = elsewhere.display().to_string();
    yard.run(&["--network", "--cache-dir", &named, "update"])
        .success();
    assert_eq!(names(&elsewhere).len(), 2);
    let missing = yard.run(&["--cache-dir", "no/such", "info"]).code(1);
    assert!(
        missing.stderr.contains("Unable to setup the cache"),
        "{}",
        missing.stderr
    );
}

#[test]
fn pipes_among_the_settings_are_not_waited_for() {
    let yard = Yard::new(&usual());
    pipe(&yard.root().join("etc/apk/repositories.d/pipe.list"));
    pipe(&yard.root().join("etc/apk/keys/pipe.rsa.pub"));
    yard.says(&["add", "libfoo"]);
    let arch = yard.root().join("etc/apk/arch");
    fs::remove_file(&arch).unwrap();
    pipe(&arch);
    let refused = yard.run(&["info"]).code(1);
    assert!(
        refused
            .stderr
            .contains("etc/apk/arch: it is no regular file"),
        "{}",
        refused.stderr
    );
}
