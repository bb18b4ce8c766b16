//! A recipe with a bit of everything, and what it means.

use super::*;

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
            "purl-name": "hello",
            "purl-version": "2.10",
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
      "limits": {
        "timeout": 3600,
        "memory": null,
        "processors": null,
        "disk": null,
        "processes": null
      },
      "test_limits": {
        "timeout": 3600,
        "memory": null,
        "processors": null,
        "disk": null,
        "processes": null
      },
      "recipe_digest": "sha256:517336d40bac2475c09d14625e2ef43297167692d98b6b2f0c6669dd6c362c09"
    }
    "##);
}
