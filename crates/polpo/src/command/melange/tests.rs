use std::fmt::Write;
use std::path::Path;

use clap::Parser;

use super::flags::{COMMANDS, Fate};
use super::translate::seconds_since_1970;
use super::*;
use crate::arguments::Arguments;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// The calls as text, one a line; notes behind them.
fn translated(line: &str) -> String {
    let calls = match read(&words(line)) {
        Ok(calls) => calls,
        Err(Stop::Failure(failure)) => return failure.text(false),
        Err(Stop::Answered(answered)) => return answered.text,
    };
    let mut text = String::new();
    for call in calls.calls {
        match call {
            Call::Polpo(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                writeln!(text, "polpo {}", words.join(" ")).unwrap();
            }
            Call::Apk(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                writeln!(text, "apk {}", words.join(" ")).unwrap();
            }
            other => writeln!(text, "{other:?}").unwrap(),
        }
    }
    for note in calls.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    text
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

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
        writeln!(text, "$ melange {line}\n{}", translated(line)).unwrap();
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
        writeln!(text, "$ melange {line}\n{}", translated(line)).unwrap();
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
fn times() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2026-11-22T09:30:00Z", Some(1_795_339_800)),
        ("2000-02-29T23:59:59.5+02:00", Some(951_861_599)),
        ("2024-12-31T00:00:00-05:30", Some(1_735_623_000)),
        ("1969-12-31T23:59:59Z", None),
        ("2023-02-29T00:00:00Z", None),
        ("2023-13-01T00:00:00Z", None),
        ("2023-00-01T00:00:00Z", None),
        ("2023-01-01", None),
        ("2023-01-01T00:00Z", None),
        ("2023-01-01T00:00:00", None),
    ] {
        assert_eq!(seconds_since_1970(text), seconds, "{text}");
    }
}

/// The table of options in docs/src/guide/melange.md. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_guide_has_every_option() {
    const BEGIN: &str = "<!-- options: a test keeps what follows -->\n";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guide/melange.md");
    let found = std::fs::read_to_string(&page).unwrap();
    let (written, _) = found.split_once(BEGIN).unwrap();
    let mut text = format!("{written}{BEGIN}");
    for command in COMMANDS {
        writeln!(
            text,
            "\n### melange {}\n\nDone by `{}`.\n",
            command.name, command.done_by
        )
        .unwrap();
        writeln!(text, "| Option | What polpo does |\n|---|---|").unwrap();
        for flag in command.flags() {
            let short = flag
                .short
                .map_or(String::new(), |letter| format!(", `-{letter}`"));
            writeln!(text, "| `--{}`{short} | {} |", flag.long, flag.help()).unwrap();
        }
    }
    if std::env::var_os("POLPO_UPDATE").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    let found = std::fs::read_to_string(&page).unwrap();
    assert!(
        found == text,
        "{} is stale: run this test with POLPO_UPDATE=1",
        page.display()
    );
}

/// What is passed on is understood.
#[test]
fn what_is_passed_on_is_polpos() {
    let mut unknown = Vec::new();
    for melange in COMMANDS {
        let line: Vec<&str> = melange.done_by.split_whitespace().skip(1).collect();
        let mut polpo = <Arguments as clap::CommandFactory>::command();
        polpo.build();
        let mut found = Some(&polpo);
        for word in &line {
            found = found.and_then(|found| found.find_subcommand(word));
        }
        for flag in melange.flags() {
            let option = match flag.fate {
                Fate::Same => format!("--{}", flag.long),
                Fate::As(option) => option.to_owned(),
                _ => continue,
            };
            let known = found.is_some_and(|found| {
                let mut arguments = found.get_arguments();
                arguments.any(|argument| {
                    let aliases = argument.get_all_aliases().unwrap_or_default();
                    let name = option.trim_start_matches("--");
                    argument.get_long() == Some(name) || aliases.contains(&name)
                })
            });
            let elsewhere = matches!(
                melange.name,
                "index" | "sign" | "sign-index" | "version" | "completion"
            );
            if !known && !elsewhere {
                unknown.push(format!("{} {option}", melange.done_by));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
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
        let Ok(calls) = read(&words(line)) else {
            panic!("{line}");
        };
        for call in calls.calls {
            let Call::Polpo(words) = call else {
                panic!("{line}");
            };
            let words = std::iter::once(OsString::from("polpo")).chain(words);
            Arguments::try_parse_from(words).unwrap();
        }
    }
}
