//! Variables, ranges and build options.

use super::*;

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
