//! Packages and indexes that are verified as files, and what they were built with, followed back.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::Finished;

use crate::world::{polpo, recipe, world};

/// Is built with a package that was built before it.
const GREETER: &str = "
package: {name: greeter, version: 1, epoch: 0, description: greets, copyright: [{license: MIT}]}
environment: {contents: {packages: [build-base, hello]}}
pipeline:
  - runs: |
      mkdir -p ${{targets.destdir}}/usr/share
      hello > ${{targets.destdir}}/usr/share/greeting
";

/// A repository of packages that were built one with the other, each with its provenance.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(bench.path("greeter.yaml"), GREETER).unwrap();
        for recipe in [recipe("hello"), bench.path("greeter.yaml")] {
            polpo(&world().store())
                .arg("build")
                .arg(recipe)
                .arg("-r")
                .arg(bench.path(""))
                .arg("-r")
                .arg(world().packages())
                .arg("-r")
                .arg(world().seed())
                .arg("-k")
                .arg(world().keys())
                .args(["--source-mirror", "apt:trixie", "--signing-key"])
                .arg(world().signing_key())
                .args(["--generate-provenance", "--stamp-index", "--out-dir"])
                .arg(bench.path(""))
                .run()
                .success();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("x86_64").join(name)
    }

    /// `polpo verify` of a file, with all that is needed to believe it.
    fn verify(&self, file: &Path, options: &[&str]) -> Finished {
        polpo(&world().store())
            .arg("verify")
            .arg(file)
            .args(["--arch", "x86_64", "-r"])
            .arg(self.path(""))
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .args(options)
            .run()
    }
}

/// The report without hashes.
fn shown(bench: &Bench, text: &str) -> String {
    let text = text.replace(&bench.path("").display().to_string(), "DIR/");
    let mut shown = String::new();
    let lines = text.lines().flat_map(|line| {
        let end = ["believed: ", "given: "]
            .iter()
            .find_map(|names| line.find(names).map(|at| at + names.len()));
        let (line, rest) = line.split_at(end.unwrap_or(line.len()));
        line.split_inclusive(' ')
            .chain([if rest.is_empty() { "\n" } else { "NAMES\n" }])
    });
    for word in lines {
        let end = word.len() - word.trim_end().len();
        let (core, space) = word.split_at(word.len() - end);
        shown.push_str(match core {
            core if core.starts_with("sha256:") => "sha256:…",
            core if core.starts_with("Q1") => "Q1…",
            core if core.starts_with("20") && core.ends_with('Z') => "TIME",
            // How many packages the seed has changes, and so do the keys of tests.
            core if core.len() == 2 && core.parse::<u8>().is_ok() => "MANY",
            core if core.len() == 64 => "KEY",
            core => core,
        });
        shown.push_str(space);
    }
    shown
}

#[test]
fn packages_are_followed_back_to_what_nobody_vouches_for() {
    let bench = Bench::new();
    let greeter = bench.file("greeter-1-r0.apk");
    let good = bench.verify(&greeter, &[]).success();
    insta::assert_snapshot!(shown(&bench, &good.stdout), @"
    package sha256:…
    └─? greeter 1-r0 for x86_64
      ├─✓ its control part and its data have the hashes that name them
      ├─✓ a signed index lists it as Q1…
      ├─✓ it is signed by test.rsa.pub
      ├─✓ its provenance is signed by somebody who is trusted: urn:polpo:builder:local built it with MANY packages and this
      │ └─✓ greeter.yaml sha256:…
      ├─? its SBOM names no sources: to this check it is an opaque binary
      └─? MANY packages took part in building them, at any depth
        ├─✓ 1 was built by trusted provenance
        ├─? MANY have no provenance to trust, and must be believed: NAMES
        └─? 3 are in no index that was given: NAMES
    ");
    let json = bench.verify(&greeter, &["--format", "json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["package"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(json["findings"][0]["standing"], "unproven");

    // A statement about another package, by the right key.
    let statement = bench.file("greeter-1-r0.apk.intoto.jsonl");
    let own = fs::read(&statement).unwrap();
    fs::copy(bench.file("hello-2.10-r0.apk.intoto.jsonl"), &statement).unwrap();
    let other = bench.verify(&greeter, &[]).success();
    assert!(
        other.stdout.contains(
            "? the provenance beside it counts for nothing: the statement does not speak of"
        ),
        "{}",
        other.stdout
    );
    // By nobody's key, and none.
    let text = String::from_utf8(own.clone()).unwrap();
    fs::write(&statement, text.replace("\"sig\":\"", "\"sig\":\"AAAA")).unwrap();
    let forged = bench.verify(&greeter, &[]).success();
    assert!(
        forged
            .stdout
            .contains("the envelope is not signed as trusted"),
        "{}",
        forged.stdout
    );
    fs::remove_file(&statement).unwrap();
    let none = bench.verify(&greeter, &[]).success();
    assert!(
        none.stdout.contains("? no provenance lies beside it"),
        "{}",
        none.stdout
    );
    fs::write(&statement, own).unwrap();

    // Another file under its name, though a signed one.
    let hello = bench.file("hello-2.10-r0.apk");
    let bytes = fs::read(&hello).unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&hello, &damaged).unwrap();
    let refused = bench.verify(&hello, &[]).code(1);
    insta::assert_snapshot!(shown(&bench, &refused.stderr), @"
    error: DIR/x86_64/hello-2.10-r0.apk can't be verified
      because: the data of package DIR/x86_64/hello-2.10-r0.apk is not what its .PKGINFO says: datahash sha256:… in fact sha256:… get it again from its source
    ");
    fs::write(&hello, bytes).unwrap();
    let stranger = polpo(&world().store())
        .arg("verify")
        .arg(&hello)
        .run()
        .code(1);
    insta::assert_snapshot!(shown(&bench, &stranger.stdout), @"
    package sha256:…
    └─✗ hello 2.10-r0 for x86_64
      ├─✓ its control part and its data have the hashes that name them
      ├─✗ package DIR/x86_64/hello-2.10-r0.apk: it is signed by test.rsa.pub, which is not among the trusted keys (none); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)
      ├─? the provenance beside it counts for nothing: the envelope is not signed as trusted: 0 of the 0 trusted keys signed it, 1 must; the keys that its signatures name: KEY
      └─✓ its SBOM names what it was built from
        └─✓ https://ftp.gnu.org/gnu/hello/hello-2.10.tar.gz sha256:…
    ");
}

#[test]
fn indexes_are_held_to_their_packages() {
    let bench = Bench::new();
    let index = bench.file("APKINDEX.tar.gz");
    let good = bench.verify(&index, &[]).success();
    insta::assert_snapshot!(shown(&bench, &good.stdout), @"
    index sha256:…
    ├─✓ it is signed by test.rsa.pub
    ├─✓ it says how recent it is: serial 2, TIME
    └─✓ 3 packages are listed
      └─✓ 3 lie beside it and are what it names
    ");
    fs::remove_file(bench.file("hello-2.10-r0.apk")).unwrap();
    fs::copy(
        bench.file("hello-doc-2.10-r0.apk"),
        bench.file("greeter-1-r0.apk"),
    )
    .unwrap();
    let bad = bench.verify(&index, &[]).code(1);
    insta::assert_snapshot!(shown(&bench, &bad.stdout), @"
    index sha256:…
    ├─✓ it is signed by test.rsa.pub
    ├─✓ it says how recent it is: serial 2, TIME
    └─✗ 3 packages are listed
      ├─✗ repository DIR/x86_64/APKINDEX.tar.gz: package DIR/x86_64/greeter-1-r0.apk is hello-doc-2.10-r0 Q1… its index says greeter-1-r0 Q1… renew the index or get the package again
      ├─✓ 1 lies beside it and is what it names
      └─? 1 does not lie beside it
    ");
    let nobody = polpo(&world().store())
        .arg("verify")
        .arg(&index)
        .run()
        .code(1);
    assert!(nobody.stdout.contains("✗ index "), "{}", nobody.stdout);

    let image = polpo(&world().store())
        .arg("verify")
        .arg(world().layout())
        .run()
        .code(2);
    insta::assert_snapshot!(image.stderr, @"error: to verify an image, say who must have signed it: --key, --trusted-root or --policy");
    fs::write(bench.path("other"), "neither").unwrap();
    let other = bench.verify(&bench.path("other"), &[]).code(1);
    insta::assert_snapshot!(shown(&bench, &other.stderr), @"
    error: DIR/other can't be verified
      because: DIR/other is neither a package nor an index: it begins neither as gzip nor as ADB does
    ");
}
