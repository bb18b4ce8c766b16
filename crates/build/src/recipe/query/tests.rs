use base::{Arch, SourceText};
use proptest::prelude::*;

use super::*;
use crate::recipe::{PipelineLibrary, Recipe, ResolveOptions};

const RECIPE: &str = r#"
package:
  name: hello
  version: 1.2.3
  epoch: 4
  description: say "hello"
  timeout: 1h30m
  target-architecture: [x86_64]
  dependencies: {runtime: [a, b]}
  copyright: [{license: MIT}, {license: Apache-2.0}]
vars: {x: "1", y: z}
environment: {contents: {packages: [busybox]}}
pipeline:
  - uses: some/where/else
    with: {who: "${{package.name}}"}
subpackages:
  - {name: hello-dev, description: headers}
  - {name: hello-doc}
update: {github: {identifier: a/b, use-tag: true}}
"#;

fn compiled() -> Item {
    let library = PipelineLibrary::closed();
    Recipe::parse(SourceText::new("hello.yaml", RECIPE))
        .and_then(|recipe| recipe.compile(&ResolveOptions::new(Arch::X86_64, &library)))
        .unwrap()
}

#[test]
fn answers() {
    let compiled = compiled();
    for (template, answer) in [
        (
            "{{ .Package.Name }}-{{.Package.Version}}-r{{ .Package.Epoch }}",
            "hello-1.2.3-r4",
        ),
        ("{{.Package.FullVersion}} {{.Name}}", "1.2.3-r4 hello"),
        (
            "{{range .Subpackages}}{{.Name}}-{{$.Package.Version}}.apk {{end}}",
            "hello-dev-1.2.3.apk hello-doc-1.2.3.apk ",
        ),
        (
            "{{ range $i, $e := .Subpackages }}{{ if $i }},{{ end }}{{ $e.Name }}{{ end }}",
            "hello-dev,hello-doc",
        ),
        ("{{ .Package.Dependencies.Runtime }}", "[a b]"),
        (
            "{{ .Vars }} {{ .Vars.x }} {{ .Vars.none }}",
            "map[x:1 y:z] 1 <no value>",
        ),
        (
            "{{ .package.name }} {{ .Package.URL }}|{{ .Package.CPE.Vendor }}",
            "hello |",
        ),
        (
            "{{ index .Package.Dependencies.Runtime 1 }} {{ len .Subpackages }}",
            "b 2",
        ),
        ("{{ (index .Subpackages 0).Description }}", "headers"),
        (
            "{{ if eq .Package.Name \"hello\" \"x\" }}yes{{ else }}no{{ end }}",
            "yes",
        ),
        (
            "{{ if .Package.URL }}url{{ else if .Package.Timeout }}{{.Package.Timeout}}{{ end }}",
            "1h30m0s",
        ),
        (
            "{{ with .Package }}{{ .Name }}{{ end }}{{ with .Data }}x{{ else }}none{{ end }}",
            "hellonone",
        ),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("x  {{- .Package.Epoch -}}  y", "x4y"),
        (
            "{{ printf \"%s=%d %q\" .Package.Name .Package.Epoch .Package.Description }}",
            r#"hello=4 "say \"hello\"""#,
        ),
        ("{{ .Package.Name | printf \"<%s>\" | len }}", "7"),
        (
            "{{ $v := .Package.Version }}{{ $v = slice $v 0 3 }}{{ $v }}",
            "1.2",
        ),
        (
            "{{ range .Package.Copyright }}{{ if eq .License \"MIT\" }}{{ continue }}{{ end }}{{ .License }}{{ end }}",
            "Apache-2.0",
        ),
        (
            "{{ range .Subpackages }}{{ .Name }}{{ break }}{{ end }}",
            "hello-dev",
        ),
        (
            "{{ .Update.GitHubMonitor.Identifier }} {{ .Update.GitHubMonitor.UseTags }}",
            "a/b true",
        ),
        (
            "{{ (index .Pipeline 0).Uses }} {{ (index .Pipeline 0).With.who }}",
            "some/where/else hello",
        ),
        ("{{ .Environment.Contents.Packages }}", "[busybox]"),
        (
            "{{ and .Package.Name (not .Package.URL) }} {{ or .Package.URL \"none\" }}",
            "true none",
        ),
        ("{{ print 1 2 \"a\" 3 }}{{ println true }}", "1 2a3true\n"),
        ("{{ \"}}\" }}", "}}"),
        ("{{ index .Package.Copyright 0 }}", r#"{"license":"MIT"}"#),
    ] {
        match query(template, &compiled) {
            Ok(found) => assert_eq!(found, answer, "{template}"),
            Err(problems) => panic!("{template}: {problems:?}"),
        }
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    let compiled = compiled();
    let say = |template: &str| {
        let problems = query(template, &compiled).unwrap_err();
        let problem = &problems[0];
        let help = problem.help.clone().unwrap_or_default();
        format!("{problem}: {help}")
    };
    insta::assert_snapshot!(
        [
            "{{ .Package.Nmae }}",
            "{{ .Package.Name.First }}",
            "{{ range .Package.Name }}{{ end }}",
            "{{ if .Package.Name }}",
            "{{ end }}",
            "{{ .Package.Name",
            "{{ else }}",
            "{{ upper .Package.Name }}",
            "{{ $x }}",
            "{{ .Package.Name 1 }}",
            "{{ index .Subpackages 7 }}",
            "{{ \"x }}",
            "{{ }}",
            "{{ break }}",
            "{{ template \"x\" }}",
            "{{ printf \"%x\" 1 }}",
            "{{ lt .Package.Name 1 }}",
        ]
        .map(say)
        .join("\n"),
        @"
    the template:1:12: nothing here is called `Nmae`: did you mean `name`?
    the template:1:17: text has no fields: 
    the template:1:10: `range` goes over lists and mappings, not text: 
    the template:1:3: `if` has no `end`: 
    the template:1:3: `end` ends no `if`, `range` or `with`: 
    the template:1:1: `{{` is never closed by `}}`: 
    the template:1:3: `else` ends no `if`, `range` or `with`: 
    the template:1:4: no function is called `upper`: there are and, or, not, len, index, slice, print, printf, println, eq, ne, lt, le, gt, ge; a field begins with a dot
    the template:1:4: no variable is called `$x`: 
    the template:1:18: only functions take arguments: 
    the template:1:4: the list has 2 members, none at 7: 
    the template:1:1: `{{` is never closed by `}}`: 
    the template:1:4: an expression is missing here: 
    the template:1:3: `break` stands outside any `range`: 
    the template:1:3: `template` is not supported: there is one template: 
    the template:1:4: `printf` knows %s, %v, %d, %t and %q, not %x: 
    the template:1:4: `lt` compares numbers or texts, not text and a number:
    "
    );
    assert!(say(&"{{ if . }}".repeat(100)).contains("nest"));
    assert!(say(&format!("{{{{ {} }}}}", "(".repeat(1000))).contains("nest"));
}

proptest! {
    #[test]
    fn no_template_panics(template in "(\\{\\{|\\}\\}|-| |\\.|\\$|[a-c]|Package|if|end|else|range|\"|\\||\\(|\\)|:=|é|index|slice|len|1){0,24}") {
        if let Err(problems) = query(&template, &compiled()) {
            for problem in problems {
                for label in &problem.labels {
                    prop_assert!(template.get(label.span.clone()).is_some(), "{:?}", problem);
                }
            }
        }
    }
}
