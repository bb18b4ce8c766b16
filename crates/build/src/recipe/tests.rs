use std::fs;

use base::{Arch, Problem, Severity, SourceText};
use proptest::prelude::*;

use super::*;

/// One entry per problem: place, message, rule, what its labels mark, and its help.
fn render(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let warning = match problem.severity {
            Severity::Error => "",
            _ => "warning: ",
        };
        out += &format!("{warning}{problem} [{}]\n", problem.rule);
        for label in &problem.labels {
            let source = problem.source.as_ref().unwrap().text();
            let marked = source[label.span.clone()]
                .lines()
                .next()
                .unwrap_or_default();
            out += format!("  `{marked}` {}", label.text).trim_end();
            out.push('\n');
        }
        if let Some(help) = &problem.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

const PACKAGE: &str = "package: {name: hello, version: 1.2.3, epoch: 4}\n";

fn parse(text: &str) -> Recipe {
    Recipe::parse(SourceText::new("hello.yaml", text))
        .unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

fn resolve(text: &str) -> ResolvedRecipe {
    resolve_with(text, |_| {})
}

fn resolve_with(text: &str, change: impl FnOnce(&mut ResolveOptions<'_>)) -> ResolvedRecipe {
    let library = PipelineLibrary::default();
    let mut options = ResolveOptions::new(Arch::X86_64, &library);
    change(&mut options);
    parse(text)
        .resolve(&options)
        .unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

/// The problems of parsing, or else of resolving.
fn problems_of(text: &str) -> String {
    problems_with(text, |_| {})
}

fn problems_with(text: &str, change: impl FnOnce(&mut ResolveOptions<'_>)) -> String {
    let library = PipelineLibrary::default();
    let mut options = ResolveOptions::new(Arch::X86_64, &library);
    change(&mut options);
    let result = Recipe::parse(SourceText::new("hello.yaml", text))
        .and_then(|recipe| recipe.resolve_with_warnings(&options));
    match result {
        Ok((_, warnings)) => render(&warnings),
        Err(problems) => render(&problems),
    }
}

fn scripts(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .flat_map(|step| {
            let own = match &step.action {
                Action::Run { script } => vec![script.trim().to_owned()],
                _ => Vec::new(),
            };
            own.into_iter().chain(scripts(&step.steps))
        })
        .collect()
}

#[test]
fn a_recipe_means_plain_data() {
    let resolved = resolve(
        r#"
package:
  name: hello
  version: 2.10
  epoch: 3
  description: says ${{vars.word}}
  url: https://example.com/${{package.name}}
  copyright:
    - license: GPL-3.0-or-later
      attestation: Copyright 1999 someone
  dependencies:
    runtime: [so:libc.so.6, "!goodbye", "greeter>=${{package.version}}"]
    provides:
      - greeting=${{package.full-version}}
    provider-priority: 10
  scriptlets:
    post-install: |
      #!/bin/sh
      echo ${{vars.major}}
  timeout: 1h
vars:
  word: ${{ vars.greeting }}, world
  greeting: Hello
var-transforms:
  - from: ${{package.version}}
    match: ^(\d+)\..*
    replace: v$1
    to: major
environment:
  contents:
    repositories: [/packages]
    keyring: [/packages/key.pub]
    packages: [build-base, make]
  environment:
    CFLAGS: -O2
pipeline:
  - uses: fetch
    with:
      uri: https://example.com/hello-${{package.version}}.tar.gz
      expected-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  - working-directory: src
    environment: {A: "${{package.name}}"}
    pipeline:
      - runs: echo ${{vars.major}} ${{build.arch}}
      - if: ${{build.arch}} == 'aarch64'
        runs: echo not here
      - uses: autoconf/make
        environment: {B: b}
        with: {dir: lib}
subpackages:
  - name: ${{package.name}}-doc
    pipeline:
      - uses: split/manpages
    test:
      pipeline:
        - runs: ls ${{targets.subpkgdir}} ${{context.name}}
test:
  environment:
    contents:
      packages: [bash]
  pipeline:
    - runs: hello
"#,
    );
    let json = serde_json::to_string_pretty(&resolved).unwrap();
    assert_eq!(
        serde_json::from_str::<ResolvedRecipe>(&json).unwrap(),
        resolved
    );
    assert!(!json.contains("${{"));
    let split = resolved.subpackages[0].steps.clone();
    assert!(scripts(&split)[0].contains("target=\"/home/build/melange-out/hello-doc\""));
    let mut shown = resolved;
    shown.subpackages[0].steps.clear();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap(), @r##"
    {
      "arch": "x86_64",
      "package": {
        "name": "hello",
        "version": "2.10",
        "epoch": 3,
        "full_version": "2.10-r3",
        "description": "says Hello, world",
        "url": "https://example.com/hello",
        "commit": "",
        "licenses": [
          {
            "license": "GPL-3.0-or-later",
            "attestation": "Copyright 1999 someone",
            "license_path": "",
            "detection_override": "",
            "paths": []
          }
        ],
        "runtime": [
          "so:libc.so.6",
          "!goodbye",
          "greeter>=2.10"
        ],
        "provides": [
          "greeting=2.10-r3"
        ],
        "replaces": [],
        "provider_priority": 10,
        "replaces_priority": null,
        "options": {
          "no_provides": false,
          "no_depends": false,
          "no_commands": false,
          "no_versioned_shlib_deps": false
        },
        "scriptlets": {
          "pre_install": null,
          "post_install": "#!/bin/sh\necho v2\n",
          "pre_deinstall": null,
          "post_deinstall": null,
          "pre_upgrade": null,
          "post_upgrade": null,
          "trigger": null
        },
        "disabled_checks": [],
        "setcap": [],
        "cpe": null,
        "annotations": {}
      },
      "environment": {
        "packages": [
          "build-base",
          "make",
          "busybox"
        ],
        "repositories": [
          "/packages"
        ],
        "keyring": [
          "/packages/key.pub"
        ],
        "environment": {
          "CFLAGS": "-O2",
          "COMPOSER_CACHE_DIR": "/var/cache/melange/composer",
          "GOMODCACHE": "/var/cache/melange/gomodcache",
          "GOPATH": "/home/build/.cache/go",
          "HOME": "/home/build",
          "PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin",
          "PIP_CACHE_DIR": "/var/cache/melange/pip",
          "UV_CACHE_DIR": "/var/cache/melange/uv",
          "npm_config_cache": "/var/cache/melange/npm"
        },
        "accounts": {
          "run_as": null,
          "users": [
            {
              "name": "build",
              "uid": 1000,
              "gid": 1000,
              "shell": "",
              "home": "/home/build"
            }
          ],
          "groups": [
            {
              "name": "build",
              "gid": 1000,
              "members": [
                "build"
              ]
            }
          ]
        }
      },
      "steps": [
        {
          "name": "fetch",
          "uses": "fetch",
          "with": {
            "expected-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "uri": "https://example.com/hello-2.10.tar.gz"
          },
          "action": {
            "fetch": {
              "uri": "https://example.com/hello-2.10.tar.gz",
              "file_name": "hello-2.10.tar.gz",
              "expected": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
              "strip_components": 1,
              "extract": true,
              "delete": false,
              "directory": ".",
              "purl_name": "hello",
              "purl_version": "2.10"
            }
          },
          "working_directory": "/home/build",
          "environment": {},
          "steps": [],
          "required_steps": null
        },
        {
          "name": "step 2",
          "uses": null,
          "with": {},
          "action": "nothing",
          "working_directory": "/home/build/src",
          "environment": {
            "A": "hello"
          },
          "steps": [
            {
              "name": "step 2.1",
              "uses": null,
              "with": {},
              "action": {
                "run": {
                  "script": "echo v2 x86_64"
                }
              },
              "working_directory": "/home/build/src",
              "environment": {
                "A": "hello"
              },
              "steps": [],
              "required_steps": null
            },
            {
              "name": "autoconf/make",
              "uses": "autoconf/make",
              "with": {
                "dir": "lib"
              },
              "action": {
                "run": {
                  "script": "set -f\nset -- $input_targets\nset +f\nmake -C \"$input_dir\" \"-j$(nproc)\" V=1 \"$@\" \n"
                }
              },
              "working_directory": "/home/build/src",
              "environment": {
                "A": "hello",
                "B": "b",
                "input_dir": "lib",
                "input_targets": ""
              },
              "steps": [],
              "required_steps": null
            }
          ],
          "required_steps": null
        }
      ],
      "subpackages": [
        {
          "package": {
            "name": "hello-doc",
            "version": "2.10",
            "epoch": 3,
            "full_version": "2.10-r3",
            "description": "",
            "url": "",
            "commit": "",
            "licenses": [
              {
                "license": "GPL-3.0-or-later",
                "attestation": "Copyright 1999 someone",
                "license_path": "",
                "detection_override": "",
                "paths": []
              }
            ],
            "runtime": [],
            "provides": [],
            "replaces": [],
            "provider_priority": null,
            "replaces_priority": null,
            "options": {
              "no_provides": false,
              "no_depends": false,
              "no_commands": false,
              "no_versioned_shlib_deps": false
            },
            "scriptlets": {
              "pre_install": null,
              "post_install": null,
              "pre_deinstall": null,
              "post_deinstall": null,
              "pre_upgrade": null,
              "post_upgrade": null,
              "trigger": null
            },
            "disabled_checks": [],
            "setcap": [],
            "cpe": null,
            "annotations": {}
          },
          "steps": [],
          "test": {
            "environment": {
              "packages": [
                "hello-doc"
              ],
              "repositories": [
                "/packages"
              ],
              "keyring": [
                "/packages/key.pub"
              ],
              "environment": {
                "COMPOSER_CACHE_DIR": "/var/cache/melange/composer",
                "GOMODCACHE": "/var/cache/melange/gomodcache",
                "GOPATH": "/home/build/.cache/go",
                "HOME": "/home/build",
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin",
                "PIP_CACHE_DIR": "/var/cache/melange/pip",
                "UV_CACHE_DIR": "/var/cache/melange/uv",
                "npm_config_cache": "/var/cache/melange/npm"
              },
              "accounts": {
                "run_as": null,
                "users": [
                  {
                    "name": "build",
                    "uid": 1000,
                    "gid": 1000,
                    "shell": "",
                    "home": "/home/build"
                  }
                ],
                "groups": [
                  {
                    "name": "build",
                    "gid": 1000,
                    "members": [
                      "build"
                    ]
                  }
                ]
              }
            },
            "steps": [
              {
                "name": "step 1",
                "uses": null,
                "with": {},
                "action": {
                  "run": {
                    "script": "ls /home/build/melange-out/hello-doc hello-doc"
                  }
                },
                "working_directory": "/home/build",
                "environment": {},
                "steps": [],
                "required_steps": null
              }
            ]
          }
        }
      ],
      "test": {
        "environment": {
          "packages": [
            "bash",
            "hello"
          ],
          "repositories": [
            "/packages"
          ],
          "keyring": [
            "/packages/key.pub"
          ],
          "environment": {
            "COMPOSER_CACHE_DIR": "/var/cache/melange/composer",
            "GOMODCACHE": "/var/cache/melange/gomodcache",
            "GOPATH": "/home/build/.cache/go",
            "HOME": "/home/build",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin",
            "PIP_CACHE_DIR": "/var/cache/melange/pip",
            "UV_CACHE_DIR": "/var/cache/melange/uv",
            "npm_config_cache": "/var/cache/melange/npm"
          },
          "accounts": {
            "run_as": null,
            "users": [
              {
                "name": "build",
                "uid": 1000,
                "gid": 1000,
                "shell": "",
                "home": "/home/build"
              }
            ],
            "groups": [
              {
                "name": "build",
                "gid": 1000,
                "members": [
                  "build"
                ]
              }
            ]
          }
        },
        "steps": [
          {
            "name": "step 1",
            "uses": null,
            "with": {},
            "action": {
              "run": {
                "script": "hello"
              }
            },
            "working_directory": "/home/build",
            "environment": {},
            "steps": [],
            "required_steps": null
          }
        ]
      },
      "capabilities": {
        "add": [],
        "drop": []
      },
      "timeout": 3600,
      "recipe_digest": "sha256:517336d40bac2475c09d14625e2ef43297167692d98b6b2f0c6669dd6c362c09"
    }
    "##);
}

#[test]
fn variables_may_refer_to_any_other() {
    let recipe = format!(
        "{PACKAGE}{}",
        r#"
vars:
  a: ${{vars.b}}-${{package.full-version}}
  b: ${{vars.c}}${{vars.short}}
  c: '[${{build.arch}} ${{targets.destdir}}]'
  plain: x.y
var-transforms:
  - {from: "${{package.version}}", match: '\.\d+$', replace: "", to: short}
  - {from: "${{vars.short}}", match: '(\d+)\.(\d+)', replace: '${2}_$1$$${{vars.plain}}', to: swapped}
  - {from: "${{vars.plain}}", match: 'y', replace: '${{package.name}}', to: plain}
pipeline:
  - runs: ${{vars.a}} ${{vars.swapped}} ${{vars.plain}}
"#
    );
    // The second transform stands before the third, which gives `plain` its last value.
    assert_eq!(
        scripts(&resolve(&recipe).steps),
        ["[x86_64 /home/build/melange-out/hello]1.2-1.2.3-r4 2_1$x.y x.hello"]
    );
    let resolved = resolve_with(&recipe, |options| {
        options
            .vars
            .insert("b".into(), "given ${{vars.short}}".into());
        options.arch = Arch::Aarch64;
    });
    assert_eq!(
        scripts(&resolved.steps),
        ["given 1.2-1.2.3-r4 2_1$x.y x.hello"]
    );
}

#[test]
fn circles_of_variables_are_reported() {
    insta::assert_snapshot!(problems_of(&format!(
        "{PACKAGE}{}",
        r#"
vars:
  a: ${{vars.b}}
  b: x ${{ vars.c }}
  c: ${{vars.a}}
  self: ${{vars.self}}
pipeline:
  - runs: ${{vars.a}} ${{vars.b}}
"#
    )), @r"
    hello.yaml:6:6: the variables go in a circle: vars.a → vars.b → vars.c → vars.a [circular-variable]
      `${{vars.a}}`
    hello.yaml:7:9: the variables go in a circle: vars.self → vars.self [circular-variable]
      `${{vars.self}}`
    ");
    let chain: String = (0..500)
        .map(|n| format!("  v{n}: ${{{{vars.v{}}}}}\n", n + 1))
        .collect();
    let problems = problems_of(&format!("{PACKAGE}vars:\n{chain}  v500: end\n"));
    assert!(
        problems.contains("variables lead to one another"),
        "{problems}"
    );
    let doubling: String = (0..60)
        .map(|n| format!("  v{n}: ${{{{vars.v{0}}}}}${{{{vars.v{0}}}}}\n", n + 1))
        .collect();
    let problems = problems_of(&format!("{PACKAGE}vars:\n{doubling}  v60: end\n"));
    assert!(problems.contains("is larger than"), "{problems}");
}

#[test]
fn ranges_make_one_subpackage_per_item() {
    let resolved = resolve(&format!(
        "{PACKAGE}{}",
        r#"
data:
  - name: parts
    items:
      zeta: 1${{package.version}}
      alpha: "0644"
subpackages:
  - range: parts
    if: ${{range.key}} != 'beta' && '${{range.value}}' != ''
    name: hello-${{range.key}}
    dependencies:
      provides: ["part-${{range.key}}=${{range.value}}"]
    pipeline:
      - runs: ${{range.key}} ${{range.value}} ${{subpkg.name}} ${{targets.package.hello-alpha}}
  - name: plain
    if: ${{ build.arch }} == "riscv64"
"#
    ));
    let seen: Vec<_> = resolved
        .subpackages
        .iter()
        .map(|sub| {
            (
                sub.package.name.as_str(),
                sub.package.provides.clone(),
                scripts(&sub.steps),
            )
        })
        .collect();
    let folder = "/home/build/melange-out/hello-alpha";
    assert_eq!(
        seen,
        [
            (
                "hello-alpha",
                vec!["part-alpha=0644".to_owned()],
                vec![format!("alpha 0644 hello-alpha {folder}")]
            ),
            (
                "hello-zeta",
                vec!["part-zeta=11.2.3".to_owned()],
                vec![format!("zeta 11.2.3 hello-zeta {folder}")]
            ),
        ]
    );
}

#[test]
fn build_options_change_variables_and_packages() {
    let recipe = format!(
        "{PACKAGE}{}",
        r#"
vars: {tls: --with-openssl}
environment:
  contents:
    packages: [openssl-dev, make]
options:
  rustls:
    vars: {tls: "--with-rustls=${{package.version}}"}
    environment:
      contents:
        packages: {add: [rustls], remove: [openssl-dev]}
pipeline:
  - if: ${{options.rustls.enabled}} == 'true'
    runs: enabled
  - runs: configure ${{vars.tls}}
subpackages:
  - name: openssl-part
    if: ${{options.rustls.enabled}} == 'false'
"#
    );
    let plain = resolve(&recipe);
    assert_eq!(scripts(&plain.steps), ["configure --with-openssl"]);
    assert_eq!(plain.environment.packages, ["openssl-dev", "make"]);
    assert_eq!(plain.subpackages.len(), 1);
    let changed = resolve_with(&recipe, |options| {
        options.build_options.insert("rustls".into());
    });
    assert_eq!(
        scripts(&changed.steps),
        ["enabled", "configure --with-rustls=1.2.3"]
    );
    assert_eq!(changed.environment.packages, ["make", "rustls"]);
    assert!(changed.subpackages.is_empty());
    insta::assert_snapshot!(problems_with(&recipe, |options| {
        options.build_options.insert("rustsl".into());
    }), @r"
    hello.yaml has no build option `rustsl` [unknown-option]
      help: did you mean `rustls`?
    ");
}

fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, PipelineLibrary) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(format!("{name}.yaml"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let library = PipelineLibrary::new(vec![folder.path().to_owned()]);
    (folder, library)
}

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
            (&"major".to_owned(), &"15".to_owned())
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
    let [fetch] = resolved.sources()[..] else {
        panic!()
    };
    assert_eq!(fetch.file_name, "hello%201.2.3.tgz?raw=1");
    assert_eq!(fetch.expected.algorithm(), "sha512");
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

#[test]
fn tests_have_guests_of_their_own() {
    let resolved = resolve_with(
        &format!(
            "{PACKAGE}{}",
            r#"
environment:
  contents: {repositories: [/main], keyring: [/main/key], packages: [gcc]}
  accounts: {run-as: build}
subpackages:
  - name: hello-dev
    test:
      environment:
        contents: {repositories: [/other], packages: [pkgconf]}
        environment: {HOME: /tmp, X: "${{package.name}}"}
      pipeline:
        - uses: autoconf/make
test:
  pipeline:
    - runs: hello
"#
        ),
        |options| {
            options.environment.insert("X".into(), "outside".into());
            options.environment.insert("Y".into(), "outside".into());
        },
    );
    let main = resolved.test.unwrap().environment;
    assert_eq!(main.packages, ["hello"]);
    assert_eq!(
        (&main.repositories[..], &main.keyring[..]),
        (&["/main".to_owned()][..], &["/main/key".to_owned()][..])
    );
    assert_eq!(main.environment["X"], "outside");
    assert_eq!(main.environment["HOME"], "/home/build");
    let sub = &resolved.subpackages[0].test.as_ref().unwrap().environment;
    assert_eq!(sub.packages, ["pkgconf", "hello-dev", "make"]);
    assert_eq!(sub.repositories, ["/other"]);
    assert_eq!(sub.environment["X"], "hello");
    assert_eq!(sub.environment["Y"], "outside");
    assert_eq!(sub.environment["HOME"], "/tmp");
    assert_eq!(
        resolved.environment.accounts.run_as.as_deref(),
        Some("build")
    );
    assert_eq!(resolved.environment.accounts.users[0].uid, 1000);
    // What a test needs, the build doesn't.
    assert_eq!(resolved.environment.packages, ["gcc"]);
}

#[test]
fn capabilities_and_cpe() {
    let resolved = resolve(
        r#"
package:
  name: ping
  version: "1.0"
  cpe: {vendor: iputils, product: ping, target_sw: linux}
  setcap:
    - path: /usr/bin/ping
      add: {"cap_net_raw,cap_net_admin": +ep}
      reason: raw sockets
    - path: usr/bin/ping
      add: {cap_sys_admin: "=i"}
      reason: more
subpackages:
  - name: arping
    setcap:
      - path: /usr/bin/arping
        add: {cap_net_raw: +eip}
        reason: raw sockets
"#,
    );
    assert_eq!(
        resolved.package.cpe.unwrap().formatted("1.0"),
        "cpe:2.3:a:iputils:ping:1.0:*:*:*:*:linux:*:*"
    );
    assert_eq!(
        resolved.package.setcap,
        [FileCapabilities {
            path: "usr/bin/ping".into(),
            effective: 1 << 13 | 1 << 12,
            permitted: 1 << 13 | 1 << 12,
            inheritable: 1 << 21,
        }]
    );
    assert_eq!(
        resolved.subpackages[0].package.setcap[0].inheritable,
        1 << 13
    );
}

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
    hello.yaml:9:16: a package can't say that it provides `!never` [invalid-dependency]
      `"!never"`
      help: a conflict belongs under `runtime`
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

#[test]
fn architectures() {
    let recipe = |list: &str| {
        parse(&format!(
            "package: {{name: a, version: '1', target-architecture: {list}}}\n"
        ))
    };
    assert!(recipe("[]").targets(Arch::S390x));
    assert!(recipe("[all]").targets(Arch::S390x));
    assert!(recipe("[amd64, aarch64]").targets(Arch::X86_64));
    assert!(!recipe("[amd64, aarch64]").targets(Arch::Riscv64));
    let resolved = resolve_with(
        &format!(
            "{PACKAGE}pipeline: [{{runs: \"${{{{host.triplet.gnu}}}} ${{{{cross.triplet.rust.musl}}}} ${{{{build.goarch}}}}\"}}]\n"
        ),
        |options| {
            options.arch = Arch::Aarch64;
            options.libc = Libc::Musl;
        },
    );
    assert_eq!(
        scripts(&resolved.steps),
        ["aarch64-unknown-linux-musl aarch64-unknown-linux-musl arm64"]
    );
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
