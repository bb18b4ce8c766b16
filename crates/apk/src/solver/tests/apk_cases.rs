//! apk's own solver cases: `test/solver/*.test` of apk-tools, each a command line, a world, an
//! installed database, some indexes and the exact output expected.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::dependency::{Constraint, Dependency, Identity, add_term, remove_term};
use crate::solver::request::shared;
use crate::solver::{
    Candidate, Change, ChangeKind, Goal, Installed, Preferences, Repository, Request, Solution,
    Sources, Unindexed, UnindexedKind, Universe, Unsolvable,
};
use crate::version::{Operator, compare};

/// Cases that do not come out right yet. One that does must be struck from the list.
const NOT_YET: &[&str] = &[];

#[test]
fn apk_cases() {
    let folder = corpus().join("apk/solver");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".test").map(str::to_owned))
        .collect();
    names.sort();
    let mut wrong = String::new();
    let mut passed = 0;
    for name in &names {
        let case = Case::read(&folder, name);
        let (output, _) = case.run();
        match (output == case.expected, NOT_YET.contains(&name.as_str())) {
            (true, false) => passed += 1,
            (false, true) => {}
            (true, true) => writeln!(wrong, "{name} passes: strike it from NOT_YET").unwrap(),
            (false, false) => writeln!(
                wrong,
                "{name}: {}\n--- expected\n{}--- found\n{output}",
                case.arguments.join(" "),
                case.expected
            )
            .unwrap(),
        }
    }
    assert!(
        wrong.is_empty(),
        "{passed} of {} passed\n{wrong}",
        names.len()
    );
    assert_eq!(passed + NOT_YET.len(), 119);
}

/// What stands in the way in those of the cases that have no solution, and what would help.
#[test]
fn apk_cases_explained() {
    let folder = corpus().join("apk/solver");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".test").map(str::to_owned))
        .collect();
    names.sort();
    let mut text = String::new();
    for name in &names {
        let case = Case::read(&folder, name);
        if let (_, Some(unsolvable)) = case.run() {
            let arguments = case.arguments.join(" ");
            writeln!(text, "{name}: {arguments}\n{unsolvable}").unwrap();
        }
    }
    insta::assert_snapshot!(text, @"
    basic12: --no-network upgrade --latest
    no choice of packages satisfies all that is asked for
      a is asked for, but a-2 is out of reach (--no-network)
        help: do without --latest
        or: allow the network
        or: drop a from the world
    basic13: upgrade --latest
    no choice of packages satisfies all that is asked for
      a<2 is asked for, but a-2 was chosen
        a-1 would do, but something else stands against it
        help: do without --latest
        or: relax a<2 to a<=2
        or: drop a<2 from the world
    basic19: add badarch
    no choice of packages satisfies all that is asked for
      badarch is asked for, but badarch-1 is for badarch, not for x86_64
        help: drop badarch from the world
        or: add a repository that has badarch for x86_64
    conflict2: add a b>1
    no choice of packages satisfies all that is asked for
      a-1 rules out b>1 (`!b>1`), but b>1 is asked for
        a → a-1 → !b>1
        help: relax b>1 to b>=1
        or: drop a from the world
        or: drop b>1 from the world
        or: build a-1 anew without `!b>1`
    error1: add a d>1.5
    no choice of packages satisfies all that is asked for
      b-1 needs d<2.0 and d>1.5 is asked for and needed by a-3 and c-1 needs d>1.0, but no d is all of that
        a → a-3 → d>1.5
        a → a-3 → c-1 → d>1.0
        a → a-3 → b-1 → d<2.0
        there are d-1.0, d-1.5 and d-2.0
        help: relax d>1.5 to d>=1.5
        or: drop a from the world
        or: drop d>1.5 from the world
        or: add a repository that has d>1.5 and d<2.0 for x86_64
        or: build b-1 anew with d<=2.0 instead of d<2.0
    error11: add invalid
    no choice of packages satisfies all that is asked for
      invalid is asked for, but invalid-1 cannot be installed: `invalid-dependency@tag`: a repository tag is not empty, and stands in a world only, as in name@tag
        help: drop invalid from the world
        or: add a repository that has invalid for x86_64
    error2: add a d<1.5
    no choice of packages satisfies all that is asked for
      c-1 needs d>1.0 and d<1.5 is asked for and b-1 needs d<2.0, but no d is all of that
        a → a-2 → b-1 → d<2.0
        a → a-2 → c-1 → d>1.0
        there are d-1.0, d-1.5 and d-2.0
        help: relax d<1.5 to d<=1.5
        or: drop a from the world
        or: drop d<1.5 from the world
        or: add a repository that has d<1.5 and d>1.0 for x86_64
        or: build c-1 anew with d>=1.0 instead of d>1.0
    error3: add a !b
    no choice of packages satisfies all that is asked for
      b is ruled out (`!b`), but a-3 needs b
        a → a-3 → b
        help: drop a from the world
        or: drop `!b` from the world
    error4: add a nonexistant
    no choice of packages satisfies all that is asked for
      nonexistant is asked for, which nothing provides in complicated1.repo (x86_64)
        help: drop nonexistant from the world
        or: add a repository that has nonexistant for x86_64
    error5: add a>2
    no choice of packages satisfies all that is asked for
      b-1 needs d<2.0 and a-3 needs d>1.5 and c-1 needs d>1.0, but no d is all of that
        a>2 → a-3 → d>1.5
        a>2 → a-3 → c-1 → d>1.0
        a>2 → a-3 → b-1 → d<2.0
        there are d-1.0, d-1.5 and d-2.0
        help: drop a>2 from the world
        or: add a repository that has d<2.0 and d>1.5 for x86_64
        or: build b-1 anew with d<=2.0 instead of d<2.0
        or: build a-3 anew with d>=1.5 instead of d>1.5
    fuzzy2: add a~2.4
    no choice of packages satisfies all that is asked for
      a~2.4 is asked for, but there is no such version
        there are a-2.10 and a-2.2
        help: relax a~2.4 to a~2.10
        or: drop a~2.4 from the world
        or: add a repository that has a~2.4 for x86_64
    pinning11: add c>=3
    no choice of packages satisfies all that is asked for
      c>=3 is asked for, but c-3 is only in a repository tagged @testing
        help: use tag @testing: ask for c@testing>=3 instead of c>=3
        or: relax c>=3 to c>=2
        or: drop c>=3 from the world
    pinning15: add missing@tag
    no choice of packages satisfies all that is asked for
      missing@tag is asked for, which nothing provides in pinning-basic.repo (x86_64)
        help: drop missing@tag from the world
        or: add a repository that has missing@tag for x86_64
    provides10: add conflicted-dep
    no choice of packages satisfies all that is asked for
      conflicted-dep-0.1 needs conflicted-provider, which conflicted-provider-a and conflicted-provider-b provide and none by preference
        conflicted-dep → conflicted-dep-0.1 → conflicted-provider
        help: ask for conflicted-provider-a too
        or: ask for conflicted-provider-b too
        or: drop conflicted-dep from the world
    provides11: add conflicted-parent
    no choice of packages satisfies all that is asked for
      conflicted-dep-0.1 needs conflicted-provider, which conflicted-provider-a and conflicted-provider-b provide and none by preference
        conflicted-parent → conflicted-parent-0.1 → conflicted-dep-0.1 → conflicted-provider
        help: ask for conflicted-provider-a too
        or: ask for conflicted-provider-b too
        or: drop conflicted-parent from the world
    provides12: add self-provide
    no choice of packages satisfies all that is asked for
      self-provide-0.1 conflicts with itself: it provides self-provide twice
        self-provide is asked for
        help: drop self-provide from the world
    provides14: add hplip-sane sane-backends
    no choice of packages satisfies all that is asked for
      hplip-sane is asked for, which sane-backend-hpaio provides, but not so that it is chosen unasked
        help: ask for sane-backend-hpaio too
        or: drop hplip-sane from the world
    provides15: add hplip-sane sane-backend-hpaio sane-backends nonexistent
    no choice of packages satisfies all that is asked for
      nonexistent is asked for, which nothing provides in provides.repo (x86_64)
        help: drop nonexistent from the world
        or: add a repository that has nonexistent for x86_64
    provides16: add testr
    no choice of packages satisfies all that is asked for
      testr-0.1-r0 needs foopkg, which testp and testq provide and none by preference
        testr → testr-0.1-r0 → foopkg
        help: ask for testp too
        or: ask for testq too
        or: drop testr from the world
    provides20: add mailreadsolo mailreadplus
    no choice of packages satisfies all that is asked for
      mailreadsolo-1 rules out mail-reader (`!mail-reader`), but mailreadplus is asked for
        mailreadsolo → mailreadsolo-1 → !mail-reader
        help: drop mailreadplus from the world
        or: drop mailreadsolo from the world
        or: build mailreadsolo-1 anew without `!mail-reader`
    provides5: add server-a server-b
    no choice of packages satisfies all that is asked for
      server-a-1 and server-b-1 both own the name theservice, which only one package can
        server-a is asked for
        server-b is asked for
        help: drop server-a from the world
        or: drop server-b from the world
    provides6: add app app2
    no choice of packages satisfies all that is asked for
      libfoo-1 and libfoo-2 both own the name libfoo, which only one package can
        app → app-2 → so:foo.so.1
        app2 → app2-2 → so:foo.so.2
        help: drop app from the world
        or: drop app2 from the world
    provides7: add selfconflicting
    no choice of packages satisfies all that is asked for
      selfconflicting-1 conflicts with itself: it provides selfprovided twice
        selfconflicting is asked for
        help: drop selfconflicting from the world
    provides9: add conflicted-provider
    no choice of packages satisfies all that is asked for
      conflicted-provider is asked for, which conflicted-provider-a and conflicted-provider-b provide and none by preference
        help: ask for conflicted-provider-a too
        or: ask for conflicted-provider-b too
        or: drop conflicted-provider from the world
    ");
}

pub(super) fn corpus() -> PathBuf {
    match std::env::var_os("POLPO_CORPUS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    }
}

/// Entries of an index or an installed database, with the repository tag they were installed with.
struct Entries {
    packages: Vec<Candidate>,
    tags: Vec<Option<String>>,
    not_understood: bool,
}

impl Entries {
    fn read(path: &Path) -> Entries {
        let text = std::fs::read_to_string(path).unwrap();
        let mut entries = Entries {
            packages: Vec::new(),
            tags: Vec::new(),
            not_understood: false,
        };
        for record in text.split("\n\n") {
            let mut package = Candidate::default();
            let mut tag = None;
            for line in record.lines() {
                let (key, value) = line.split_once(':').unwrap();
                let mut terms = || {
                    let mut terms = Vec::new();
                    for term in value.split(' ').filter(|term| !term.is_empty()) {
                        match Dependency::parse_untagged(term) {
                            Ok(term) => terms.push(term),
                            Err(error) => {
                                package.defects.push(error.to_string());
                                entries.not_understood = true;
                            }
                        }
                    }
                    terms
                };
                match key {
                    "C" => package.identity = Some(value.parse::<Identity>().unwrap()),
                    "P" => package.name = value.to_owned(),
                    "V" => package.version = value.to_owned(),
                    "A" => package.arch = value.to_owned(),
                    "o" => package.origin = value.to_owned(),
                    "S" => package.size = value.parse().unwrap(),
                    "I" => package.installed_size = value.parse().unwrap(),
                    "k" => package.provider_priority = value.parse().unwrap(),
                    "D" => {
                        let terms = terms();
                        package.depends.extend(shared(terms));
                    }
                    "p" => {
                        let terms = terms();
                        package.provides.extend(shared(terms));
                    }
                    "i" => {
                        let terms = terms();
                        package.install_if.extend(shared(terms));
                    }
                    "s" => tag = Some(value.to_owned()),
                    "T" | "U" | "L" | "m" | "c" | "t" | "F" | "R" | "Z" => {}
                    _ => panic!("{}: unknown field {key}", path.display()),
                }
            }
            if !package.name.is_empty() {
                entries.packages.push(package);
                entries.tags.push(tag);
            }
        }
        entries
    }
}

#[derive(Default)]
struct Case {
    arguments: Vec<String>,
    world: Vec<Dependency>,
    installed: Option<Entries>,
    cached: Option<Entries>,
    repositories: Vec<(Option<String>, String, Entries)>,
    expected: String,
}

#[derive(Default)]
struct Arguments<'c> {
    command: &'c str,
    operands: Vec<&'c str>,
    flags: Vec<&'c str>,
    virtual_package: Option<&'c str>,
    preupgrade: Vec<&'c str>,
}

impl Arguments<'_> {
    fn has(&self, names: &[&str]) -> bool {
        self.flags.iter().any(|flag| names.contains(flag))
    }
}

impl Case {
    fn read(folder: &Path, name: &str) -> Case {
        let text = std::fs::read_to_string(folder.join(format!("{name}.test"))).unwrap();
        let mut case = Case::default();
        let (head, expected) = text.split_once("@EXPECT\n").unwrap();
        case.expected = expected.to_owned();
        for line in head.lines() {
            let (key, value) = line.split_once(' ').unwrap();
            match key {
                "@ARGS" => case.arguments.extend(value.split(' ').map(str::to_owned)),
                "@WORLD" => case.world = Dependency::parse_list(value).unwrap(),
                "@INSTALLED" => case.installed = Some(Entries::read(&folder.join(value))),
                "@CACHE" => case.cached = Some(Entries::read(&folder.join(value))),
                "@REPO" => {
                    let (tag, file) = match value.strip_prefix('@') {
                        Some(tagged) => {
                            let (tag, file) = tagged.split_once(' ').unwrap();
                            (Some(tag.to_owned()), file)
                        }
                        None => (None, value),
                    };
                    let entries = Entries::read(&folder.join(file));
                    case.repositories.push((tag, file.to_owned(), entries));
                }
                _ => panic!("{name}: unknown key {key}"),
            }
        }
        case
    }

    fn arguments(&self) -> Arguments<'_> {
        let mut arguments = Arguments::default();
        let mut words = self.arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "-t" | "--virtual" => arguments.virtual_package = words.next(),
                "--preupgrade-depends" => arguments.preupgrade.extend(words.next()),
                word if word.starts_with('-') => arguments.flags.push(word),
                word if arguments.command.is_empty() => arguments.command = word,
                word => arguments.operands.push(word),
            }
        }
        arguments
    }

    /// What apk would print, and why there is no solution.
    fn run(&self) -> (String, Option<Unsolvable>) {
        let arguments = self.arguments();
        let mut output = String::new();
        let broken = self
            .repositories
            .iter()
            .any(|(_, _, entries)| entries.not_understood);
        if broken {
            output.push_str(
                "WARNING: The indexes contain broken packages which are not installable.\n",
            );
        }
        let mut virtual_package = None;
        let mut added = Vec::new();
        if arguments.command == "add"
            && let Err(message) = prepare_add(&arguments, &mut virtual_package, &mut added)
        {
            writeln!(output, "ERROR: {message}").unwrap();
            return (output, None);
        }
        if virtual_package
            .as_ref()
            .is_some_and(|package: &Candidate| package.depends.is_empty())
        {
            output.push_str("WARNING: creating empty virtual package\n");
        }

        let available = !arguments.has(&["--no-network"]);
        let repositories: Vec<Repository<'_>> = self
            .repositories
            .iter()
            .map(|(tag, name, entries)| Repository {
                name,
                tag: tag.as_deref(),
                available,
                packages: &entries.packages,
            })
            .collect();
        let installed: Vec<Installed<'_>> = self
            .installed
            .iter()
            .flat_map(|entries| entries.packages.iter().zip(&entries.tags))
            .map(|(package, tag)| Installed {
                package,
                tag: tag.as_deref(),
            })
            .collect();
        let mut unindexed: Vec<Unindexed<'_>> = self
            .cached
            .iter()
            .flat_map(|entries| &entries.packages)
            .map(|package| Unindexed {
                package,
                kind: UnindexedKind::Cache,
            })
            .collect();
        unindexed.extend(virtual_package.iter().map(|package| Unindexed {
            package,
            kind: UnindexedKind::Virtual,
        }));
        let universe = Universe::new(Sources {
            arches: &["x86_64"],
            installed: &installed,
            unindexed: &unindexed,
            repositories: &repositories,
            ..Sources::default()
        });
        let run = Run {
            case: self,
            arguments: &arguments,
            universe: &universe,
            unsolvable: OnceCell::new(),
        };
        match arguments.command {
            "add" => run.add(added, &mut output),
            "del" => run.delete(&mut output),
            "fix" => run.fix(&mut output),
            "upgrade" => run.upgrade(&mut output),
            command => panic!("unknown command {command}"),
        }
        (output, run.unsolvable.into_inner())
    }
}

fn prepare_add(
    arguments: &Arguments<'_>,
    virtual_package: &mut Option<Candidate>,
    added: &mut Vec<Dependency>,
) -> Result<(), String> {
    if let Some(text) = arguments.virtual_package {
        let bad = |_| format!("{text}: bad package specifier");
        let term = Dependency::parse(text).map_err(bad)?;
        // Without a version apk takes the time.
        let version = match &term.constraint {
            _ if term.conflict => None,
            None => Some("20250101.000000".to_owned()),
            Some(Constraint::Version(Operator::Equal, version)) => Some(version.to_string()),
            Some(_) => None,
        };
        *virtual_package = Some(Candidate {
            name: term.name.clone(),
            version: version.ok_or_else(|| format!("{text}: bad package specifier"))?,
            arch: "noarch".to_owned(),
            ..Candidate::default()
        });
    }
    for operand in &arguments.operands {
        match virtual_package {
            Some(package) => {
                let term = Dependency::parse_untagged(operand).map_err(|_| {
                    format!(
                        "'{operand}' is not a valid package dependency, format is name([<>~=]version)"
                    )
                })?;
                let mut depends = package.depends.iter().map(|term| (**term).clone()).collect();
                add_term(&mut depends, term);
                package.depends = shared(depends);
            }
            None => added.push(Dependency::parse(operand).map_err(|_| {
                format!(
                    "'{operand}' is not a valid world dependency, format is name(@tag)([<>~=]version)"
                )
            })?),
        }
    }
    if let Some(text) = arguments.virtual_package {
        added.push(Dependency::parse(text).unwrap());
    }
    Ok(())
}

struct Run<'r> {
    case: &'r Case,
    arguments: &'r Arguments<'r>,
    universe: &'r Universe<'r>,
    unsolvable: OnceCell<Unsolvable>,
}

impl<'r> Run<'r> {
    fn solve(&self, request: &Request<'_>) -> Result<Solution<'r>, Unsolvable> {
        super::reachable::agrees(self.universe.sources(), request);
        self.universe.solve(request)
    }

    fn add(&self, added: Vec<Dependency>, output: &mut String) {
        let mut world = self.case.world.clone();
        let preferences = Preferences {
            upgrade: self.arguments.has(&["-u", "--upgrade"]),
            latest: self.arguments.has(&["-l", "--latest"]),
            ..Preferences::default()
        };
        for term in &added {
            add_term(&mut world, term.clone());
        }
        let goals: Vec<Goal<'_>> = added
            .iter()
            .map(|term| Goal {
                name: &term.name,
                preferences,
                inherited: preferences,
            })
            .collect();
        let request = Request {
            world: &world,
            goals: &goals,
            ..self.request()
        };
        self.commit(self.solve(&request), output);
    }

    fn request(&self) -> Request<'static> {
        Request {
            leave_out_broken: self.arguments.has(&["--force-broken-world"]),
            ..Request::default()
        }
    }

    fn delete(&self, output: &mut String) {
        let mut world = self.case.world.clone();
        let mut goals = Vec::new();
        for name in self.unknown() {
            writeln!(output, "ERROR: No such package: {name}").unwrap();
        }
        if self.unknown().next().is_some() {
            return;
        }
        for name in &self.arguments.operands {
            remove_term(&mut world, name);
            let installed = self.universe.sources().installed.iter();
            if installed
                .into_iter()
                .any(|installed| installed.package.name == *name)
            {
                goals.push(Goal {
                    name,
                    preferences: Preferences {
                        remove: true,
                        ..Preferences::default()
                    },
                    inherited: Preferences::default(),
                });
            }
        }
        let request = Request {
            world: &world,
            goals: &goals,
            ..self.request()
        };
        let solution = self.solve(&request);
        if let Ok(solution) = &solution {
            self.not_removed(&world, solution, output);
        }
        self.commit(solution, output);
    }

    fn not_removed(&self, world: &[Dependency], solution: &Solution<'_>, output: &mut String) {
        let packages: Vec<&Candidate> = solution
            .packages()
            .map(|selected| selected.package)
            .collect();
        let mut text = String::new();
        for name in &self.arguments.operands {
            if self
                .case
                .world
                .iter()
                .any(|term| term.conflict && term.name == *name)
            {
                continue;
            }
            let mut words = Vec::new();
            let mut seen = vec![false; packages.len()];
            for (index, package) in packages.iter().enumerate() {
                if has_name(package, name) {
                    why_kept(index, &packages, world, &mut seen, &mut words);
                }
            }
            if !words.is_empty() {
                writeln!(text, "  {name}: {}", words.join(" ")).unwrap();
            }
        }
        if !text.is_empty() {
            output.push_str("World updated, but the following packages are not removed due to:\n");
            writeln!(output, "{text}").unwrap();
        }
    }

    /// The operands that nothing speaks of.
    fn unknown(&self) -> impl Iterator<Item = &'r str> + '_ {
        let world = &self.case.world;
        let operands = self.arguments.operands.iter().copied();
        operands.filter(move |name| {
            !self.universe.names().contains(name) && !world.iter().any(|term| term.name == *name)
        })
    }

    fn fix(&self, output: &mut String) {
        for name in self.unknown() {
            writeln!(output, "ERROR: Package '{name}' not found").unwrap();
        }
        if self.unknown().next().is_some() {
            return;
        }
        let upgrade = self.arguments.has(&["-u", "--upgrade"]);
        let preferences = Preferences {
            upgrade,
            reinstall: !upgrade || self.arguments.has(&["-r", "--reinstall"]),
            ..Preferences::default()
        };
        let inherited = match self.arguments.has(&["-d", "--depends"]) {
            true => preferences,
            false => Preferences::default(),
        };
        let goals: Vec<Goal<'_>> = self
            .arguments
            .operands
            .iter()
            .map(|name| Goal {
                name,
                preferences,
                inherited,
            })
            .collect();
        let request = Request {
            world: &self.case.world,
            goals: &goals,
            ..self.request()
        };
        self.commit(self.solve(&request), output);
    }

    fn upgrade(&self, output: &mut String) {
        let mut preferences = Preferences {
            upgrade: true,
            available: self.arguments.has(&["-a", "--available"]),
            latest: self.arguments.has(&["-l", "--latest"]),
            ..Preferences::default()
        };
        if self
            .arguments
            .has(&["--preupgrade-only", "--self-upgrade-only"])
        {
            return self.preupgrade(preferences, output);
        }
        let mut world = self.case.world.clone();
        if self.arguments.has(&["--prune"]) {
            world.retain(|term| {
                self.universe.providers_of(&term.name).any(|provider| {
                    provider.place.is_some_and(|(repository, _)| {
                        self.universe.sources().repositories[repository].available
                    })
                })
            });
        }
        let ignore = self.arguments.has(&["--ignore"]);
        preferences.upgrade = ignore || self.arguments.operands.is_empty();
        let goals: Vec<Goal<'_>> = self
            .arguments
            .operands
            .iter()
            .map(|name| Goal {
                name,
                preferences: Preferences {
                    installed: ignore,
                    upgrade: !ignore,
                    ..Preferences::default()
                },
                inherited: Preferences::default(),
            })
            .collect();
        let request = Request {
            world: &world,
            preferences,
            goals: &goals,
            ..self.request()
        };
        self.commit(self.solve(&request), output);
    }

    fn preupgrade(&self, preferences: Preferences, output: &mut String) {
        let mut terms = vec![Dependency::any("apk-tools")];
        for term in &self.arguments.preupgrade {
            add_term(&mut terms, Dependency::parse_untagged(term).unwrap());
        }
        let mut goals = Vec::new();
        for term in &terms {
            let installed = self.universe.sources().installed.iter();
            let installed = installed
                .map(|installed| installed.package)
                .find(|package| package.name == term.name);
            let Some(installed) = installed else { continue };
            if term.conflict || !term.matches(Some(&installed.version), None) {
                continue;
            }
            let newer = self.universe.providers_of(&term.name).any(|provider| {
                provider.place.is_some()
                    && compare(&provider.package.version, &installed.version).is_gt()
            });
            if newer {
                goals.push(Goal {
                    name: &term.name,
                    preferences,
                    inherited: Preferences::default(),
                });
            }
        }
        if goals.is_empty() {
            return;
        }
        let request = Request {
            world: &self.case.world,
            goals: &goals,
            preupgrade: true,
            ..self.request()
        };
        let solution = self.solve(&request).unwrap();
        if solution
            .changes
            .iter()
            .any(|change| change.kind() != ChangeKind::Keep)
        {
            output.push_str("Preupgrading:\n");
            self.commit(Ok(solution), output);
        }
    }

    fn commit(&self, solution: Result<Solution<'_>, Unsolvable>, output: &mut String) {
        let solution = match solution {
            Ok(solution) => solution,
            Err(unsolvable) => {
                output.push_str("ERROR: unable to select packages:\n");
                output.push_str(&unsolvable.to_apk_text(50));
                self.unsolvable.set(unsolvable).unwrap();
                return;
            }
        };
        let verbose = self.arguments.has(&["-v"]);
        if verbose {
            self.note_unavailable(&solution, output);
        }
        let changes = solution.changes.iter();
        let changes: Vec<&Change<'_>> = changes
            .filter(|change| change.kind() != ChangeKind::Keep)
            .collect();
        let width = changes.len().to_string().len();
        for (index, change) in changes.iter().enumerate() {
            let number = index + 1;
            writeln!(output, "({number:width$}/{}) {change}", changes.len()).unwrap();
        }
        let packages = solution.packages().count();
        let bytes: u64 = solution
            .packages()
            .map(|selected| selected.package.installed_size)
            .sum();
        match verbose {
            true => writeln!(
                output,
                "OK: {packages} packages, 0 dirs, 0 files, {bytes} B"
            ),
            false => writeln!(output, "OK: {bytes} B in {packages} packages"),
        }
        .unwrap();
    }

    fn note_unavailable(&self, solution: &Solution<'_>, output: &mut String) {
        let mut names: Vec<&str> = solution
            .packages()
            .map(|selected| selected.package.name.as_str())
            .filter(|name| {
                self.universe
                    .providers_of(name)
                    .all(|of| of.place.is_none())
            })
            .collect();
        names.sort_unstable();
        if !names.is_empty() {
            output.push_str(
                "NOTE: Consider running apk upgrade with --prune and/or --available.\n\
                 The following packages are no longer available from a repository:\n",
            );
            writeln!(output, "  {}", names.join(" ")).unwrap();
        }
    }
}

fn has_name(package: &Candidate, name: &str) -> bool {
    package.name == name
        || package
            .provides
            .iter()
            .any(|provided| provided.name == name)
}

fn why_kept(
    index: usize,
    packages: &[&Candidate],
    world: &[Dependency],
    seen: &mut [bool],
    words: &mut Vec<String>,
) {
    if std::mem::replace(&mut seen[index], true) {
        return;
    }
    let package = packages[index];
    let names = std::iter::once(&package.name)
        .chain(package.provides.iter().map(|provided| &provided.name));
    for name in names {
        if world
            .iter()
            .any(|term| !term.conflict && term.name == *name)
        {
            words.push(name.clone());
        }
    }
    for (other, dependent) in packages.iter().enumerate() {
        let mut depends = dependent.depends.iter();
        if depends.any(|term| !term.conflict && has_name(package, &term.name)) {
            why_kept(other, packages, world, seen, words);
        }
    }
}
