//! Recipes that are refused: every kind that melange's own tests refuse, and hostile ones.

use std::fs;

use crate::network::Shop;
use crate::world::polpo;

const SHA256: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is wrong, what a recipe's text holds beside its package, and what is said of it.
const RECIPES: &[(&str, &str, &str)] = &[
    (
        "cpe product without vendor",
        "  cpe: {product: c}\n",
        "invalid-cpe: a CPE with `vendor` or `product` needs both: `vendor` is missing",
    ),
    (
        "cpe vendor without product",
        "  cpe: {vendor: c}\n",
        "invalid-cpe: a CPE with `vendor` or `product` needs both: `product` is missing",
    ),
    (
        "cpe part",
        "  cpe: {part: h, vendor: b, product: c}\n",
        "invalid-cpe: `part` of a CPE is `a` (application) or `o` (operating system), not `h`",
    ),
    (
        "cpe colon",
        "  cpe: {vendor: b, product: 'c:5'}\n",
        "invalid-cpe: `c:5` can't be the `product` of a CPE: lower-case letters, digits and `+_.-`, a letter or digit first",
    ),
    (
        "cpe upper",
        "  cpe: {vendor: 'B!', product: c}\n",
        "invalid-cpe: `B!` can't be the `vendor` of a CPE: lower-case letters, digits and `+_.-`, a letter or digit first",
    ),
    (
        "inputs for nothing",
        "pipeline:\n  - with: {a: b}\n",
        "with-without-uses: `with` gives inputs to the pipeline of `uses`, which is missing",
    ),
    (
        "uses and runs",
        "pipeline:\n  - uses: fetch\n    runs: x\n",
        "uses-and-runs: a step either uses a pipeline (`fetch`) or runs a script, not both",
    ),
    (
        "with and runs",
        "pipeline:\n  - runs: x\n    with: {a: b}\n",
        "with-without-uses: `with` gives inputs to the pipeline of `uses`, which is missing",
    ),
    (
        "uses and runs, nested",
        "pipeline:\n  - pipeline:\n      - uses: strip\n        runs: x\n",
        "uses-and-runs: a step either uses a pipeline (`strip`) or runs a script, not both",
    ),
    (
        "uses and runs in a subpackage",
        "subpackages:\n  - name: b\n    pipeline:\n      - uses: strip\n        runs: x\n",
        "uses-and-runs: a step either uses a pipeline (`strip`) or runs a script, not both",
    ),
    (
        "a name of nothing",
        "!package:\n  name:\n  version: 1\n  epoch: 0\n",
        "missing-key: `name` of package has no value",
    ),
    (
        "a name with quotes",
        "!package:\n  name: a-\"b\"\n  version: 1\n  epoch: 0\n",
        "invalid-name: `a-\"b\"` can't be a package's name",
    ),
    (
        "a name with quotes around what a range gives",
        "data:\n  - name: r\n    items: {x: y}\nsubpackages:\n  - range: r\n    name: b-\"${{range.key}}\"\n",
        "invalid-name: `b-\"x\"` can't be a package's name",
    ),
    (
        "one name for all of a range",
        "data:\n  - name: r\n    items: {x: '', y: ''}\nsubpackages:\n  - range: r\n    name: b\n",
        "duplicate-name: two packages are called `b`",
    ),
    (
        "keys of another place",
        "environment:\n  repositories: [https://a.b/c]\n",
        "unknown-key: unknown key `repositories` in environment",
    ),
    (
        "a version with a suffix that apk doesn't know",
        "!package:\n  name: a\n  version: 1.0.0_b6\n  epoch: 0\n",
        "invalid-version: `1.0.0_b6` is no version in apk's grammar",
    ),
    (
        "a version that leads away",
        "!package:\n  name: a\n  version: 1.0-../../etc/cron.d/evil\n  epoch: 0\n",
        "invalid-version: `1.0-../../etc/cron.d/evil` is no version in apk's grammar",
    ),
    (
        "one licence text of several above the workspace",
        "  copyright:\n    - {license: MIT, license-path: ./LICENSE}\n    - {license: Zlib, license-path: ../../x}\n    - license: 0BSD\n",
        "license-path: `../../x` leads out of the workspace",
    ),
    (
        "setcap unknown, among others",
        "  setcap:\n    - {path: /a, add: {cap_net_raw: +ep}, reason: x}\n    - {path: /b, add: {cap_net_raw: +ep, cap_setfcap: +ep}, reason: x}\n",
        "unknown-capability: files can't be given the capability `cap_setfcap`",
    ),
    (
        "setcap reason of nothing",
        "  setcap:\n    - {path: /a, add: {cap_net_raw: +ep}, reason: ''}\n",
        "setcap-reason: the capabilities of `/a` have no `reason`",
    ),
    (
        "schedule",
        "update:\n  enabled: true\n  schedule: {period: yearly}\n",
        "wrong-type: expected `daily`, `weekly` or `monthly`, found `yearly`",
    ),
    (
        "an input where there are none",
        "pipeline:\n  - runs: echo ${{inputs.baz-bah-boom}}\n",
        "unknown-variable: unknown variable `inputs.baz-bah-boom`",
    ),
    (
        "a script that no shell reads",
        "pipeline:\n  - runs: |\n      if [[ uname -m == 'x86_64']]; then\n        echo \"aarch64\"\n      fi\n",
        "script-syntax: no shell can read this script: line 1: conditional binary operator expected",
    ),
    (
        "a script of a test that no shell reads",
        "test:\n  pipeline:\n    - runs: if true; then\n",
        "script-syntax: no shell can read this script: line 2: syntax error: unexpected end of file",
    ),
    (
        "an input that breaks a pipeline's script",
        "pipeline:\n  - uses: strip\n    with: {opts: '\"'}\n",
        "script-syntax: no shell can read this script: line 27: unexpected EOF while looking for matching `\"'",
    ),
    (
        "odd indentation",
        "!package:\n  name: test-pkg\nversion: 1.0.0\n  epoch: 0\n",
        "yaml-syntax: YAML syntax: mapping values are not allowed in this context",
    ),
    (
        "unknown key",
        "environment:\n  content: {packages: [x]}\n",
        "unknown-key: unknown key `content` in environment",
    ),
    (
        "missing name",
        "!package:\n  version: 1\n  epoch: 0\n",
        "missing-key: package has no `name`",
    ),
    (
        "missing version",
        "!package:\n  name: a\n  epoch: 0\n",
        "missing-key: package has no `version`",
    ),
    (
        "invalid name",
        "!package:\n  name: \"-a\"\n  version: 1\n  epoch: 0\n",
        "invalid-name: `-a` can't be a package's name",
    ),
    (
        "name slash",
        "!package:\n  name: \"a/../b\"\n  version: 1\n  epoch: 0\n",
        "invalid-name: `a/../b` can't be a package's name",
    ),
    (
        "a subpackage called like the package",
        "subpackages:\n  - name: a\n",
        "duplicate-name: two packages are called `a`",
    ),
    (
        "two subpackages of one name",
        "subpackages:\n  - name: b\n  - name: b\n",
        "duplicate-name: two packages are called `b`",
    ),
    (
        "a name made of a range",
        "data:\n  - name: r\n    items: {x: 'a b'}\nsubpackages:\n  - range: r\n    name: ${{range.value}}\n",
        "invalid-name: `a b` can't be a package's name",
    ),
    (
        "undefined range",
        "subpackages:\n  - range: r\n    name: b\n",
        "unknown-range: no `data` is called `r`",
    ),
    (
        "undefined var",
        "pipeline:\n  - runs: echo ${{vars.x}}\n",
        "unknown-variable: unknown variable `vars.x`",
    ),
    (
        "unterminated",
        "pipeline:\n  - runs: echo ${{vars.x}\n",
        "broken-variable: `${{` begins a variable that is not closed",
    ),
    (
        "empty var",
        "pipeline:\n  - runs: echo ${{ }}\n",
        "broken-variable: no variable is named between `${{` and `}}`",
    ),
    (
        "trailing",
        "pipeline:\n  - runs: 'echo ${{'\n",
        "broken-variable: `${{` begins a variable that is not closed",
    ),
    (
        "condition that ends early",
        "pipeline:\n  - if: \"'foo' ==\"\n    runs: x\n",
        "invalid-condition: the condition ends where a quoted text or a variable should follow",
    ),
    (
        "condition with a variable left open",
        "pipeline:\n  - if: \"${{foo.bar} == 'baz'\"\n    runs: x\n",
        "invalid-condition: a variable is written `${{name}}`",
    ),
    (
        "condition with a nameless variable",
        "pipeline:\n  - if: \"${{ }} == 'baz'\"\n    runs: x\n",
        "invalid-condition: a variable is written `${{name}}`",
    ),
    (
        "condition with a quote left open",
        "pipeline:\n  - if: \"'unterminated\"\n    runs: x\n",
        "invalid-condition: the ' that begins here is never closed",
    ),
    (
        "condition without quotes",
        "pipeline:\n  - if: \"true\"\n    runs: x\n",
        "invalid-condition: `true` needs quotes: 'true'",
    ),
    (
        "SHA-256 too short",
        "pipeline:\n  - uses: fetch\n    with: {uri: 'https://a.b/c.tgz', expected-sha256: abcdef}\n",
        "invalid-digest: `expected-sha256` has 64 hexadecimal digits, not 6",
    ),
    (
        "SHA-512 too short",
        "pipeline:\n  - uses: fetch\n    with: {uri: 'https://a.b/c.tgz', expected-sha512: abcdef}\n",
        "invalid-digest: `expected-sha512` has 128 hexadecimal digits, not 6",
    ),
    (
        "SHA-256 of other letters",
        "pipeline:\n  - uses: fetch\n    with: {uri: 'https://a.b/c.tgz', expected-sha256: 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz'}\n",
        "invalid-digest: `expected-sha256` has 64 hexadecimal digits; `zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz` holds something else",
    ),
    (
        "missing required",
        "pipeline:\n  - uses: fetch\n    with: {expected-sha256: 'SHA256'}\n",
        "missing-input: the pipeline `fetch` requires the input `uri`",
    ),
    (
        "commit too short",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: 'https://a.b/c', expected-commit: abc}\n",
        "invalid-digest: `expected-commit` has 40 hexadecimal digits, not 3",
    ),
    (
        "undeclared input",
        "pipeline:\n  - uses: strip\n    with: {optz: '-g'}\n",
        "unknown-input: the pipeline `strip` has no input `optz`",
    ),
    (
        "unknown uses",
        "pipeline:\n  - uses: stripp\n",
        "unknown-pipeline: there is no pipeline `stripp`",
    ),
    (
        "uses dots",
        "pipeline:\n  - uses: ../../etc/passwd\n",
        "invalid-uses: `../../etc/passwd` is no pipeline's name",
    ),
    (
        "uses abs",
        "pipeline:\n  - uses: /etc/passwd\n",
        "invalid-uses: `/etc/passwd` is no pipeline's name",
    ),
    (
        "uses inner dots",
        "pipeline:\n  - uses: split/../../secret\n",
        "invalid-uses: `split/../../secret` is no pipeline's name",
    ),
    (
        "licence text above the workspace",
        "  copyright:\n    - license: MIT\n      license-path: ../x\n",
        "license-path: `../x` leads out of the workspace",
    ),
    (
        "licence text above the workspace by a detour",
        "  copyright:\n    - license: MIT\n      license-path: foo/../../x\n",
        "license-path: `foo/../../x` leads out of the workspace",
    ),
    (
        "licence text anywhere",
        "  copyright:\n    - license: MIT\n      license-path: /etc/passwd\n",
        "license-path: `/etc/passwd` leads out of the workspace",
    ),
    (
        "setcap unknown",
        "  setcap:\n    - {path: /a, add: {cap_foo: +ep}, reason: x}\n",
        "unknown-capability: files can't be given the capability `cap_foo`",
    ),
    (
        "setcap reason",
        "  setcap:\n    - {path: /a, add: {cap_net_raw: +ep}}\n",
        "setcap-reason: the capabilities of `/a` have no `reason`",
    ),
    (
        "priority",
        "  dependencies: {provider-priority: high}\n",
        "invalid-priority: a priority is an integer, not `high`",
    ),
    (
        "unknown linter",
        "  checks: {disabled: [nolint]}\n",
        "unknown-linter: there is no linter `nolint`",
    ),
    (
        "timeout",
        "  timeout: 60\n",
        "wrong-type: expected a length of time with a unit, such as `60s` or `60m`, found `60`",
    ),
    (
        "list as an input",
        "pipeline:\n  - uses: strip\n    with: {opts: [a]}\n",
        "wrong-type: expected text, found a list",
    ),
    (
        "bad version",
        "!package:\n  name: a\n  version: bogus version\n  epoch: 0\n",
        "invalid-version: `bogus version` is no version in apk's grammar",
    ),
    (
        "negative epoch",
        "!package:\n  name: a\n  version: 1\n  epoch: -1\n",
        "wrong-type: expected an integer that is not negative, found `-1`",
    ),
    (
        "dependency with blanks",
        "  dependencies: {runtime: ['a b c']}\n",
        "invalid-dependency: `a b c` holds ' ', which no name has; expected name[@tag][<>=~version]",
    ),
    (
        "dependency that begins another field",
        "  dependencies: {runtime: [\"a\\nprovides = evil\"]}\n",
        "invalid-dependency: `a\\nprovides = evil` holds '\\n', which no name has; expected name[@tag][<>=~version]",
    ),
    (
        "transform from",
        "var-transforms:\n  - {from: '${{vars.no}}', match: a, replace: b, to: c}\n",
        "unknown-variable: unknown variable `vars.no`",
    ),
    (
        "transform regex",
        "var-transforms:\n  - {from: '${{package.version}}', match: '(', replace: b, to: c}\n",
        "invalid-regex: `(` is no regular expression: unclosed group",
    ),
    (
        "required steps",
        "pipeline:\n  - assertions: {required-steps: 1}\n    pipeline:\n      - if: \"'a' == 'b'\"\n        runs: x\n",
        "required-steps: exactly 1 steps are required to run, but the conditions leave 0 of 1",
    ),
    (
        "alias bomb",
        "!a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n",
        "yaml-alias: the aliases of this file expand to far more than its text",
    ),
    (
        "binary",
        "!\0\u{1}package",
        "yaml-syntax: YAML syntax: unexpected character: `\\u{0}'",
    ),
    ("nothing", "!", "missing-key: the recipe has no `package`"),
    (
        "two documents",
        "!package: {name: a, version: 1, epoch: 0}\n---\npackage: {name: b, version: 1, epoch: 0}\n",
        "yaml-documents: a second document begins here, and only one is read",
    ),
    (
        "repository that is an option",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: '--upload-pack=touch /tmp/x', expected-commit: 'COMMIT', branch: main}\n",
        "invalid-checkout: the repository `--upload-pack=touch /tmp/x` can't be used: that is no URL",
    ),
    (
        "repository that is a command",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: 'ext::sh -c touch% /tmp/x', expected-commit: 'COMMIT', branch: main}\n",
        "invalid-checkout: the repository `ext::sh -c touch% /tmp/x` can't be used: that is no URL",
    ),
    (
        "repository that the shell would run",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: '$(touch /tmp/x; echo x)', expected-commit: 'COMMIT', branch: main}\n",
        "invalid-checkout: the repository `$(touch /tmp/x; echo x)` can't be used: that is no URL",
    ),
    (
        "a URI that is a command",
        "pipeline:\n  - uses: fetch\n    with: {uri: '$(touch /tmp/x; echo x)', expected-none: 'true'}\n",
        "invalid-fetch: `$(touch /tmp/x; echo x)` leads to no file",
    ),
    (
        "branch that is an option",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: 'https://a.b/c', expected-commit: 'COMMIT', branch: '--upload-pack=x'}\n",
        "invalid-checkout: `--upload-pack=x` can't be the name of a branch",
    ),
    (
        "cherry-pick that is a command",
        "pipeline:\n  - uses: git-checkout\n    with: {repository: 'https://a.b/c', expected-commit: 'COMMIT', branch: m, cherry-picks: 'x; rm -rf /'}\n",
        "invalid-checkout: the cherry-pick `x; rm -rf /` has no colon",
    ),
    (
        "fewer than no folders stripped",
        "pipeline:\n  - uses: fetch\n    with: {uri: 'https://a.b/c.tgz', strip-components: '-1', expected-sha256: 'SHA256'}\n",
        "invalid-fetch: `strip-components` is a number from 0 to 100000, not `-1`",
    ),
    (
        "range over a list",
        "data:\n  - name: r\n    items: [a]\nsubpackages:\n  - range: r\n    name: a-${{range.key}}\n",
        "wrong-type: expected a mapping from names to texts, found a list",
    ),
    (
        "URL that begins another field",
        "  url: \"https://a.b\\ndepend = evil\"\n",
        "not-one-line: `url` has a line end or control character",
    ),
    (
        "commit that begins another field",
        "subpackages:\n  - name: b\n    commit: |\n      a\n      provides = evil\n",
        "not-one-line: `commit` has a line end or control character",
    ),
];

/// The first problem of what was printed: its rule and message, on one line.
fn first_problem(stderr: &str) -> String {
    let mut lines = stderr.lines();
    let rule = lines.next().unwrap_or_default();
    let mut message = String::new();
    for line in lines.skip_while(|line| !line.starts_with("  error: ")) {
        if let Some(begin) = line.strip_prefix("  error: ") {
            message = begin.to_owned();
        } else if let Some(more) = line.strip_prefix("  │ ") {
            message = format!("{message} {more}");
        } else {
            break;
        }
    }
    format!("{rule}: {message}")
}

#[test]
fn each_wrong_recipe_is_told_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let mut wrong = Vec::new();
    for (what, text, said) in RECIPES {
        let text = text.replace("SHA256", SHA256).replace("COMMIT", COMMIT);
        let text = match text.strip_prefix('!') {
            Some(whole) => whole.to_owned(),
            None => format!("package:\n  name: a\n  version: 1.0\n  epoch: 0\n{text}"),
        };
        fs::write(&file, text).unwrap();
        let done = polpo(&folder.path().join("store"))
            .args(["recipe", "compile", "a.yaml", "--arch", "x86_64"])
            .folder(folder.path())
            .run()
            .code(2);
        assert_eq!(done.stdout, "", "{what}");
        let problem = first_problem(&done.stderr);
        if problem != *said {
            wrong.push(format!("{what}\n  said:   {problem}\n  wanted: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong, what a recipe's only step runs, and what is said of it when it is built.
const BUILDS: &[(&str, &str, &str)] = &[
    (
        "a program that becomes root",
        "mkdir -p ${{targets.destdir}}/usr/bin; dd if=/bin/sh of=${{targets.destdir}}/usr/bin/su; /bin/busybox chmod 4755 ${{targets.destdir}}/usr/bin/su",
        "setuidgid: hello contains files with setuid, setgid or sticky bits: /usr/bin/su (4755)",
    ),
    (
        "a file that anybody changes",
        "mkdir -p ${{targets.destdir}}/usr; echo x > ${{targets.destdir}}/usr/x; /bin/busybox chmod 666 ${{targets.destdir}}/usr/x",
        "worldwrite: hello contains",
    ),
    (
        "a file of apk's own",
        "echo pkgname = evil > ${{targets.destdir}}/.PKGINFO",
        "package hello holds what the build left behind: /.PKGINFO",
    ),
    (
        "a link in the place of the package",
        "cd ..; /bin/busybox rm -r ${{targets.destdir}}; /bin/busybox ln -s /etc ${{targets.destdir}}",
        "can't use as a package's folder",
    ),
    (
        "a name that is no text",
        "echo x > \"$(printf '${{targets.destdir}}/\\377')\"",
        "UTF-8",
    ),
];

#[test]
fn each_hostile_build_ends_with_a_reason_and_nothing_made() {
    let shop = Shop::new();
    let mut wrong = Vec::new();
    for (what, script, said) in BUILDS {
        let recipe = format!(
            "package:
  name: hello
  version: 1.0
  epoch: 0
  description: Says hello
  copyright: [{{license: MIT}}]
environment:
  contents: {{packages: [busybox]}}
pipeline:
  - name: hostile
    runs: |
      {script}
"
        );
        fs::write(shop.path("hello.yaml"), recipe).unwrap();
        let done = shop.run("store", "build", &["--progress", "none"]);
        let words: Vec<&str> = done
            .stderr
            .split(|letter: char| letter.is_whitespace() || letter == '│')
            .filter(|word| !word.is_empty())
            .collect();
        let told = words.join(" ");
        if done.status.code() != Some(1) || !told.contains(said) {
            wrong.push(format!("{what}\n  said:   {told}\n  wanted: {said}"));
            let _ = fs::remove_dir_all(shop.path("packages"));
        }
        assert!(!shop.path("packages").exists(), "{what}");
        let left: Vec<_> = fs::read_dir(shop.path("store/tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "lock")
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder's name is no code, and what a step does elsewhere in the guest is gone with it.
#[test]
fn what_looks_like_code_is_a_name() {
    let shop = Shop::new();
    let recipe = "package:
  name: hello
  version: 1.0
  epoch: 0
  description: |
    Says hello
    provides = evil=9
  copyright: [{license: MIT}]
environment:
  contents: {packages: [busybox]}
pipeline:
  - working-directory: .'$(echo x > /home/build/evil)`echo x > /home/build/evil`'.
    runs: |
      test ! -e /home/build/evil
      mkdir -p ${{targets.destdir}}/usr /home/build/../../polpo-evil
      echo x > /polpo-evil/x
";
    fs::write(shop.path("hello.yaml"), recipe).unwrap();
    shop.run("store", "build", &[]).success();
    assert!(!std::path::Path::new("/polpo-evil").exists());
    let package = shop.path(&format!(
        "packages/{}/hello-1.0-r0.apk",
        base::Arch::host().apk()
    ));
    let package = apk::package::Package::open(&package).unwrap();
    let info = package.info();
    assert_eq!(info.description, "Says hello provides = evil=9");
    assert!(
        info.depends.is_empty() && info.provides.is_empty(),
        "{}",
        package.pkginfo()
    );
}

#[test]
fn a_time_is_a_number_of_seconds_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = "package: {name: a, version: 1, epoch: 0}\n";
    fs::write(folder.path().join("a.yaml"), recipe).unwrap();
    for (epoch, taken) in [
        ("", true),
        ("    ", true),
        ("1669683910", true),
        ("tacocat", false),
        ("-5", false),
        ("12.5", false),
        ("99999999999999999999", false),
    ] {
        let fetched = polpo(&folder.path().join("store"))
            .args(["source", "fetch", "a.yaml"])
            .env("SOURCE_DATE_EPOCH", epoch)
            .folder(folder.path())
            .run();
        if taken {
            fetched.success();
        } else {
            let said = fetched.code(2).stderr;
            assert!(
                said.contains(&format!("'{epoch}' for '--source-date-epoch")),
                "{said}"
            );
        }
    }
}
