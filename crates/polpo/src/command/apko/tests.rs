use std::fmt::Write;
use std::path::Path;

use clap::Parser;

use super::flags::COMMANDS;
use super::*;
use crate::arguments::Arguments;
use crate::command::melange::flags::Fate;

fn translated(line: &str) -> String {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let calls = match read(&words) {
        Ok(calls) => calls,
        Err(Stop::Failure(failure)) => return failure.text(false),
        Err(Stop::Answered(answered)) => return answered.text,
    };
    let mut text = String::new();
    let scratch = calls
        ._scratch
        .as_ref()
        .map_or("nowhere".to_owned(), |folder| {
            folder.path().display().to_string()
        });
    for call in &calls.calls {
        let words: Vec<_> = call.iter().map(|word| word.to_string_lossy()).collect();
        writeln!(
            text,
            "polpo {}",
            words.join(" ").replace(&scratch, "SCRATCH")
        )
        .unwrap();
    }
    for note in &calls.notes {
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
        "build a.yaml hello:1 out.tar --arch x86_64,aarch64 -k k.pub -r ./packages -p curl,jq --annotations a:b",
        "build a.yaml hello:1 /tmp --sbom=false --build-date 1970-01-02T00:00:00Z --vcs=false --cache-dir c --offline --lockfile a.lock.json",
        "publish a.yaml registry.example/a:1 registry.example/a:2 --image-refs refs --sbom-path s --log-level debug",
        "build-minirootfs a.yaml root.tar --build-arch arm64",
        "lock a.yaml --output b.json --include-paths x,y",
        "resolve dir/a.yaml --arch host",
        "show-config a.yaml -r ./packages",
        "show-packages a.yaml --format packagelock --arch amd64",
        "dot -S a.yaml --arch amd64 --parity",
        "login registry.example -u ann --password-stdin",
        "clean --dry-run --cache-dir c",
        "version",
        "completion zsh",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ apko {line}\n{}", translated(line)).unwrap();
    }
    insta::assert_snapshot!(text, @"
    $ apko build a.yaml hello:1 out.tar --arch x86_64,aarch64 -k k.pub -r ./packages -p curl,jq --annotations a:b
    polpo image build a.yaml hello:1 SCRATCH/layout --keyring-append=k.pub --repository-append=./packages --package-append=curl --package-append=jq --annotations=a:b --arch=x86_64,aarch64 --sbom-path=.
    polpo image copy SCRATCH/layout docker-archive:out.tar:hello:1

    $ apko build a.yaml hello:1 /tmp --sbom=false --build-date 1970-01-02T00:00:00Z --vcs=false --cache-dir c --offline --lockfile a.lock.json
    polpo image build a.yaml hello:1 /tmp --store=c --offline --lockfile=a.lock.json --arch=all --source-date-epoch=86400
    note: --vcs has no effect: write `vcs-url` into the image file: what is built depends on no folder's git

    $ apko publish a.yaml registry.example/a:1 registry.example/a:2 --image-refs refs --sbom-path s --log-level debug
    polpo image build a.yaml registry.example/a:1 SCRATCH/layout --verbose --arch=all --sbom-path=s
    polpo image publish SCRATCH/layout registry.example/a:1 registry.example/a:2 --image-refs=refs

    $ apko build-minirootfs a.yaml root.tar --build-arch arm64
    polpo image minirootfs a.yaml root.tar --arch=arm64

    $ apko lock a.yaml --output b.json --include-paths x,y
    polpo image lock a.yaml --include-paths=x --include-paths=y --output=b.json --arch=all

    $ apko resolve dir/a.yaml --arch host
    polpo image lock dir/a.yaml --arch=host --output=dir/a.resolved.json

    $ apko show-config a.yaml -r ./packages
    polpo image show a.yaml
    note: --repository-append has no effect: it changes nothing here

    $ apko show-packages a.yaml --format packagelock --arch amd64
    polpo image packages a.yaml --format=packagelock --arch=amd64

    $ apko dot -S a.yaml --arch amd64 --parity
    polpo image dot a.yaml --spanning-tree --parity --arch=amd64

    $ apko login registry.example -u ann --password-stdin
    polpo login registry.example --username=ann --password-stdin

    $ apko clean --dry-run --cache-dir c
    polpo clean --store=c --dry-run

    $ apko version
    polpo --version

    $ apko completion zsh
    polpo completions zsh apko
    ");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let lines = [
        "build a.yaml hello:1",
        "build a.yaml hello:1 out.tar --ignore-signatures",
        "build a.yaml hello:1 out.tar --sbom-formats cyclonedx",
        "build a.yaml hello:1 out.tar --build-date yesterday",
        "publish a.yaml hello:1 --local",
        "dot a.yaml --web",
        "login registry.example -u ann -p secret",
    ];
    let mut text = String::new();
    for line in lines {
        writeln!(text, "$ apko {line}\n{}", translated(line)).unwrap();
    }
    insta::assert_snapshot!(text, @"
    $ apko build a.yaml hello:1
    error: apko build takes CONFIG TAG OUTPUT; 2 words are there

    $ apko build a.yaml hello:1 out.tar --ignore-signatures
    error: indexes whose signature nobody checked are not used; name the key by -k, or leave --ignore-signatures out

    $ apko build a.yaml hello:1 out.tar --sbom-formats cyclonedx
    error: --sbom-formats: `cyclonedx` is not written; `spdx` is

    $ apko build a.yaml hello:1 out.tar --build-date yesterday
    error: --build-date is `yesterday`, which is no time such as 2026-01-31T12:00:00Z

    $ apko publish a.yaml hello:1 --local
    error: --local sends to Docker: build into a layout and `polpo image copy LAYOUT docker:NAME`

    $ apko dot a.yaml --web
    error: --web: give the graph to Graphviz: `apko dot CONFIG | dot -Tsvg`

    $ apko login registry.example -u ann -p secret
    error: a password on the command line can be read by everybody on the machine; use --password-stdin
    ");
}

/// The table of options in docs/src/guide/apko.md. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_guide_has_every_option() {
    const BEGIN: &str = "<!-- options: a test keeps what follows -->\n";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guide/apko.md");
    let found = std::fs::read_to_string(&page).unwrap();
    let (written, _) = found.split_once(BEGIN).unwrap();
    let mut text = format!("{written}{BEGIN}");
    for command in COMMANDS {
        writeln!(
            text,
            "\n### apko {}\n\nDone by `{}`.\n",
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
    for apko in COMMANDS {
        let line: Vec<&str> = apko.done_by.split_whitespace().skip(1).collect();
        let mut polpo = <Arguments as clap::CommandFactory>::command();
        polpo.build();
        let mut found = Some(&polpo);
        for word in &line {
            found = found.and_then(|found| found.find_subcommand(word));
        }
        for flag in apko.flags() {
            let option = match flag.fate {
                Fate::Same => format!("--{}", flag.long),
                Fate::As(option) => option.to_owned(),
                _ => continue,
            };
            let known = found.is_some_and(|found| {
                found.get_arguments().any(|argument| {
                    argument
                        .get_long_and_visible_aliases()
                        .is_some_and(|names| names.iter().any(|name| format!("--{name}") == option))
                })
            });
            if !known
                && line
                    .first()
                    .is_some_and(|word| !word.starts_with('-') && *word != "completions")
            {
                unknown.push(format!("{}: {option}", apko.done_by));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
    for line in ["lock a.yaml --arch host --output b.json", "clean --dry-run"] {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        for call in read(&words).unwrap_or_else(|_| panic!("{line}")).calls {
            let call = std::iter::once(OsString::from("polpo")).chain(call);
            assert!(Arguments::try_parse_from(call).is_ok(), "{line}");
        }
    }
}
