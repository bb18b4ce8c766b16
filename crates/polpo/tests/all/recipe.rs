//! `polpo recipe`: what it shows, compiles and answers.

use std::fs;

use testkit::{Finished, Program};

use crate::world::polpo;

const RECIPE: &str = r#"package:
  name: hello
  version: 1.2.3
  epoch: 4
  description: says hello
  copyright: [{license: MIT}]
  dependencies: {runtime: [libhello]}
environment:
  contents: {packages: [busybox]}
vars: {greeting: hello}
options:
  loud: {vars: {greeting: HELLO}}
pipeline:
  - uses: our/greet
    with: {who: world}
  - if: ${{options.loud.enabled}} == 'true'
    runs: echo louder
subpackages:
  - name: ${{package.name}}-dev
    pipeline: [{uses: our/greet}]
    test:
      environment: {environment: {MODE: quiet}}
      pipeline: [{runs: hello}]
"#;

const GREET: &str = r#"inputs: {who: {default: "${{context.name}}"}}
needs: {packages: [greeter]}
pipeline:
  - name: greet
    working-directory: src
    runs: |
      # said aloud
      echo ${{vars.greeting}} ${{inputs.who}}
"#;

/// A folder with the recipe, its pipeline and files of values.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        scene.write("hello.yaml", RECIPE);
        scene.write("pipelines/our/greet.yaml", GREET);
        scene.write("vars.yaml", "greeting: ahoy\n");
        scene.write("env", "CC=clang\n# no more\n");
        scene
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn recipe(&self, arguments: &[&str]) -> Program {
        polpo(&self.0.path().join("store"))
            .arg("recipe")
            .args(arguments)
            .args(["--arch", "x86_64"])
            .folder(self.0.path())
    }
}

const HELLO: [&str; 3] = ["hello.yaml", "--pipeline-dir", "pipelines"];

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], &HELLO[..], more].concat()
}

#[test]
fn show_tells_what_a_recipe_means() {
    let scene = Scene::new();
    let Finished { stdout, .. } = scene
        .recipe(&with("show", &["--build-option", "loud"]))
        .run()
        .success();
    insta::assert_snapshot!(stdout, @"
    hello 1.2.3-r4
      description: says hello
      licences: MIT
      needs: libhello
      architecture: x86_64
      guest: busybox, greeter
      steps:
        1. our/greet
           who: world
          1.1. greet in /home/build/src
             | # said aloud
             | echo HELLO world
        2. step 2
           | echo louder

    hello-dev 1.2.3-r4
      licences: MIT
      steps:
        1. our/greet
           who: hello-dev
          1.1. greet in /home/build/src
             | # said aloud
             | echo HELLO hello-dev
      test's guest: hello-dev
      environment: MODE=quiet
      test:
        1. step 1
           | hello
    ");
    let yaml = scene
        .recipe(&with("show", &["--format", "yaml"]))
        .run()
        .success();
    assert!(
        yaml.stdout.starts_with("package:\n  name: hello\n"),
        "{}",
        yaml.stdout
    );
    // What is shown is a recipe again, which needs no pipelines any more.
    scene.write("again.yaml", &yaml.stdout);
    let again = scene
        .recipe(&["show", "again.yaml", "--format", "yaml"])
        .run()
        .success();
    assert_eq!(again.stdout, yaml.stdout);
}

#[test]
fn compile_prints_one_line_of_json() {
    let scene = Scene::new();
    let values = [
        "--vars-file",
        "vars.yaml",
        "--env-file",
        "env",
        "--git-commit",
        "c0ffee",
    ];
    let compiled = scene
        .recipe(&with("compile", &values))
        .run()
        .success()
        .stdout;
    assert_eq!(compiled.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&compiled).unwrap();
    let at = |pointer: &str| {
        json.pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer}: {compiled}"))
    };
    assert_eq!(at("/package/commit"), "c0ffee");
    assert_eq!(
        *at("/environment/contents/packages"),
        serde_json::json!(["busybox", "greeter"])
    );
    assert_eq!(at("/environment/environment/CC"), "clang");
    let step = "/pipeline/0/pipeline/0";
    assert_eq!(
        at(&format!("{step}/runs")),
        "# said aloud\necho ahoy world\n"
    );
    assert_eq!(at(&format!("{step}/working-directory")), "/home/build/src");
    assert_eq!(at("/pipeline/0/with/who"), "world");
    assert_eq!(
        at("/subpackages/0/test/environment/environment/MODE"),
        "quiet"
    );
    assert!(json.pointer("/pipeline/1").is_none(), "{compiled}");
}

#[test]
fn query_needs_no_pipelines() {
    let scene = Scene::new();
    for (template, answer) in [
        (
            "{{ .Package.Name }}-{{ .Package.Version }}-r{{ .Package.Epoch }}",
            "hello-1.2.3-r4",
        ),
        (
            "{{ range .Subpackages }}{{ println .Name }}{{ end }}",
            "hello-dev\n",
        ),
        ("{{ (index .Pipeline 0).Uses }}", "our/greet"),
    ] {
        let answered = scene
            .recipe(&["query", "hello.yaml", template])
            .run()
            .success();
        assert_eq!(answered.stdout, answer);
    }
    let failed = scene
        .recipe(&["query", "hello.yaml", "{{ .Package.Nmae }}"])
        .run()
        .code(2);
    insta::assert_snapshot!(failed.stderr, @"
    invalid-template

      error: nothing here is called `Nmae`
       ╭─[the template:1:12]
     1 │ {{ .Package.Nmae }}
       ·            ─────
       ╰────
      help: did you mean `name`?
    ");
}

#[test]
fn problems_of_all_files_come_at_once() {
    let scene = Scene::new();
    scene.write(
        "hello.yaml",
        "package: {name: hello, version: 1, epoch: x}\npipelines: []\n",
    );
    scene.write("vars.yaml", "greeting: [a]\n");
    let values = ["--vars-file", "vars.yaml", "--env-file", "none"];
    let failed = scene.recipe(&with("compile", &values)).run().code(2);
    insta::assert_snapshot!(failed.stderr, @"
    wrong-type

      error: expected an integer that is not negative, found `x`
       ╭─[hello.yaml:1:43]
     1 │ package: {name: hello, version: 1, epoch: x}
       ·                                           ┬
       ·                                           ╰── not an integer that is not negative
     2 │ pipelines: []
       ╰────
    unknown-key

      error: unknown key `pipelines` in the recipe
       ╭─[hello.yaml:2:1]
     1 │ package: {name: hello, version: 1, epoch: x}
     2 │ pipelines: []
       · ────┬────
       ·     ╰── unknown
       ╰────
      help: did you mean `pipeline`? Valid keys: capabilities, data, environment, options, package,
            pipeline, subpackages, test, update, var-transforms, vars
    wrong-type

      error: expected text, found a list
       ╭─[vars.yaml:1:11]
     1 │ greeting: [a]
       ·           ─┬─
       ·            ╰── not text
       ╰────
    unreadable

      error: the environment file none can't be read: No such file or directory (os error 2)
      help: check the path
    4 errors; nothing was changed
    ");
    assert_eq!(failed.stdout, "");

    scene.write(
        "hello.yaml",
        "package: {name: hello, version: 1, epoch: 0, target-architecture: [aarch64]}\n",
    );
    let failed = scene.recipe(&["compile", "hello.yaml"]).run().code(2);
    insta::assert_snapshot!(failed.stderr, @"error: hello.yaml is not meant for x86_64; name another architecture with --arch");
}
