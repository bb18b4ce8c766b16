//! What is told of recipes that are wrong, and of those that mean harm.

use proptest::prelude::*;

use super::*;

#[test]
fn everything_wrong_as_written_is_told_at_once() {
    insta::assert_snapshot!(problems_of(
        r#"
package:
  version: 1.0
  epoch: one
  descripton: x
  target-architecture: [x86_64, amd65]
  copyright:
    - license: ""
      license-path: ../COPYING
    - attestation: none
  timeout: 3600
  cpe: {vendor: "*"}
  setcap:
    - path: /usr/bin/x
      add: {cap_sys_boot: +z}
subpackages:
  - name: a
    range: missing
    pipeline:
      - uses: ../evil
        runs: x
  - pipelines: []
data:
  - {name: one, items: {a: [1]}}
var-transforms:
  - {from: a, match: "(", to: b}
update:
  enabled: maybe
  release-monitor: {identifier: abc}
  schedule: {period: hourly}
pipeline:
  - with: {a: b}
    runs: x
"#
    ), @r#"
    hello.yaml:3:3: package has no `name` [missing-key]
      `version: 1.0` `name` is required
    hello.yaml:4:10: expected an integer that is not negative, found `one` [wrong-type]
      `one` not an integer that is not negative
    hello.yaml:5:3: unknown key `descripton` in package [unknown-key]
      `descripton` unknown
      help: did you mean `description`? Valid keys: annotations, checks, commit, copyright, cpe, dependencies, description, epoch, name, options, resources, scriptlets, setcap, target-architecture, test-resources, timeout, url, version
    hello.yaml:6:33: unknown architecture `amd65` [unknown-architecture]
      `amd65` unknown
      help: known are aarch64, armhf, armv7, loongarch64, ppc64le, riscv64, s390x, x86, x86_64
    hello.yaml:8:16: the licence is empty [empty-license]
      `""`
    hello.yaml:9:21: `../COPYING` leads out of the workspace [license-path]
      `../COPYING`
      help: give the path of a file below the workspace, without `..`
    hello.yaml:10:7: copyright has no `license` [missing-key]
      `attestation: none` `license` is required
    hello.yaml:11:12: expected a length of time with a unit, such as `3600s` or `3600m`, found `3600` [wrong-type]
      `3600` not a length of time with a unit, such as `3600s` or `3600m`
    hello.yaml:12:8: a CPE with `vendor` or `product` needs both: `product` is missing [invalid-cpe]
      `{vendor: "*"}`
    hello.yaml:12:17: `*` can't be the `vendor` of a CPE: lower-case letters, digits and `+_.-`, a letter or digit first [invalid-cpe]
      `"*"`
    hello.yaml:14:13: the capabilities of `/usr/bin/x` have no `reason` [setcap-reason]
      `/usr/bin/x`
      help: say why the program needs them
    hello.yaml:15:13: files can't be given the capability `cap_sys_boot` [unknown-capability]
      `cap_sys_boot`
      help: those allowed are cap_net_bind_service, cap_net_admin, cap_net_raw, cap_ipc_lock, cap_sys_admin
    hello.yaml:15:27: `+z` names no capability sets [invalid-capability-sets]
      `+z`
      help: `+` and some of `e` (effective), `i` (inheritable), `p` (permitted), such as `+ep`
    hello.yaml:18:12: no `data` is called `missing` [unknown-range]
      `missing` not defined
      help: `data` has one
    hello.yaml:20:15: a step either uses a pipeline (`../evil`) or runs a script, not both [uses-and-runs]
      `../evil` uses a pipeline
      `x` and runs a script
      help: make two steps of it
    hello.yaml:20:15: `../evil` is no pipeline's name [invalid-uses]
      `../evil`
      help: a name such as `autoconf/make`, without `..` and a leading `/`
    hello.yaml:22:5: subpackage has no `name` [missing-key]
      `pipelines: []` `name` is required
    hello.yaml:22:5: unknown key `pipelines` in subpackage [unknown-key]
      `pipelines` unknown
      help: did you mean `pipeline`? Valid keys: annotations, checks, commit, dependencies, description, if, name, options, pipeline, range, scriptlets, setcap, test, url
    hello.yaml:24:28: expected text, found a list [wrong-type]
      `[1]` not text
    hello.yaml:26:22: `(` is no regular expression: unclosed group [invalid-regex]
      `"("`
    hello.yaml:28:12: expected `true` or `false`, found `maybe` [wrong-type]
      `maybe` not `true` or `false`
    hello.yaml:29:33: expected an integer, found `abc` [wrong-type]
      `abc` not an integer
    hello.yaml:30:22: expected `daily`, `weekly` or `monthly`, found `hourly` [wrong-type]
      `hourly` not `daily`, `weekly` or `monthly`
    hello.yaml:32:12: `with` gives inputs to the pipeline of `uses`, which is missing [with-without-uses]
      `a` an input for nothing
      help: add `uses`, or move the values to `environment`
    "#);
}

#[test]
fn values_that_cannot_be_meant_are_told_where_they_stand() {
    insta::assert_snapshot!(problems_of(
        r#"
package:
  name: a package
  version: v1
  copyright:
    - license: MIT
      license-path: /etc/passwd
"#
    ), @r"
    hello.yaml:7:21: `/etc/passwd` leads out of the workspace [license-path]
      `/etc/passwd`
      help: give the path of a file below the workspace, without `..`
    ");
    insta::assert_snapshot!(problems_of(
        r#"
package:
  name: a package
  version: v1
  description: it has ${{vars.nothing}} and ${{ broken
  copyright: [{license: "${{vars.license}}"}]
  dependencies:
    runtime: [good, "two words", ""]
    provides: ["!never", "a>1"]
    provider-priority: high
vars:
  licence: MIT
environment:
  contents:
    packages: ["${{package.version}}|x"]
subpackages:
  - name: dup
  - name: dup
  - name: ${{subpkg.name}}
    if: ${{build.arch}} = 'x'
pipeline:
  - runs: |
      cd ${{targets.destdri}}
      ${{targets.subpkgdir}} ${{range.key}} ${{nonsense}}
      ${{vars.licence
  - if: ${{build.arhc}} == 'a' && x == 'b'
    runs: x
"#
    ), @r#"
    hello.yaml:3:9: `a package` can't be a package's name [invalid-name]
      `a package`
      help: letters, digits and `+_.-`, a letter or digit first
    hello.yaml:4:12: `v1` is no version in apk's grammar [invalid-version]
      `v1`
      help: such as 1.2.3, 1.2b, 1.2_rc1 or 1.2_p3: numbers and dots, a letter, then suffixes `_alpha`, `_beta`, `_pre`, `_rc`, `_p`, `_git` …
    warning: hello.yaml:5:23: unknown variable `vars.nothing` [unknown-variable]
      `${{vars.nothing}}`
      help: there are vars.licence
    warning: hello.yaml:5:45: `${{` begins a variable that is not closed [broken-variable]
      `${{ broken`
      help: a variable is written `${{name}}`
    hello.yaml:6:26: unknown variable `vars.license` [unknown-variable]
      `${{vars.license}}`
      help: did you mean `${{vars.licence}}`?
    hello.yaml:8:21: `two words` holds ' ', which no name has; expected name[@tag][<>=~version] [invalid-dependency]
      `"two words"`
      help: a name, maybe with a version (`name>=1.2`), or `!name` for a conflict
    hello.yaml:8:34: `` names no package; expected name[@tag][<>=~version] [invalid-dependency]
      `""`
      help: a name, maybe with a version (`name>=1.2`), or `!name` for a conflict
    warning: hello.yaml:9:16: `!never` is a conflict, which nothing provides [misplaced-conflict]
      `"!never"`
      help: write it below `runtime`, where apk heeds it
    hello.yaml:9:26: a package provides one version, not a range: `a>1` [invalid-dependency]
      `"a>1"`
      help: a name, or a name and a version: `name=1.2-r0`
    hello.yaml:10:24: a priority is an integer, not `high` [invalid-priority]
      `high`
    hello.yaml:18:11: two packages are called `dup` [duplicate-name]
      `dup` again here
      `dup` first here
    hello.yaml:19:11: unknown variable `subpkg.name` [unknown-variable]
      `${{subpkg.name}}`
      help: it exists in subpackages only; `targets.contextdir` and `context.name` exist everywhere
    hello.yaml:20:25: expected `==` or `!=`, found `=` [invalid-condition]
      `=`
      help: conditions compare: ${{build.arch}} == 'x86_64' && ${{vars.a}} != 'b'
    hello.yaml:23:10: unknown variable `targets.destdri` [unknown-variable]
      `${{targets.destdri}}`
      help: did you mean `${{targets.destdir}}`?
    hello.yaml:24:7: unknown variable `targets.subpkgdir` [unknown-variable]
      `${{targets.subpkgdir}}`
      help: it exists in subpackages only; `targets.contextdir` and `context.name` exist everywhere
    hello.yaml:24:30: unknown variable `range.key` [unknown-variable]
      `${{range.key}}`
      help: it exists in subpackages with a `range` only
    hello.yaml:24:45: unknown variable `nonsense` [unknown-variable]
      `${{nonsense}}`
      help: variables begin with build, context, cross, host, package, targets, vars
    hello.yaml:25:7: `${{` begins a variable that is not closed [broken-variable]
      `${{vars.licence`
      help: a variable is written `${{name}}`
    hello.yaml:26:9: unknown variable `build.arhc` [unknown-variable]
      `${{build.arhc}}`
      help: did you mean `${{build.arch}}`?
    hello.yaml:26:35: `x` needs quotes: 'x' [invalid-condition]
      `x`
      help: conditions compare: ${{build.arch}} == 'x86_64' && ${{vars.a}} != 'b'
    "#);
}

proptest! {
    /// Lines of a recipe, dropped, doubled and mixed: always an answer, never a panic.
    #[test]
    fn no_recipe_panics(lines in prop::collection::vec(prop::sample::select(vec![
        "package:", "  name: a", "  version: '1'", "  version: ${{vars.a}}", "vars:", "  a: ${{vars.b}}",
        "  b: ${{ vars.a }}", "  c: é${{", "data:", "  - name: r", "    items: {k: v, é: ${{vars.c}}}",
        "subpackages:", "  - range: r", "    name: a-${{range.key}}", "    if: ${{range.key}} == 'é",
        "    if: '${{vars.a}}' != \"\"", "pipeline:", "  - uses: fetch", "    with: {uri: 'x/${{inputs.uri}}'}",
        "  - uses: strip", "    with: {opts: '${{inputs.opts}}'}", "  - runs: ${{package.name}}",
        "    pipeline:", "      - uses: autoconf/make", "    working-directory: ../${{vars.a}}",
        "var-transforms:", "  - {from: '${{vars.a}}', match: '(', to: a}", "  - {from: '${{vars.b}}', match: '', replace: '$1', to: b}",
    ]), 0..24)) {
        let text = lines.join("\n");
        let library = PipelineLibrary::default();
        let result = Recipe::parse(SourceText::new("x.yaml", text))
            .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::X86_64, &library)));
        if let Err(problems) = result {
            prop_assert!(!problems.is_empty());
            render(&problems);
        }
    }
}

#[test]
fn recipes_that_would_never_end_are_refused() {
    let (_folder, library) = library(&[
        ("p0", "runs: x\n"),
        (
            "p1",
            "pipeline: [{uses: p0}, {uses: p0}, {uses: p0}, {uses: p0}, {uses: p0}]\n",
        ),
        (
            "p2",
            "pipeline: [{uses: p1}, {uses: p1}, {uses: p1}, {uses: p1}, {uses: p1}]\n",
        ),
        (
            "p3",
            "pipeline: [{uses: p2}, {uses: p2}, {uses: p2}, {uses: p2}, {uses: p2}]\n",
        ),
        (
            "p4",
            "pipeline: [{uses: p3}, {uses: p3}, {uses: p3}, {uses: p3}, {uses: p3}]\n",
        ),
        (
            "p5",
            "pipeline: [{uses: p4}, {uses: p4}, {uses: p4}, {uses: p4}, {uses: p4}]\n",
        ),
        (
            "p6",
            "pipeline: [{uses: p5}, {uses: p5}, {uses: p5}, {uses: p5}, {uses: p5}]\n",
        ),
        (
            "p7",
            "pipeline: [{uses: p6}, {uses: p6}, {uses: p6}, {uses: p6}, {uses: p6}]\n",
        ),
        (
            "p8",
            "pipeline: [{uses: p7}, {uses: p7}, {uses: p7}, {uses: p7}, {uses: p7}]\n",
        ),
    ]);
    let refused = |text: String| {
        let problems = parse(&format!("{PACKAGE}{text}"))
            .resolve(&ResolveOptions::new(Arch::X86_64, &library))
            .unwrap_err();
        assert!(problems.len() <= 500, "{}", problems.len());
        render(&problems)
    };
    let problems = refused("pipeline: [{uses: p8}]\n".to_owned());
    assert!(problems.contains("more than 20000 steps"), "{problems}");

    let items: String = (0..100).map(|n| format!("k{n}: v, ")).collect();
    let subpackages: String = (0..100)
        .map(|n| format!("  - {{range: r, name: \"a{n}-${{{{range.key}}}}\"}}\n"))
        .collect();
    let problems = refused(format!(
        "data: [{{name: r, items: {{{items}}}}}]\nsubpackages:\n{subpackages}"
    ));
    assert!(problems.contains("more than 5000 packages"), "{problems}");

    let unknown = "${{nothing}} ${{".repeat(5_000);
    refused(format!("pipeline: [{{runs: \"{unknown}\"}}]\n"));
}
