//! Recipes compiled into the format again.

use super::*;

const RECIPE: &str = r#"
package:
  name: hello
  version: 1.2.3
  epoch: 4
  description: says hello
  url: https://example.com/${{package.name}}
  target-architecture: [x86_64, aarch64]
  timeout: 1h30m
  resources: {cpu: "4", memory: 8Gi}
  copyright: [{license: MIT}]
  dependencies: {runtime: [libhello], provider-priority: 5}
  setcap:
    - path: /usr/bin/hello
      add: {"cap_net_raw,cap_net_bind_service": +ep}
      reason: port 80
environment:
  contents: {packages: [busybox]}
  environment: {CC: clang}
vars: {short: "${{vars.major}}.2", major: "1"}
var-transforms:
  - {from: "${{package.version}}", match: '\.', replace: _, to: under}
pipeline:
  - uses: greet
    with: {who: "${{vars.under}}"}
  - name: skipped
    if: ${{build.arch}} == 'aarch64'
    runs: never
  - working-directory: src
    environment: {A: "${{vars.short}}"}
    pipeline:
      - runs: |
          # stays
          make
subpackages:
  - name: ${{package.name}}-doc
    if: ${{vars.major}} != '1'
  - name: ${{package.name}}-dev
    pipeline: [{uses: greet}]
    test:
      pipeline: [{runs: hello}]
update:
  github: {identifier: "example/${{package.name}}", strip-prefix: v, use-tag: true}
  schedule: {period: weekly, reason: slow}
"#;

#[test]
fn nothing_is_left_to_decide() {
    let (_folder, library) = library(&[(
        "greet",
        "inputs: {who: {default: '${{context.name}}'}, how: {default: loudly}}\n\
         needs: {packages: [greeter]}\n\
         pipeline: [{runs: 'echo ${{inputs.who}} ${{inputs.how}}'}]\n",
    )]);
    let options = ResolveOptions::new(Arch::X86_64, &library);
    let compiled = parse(RECIPE).compile(&options).unwrap();
    insta::assert_snapshot!(yaml::to_string(&compiled), @r##"
    package:
      name: hello
      version: "1.2.3"
      epoch: 4
      description: "says hello"
      url: https://example.com/hello
      target-architecture:
        - x86_64
        - aarch64
      copyright:
        - license: MIT
      dependencies:
        runtime:
          - libhello
        provider-priority: "5"
      setcap:
        - path: /usr/bin/hello
          add:
            cap_net_bind_service: "+ep"
            cap_net_raw: "+ep"
          reason: "port 80"
      timeout: 5400000000000
      resources:
        cpu: "4"
        memory: "8Gi"
    environment:
      contents:
        packages:
          - busybox
          - greeter
      accounts:
        users:
          - username: build
            uid: 1000
            gid: 1000
            homedir: /home/build
        groups:
          - groupname: build
            gid: 1000
            members:
              - build
      environment:
        CC: clang
        COMPOSER_CACHE_DIR: /var/cache/melange/composer
        GOMODCACHE: /var/cache/melange/gomodcache
        GOPATH: /home/build/.cache/go
        HOME: /home/build
        PIP_CACHE_DIR: /var/cache/melange/pip
        UV_CACHE_DIR: /var/cache/melange/uv
        npm_config_cache: /var/cache/melange/npm
    pipeline:
      - uses: greet
        with:
          who: "1_2_3"
        pipeline:
          - runs: "echo 1_2_3 loudly"
      - pipeline:
          - runs: "# stays\nmake\n"
            working-directory: /home/build/src
            environment:
              A: "1.2"
        working-directory: /home/build/src
        environment:
          A: "1.2"
    subpackages:
      - name: hello-dev
        pipeline:
          - uses: greet
            with:
              who: hello-dev
            pipeline:
              - runs: "echo hello-dev loudly"
        test:
          environment:
            contents:
              packages:
                - hello-dev
            accounts:
              users:
                - username: build
                  uid: 1000
                  gid: 1000
                  homedir: /home/build
              groups:
                - groupname: build
                  gid: 1000
                  members:
                    - build
            environment:
              COMPOSER_CACHE_DIR: /var/cache/melange/composer
              GOMODCACHE: /var/cache/melange/gomodcache
              GOPATH: /home/build/.cache/go
              HOME: /home/build
              PIP_CACHE_DIR: /var/cache/melange/pip
              UV_CACHE_DIR: /var/cache/melange/uv
              npm_config_cache: /var/cache/melange/npm
          pipeline:
            - runs: hello
    update:
      enabled: false
      github:
        identifier: example/hello
        strip-prefix: v
        use-tag: true
      schedule:
        reason: slow
        period: weekly
    vars:
      major: "1"
      short: "1.2"
    "##);
    // What is compiled is a recipe that means the same.
    let again = parse(&yaml::to_string(&compiled));
    let before = parse(RECIPE).resolve(&options).unwrap();
    let after = again.resolve(&options).unwrap();
    assert_eq!(after.subpackages[0].package, before.subpackages[0].package);
    assert_eq!(after.package, before.package);
    assert_eq!(
        (after.environment, scripts(&after.steps)),
        (before.environment, scripts(&before.steps))
    );
}

#[test]
fn json_keeps_the_order() {
    let compiled = parse(PACKAGE)
        .compile(&ResolveOptions::new(
            Arch::X86_64,
            &PipelineLibrary::default(),
        ))
        .unwrap();
    let json = serde_json::to_string(&Serialized(&compiled)).unwrap();
    assert!(
        json.starts_with(r#"{"package":{"name":"hello","version":"1.2.3","epoch":4},"#),
        "{json}"
    );
}

#[test]
fn what_is_written_is_written_again() {
    let recipe = parse(RECIPE);
    let text = yaml::to_string(&recipe.contents.as_written());
    let again = parse(&text);
    assert_eq!(again.contents.as_written(), recipe.contents.as_written());
    for kept in [
        "${{vars.major}}",
        "cap_net_raw,cap_net_bind_service",
        "strip-prefix: v",
    ] {
        assert!(text.contains(kept), "{text}");
    }
}
