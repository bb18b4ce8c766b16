use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::authoring::style;

/// A recipe that breaks no rule, with `change` made to it.
fn recipe(change: (&str, &str)) -> String {
    let clean = "package:\n  name: hello\n  version: 1.2.3\n  epoch: 0\n  description: Says hello\n  copyright:\n    - license: MIT\n\nenvironment:\n  contents:\n    packages:\n      - build-base\n\npipeline:\n  - uses: fetch\n    with:\n      uri: https://example.org/hello-${{package.version}}.tar.gz\n      expected-sha256: ab5a03176ee106d3f0fa90e381da478ddae405918153cca248e682cd0c4a2269\n\n  - uses: git-checkout\n    with:\n      repository: https://github.com/example/hello.git\n      tag: v${{package.version}}\n      expected-commit: 75529e55371f26025040f907cc11852a98d5daba\n\n  - runs: make\n\nupdate:\n  enabled: true\n  github:\n    identifier: Example/Hello\n\ntest:\n  pipeline:\n    - runs: hello\n";
    assert!(clean.contains(change.0), "{}", change.0);
    clean.replacen(change.0, change.1, 1)
}

fn file(name: &str, text: String) -> RecipeFile {
    RecipeFile {
        source: SourceText::new(name, text),
        style: style::usual(),
    }
}

fn broken(change: (&str, &str)) -> Vec<&'static str> {
    let problems = lint(&[file("a.yaml", recipe(change))], &LintOptions::default());
    let mut rules: Vec<&str> = problems.iter().map(|problem| problem.rule).collect();
    rules.retain(|rule| *rule != "layout");
    rules
}

#[test]
fn a_clean_recipe_breaks_nothing() {
    let problems = lint(
        &[file("a.yaml", recipe(("hello", "hello")))],
        &LintOptions::default(),
    );
    assert_eq!(problems, []);
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let run = |script: &str| format!("    - runs: {script}\n");
    for (change, rules) in [
        (
            (
                "    packages:",
                "    repositories:\n      - https://packages.wolfi.dev/os\n    packages:",
            ),
            vec!["forbidden-repository-used"],
        ),
        (
            (
                "    packages:",
                "    repositories:\n      - \"@local ./foo\"\n    packages:",
            ),
            vec!["tagged-repository-in-environment-repos"],
        ),
        (
            (
                "    packages:",
                "    keyring:\n      - https://packages.wolfi.dev/os/wolfi-signing.rsa.pub\n    packages:",
            ),
            vec!["forbidden-keyring-used"],
        ),
        (
            ("  copyright:\n    - license: MIT\n", ""),
            vec!["valid-copyright-header"],
        ),
        (("  epoch: 0\n", ""), vec!["contains-epoch"]),
        (
            (
                "https://example.org/hello-${{package.version}}.tar.gz",
                "${{package.version}}.tar.gz",
            ),
            vec!["valid-pipeline-fetch-uri"],
        ),
        (
            ("example.org", "downloads.xⅰph.org"),
            vec!["valid-pipeline-fetch-uri"],
        ),
        (
            ("https://github.com/example", "https://githuв.com/example"),
            vec!["valid-pipeline-fetch-uri"],
        ),
        (
            ("ab5a03176ee106d3", "ab5a"),
            vec!["valid-pipeline-fetch-digest"],
        ),
        (
            (
                "      expected-sha256: ab5a03176ee106d3f0fa90e381da478ddae405918153cca248e682cd0c4a2269\n",
                "",
            ),
            vec!["valid-pipeline-fetch-digest"],
        ),
        (
            (
                "      - build-base\n",
                "      - build-base\n      - foo\n      - foo\n",
            ),
            vec!["no-repeated-deps"],
        ),
        (
            ("runs: make", "runs: make DESTDIR=$pkgdir"),
            vec!["bad-template-var"],
        ),
        (("version: 1.2.3", "version: 1.0.0rc1"), vec!["bad-version"]),
        (
            ("75529e55371f2", "7552"),
            vec!["valid-pipeline-git-checkout-commit"],
        ),
        (
            (
                "      expected-commit: 75529e55371f26025040f907cc11852a98d5daba\n",
                "",
            ),
            vec!["valid-pipeline-git-checkout-commit"],
        ),
        (
            ("      tag: v${{package.version}}\n", ""),
            vec!["valid-pipeline-git-checkout-tag-or-branch"],
        ),
        (
            (
                "runs: make",
                "runs: |\n      # CHECK-WHEN-VERSION-CHANGES: 1.2.2\n      make",
            ),
            vec!["check-when-version-changes"],
        ),
        (
            (
                "  github:\n    identifier: Example/Hello\n",
                "  release-monitor:\n    identifier: 1\n",
            ),
            vec!["git-checkout-must-use-github-updates"],
        ),
        (
            ("license: MIT", "license: Apache License 2.0"),
            vec!["valid-spdx-license"],
        ),
        (
            ("\ntest:\n  pipeline:\n    - runs: hello\n", ""),
            vec!["valid-package-or-subpackage-test"],
        ),
        (
            ("enabled: true", "enabled: false"),
            vec!["update-disabled-reason"],
        ),
        (
            ("    - runs: hello\n", &run("croc relay --ports=1234 &")),
            vec!["background-process-without-redirect"],
        ),
        (
            (
                "    - runs: hello\n",
                &run("|\n        coredns &\n        sleep 2"),
            ),
            vec!["background-process-without-redirect"],
        ),
        (
            ("    - runs: hello\n", &run("croc relay --daemon")),
            vec!["background-process-without-redirect"],
        ),
        (
            ("  - runs: make", "  - uses: sccache/enable"),
            vec!["sccache-enabled"],
        ),
        (
            (
                "enabled: true",
                "enabled: true\n  schedule:\n    reason: often",
            ),
            vec!["valid-update-schedule"],
        ),
        (
            (
                "enabled: true",
                "enabled: true\n  schedule:\n    period: hourly",
            ),
            vec!["wrong-type"],
        ),
        (
            (
                "environment:",
                "var-transforms:\n  - from: ${{package.version}}\n    match: \\.\n    replace: _\n    to: mangled\n\nenvironment:",
            ),
            vec!["unused-var-transform"],
        ),
        (
            ("Example/Hello", "example/goodbye"),
            vec!["update-identifier-must-match-git-repository"],
        ),
        (
            ("- build-base", "- py3-pip"),
            vec!["depends-on-unversioned-py-provides"],
        ),
        (
            ("tag: v${{package.version}}", "tag: v1.2.3"),
            vec!["fetch-templating"],
        ),
    ] {
        assert_eq!(broken(change), rules, "{change:?}");
    }
}

#[test]
fn what_looks_wrong_and_is_right() {
    let run = |script: &str| format!("    - runs: {script}\n");
    for change in [
        (
            "    - runs: hello\n",
            run("croc relay --ports=1234 > croc.log 2>&1 &").as_str(),
        ),
        (
            "    - runs: hello\n",
            &run("croc relay --daemon > croc.log 2>&1"),
        ),
        ("    - runs: hello\n", &run("true && hello")),
        (
            "    - runs: hello\n",
            &run("|\n        a == 'x' &&\n          b == 'y'"),
        ),
        (
            "    - runs: hello\n",
            &run("getcap /usr/bin/fping | cut -d ' ' -f2"),
        ),
        ("    - runs: hello\n", &run("avahi-daemon --version")),
        (
            "enabled: true",
            "enabled: false\n  exclude-reason: upstream is gone",
        ),
        ("tag: v${{package.version}}", "tag: stable"),
        ("license: MIT", "license: PROPRIETARY"),
        ("- build-base", "- py3-supported-pip"),
        ("- build-base", "- py3.12-pip"),
        (
            "https://github.com/example/hello.git",
            "https://github.com/example/hello/",
        ),
        (
            "enabled: true",
            "enabled: true\n  manual: true\n  version-separator: _",
        ),
    ] {
        assert_eq!(broken(change), Vec::<&str>::new(), "{change:?}");
    }
}

#[test]
fn hosts_are_compared_across_recipes() {
    let hosts = |names: [&str; 2]| {
        let files = names.map(|name| file(name, recipe(("example.org", name))));
        let problems = lint(&files, &LintOptions::default());
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        told.join("\n")
    };
    assert_eq!(
        hosts(["test.com", "test.org"]),
        "test.org:17:20: the host `test.org` is nearly `test.com` of test.com"
    );
    assert_eq!(
        hosts(["www.libxml.org", "www.libxml2.org"]),
        "www.libxml2.org:17:20: the host `www.libxml2.org` is nearly `www.libxml.org` of www.libxml.org"
    );
    assert_eq!(hosts(["www.libssh.org", "www.libssh2.org"]), "");
    assert_eq!(hosts(["one.example.org", "two.example.org"]), "");
}

#[test]
fn what_steps_use_is_expanded_where_there_are_pipelines() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("own.yaml"),
        "inputs:\n  needed:\n    required: true\npipeline:\n  - if: ${{build.arch}} == 'aarch64'\n    runs: ${{inputs.other}}\n",
    )
    .unwrap();
    let library = PipelineLibrary::new(vec![folder.path().to_owned()]);
    let text = recipe(("- runs: make", "- uses: own\n\n  - uses: strip"));
    let files = [file("a.yaml", text)];
    let told = |pipelines, archs: &[Arch]| {
        let options = LintOptions {
            pipelines,
            archs: archs.to_vec(),
            ..LintOptions::default()
        };
        let problems = lint(&files, &options);
        let told: Vec<String> = problems.iter().map(|it| it.message.clone()).collect();
        told.join("\n")
    };
    assert_eq!(told(None, &[]), "");
    let all = told(Some(&library), &[Arch::X86_64, Arch::Aarch64]);
    insta::assert_snapshot!(all, @"
    the pipeline `own` requires the input `needed`
    unknown variable `inputs.other`
    ");
    assert_eq!(told(Some(&library), &[Arch::Aarch64]), all);
    let closed = PipelineLibrary::default();
    assert_eq!(
        told(Some(&closed), &[Arch::X86_64]),
        "there is no pipeline `own`"
    );
}

#[test]
fn rules_can_be_left_out() {
    let text = recipe(("  epoch: 0\n", ""));
    let excused = format!("#nolint:uri-mimic,contains-epoch\n{text}");
    let problems = lint(&[file("a.yaml", excused)], &LintOptions::default());
    assert_eq!(problems, []);
    let mut options = LintOptions::default();
    options.skip.insert("contains-epoch".to_owned());
    assert_eq!(lint(&[file("a.yaml", text)], &options), []);
    let untested = recipe(("\ntest:\n  pipeline:\n    - runs: hello\n", ""));
    options.severity = Some(Severity::Warning);
    assert_eq!(lint(&[file("a.yaml", untested)], &options), []);
    assert_eq!(
        rule("contains-epoc").err().map(|error| error.to_string()),
        Some("there is no rule `contains-epoc`; did you mean `contains-epoch`?".to_owned())
    );
}

#[test]
fn problems_have_places_and_help() {
    let text = recipe(("runs: make", "runs: |\n      cd $srcdir\n      make"))
        .replace("\n\nupdate:", "\nupdate:");
    let problems = lint(&[file("a.yaml", text)], &LintOptions::default());
    let told: String = problems
        .iter()
        .map(|problem| format!("{problem}\n  {}\n", problem.help.as_deref().unwrap_or("")))
        .collect();
    insta::assert_snapshot!(told, @"
    a.yaml:27:10: `$srcdir` is no variable of recipes
      write `${{targets.destdir}}`, `${{package.version}}`, `${{package.name}}` or `${{package.srcdir}}`
    a.yaml:29:1: from here on the file is laid out otherwise
      `polpo recipe fmt` lays it out
    ");
}

/// docs/src/reference/recipe-rules.md is the table of rules. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_reference_follows_the_rules() {
    let mut text = String::from(
        "# Rules for recipes\n\nWhat `polpo recipe lint` looks for beyond what makes a recipe invalid; a test keeps this page equal to the\nrules. Names are wolfictl's, where it has the rule. `#nolint:RULE,RULE` at the start of a line excuses a\nrecipe, `--skip-rule RULE` all of them.\n",
    );
    for rule in &RULES {
        let severity = match rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let fixed = if rule.fixable {
            ", mended by `polpo recipe fmt`"
        } else {
            ""
        };
        write!(
            text,
            "\n## {}\n\n*{severity}{fixed}*\n\n{}\n\nHelp: {}.\n",
            rule.name, rule.explanation, rule.help
        )
        .unwrap();
    }
    let page =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/recipe-rules.md");
    if std::env::var_os("POLPO_UPDATE").is_some() {
        fs::write(&page, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap_or_default() == text,
        "{} is stale: run this test with POLPO_UPDATE=1",
        page.display()
    );
}
