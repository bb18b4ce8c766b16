//! What packages and their tests say of themselves.

use super::*;
use crate::plan::Limits;

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
            reason: "raw sockets\nmore".into(),
        }]
    );
    assert_eq!(
        resolved.subpackages[0].package.setcap[0].inheritable,
        1 << 13
    );
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

#[test]
fn what_a_recipe_wants_of_the_machine() {
    let text = |memory: &str, capability: &str| {
        format!(
            r#"
package:
  name: large
  version: "1"
  timeout: 90m
  resources: {{cpu: 3, memory: {memory}, disk: 20G, cpumodel: new}}
  test-resources: {{cpu: 500m, memory: 1.5Gi}}
capabilities: {{add: [{capability}, net_raw], drop: [ALL]}}
"#
        )
    };
    let resolved = resolve(&text("12Gi", "CAP_SYS_PTRACE"));
    assert_eq!(
        resolved.limits,
        Limits {
            timeout: Some(5400),
            memory: Some(12 << 30),
            processors: Some(3000),
            disk: Some(20_000_000_000),
            processes: None,
        }
    );
    assert_eq!(
        resolved.test_limits,
        Limits {
            timeout: Some(5400),
            memory: Some(3 << 29),
            processors: Some(500),
            ..Limits::default()
        }
    );
    assert_eq!(
        resolved.capabilities.applied(&["CAP_CHOWN"]),
        ["CAP_NET_RAW", "CAP_SYS_PTRACE"]
    );
    insta::assert_snapshot!(problems_of(&text("much", "CAP_SYS_TRACE")), @r"
    hello.yaml:6:31: `much` is no amount [invalid-resources]
      `much`
      help: it is a number of bytes, or one with a unit such as `512Mi`, `8Gi` or `20G`
    hello.yaml:8:22: there is no capability `CAP_SYS_TRACE` [unknown-capability]
      `CAP_SYS_TRACE`
      help: did you mean `CAP_SYS_PTRACE`?
    ");
}
