//! What builds are told on the command line.

use std::fs;

use base::Arch;

use crate::network::Shop;

/// Puts a recipe in the place of the shop's own.
fn recipe(shop: &Shop, more: &str) {
    let text = format!(
        "package:
  name: hello
  version: \"1.0\"
  description: Says hello
  copyright:
    - license: MIT
{more}"
    );
    fs::write(shop.path("hello.yaml"), text).unwrap();
}

#[test]
fn limits_end_a_build_and_say_what_allows_more() {
    let shop = Shop::new();
    recipe(
        &shop,
        "  resources: {disk: 8Mi}
  timeout: 30s
environment:
  contents: {packages: [busybox]}
pipeline:
  - name: fill
    runs: |
      if [ -n \"$SLEEP\" ]; then sleep 66.5; fi
      dd if=/dev/zero of=x bs=1M count=12
",
    );
    let full = shop.run("store", "build", &[]).code(1).stderr;
    assert!(
        full.contains("step `fill` was stopped: it wrote more than 8 MiB to the disk; allow more with `--disk`"),
        "{full}"
    );
    // The command line has the last word.
    fs::write(shop.path("slow"), "SLEEP=1\n").unwrap();
    let late = shop
        .run("store", "build", &["--timeout", "1s", "--env-file", "slow"])
        .code(1)
        .stderr;
    assert!(
        late.contains("time is up: step `fill` was stopped 1 s after"),
        "{late}"
    );
    shop.run("store", "build", &["--disk", "1Gi"]).success();
    let wrong = shop
        .run("store", "build", &["--memory", "lots"])
        .code(2)
        .stderr;
    assert!(wrong.contains("such as 512Mi, 8Gi or 20G"), "{wrong}");
}

#[test]
fn values_and_folders_reach_the_steps() {
    let shop = Shop::new();
    recipe(
        &shop,
        "environment:
  contents: {packages: []}
  accounts: {run-as: build}
vars: {greeting: hello}
options:
  loud: {vars: {greeting: HELLO}}
pipeline:
  - runs: |
      mkdir -p ${{targets.destdir}}/usr/share
      out=${{targets.destdir}}/usr/share/said
      echo \"${{vars.greeting}} $FROM $(id -u)\" > $out
      ls -A >> $out
      echo cached > /var/cache/melange/file
",
    );
    let beside = shop.path("hello");
    fs::create_dir_all(beside.join("empty")).unwrap();
    fs::write(beside.join("data"), "x").unwrap();
    fs::write(beside.join(".melangeignore"), "*.orig\n").unwrap();
    fs::write(beside.join("data.orig"), "x").unwrap();
    std::os::unix::fs::symlink("data", beside.join("link")).unwrap();
    fs::write(shop.path("environment"), "FROM=outside\n").unwrap();
    let common = [
        "--package-append",
        "busybox",
        "--env-file",
        "environment",
        "--cache-dir",
        "cache",
        "--workspace-dir",
        "work",
        "--dependency-log",
        "relations",
        "--create-build-log",
    ];
    let build = |more: &[&str]| {
        let _ = fs::remove_dir_all(shop.path("work"));
        let words: Vec<&str> = common.iter().chain(more).copied().collect();
        shop.run("store", "build", &words).success();
        let workspace = shop.path(&format!("work/{}/workspace", Arch::host().apk()));
        fs::read_to_string(workspace.join("melange-out/hello/usr/share/said")).unwrap()
    };
    let vars = "greeting: ciao\n";
    fs::write(shop.path("vars"), vars).unwrap();
    assert_eq!(
        build(&["--vars-file", "vars"]),
        "ciao outside 1000\ndata\nempty\nlink\nmelange-out\n"
    );
    assert_eq!(
        build(&[
            "--build-option",
            "loud",
            "--empty-workspace",
            "--strip-origin-name"
        ]),
        "HELLO outside 1000\nmelange-out\n"
    );
    assert_eq!(
        fs::read_to_string(shop.path("cache/file")).unwrap(),
        "cached\n"
    );
    let arch = Arch::host().apk();
    assert_eq!(
        fs::read_to_string(shop.path("packages.log")).unwrap(),
        format!("{arch}|hello|hello|1.0-r0\n{arch}||hello|1.0-r0\n")
    );
    let relations = fs::read_to_string(shop.path(&format!("relations.{arch}"))).unwrap();
    let relations: serde_json::Value = serde_json::from_str(&relations).unwrap();
    assert_eq!(relations["hello"]["depends"], serde_json::json!([]));
}

#[test]
fn another_runner_makes_the_same_package() {
    let shop = Shop::new();
    recipe(
        &shop,
        "environment:
  contents: {packages: [busybox]}
pipeline:
  - runs: |
      mkdir -p ${{targets.destdir}}/usr/bin
      echo \"echo $(id) on $(hostname)\" > ${{targets.destdir}}/usr/bin/hello
      chmod 700 ${{targets.destdir}}/usr/bin/hello
      chown 7:8 ${{targets.destdir}}/usr/bin/hello || true
",
    );
    let package = |store: &str, arguments: &[&str]| {
        let arguments = [&["--out-dir", store], arguments].concat();
        shop.run(store, "build", &arguments).success();
        let folder = shop.path(store).join(Arch::host().apk());
        fs::read(folder.join("hello-1.0-r0.apk")).unwrap()
    };
    let usual = package("one", &[]);
    assert!(package("two", &["--runner", "podman"]) == usual);
    if rustix::process::geteuid().is_root() {
        // Anybody else may have been given no ids.
        let path = shop.path(&format!("one/{}/hello-1.0-r0.apk", Arch::host().apk()));
        let manifest = apk::package::Package::open(&path).unwrap();
        let mut owners = Vec::new();
        manifest
            .visit(&archive::Limits::default(), |entry, _| {
                owners.push((entry.path.clone(), entry.uid, entry.gid));
                Ok::<(), apk::package::PackageError>(())
            })
            .unwrap();
        assert!(
            owners.contains(&("usr/bin/hello".to_owned(), 7, 8)),
            "{owners:?}"
        );
    }
    let wrong = shop.run("one", "build", &["--runner", "lima"]).code(2);
    assert!(
        wrong
            .stderr
            .contains("`lima` is no runner; known are bubblewrap"),
        "{}",
        wrong.stderr
    );
}
