use base::Arch;

use super::*;
use crate::database::{InstalledPackage, parse};
use crate::index::Index;
use crate::repository::{LoadedRepository, Repository as Line};

/// Records of an index or a database out of lines `name version field field …`.
fn records(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let identity = crate::dependency::Identity::Sha1(base::Sha1::of(line.as_bytes()));
        text.push_str(&format!(
            "C:{identity}\nP:{name}\nV:{version}\nA:x86_64\nS:10\nI:20\nT:About {name}\nU:\nL:MIT\n"
        ));
        for field in words {
            text.push_str(&field.replace('+', " "));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn repository(line: &str, entries: &str) -> LoadedRepository {
    let line = Line::parse(line).unwrap();
    let index = Index {
        entries: Index::parse(&records(entries)).unwrap(),
        ..Index::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x86_64/APKINDEX.tar.gz");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, index.to_bytes(None, base::Epoch(0)).unwrap()).unwrap();
    let opened = Line::folder(folder.path())
        .open(Arch::X86_64, None, None)
        .unwrap();
    LoadedRepository {
        name: line.to_string(),
        base: line.location.clone(),
        repository: line,
        ..opened
    }
}

struct Sample {
    installed: Vec<InstalledPackage>,
    repositories: Vec<LoadedRepository>,
}

impl Sample {
    fn new(installed: &str, repositories: &[(&str, &str)]) -> Sample {
        Sample {
            installed: parse(&records(installed)).unwrap(),
            repositories: repositories
                .iter()
                .map(|(line, entries)| repository(line, entries))
                .collect(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Population<'_>) -> T) -> T {
        let repositories: Vec<Repository<'_>> = self
            .repositories
            .iter()
            .map(|loaded| Repository {
                loaded,
                available: true,
            })
            .collect();
        let population = Population::new(Sources {
            installed: &self.installed,
            repositories: &repositories,
            ..Sources::default()
        });
        work(&population.unwrap())
    }

    /// The labels of what is selected, sorted as they are printed.
    fn select(&self, selection: Selection, words: &[&str]) -> String {
        self.with(|population| {
            let selected = population.select(&selection, words, &|_| None).unwrap();
            let packages = selected.sorted(population);
            let labels: Vec<String> = packages.iter().map(|id| population.label(*id)).collect();
            labels.join(" ")
        })
    }
}

fn sample() -> Sample {
    let one = "one 1-r0 p:cmd:one=1-r0+first D:two>1 o:uno";
    Sample::new(
        &format!("{one}\ntwo 2-r0 s:edge\ngone 1-r0"),
        &[
            (
                "/stable",
                &format!("{one}\none 2-r0 p:cmd:one=2-r0+first D:two\nTwo 9-r0 i:one"),
            ),
            ("@edge /edge", "two 3-r0 i:one=1-r0\none 3_rc1-r0 D:!two"),
            ("@test /stable", ""),
        ],
    )
}

#[test]
fn words_select() {
    let sample = sample();
    let all = Selection {
        all_matches: true,
        ..Selection::default()
    };
    let field = |field| Selection {
        fields: Fields::of(&[field]),
        ..all
    };
    for (selection, words, expected) in [
        (Selection::default(), &["one"][..], "one-3_rc1-r0"),
        (all, &["one"], "one-1-r0 one-2-r0 one-3_rc1-r0"),
        (all, &["one<2", "one~3"], "one-1-r0 one-3_rc1-r0"),
        (all, &["ONE"], ""),
        (all, &["t?o"], "Two-9-r0 two-2-r0 two-3-r0"),
        (field(Field::Provides), &["cmd:one"], "one-1-r0 one-2-r0"),
        (field(Field::Provides), &["cmd:one>1-r0"], "one-2-r0"),
        (
            field(Field::Depends),
            &["two"],
            "one-1-r0 one-2-r0 one-3_rc1-r0",
        ),
        (field(Field::Depends), &["two>1"], "one-1-r0"),
        (field(Field::InstallIf), &["one"], "Two-9-r0 two-3-r0"),
        (field(Field::Origin), &["u*"], "one-1-r0"),
        (
            field(Field::Description),
            &["About two"],
            "two-2-r0 two-3-r0",
        ),
        (field(Field::Package), &["gone-*"], "gone-1-r0"),
        (field(Field::Replaces), &["one"], ""),
        (
            Selection {
                search: true,
                ..all
            },
            &["on"],
            "gone-1-r0 one-1-r0 one-2-r0 one-3_rc1-r0",
        ),
        (
            Selection {
                installed: true,
                everything: true,
                ..all
            },
            &[],
            "gone-1-r0 one-1-r0 two-2-r0",
        ),
        (
            Selection {
                orphaned: true,
                everything: true,
                ..all
            },
            &[],
            "gone-1-r0",
        ),
        // What was pinned to @edge is upgraded from there, all else from where no tag is.
        (
            Selection {
                upgradable: true,
                everything: true,
                ..all
            },
            &[],
            "one-2-r0 two-3-r0",
        ),
        (
            Selection {
                available: true,
                installed: true,
                everything: true,
                ..all
            },
            &[],
            "one-1-r0",
        ),
    ] {
        assert_eq!(
            sample.select(selection, words),
            expected,
            "{words:?} {selection:?}"
        );
    }
}

#[test]
fn what_matches_nothing_is_counted() {
    sample().with(|population| {
        let count = |words: &[&str], search| {
            let selection = Selection {
                search,
                ..Selection::default()
            };
            let selected = population.select(&selection, words, &|_| None).unwrap();
            selected.missing
        };
        assert_eq!(count(&["one", "nothing", "no*", "one>9"], false), 2);
        assert_eq!(count(&["nothing"], true), 0);
    });
}

#[test]
fn a_package_of_several_repositories_is_one() {
    sample().with(|population| {
        assert_eq!(population.len(), 7);
        let one = population.named("one")[0];
        let places: Vec<String> = population.repositories(one).map(Repository::name).collect();
        assert_eq!(places, ["/stable"]);
        assert!(population.may_come_with(one, None));
        assert!(population.may_come_with(one, Some("test")));
        assert!(!population.may_come_with(one, Some("edge")));
        assert_eq!(population.tags(), ["edge", "test"]);
        assert_eq!(population.all_repositories().count(), 2);
    });
}

#[test]
fn descriptions_and_summaries() {
    sample().with(|population| {
        let two = population.installed_of("two").unwrap();
        let telling = |fields: &[Field], reverse| Telling {
            fields: Fields::of(fields),
            reverse,
            installed_only: false,
        };
        let reverse = [Field::ReverseDepends, Field::ReverseInstallIf];
        let (told, unknown) = population
            .describe(two, &telling(&reverse, ReverseField::Package))
            .unwrap();
        assert!(!unknown);
        assert_eq!(
            told,
            [
                (
                    Field::ReverseDepends,
                    Value::List(vec!["one-1-r0".to_owned(), "one-2-r0".to_owned()])
                ),
                (Field::ReverseInstallIf, Value::List(Vec::new())),
            ]
        );
        let newer = population.named("one")[1];
        let (told, unknown) = population
            .describe(
                newer,
                &telling(&[Field::Status, Field::Hash], ReverseField::Name),
            )
            .unwrap();
        assert!(told.is_empty() && unknown);
        let all: Vec<PackageId> = population.packages().collect();
        let summary = |field, reverse| {
            let telling = telling(&[field], reverse);
            population.summarise(&all, &telling).unwrap().join(" ")
        };
        assert_eq!(summary(Field::Depends, ReverseField::Name), "two");
        assert_eq!(
            summary(Field::Provides, ReverseField::Name),
            "cmd:one first"
        );
        assert_eq!(summary(Field::Name, ReverseField::Name), "gone one Two two");
        assert_eq!(summary(Field::Origin, ReverseField::Name), "uno");
        assert_eq!(
            summary(Field::ReverseInstallIf, ReverseField::Package),
            "Two-9-r0 two-3-r0"
        );
    });
}

#[test]
fn installed_packages_beside_the_latest() {
    sample().with(|population| {
        let rows = |patterns: &[&str], all_tags| -> Vec<String> {
            let rows = population.outdated(patterns, all_tags);
            rows.iter()
                .map(|row| {
                    let (sign, tag) = (row.comparison.sign(), row.tag.unwrap_or("-"));
                    let latest = population.label(row.latest);
                    format!("{}{sign}{latest} {tag}", population.version(row.installed))
                })
                .collect()
        };
        assert_eq!(
            rows(&[], false),
            [
                "1-r0=gone-1-r0 -",
                "1-r0<one-2-r0 test",
                "2-r0<two-3-r0 edge"
            ]
        );
        assert_eq!(rows(&["o*"], true), ["1-r0<one-3_rc1-r0 edge"]);
        assert!(rows(&["O"], true).is_empty());
    });
}

/// Whatever the names of a stranger's index are, no stack is long enough for them.
#[test]
fn graphs_of_long_chains_and_rings() {
    let length = 20_000;
    let chain: String = (0..length)
        .map(|place| format!("p{place} 1-r0 D:p{}\n", (place + 1) % length))
        .collect();
    let sample = Sample::new("", &[("/chain", &chain)]);
    sample.with(|population| {
        let selection = Selection {
            everything: true,
            ..Selection::default()
        };
        let selected = population.select(&selection, &[], &|_| None).unwrap();
        let graph = population.graph(&selected, false, true).unwrap();
        // Every edge of the ring leads back.
        assert_eq!(graph.items.len(), length);
        let installed = population.graph(&selected, true, false).unwrap();
        assert!(installed.items.is_empty());
    });
}

#[test]
fn graphs_show_what_is_missing() {
    let sample = Sample::new(
        "",
        &[(
            "/r",
            "a 1 D:b+c>1\nb 1 D:nowhere p:c=1\nd 1 D:nowhere+!b p:pc:d=one_",
        )],
    );
    sample.with(|population| {
        let selection = Selection {
            everything: true,
            ..Selection::default()
        };
        let selected = population.select(&selection, &[], &|_| None).unwrap();
        let errors = population.graph(&selected, false, true).unwrap().items;
        let missing = |name: &str| {
            let found = errors
                .iter()
                .filter(|item| matches!(item, GraphItem::Missing { name: known } if known == name));
            found.count()
        };
        assert_eq!((missing("nowhere"), missing("pc:d")), (1, 1));
        assert!(errors.contains(&GraphItem::Ungrammatical {
            package: "d-1".to_owned(),
            name: "pc:d".to_owned(),
            term: "pc:d=one_".to_owned(),
            provided: true,
        }));
        let all = population.graph(&selected, false, false).unwrap().items;
        let edges = all
            .iter()
            .filter(|item| matches!(item, GraphItem::Depends { .. }));
        // b, but not as c: that is another version.
        assert_eq!(edges.count(), 1);
    });
}
