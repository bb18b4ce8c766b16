use std::fmt::Write;

use super::PROGRAM;
use crate::command::other_program::tests::{translated, understood};

#[test]
fn command_lines_become_polpos() {
    let lines = [
        "build x/melange.yaml --arch x86_64,aarch64 --signing-key k.rsa -r a,b -k c --rm=false",
        "build x.yaml --arch arm64 --source-dir s --empty-workspace=false --debug --log-level debug \
         --build-date 1970-01-02T00:00:00Z --pipeline-dirs p,q --cpu 2 --timeout 1h",
        "test x.yaml x --arch amd64 --test-package-append a,b --debug-runner --runner docker",
        "compile --arch x86_64 --build-option a x.yaml",
        "query x.yaml {{.Package.Name}}",
        "package-version x.yaml",
        "update-cache --cache-dir c x.yaml",
        "index -o I -m -s Cargo.toml --signing-key k a.apk b.apk",
        "sign-index -f I",
        "sign -k k a.apk b.apk",
        "keygen",
        "keygen --key-size 2048 k.rsa",
        "lint --lint-warn opt,srv --lint-require= a.apk",
        "completion zsh",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ melange {line}\n{}", translated(&PROGRAM, line)).unwrap();
    }
    insta::assert_snapshot!(text, @r#"
    $ melange build x/melange.yaml --arch x86_64,aarch64 --signing-key k.rsa -r a,b -k c --rm=false
    polpo build x/melange.yaml --signing-key=k.rsa --keyring-append=c --repository-append=a --repository-append=b --source-dir=x --namespace=unknown --arch=x86_64
    polpo build x/melange.yaml --signing-key=k.rsa --keyring-append=c --repository-append=a --repository-append=b --source-dir=x --namespace=unknown --arch=aarch64
    note: --rm has no effect: nothing half-made is ever left

    $ melange build x.yaml --arch arm64 --source-dir s --empty-workspace=false --debug --log-level debug --build-date 1970-01-02T00:00:00Z --pipeline-dirs p,q --cpu 2 --timeout 1h
    polpo build x.yaml --pipeline-dir=p --pipeline-dir=q --verbose --cpu=2 --timeout=1h --source-dir=s --namespace=unknown --source-date-epoch=86400 --arch=aarch64

    $ melange test x.yaml x --arch amd64 --test-package-append a,b --debug-runner --runner docker
    polpo test x.yaml --test-package-append=a --test-package-append=b --source-dir=. --runner=docker --arch=x86_64
    note: --debug-runner has no effect: `-i` opens a shell where a step failed

    $ melange compile --arch x86_64 --build-option a x.yaml
    polpo recipe compile x.yaml --arch=x86_64 --build-option=a

    $ melange query x.yaml {{.Package.Name}}
    polpo recipe query -- x.yaml {{.Package.Name}}

    $ melange package-version x.yaml
    polpo recipe query -- x.yaml {{ .Package.Name }}-{{ .Package.Version }}-r{{ .Package.Epoch }}

    $ melange update-cache --cache-dir c x.yaml
    polpo source fetch x.yaml --copy-to=c

    $ melange index -o I -m -s Cargo.toml --signing-key k a.apk b.apk
    apk index --allow-untrusted --no-warnings --output I --merge --index Cargo.toml --sign-key k -- a.apk b.apk

    $ melange sign-index -f I
    SignIndex { key: "melange.rsa", index: "I", force: true }

    $ melange sign -k k a.apk b.apk
    Sign { key: "k", packages: ["a.apk", "b.apk"] }

    $ melange keygen
    polpo key generate melange.rsa

    $ melange keygen --key-size 2048 k.rsa
    polpo key generate k.rsa

    $ melange lint --lint-warn opt,srv --lint-require= a.apk
    polpo lint a.apk --lint-require= --lint-warn=opt --lint-warn=srv

    $ melange completion zsh
    polpo completions zsh melange
    "#);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let lines = [
        "build x.yaml --ignore-signatures",
        "build x.yaml --arch pdp11",
        "build x.yaml --build-date yesterday",
        "build x.yaml --override-host-triplet-libc-substitution-flavor musl",
        "build",
        "keygen --key-size 1024",
        "keygen --key-size 8192",
        "keygen a b",
        "query x.yaml",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ melange {line}\n{}", translated(&PROGRAM, line)).unwrap();
    }
    insta::assert_snapshot!(text, @"
    $ melange build x.yaml --ignore-signatures
    error: indexes whose signature nobody checked are not used; name the key by -k, or leave --ignore-signatures out

    $ melange build x.yaml --arch pdp11
    error: --arch pdp11: unknown architecture `pdp11`; known are aarch64, armhf, armv7, loongarch64, ppc64le, riscv64, s390x, x86, x86_64

    $ melange build x.yaml --build-date yesterday
    error: --build-date is `yesterday`, which is no time such as 2026-01-31T12:00:00Z

    $ melange build x.yaml --override-host-triplet-libc-substitution-flavor musl
    error: `host.triplet` is of gnu alone, not of `musl`; name `cross.triplet` in the recipe

    $ melange build
    error: no recipe is named, and there is none of .melange.yaml, .melange.yml, melange.yaml, melange.yml here

    $ melange keygen --key-size 1024
    error: a key of 1024 bits is not safe; leave --key-size out

    $ melange keygen --key-size 8192
    error: keys have 4096 bits, not 8192; leave --key-size out

    $ melange keygen a b
    error: melange keygen takes FILE; 2 words are there

    $ melange query x.yaml
    error: melange query takes RECIPE TEMPLATE; 1 words are there
    ");
}

#[test]
fn lines_are_understood_by_polpo() {
    for line in [
        "build x/melange.yaml --arch x86_64 --signing-key k.rsa -r a,b -k c --pipeline-dir p -i",
        "test x.yaml --arch amd64 -r a -k b --debug",
        "compile --arch x86_64 --build-option a --vars-file v x.yaml",
        "query x.yaml -v {{.Package.Name}}",
        "package-version x.yaml",
        "update-cache x.yaml",
        "keygen k.rsa",
        "lint --lint-warn opt,srv --lint-require= a.apk",
        "completion zsh",
    ] {
        understood(&PROGRAM, line);
    }
}
