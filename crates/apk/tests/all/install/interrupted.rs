//! Processes that are killed while they change a root. The test's own program is the victim: it is
//! started again, told by an environment variable where the root is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use archive::tree::{Node, NodeKind};
use polpo_apk::dependency::Dependency;
use polpo_apk::index::IndexEntry;
use polpo_apk::install::{Arrival, InstallError, OpenOptions, Root, Step, Transaction};
use polpo_apk::package::Package;

use super::{Recipe, System, quiet, recipe};
use crate::sample::path;

/// Names the folder that has `root`, and `packages`, which are to be in it.
const VICTIM: &str = "POLPO_TEST_VICTIM";

/// What the victim prints before it begins.
const BEGUN: &str = "the transaction begins";

/// Packages of many small files, one of them large.
fn large(name: &str, version: &str) -> Recipe {
    let files: Vec<(String, String)> = (0..60)
        .map(|number| {
            let place = format!("usr/share/{name}/{}/{number}", number % 7);
            (
                place,
                format!("{name} {version} {number}").repeat(number * 5),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(place, text)| (place.as_str(), text.as_str()))
        .collect();
    let hard = NodeKind::HardLink {
        target: path(&format!("usr/share/{name}/1/1")),
    };
    recipe(name, version, &files)
        .node(&format!("usr/share/{name}/1/hard"), Node::new(hard))
        .node(
            &format!("usr/lib/{name}-{version}"),
            Node::symlink("nowhere"),
        )
        .node(
            &format!("etc/{name}.conf"),
            Node::file(version.as_bytes().to_vec()),
        )
}

/// A root with packages, and those that are to be there instead.
fn prepare() -> System {
    let mut system = System::new();
    for name in ["upgraded", "removed", "robbed", "kept"] {
        system.install(large(name, "1"));
    }
    system.write("etc/upgraded.conf", "mine");
    system.write("etc/removed.conf", "mine");
    let packages = system.folder.path().join("packages");
    fs::create_dir(&packages).unwrap();
    for (place, recipe) in [
        large("fresh", "1"),
        large("upgraded", "2"),
        large("robber", "1")
            .replaces("robbed", 0)
            .node("usr/share/robbed/2/2", Node::file(*b"stolen")),
        large("kept", "1"),
        large("last", "1"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = recipe.write(&packages);
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::rename(&file, packages.join(format!("{place}-{name}"))).unwrap();
    }
    for file in fs::read_dir(system.folder.path()).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "apk") {
            fs::remove_file(file).unwrap();
        }
    }
    system
}

/// Opens the root, and does what is left to do.
fn go_on(folder: &Path) -> Result<usize, InstallError> {
    let path = folder.join("root");
    let options = System::options(!path.join("lib/apk/db").exists());
    let mut root = Root::open(&path, &options, &base::Silent)?;
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("packages"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut steps = Vec::new();
    for file in files {
        let entry = IndexEntry::of(&Package::open(&file).unwrap());
        let name = entry.info.name.clone();
        let before = root.package(&name);
        let is_there = before.is_some_and(|before| before.entry.identity == entry.identity);
        steps.push(Step {
            before: before.map(|_| name.clone()),
            after: if is_there {
                Arrival::Kept
            } else {
                Arrival::Package {
                    file,
                    entry: Box::new(entry),
                }
            },
            repository_tag: None,
            message: (!is_there).then(|| format!("Installing {name}")),
        });
    }
    if root.package("removed").is_some() {
        let place = steps.len() / 2;
        steps.insert(
            place,
            Step {
                before: Some("removed".to_owned()),
                after: Arrival::Nothing,
                repository_tag: None,
                message: Some("Purging removed".to_owned()),
            },
        );
    }
    let transaction = Transaction {
        steps,
        world: Dependency::parse_list("fresh last").unwrap(),
        options: quiet(),
    };
    root.commit(&transaction, &base::Silent)
        .map(|committed| committed.errors)
}

/// The victim. Called as a test like any other, it looks at what comes out when nobody kills it.
#[test]
fn a_transaction_runs_to_its_end() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        println!("{BEGUN}");
        std::io::stdout().flush().unwrap();
        let errors = go_on(Path::new(&folder)).unwrap();
        println!("{errors} errors");
        return;
    }
    let system = prepare();
    assert_eq!(go_on(system.folder.path()).unwrap(), 0);
    let agreed = agree(&system.root());
    assert_eq!(
        agreed.keys().collect::<Vec<_>>(),
        ["fresh", "kept", "last", "robbed", "robber", "upgraded"]
    );
    assert_eq!(system.read("usr/share/robbed/2/2"), "stolen");
    assert_eq!(system.read("etc/upgraded.conf"), "mine");
    assert_eq!(system.read("etc/upgraded.conf.apk-new"), "2");
    assert!(system.has("etc/removed.conf"));
    assert!(!system.has("usr/share/removed") && !system.has("usr/lib/upgraded-1"));
    // Once more, there is nothing to do.
    let before = snapshot(&system.root());
    assert_eq!(go_on(system.folder.path()).unwrap(), 0);
    assert_eq!(snapshot(&system.root()), before);
}

/// Checks that the database and the files agree; gives the installed packages and how many files
/// each has.
fn agree(root: &Path) -> BTreeMap<String, usize> {
    let opened = Root::open(root, &OpenOptions::default(), &base::Silent).unwrap();
    assert_eq!(opened.interrupted(), None);
    let mut owned = BTreeMap::new();
    let mut packages = BTreeMap::new();
    for package in opened.installed() {
        let name = package.entry.info.name.clone();
        assert!(!package.broken.files && !package.broken.script, "{name}");
        for directory in &package.directories {
            for file in &directory.files {
                let file_path = Path::new(&directory.path).join(&file.name);
                let on_disk = root.join(&file_path);
                let bytes = match fs::read_link(&on_disk) {
                    Ok(target) => target.into_os_string().into_encoded_bytes(),
                    Err(_) => fs::read(&on_disk).unwrap_or_else(|error| {
                        panic!("{}: {error}", file_path.display());
                    }),
                };
                let actual = base::Sha1::of(&bytes).into();
                let is_setting = directory.path == "etc";
                assert!(
                    is_setting || file.checksum == Some(actual),
                    "{}",
                    file_path.display()
                );
                let twice = owned.insert(file_path.clone(), name.clone());
                assert_eq!(twice, None, "{}", file_path.display());
                *packages.entry(name.clone()).or_default() += 1;
            }
        }
    }
    for (file, _) in snapshot(root) {
        let file = Path::new(&file);
        let is_known = owned.contains_key(file)
            || root.join(file).is_dir()
            || file.starts_with("lib/apk")
            || file.starts_with("etc");
        assert!(is_known, "{} is nobody's", file.display());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with(".apk"), "{}", file.display());
        assert!(!name.ends_with(".new"), "{}", file.display());
    }
    packages
}

/// Every path with what is there.
fn snapshot(root: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let mut what = format!("{:o} {}:{}", found.mode(), found.uid(), found.gid());
            if found.is_dir() {
                folders.push(path);
            } else if found.is_symlink() {
                what.push_str(&format!(" {}", fs::read_link(&path).unwrap().display()));
            } else {
                let bytes = fs::read(&path).unwrap();
                what.push_str(&format!(" {} {}", found.nlink(), base::Digest::of(&bytes)));
            }
            // The first transaction leaves none, as with apk.
            if name != "lib/apk/db/lock" {
                all.insert(name, what);
            }
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

fn victim(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "install::interrupted::a_transaction_runs_to_its_end",
        ])
        .arg("--nocapture")
        .env(VICTIM, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Starts the victim, and kills it when it has worked for so long. Says how long it worked if it
/// came to its end.
fn kill_after(folder: &Path, delay: Duration) -> Option<Duration> {
    let mut child = victim(folder).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    while !output.next().unwrap().unwrap().ends_with(BEGUN) {}
    let begun = Instant::now();
    while begun.elapsed() < delay && child.try_wait().unwrap().is_none() {
        std::hint::spin_loop();
    }
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    if let Some(status) = ended {
        assert!(status.success());
        return Some(begun.elapsed());
    }
    // It may have come to its end just then.
    status.success().then(|| begun.elapsed())
}

/// Kills the victim at `kills` moments of its work upon copies of a folder, and compares what comes
/// out with what a victim leaves that lived. Counts those that were interrupted.
fn kill_often(folder: &Path, kills: u32) -> u32 {
    let runs = folder.join("runs");
    let fresh = |number: u32| {
        let run = runs.join(number.to_string());
        fs::create_dir_all(&run).unwrap();
        copy(&folder.join("root"), &run.join("root"));
        copy(&folder.join("packages"), &run.join("packages"));
        run
    };
    let whole = fresh(0);
    let time = kill_after(&whole, Duration::from_secs(600)).expect("the victim ends");
    let expected = snapshot(&whole.join("root"));
    let mut interrupted = 0;
    for kill in 1..=kills {
        let run = fresh(kill);
        let root = run.join("root");
        let delay = time * kill / kills;
        // Most are killed once; some again while they put things in order.
        for again in 0..=(kill % 3) {
            if kill_after(&run, delay / (1 + 3 * again)).is_some() {
                break;
            }
        }
        let has_database = root.join("lib/apk/db/installed").exists();
        let journals = ["lib/apk/db/journal", ".apk-journal"];
        interrupted += u32::from(journals.iter().any(|path| root.join(path).exists()));
        if has_database {
            // Whether it was interrupted or not, it can be read.
            Root::open(&root, &OpenOptions::default(), &base::Silent).unwrap();
        }
        // Put in order, and as if the rest had never been asked for.
        let options = System::options(!has_database);
        drop(Root::open(&root, &options, &base::Silent).unwrap());
        if root.join("lib/apk/db/installed").exists() {
            agree(&root);
        }
        // Then the rest is done.
        assert_eq!(go_on(&run).unwrap(), 0, "kill {kill}");
        agree(&root);
        let actual = snapshot(&root);
        for (path, what) in &expected {
            assert_eq!(actual.get(path), Some(what), "kill {kill}: {path}");
        }
        assert_eq!(actual.len(), expected.len(), "kill {kill}");
        fs::remove_dir_all(&run).unwrap();
    }
    interrupted
}

#[test]
fn whenever_it_is_killed_nothing_is_lost() {
    let system = prepare();
    let kills = 48;
    let interrupted = kill_often(system.folder.path(), kills);
    assert!(
        interrupted > kills / 6,
        "{interrupted} of {kills} were interrupted"
    );
}

#[test]
fn a_first_transaction_may_be_killed_too() {
    let system = prepare();
    let root = system.root();
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir_all(root.join("opt/mine")).unwrap();
    let kills = 24;
    let interrupted = kill_often(system.folder.path(), kills);
    assert!(
        interrupted > kills / 6,
        "{interrupted} of {kills} were interrupted"
    );
}

#[test]
fn a_full_disk_costs_one_package() {
    let system = prepare();
    let packages = system.folder.path().join("packages");
    fs::remove_dir_all(&packages).unwrap();
    fs::create_dir(&packages).unwrap();
    recipe("small", "1", &[("opt/small", "small")]).write(&packages);
    let big = "0123456789".repeat(100_000);
    recipe(
        "upgraded",
        "3",
        &[("opt/big", &big), ("opt/after", "after")],
    )
    .write(&packages);
    let before = snapshot(&system.root());
    // No file may be larger than 512 KiB.
    let mut command = victim(system.folder.path());
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new("/bin/sh");
    let output = command
        .args(["-c", r#"trap "" XFSZ; ulimit -f 1024; exec "$0" "$@""#])
        .arg(program)
        .args(arguments)
        .env(VICTIM, system.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("1 errors"), "{said} {output:?}");
    let agreed = agree(&system.root());
    // The old version stays whole, the other package is there.
    assert!(agreed.contains_key("small") && agreed.contains_key("upgraded"));
    assert!(!system.has("opt/big") && !system.has("opt/after"));
    let after = snapshot(&system.root());
    let kept = |all: &BTreeMap<String, String>| {
        let of_upgraded = all.iter().filter(|(path, _)| path.contains("upgraded"));
        of_upgraded
            .map(|(path, what)| (path.clone(), what.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&after), kept(&before));
}
