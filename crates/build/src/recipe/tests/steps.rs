//! Steps and the pipelines they use.

use super::*;

#[test]
fn inputs_reach_scripts_needs_folders_and_nested_pipelines() {
    let (_folder, library) = library(&[
        (
            "outer",
            r#"
name: the outer one
description: unknown to recipes, usual in definitions
needs:
  packages: ["${{inputs.tool}}", make]
inputs:
  tool: {description: a tool, default: "gcc-${{inputs.major}}"}
  major: {description: its version, default: 14}
  flags: {description: options}
working-directory: ${{inputs.tool}}
environment: {TOOL: "${{inputs.tool}}"}
pipeline:
  - runs: outer ${{inputs.tool}} ${{inputs.flags}}
  - uses: group/inner
    with:
      flags: ${{inputs.flags}} -x
      dir: ${{inputs.major}}
  - if: ${{inputs.flags}} == '-none'
    uses: group/inner
    with: {dir: x}
    needs: {packages: [never]}
"#,
        ),
        (
            "group/inner",
            r#"
inputs:
  flags: {description: options, default: none}
  dir: {description: where, required: true}
needs: {packages: [inner-tool]}
runs: inner ${{inputs.flags}} ${{inputs.dir}} ${{inputs.tool}}
"#,
        ),
    ]);
    let recipe = parse(&format!(
        "{PACKAGE}{}",
        r#"
vars: {f: -O2}
pipeline:
  - uses: outer
    name: mine
    environment: {TOOL: overridden, KEPT: "1"}
    needs: {packages: [caller]}
    with: {flags: "${{vars.f}}", major: 15}
"#
    ));
    let resolved = recipe
        .resolve(&ResolveOptions::new(Arch::X86_64, &library))
        .unwrap_or_else(|problems| panic!("{}", render(&problems)));
    let step = &resolved.steps[0];
    assert_eq!(
        scripts(&resolved.steps),
        ["outer gcc-15 -O2", "inner -O2 -x 15 gcc-15"]
    );
    assert_eq!(
        resolved.environment.packages,
        ["caller", "gcc-15", "make", "inner-tool"]
    );
    assert_eq!(step.name, "mine");
    assert_eq!(step.uses.as_deref(), Some("outer"));
    let with: Vec<_> = step.with.iter().collect();
    assert_eq!(
        with,
        [
            (&"flags".to_owned(), &"-O2".to_owned()),
            (&"major".to_owned(), &"15".to_owned()),
            (&"tool".to_owned(), &"gcc-15".to_owned()),
        ]
    );
    let inner = &step.steps[1];
    assert_eq!(inner.working_directory, "/home/build/gcc-15");
    assert_eq!(inner.environment["TOOL"], "gcc-15");
    assert_eq!(inner.environment["KEPT"], "1");
    assert_eq!(step.steps[0].name, "step 1.1");
}

#[test]
fn pipelines_that_go_wrong() {
    let (folder, library) = library(&[
        ("a", "pipeline: [{uses: b}]\n"),
        ("b", "pipeline: [{uses: a}]\n"),
        ("typo", "rnus: x\ninputs: {a: {defualt: 1}}\n"),
        (
            "uses-unknown",
            "inputs: {x: {default: 1}}\nruns: |\n  echo\n  ${{inputs.y}} ${{package.nmae}}\n",
        ),
        (
            "siblings",
            "inputs:\n  x: {default: \"${{inputs.y}}\"}\n  y: {default: \"${{inputs.x}}\"}\nruns: x\n",
        ),
    ]);
    let recipe = parse(&format!(
        "{PACKAGE}{}",
        r#"
pipeline:
  - uses: a
  - uses: typo
  - uses: uses-unknown
  - uses: siblings
  - uses: nowhere
  - uses: split/devs
  - uses: autoconf/make
    with: {dri: x, opts: a}
  - uses: fetch
    with: {expected-sha256: abc}
  - uses: fetch
    with: {uri: "https://example.com/x.tar.gz"}
"#
    ));
    let problems = recipe
        .resolve(&ResolveOptions::new(Arch::X86_64, &library))
        .unwrap_err();
    let shown = render(&problems).replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(shown, @r"
    hello.yaml:8:11: there is no pipeline `nowhere` [unknown-pipeline]
      `nowhere`
      help: looked in FOLDER and the built-in pipelines
    hello.yaml:9:11: there is no pipeline `split/devs` [unknown-pipeline]
      `split/devs`
      help: did you mean `split/dev`? (looked in FOLDER and the built-in pipelines)
    hello.yaml:11:12: the pipeline `autoconf/make` has no input `dri` [unknown-input]
      `dri`
      help: did you mean `dir`? It takes dir, opts, targets
    hello.yaml:12:11: the pipeline `fetch` requires the input `uri` [missing-input]
      `fetch`
      help: add `uri` below `with`: Where the source is
    hello.yaml:13:29: `expected-sha256` has 64 hexadecimal digits, not 3 [invalid-digest]
      `abc`
    hello.yaml:14:11: the source has no checksum: nothing shows that it is the same every time [invalid-fetch]
      `fetch`
      help: add `expected-sha256` or `expected-sha512`
    FOLDER/typo.yaml:1:1: unknown key `rnus` in the step [unknown-key]
      `rnus` unknown
      help: did you mean `runs`? Valid keys: assertions, environment, if, inputs, label, name, needs, pipeline, runs, uses, with, working-directory
    FOLDER/b.yaml:1:19: the pipeline uses itself: a → b → a [circular-pipeline]
      `a`
      help: used by hello.yaml:4:11
    FOLDER/typo.yaml:2:14: unknown key `defualt` in the input [unknown-key]
      `defualt` unknown
      help: did you mean `default`? Valid keys: default, description, required
    FOLDER/uses-unknown.yaml:4:3: unknown variable `inputs.y` [unknown-variable]
      `${{inputs.y}}`
      help: did you mean `${{inputs.x}}`? (used by hello.yaml:6:11)
    FOLDER/siblings.yaml:3:17: the inputs go in a circle: x → y → x [circular-variable]
      `${{inputs.x}}`
      help: used by hello.yaml:7:11
    FOLDER/uses-unknown.yaml:4:17: unknown variable `package.nmae` [unknown-variable]
      `${{package.nmae}}`
      help: did you mean `${{package.name}}`? (used by hello.yaml:6:11)
    ");
}

#[test]
fn required_steps_are_counted() {
    let recipe = |arch: &str, count: u32| {
        format!(
            "{PACKAGE}pipeline:\n  - assertions: {{required-steps: {count}}}\n    pipeline:\n      \
             - {{if: \"${{{{build.arch}}}} == '{arch}'\", runs: a}}\n      - {{runs: b}}\n"
        )
    };
    assert_eq!(
        resolve(&recipe("x86_64", 2)).steps[0].required_steps,
        Some(2)
    );
    insta::assert_snapshot!(problems_of(&recipe("aarch64", 2)), @r"
    hello.yaml:3:34: exactly 2 steps are required to run, but the conditions leave 1 of 2 [required-steps]
      `2`
    ");
    assert!(problems_of(&recipe("aarch64", 3)).contains("there are only 2"));
}

#[test]
fn spelled_out_steps_win_over_uses() {
    let resolved = resolve(&format!(
        "{PACKAGE}pipeline: [{{uses: gone/for-good, with: {{x: y}}, pipeline: [{{runs: kept}}]}}]\n"
    ));
    assert_eq!(scripts(&resolved.steps), ["kept"]);
}

#[test]
fn fetch_is_native() {
    let resolved = resolve(&format!(
        "{PACKAGE}{}",
        r#"
pipeline:
  - working-directory: deps
    pipeline:
      - uses: fetch
        with:
          uri: https://example.com/a/hello%20${{package.version}}.tgz?raw=1
          expected-sha512: CF83E1357EEFB8BDF1542850D66D8007D620E4050B5715DC83F4A921D36CE9CE47D0D13C5D85F2B0FF8318D2877EEC2F63B931BD47417A81A538327AF927DA3E
          strip-components: 0
          extract: false
          delete: true
          purl-name: other
"#
    ));
    let [SourceRequest::Fetch(fetch)] = resolved.sources()[..] else {
        panic!()
    };
    assert_eq!(fetch.file_name, "hello%201.2.3.tgz?raw=1");
    assert_eq!(fetch.expected.unwrap().algorithm(), "sha512");
    assert_eq!(
        (fetch.strip_components, fetch.extract, fetch.delete),
        (0, false, true)
    );
    assert_eq!(
        (fetch.purl_name.as_str(), fetch.purl_version.as_str()),
        ("other", "1.2.3")
    );
    let step = &resolved.steps[0].steps[0];
    assert_eq!(step.working_directory, "/home/build/deps");
    assert!(resolved.environment.packages.is_empty());
}
