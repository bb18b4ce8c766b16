//! What apk 3.0.6 chose of random repositories, and how it said so.
//!
//! `apk_choices/cases.txt` has a case per `@CASE`: the command, the world, the installed database and
//! the indexes, of packages that need, exclude, provide and replace each other at random, then whether
//! apk carried it out and what it printed, first to stdout, then to stderr.

use testkit::Program;

use crate::yard::Yard;

const CASES: &str = include_str!("apk_choices/cases.txt");

#[derive(Default)]
struct Case<'c> {
    number: &'c str,
    arguments: Vec<&'c str>,
    world: Vec<&'c str>,
    installed: String,
    /// Of each repository the tag, with `@` and a blank behind it, and the index.
    repositories: Vec<(String, String)>,
    refused: bool,
    printed: String,
}

impl<'c> Case<'c> {
    fn read(text: &'c str) -> Case<'c> {
        let (number, text) = text.split_once('\n').unwrap();
        let mut case = Case {
            number,
            ..Case::default()
        };
        for section in text
            .split("\n@")
            .map(|section| section.trim_start_matches('@'))
        {
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            let body = format!("{}\n", body.trim_end_matches('\n'));
            let mut words = head.split(' ');
            match (words.next().unwrap(), words.collect::<Vec<_>>()) {
                ("ARGS", words) => case.arguments = words,
                ("WORLD", words) => case.world = words,
                ("INSTALLED", _) => case.installed = body + "\n",
                ("REPO", words) => {
                    let tag = words.iter().map(|tag| format!("{tag} "));
                    case.repositories.push((tag.collect(), body + "\n"));
                }
                ("EXPECT", words) => {
                    case.refused = words == ["refused"];
                    case.printed = body;
                }
                (unknown, _) => panic!("case {number}: @{unknown}"),
            }
        }
        case
    }

    /// What polpo prints: of a refusal, as much as apk's own has lines.
    fn run(&self) -> (bool, String) {
        let yard = Yard::new(&[]);
        let mut repositories = String::new();
        for (place, (tag, index)) in self.repositories.iter().enumerate() {
            yard.write(&format!("{place}/x86_64/APKINDEX"), index);
            let folder = yard.path(&place.to_string());
            Program::new("tar")
                .args(["-czf", "APKINDEX.tar.gz", "APKINDEX"])
                .folder(&folder.join("x86_64"))
                .run()
                .success();
            repositories.push_str(&format!("{tag}{}\n", folder.display()));
        }
        yard.write("root/etc/apk/repositories", &repositories);
        yard.write("root/lib/apk/db/installed", &self.installed);
        let world: String = self.world.iter().map(|term| format!("{term}\n")).collect();
        yard.write("root/etc/apk/world", &world);
        let mut words = vec!["--simulate", "--no-interactive"];
        words.extend(&self.arguments);
        let finished = yard.run(&words);
        let said = finished.stderr.lines().filter(|line| !line.is_empty());
        let lines = self.printed.lines().count();
        let lines = lines.saturating_sub(finished.stdout.lines().count());
        let said: String = said.take(lines).map(|line| format!("{line}\n")).collect();
        (finished.status.code() != Some(0), finished.stdout + &said)
    }
}

#[test]
fn random_requests_are_answered_as_apk_answers_them() {
    let cases: Vec<Case<'_>> = CASES.split("@CASE ").skip(1).map(Case::read).collect();
    assert_eq!(cases.len(), 170);
    let mut different = Vec::new();
    for case in &cases {
        let (refused, printed) = case.run();
        if (refused, &printed) != (case.refused, &case.printed) {
            different.push(format!(
                "case {}: apk {}\napk printed\n{}\nand polpo\n{printed}",
                case.number,
                case.arguments.join(" "),
                case.printed
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
