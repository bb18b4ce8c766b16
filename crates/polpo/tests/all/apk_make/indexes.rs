//! Indexes over real packages and indexes. The hashes are those of what apk 3.0.6 writes of the
//! same files, and apk 2.14.10 where format 2 is written.

use testkit::corpus;

use super::*;

/// Two packages that apk's `mkndx` ends over: one has two licences, the other provides what is no
/// version. The third is no package.
const PECULIAR: [&str; 3] = ["ruby3.2-base64-", "aws-c-s3-", "rsa256-signed"];

/// The packages of the corpus, from its folder on.
fn packages() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![corpus()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "apk") {
                let path = path.strip_prefix(corpus()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.retain(|path| !PECULIAR.iter().any(|name| path.contains(name)));
    found.sort();
    found
}

fn index_text(bench: &Bench, name: &str) -> String {
    let index = Index::read_unverified(&bench.path(name)).unwrap();
    index.to_text()
}

#[test]
fn the_packages_of_the_corpus_are_indexed_as_apk_indexes_them() {
    let bench = Bench::new();
    let packages = packages();
    assert_eq!(packages.len(), 37);
    let path = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    let index = |words: &[&str], packages: &[&str]| {
        let words = [words, packages].concat();
        bench
            .strict(&words)
            .arg("--allow-untrusted")
            .folder(&corpus())
            .run()
            .success()
    };
    let all: Vec<&str> = packages.iter().map(String::as_str).collect();
    index(&["mkndx", "-c", "none", "-o", &path("all.adb")], &all);
    assert_eq!(
        bench.hash("all.adb"),
        "45c3668700cb05f837549fdcc85b129b39fdfcccbc38d1c4997928ff8a9221e1"
    );
    let some: Vec<&str> = { all.iter() }
        .filter(|name| name.starts_with("apk/packages/") && !name.contains("libcap"))
        .copied()
        .collect();
    let said = index(
        &["index", "--no-warnings", "-o", &path("APKINDEX.tar.gz")],
        &some,
    );
    assert_eq!(said.stdout, "Index has 18 packages (of which 18 are new)\n");
    let text = index_text(&bench, "APKINDEX.tar.gz");
    assert_eq!(
        Digest::of(text.as_bytes()).hex(),
        "5e3e29ec41b566e30038890756d7acdba5577558d74621531b5171321559d5bc"
    );
}

#[test]
fn the_indexes_of_the_corpus_are_converted_as_apk_converts_them() {
    let bench = Bench::new();
    for (path, hash) in [
        (
            "apko/apk/rsa256-signed",
            "da62bc5a6137bf11bd206f35bafa846a4b327c1f35460450f2d477ee3ee3e5e6",
        ),
        (
            "apko/apk/signing",
            "b4b26fb8436cefa29cada870548ebefda2a601d8215c02ff3a7142f324daed1b",
        ),
        (
            "apko/cli/packages/aarch64",
            "95b2bd513ed35bd44901c34d37f278adca2b4c835668a8488fa9da38cfc4f78d",
        ),
        (
            "apko/cli/private_packages/packages/x86_64",
            "215755715d947309b20b7f196dd59afacdefae7c9ea766eb485126ebaf74c103",
        ),
    ] {
        let file = corpus().join(path).join("APKINDEX.tar.gz");
        let words = ["convndx", "-c", "none", file.to_str().unwrap()];
        let mut convert = bench.strict(&words).arg("--allow-untrusted");
        let output = convert.command().output().unwrap();
        assert_eq!(Digest::of(&output.stdout).hex(), hash, "{path}");
    }
    // apk leaves the versions of four packages empty here, as they follow no grammar, and one
    // package without what it depends on.
    let file = corpus().join("apko/apk/alpine-316/APKINDEX.tar.gz");
    let mut convert = bench
        .strict(&["convndx", file.to_str().unwrap()])
        .arg("--allow-untrusted");
    let output = convert.command().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("opensmtpd-pam-6.8.0p2-r4.apk is left out: "),
        "{said}"
    );
    assert!(said.ends_with(": 4928 packages\n"), "{said}");
    fs::write(bench.path("316.adb"), output.stdout).unwrap();
    let index = Index::read_unverified(&bench.path("316.adb")).unwrap();
    assert!(index.get("opensmtpd", "6.8.0p2-r4").is_some());
}

#[test]
fn a_package_that_would_seem_to_need_less_is_not_indexed() {
    let bench = Bench::new();
    bench.older(info("good", "1-r0"));
    let package = |file: &str, term: &str| {
        let text = format!("pkgname = needy\npkgver = 1-r0\narch = x86_64\n{term}\n");
        fs::write(bench.path(".PKGINFO"), text).unwrap();
        // A header and a block: the control member doesn't end as an archive does.
        let make = "tar --format=ustar -cf - .PKGINFO | head -c 1024 | gzip -n";
        let data = "tar --format=ustar -cf - -T /dev/null | gzip -n";
        Program::new("sh")
            .folder(&bench.path(""))
            .args(["-c", &format!("({make}; {data}) > {file}")])
            .run()
            .success();
    };
    package("needy.apk", "depend = good other=one");
    package("broad.apk", "provides = so:x=one");
    for (command, last) in [
        ("mkndx", "ERROR: 1 errors, not creating index\n"),
        ("index", ""),
    ] {
        let refused = bench
            .apk(&[command, "-o", "out", "good-1-r0.apk", "needy.apk"])
            .code(99);
        assert_eq!(
            refused.stderr,
            format!(
                "ERROR: needy.apk: `depend` of its .PKGINFO: `other=one`: `one` is not a version: \
                 expected digits{{.digits}}…[letter]{{_suffix[digits]}}…[~hex][-rN], for example \
                 1.2.3_rc1-r0; build it again with a term that apk can read\n{last}"
            )
        );
        assert!(!bench.path("out").exists());
    }
    // What it provides is still found by its name.
    let said = bench
        .apk(&["index", "-o", "out", "good-1-r0.apk", "broad.apk"])
        .success();
    assert!(
        said.stderr
            .starts_with("WARNING: broad.apk: `provides` of its .PKGINFO: `so:x=one`: "),
        "{}",
        said.stderr
    );
    assert!(index_text(&bench, "out").contains("\np:so:x=one\n"));
}

/// Either key suffices, whether the signatures stand in one member or in two.
#[test]
fn an_index_with_two_signatures_is_trusted_for_either() {
    let bench = Bench::new();
    bench.older(info("one", "1-r0"));
    let keys = ["first", "second"].map(|name| {
        let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
        let path = bench.path(&format!("{name}.rsa"));
        key::save_pair(&key, &path, None).unwrap();
        path
    });
    let index = |out: &str, more: &[&str]| {
        let words = ["index", "--no-warnings", "-o", out, "one-1-r0.apk"];
        bench.apk(&[&words[..], more].concat()).success();
        bench.read(out)
    };
    let plain = index("plain.tar.gz", &[]);
    let [first, second] = keys.each_ref().map(|key| {
        let signed = index("signed.tar.gz", &["--sign-key", key.to_str().unwrap()]);
        assert!(signed.ends_with(&plain));
        signed[..signed.len() - plain.len()].to_vec()
    });
    let words: Vec<&str> = { keys.iter() }
        .flat_map(|key| ["--sign-key", key.to_str().unwrap()])
        .collect();
    assert_eq!(
        index("both.tar.gz", &words),
        [&first[..], &second, &plain].concat()
    );
    let make = [&["mkndx", "-o", "both.adb", "one-1-r0.apk"], &words[..]].concat();
    bench.apk(&make).success();
    let verify = |file: &str| bench.strict(&["verify", file]).run();
    for file in ["both.tar.gz", "both.adb"] {
        let said = verify(file).code(1);
        assert_eq!(said.stdout, format!("{file}: UNTRUSTED signature\n"));
        for key in &keys {
            let public = key::public_path(key);
            let trusted = bench.folder.path().join("root/etc/apk/keys");
            let trusted = trusted.join(public.file_name().unwrap());
            fs::copy(&public, &trusted).unwrap();
            assert_eq!(verify(file).success().stdout, format!("{file}: OK\n"));
            fs::remove_file(trusted).unwrap();
        }
    }
}

const WITH_ATTRIBUTES: &str = "\
#%SCHEMA: 676B6370
info:
  name: x
  version: 1.0
  hashes: 225f36a6eddcc657218ddf0f7204f88f485d0666
  arch: x86_64
  installed-size: 5018
paths: # 1 items
  - name: usr/bin
    acl:
      mode: 0755
      user: root
      group: root
      xattrs: # 1 items
        - user.dir=6f6e206120646972
    files: # 1 items
      - name: cap
        acl:
          mode: 0755
          user: root
          group: root
          xattrs: # 3 items
            - security.capability=0100000200040000000000000000000000000000
            - user.alpha=616c7068612076616c7565
            - user.zeta=7a
        size: 0
        mtime: 1700000000
        hash: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
";

/// apk 3.0.6 verifies these bytes and shows this text of them. What its own `adbgen` makes of the
/// text it refuses: it leaves `=` where the name of an attribute must end with NUL.
#[test]
fn extended_attributes_go_through_every_compression() {
    let bench = Bench::new();
    fs::write(bench.path("text"), WITH_ATTRIBUTES).unwrap();
    let mut generate = bench.strict(&["adbgen", "text"]);
    let made = generate.command().output().unwrap().stdout;
    fs::write(bench.path("x.apk"), made).unwrap();
    assert_eq!(
        bench.hash("x.apk"),
        "c83f4e58f1f241827bd774cd7fd8069eb81c934dec13ba2c32591a96a96a0800"
    );
    for compression in ["none", "deflate", "deflate:1", "zstd", "zstd:22", "none"] {
        bench
            .apk(&["adbsign", "-c", compression, "x.apk"])
            .success();
        bench.apk(&["verify", "x.apk"]).success();
        let shown = bench.apk(&["adbdump", "x.apk"]).success().stdout;
        let same = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("# "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(same(&shown), same(WITH_ATTRIBUTES), "{compression}");
    }
    assert_eq!(
        bench.hash("x.apk"),
        "c83f4e58f1f241827bd774cd7fd8069eb81c934dec13ba2c32591a96a96a0800"
    );
}

/// To apk the cache is a repository, by whose names it calls what it has there; `fetch` knows
/// nothing of it.
#[test]
fn what_the_cache_has_comes_from_there() {
    let bench = Bench::new();
    let server = testkit::Server::of(bench.path("repository"));
    let cache = bench.folder.path().join("root/etc/apk/cache");
    for folder in [&bench.path("repository"), &cache] {
        fs::create_dir_all(folder).unwrap();
    }
    bench.older(info("one", "1-r0"));
    fs::copy(
        bench.path("one-1-r0.apk"),
        bench.path("repository/one-1-r0.apk"),
    )
    .unwrap();
    let index = ["mkndx", "-o", "repository/Packages.adb", "one-1-r0.apk"];
    bench.apk(&index).success();
    let place = server.url("/Packages.adb");
    let run = |words: &[&str]| bench.apk(&[&["-X", &place], words].concat()).success();
    let urls = || {
        let query = run(&["query", "--format", "json", "-F", "download-url", "one"]);
        let query: serde_json::Value = serde_json::from_str(&query.stdout).unwrap();
        let fetch = run(&["fetch", "--simulate", "--url", "-o", "elsewhere", "one"]);
        (
            query[0]["download-url"].as_str().unwrap().to_owned(),
            fetch.stdout,
        )
    };
    let url = server.url("/one-1-r0.apk");
    assert_eq!(urls(), (url.clone(), format!("{url}\n")));
    let entry = {
        let index = Index::read_unverified(&bench.path("repository/Packages.adb")).unwrap();
        index.entries[0].clone()
    };
    let apk::dependency::Identity::Sha1(hash) = entry.identity else {
        panic!("{entry:?}");
    };
    let name = format!("one-1-r0.{}.apk", &hash.hex()[..8]);
    fs::copy(bench.path("one-1-r0.apk"), cache.join(&name)).unwrap();
    assert_eq!(urls(), (name.clone(), format!("{url}\n")));
    // What is there is none of it: its size is another.
    fs::write(cache.join(&name), "").unwrap();
    assert_eq!(urls().0, url);
}

#[test]
fn a_file_of_format_2_is_told_from_nonsense() {
    let bench = Bench::new();
    bench.older(info("one", "1-r0"));
    fs::write(bench.path("text"), "hello").unwrap();
    for (file, why) in [
        (
            "one-1-r0.apk",
            "it is compressed with gzip, as packages and indexes of format 2 are",
        ),
        ("text", "it is no file of format 3"),
        ("gone", "No such file or directory"),
    ] {
        for command in ["adbdump", "adbsign"] {
            let refused = bench.apk(&[command, file]).code(99);
            let line = format!("ERROR: {file}: {why}");
            assert!(refused.stderr.starts_with(&line), "{}", refused.stderr);
        }
    }
    let refused = bench.apk(&["mkpkg", "-c", "AAA"]).code(2);
    assert!(
        refused.stderr.starts_with(
            "ERROR: command line: invalid argument for option 'compression': 'AAA': \
             `AAA` is no compression: "
        ),
        "{}",
        refused.stderr
    );
    let refused = bench.apk(&["mkpkg", "-I", "colour:red"]).code(99);
    assert!(
        refused
            .stderr
            .contains("invalid info field: colour: it is one of name, version, "),
        "{}",
        refused.stderr
    );
}
