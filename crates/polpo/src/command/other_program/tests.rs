use std::fmt::Write;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::table::Fate;
use super::*;
use crate::arguments::Arguments;

fn words_of(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// The calls as text, one a line; notes behind them.
pub(in crate::command) fn translated(program: &Program, line: &str) -> String {
    let calls = match read(program, &words_of(line)) {
        Ok(calls) => calls,
        Err(Stop::Failure(failure)) => return failure.text(false),
        Err(Stop::Answered(answered)) => return answered.text,
    };
    let mut text = String::new();
    for call in &calls.calls {
        let (name, words) = match call {
            Call::Polpo(words) => ("polpo", words),
            Call::Apk(words) => ("apk", words),
            other => {
                writeln!(text, "{other:?}").unwrap();
                continue;
            }
        };
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        writeln!(text, "{name} {}", words.join(" ")).unwrap();
    }
    if let Some(scratch) = &calls._scratch {
        text = text.replace(&scratch.path().display().to_string(), "SCRATCH");
    }
    for note in &calls.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    text
}

/// Each call of the line is one that polpo's own command line takes.
pub(in crate::command) fn understood(program: &Program, line: &str) {
    let Ok(calls) = read(program, &words_of(line)) else {
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

#[test]
fn the_definitions_are_sound() {
    for program in PROGRAMS {
        program.command().debug_assert();
    }
}

/// The table of options in the guide's page. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_guide_has_every_option() {
    const BEGIN: &str = "<!-- options: a test keeps what follows -->\n";
    for program in PROGRAMS {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guide");
        let page = guide.join(format!("{}.md", program.name));
        let found = std::fs::read_to_string(&page).unwrap();
        let (written, _) = found.split_once(BEGIN).unwrap();
        let mut text = format!("{written}{BEGIN}");
        for command in program.commands {
            writeln!(
                text,
                "\n### {} {}\n\nDone by `{}`.\n",
                program.name, command.name, command.done_by
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
}

/// What is passed on is understood: every option goes to a command that has it.
#[test]
fn what_is_passed_on_is_polpos() {
    let mut unknown = Vec::new();
    let mut polpo = Arguments::command();
    polpo.build();
    for program in PROGRAMS {
        for command in program.commands {
            let mut line = command.done_by.split_whitespace().skip(1);
            // What apk's command, polpo itself, a completion script or the version takes is said otherwise.
            let elsewhere = ["index", "sign", "sign-index", "version", "completion"];
            if elsewhere.contains(&command.name) {
                continue;
            }
            let found = line.try_fold(&polpo, |found, word| found.find_subcommand(word));
            for flag in command.flags() {
                let option = match flag.fate {
                    Fate::Same => flag.long,
                    Fate::As(option) => option.trim_start_matches("--"),
                    Fate::Own(_) | Fate::Nothing(_) => continue,
                };
                let known = found.is_some_and(|found| {
                    found.get_arguments().any(|argument| {
                        let aliases = argument.get_all_aliases().unwrap_or_default();
                        argument.get_long() == Some(option) || aliases.contains(&option)
                    })
                });
                if !known {
                    unknown.push(format!("{}: --{option}", command.done_by));
                }
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}
