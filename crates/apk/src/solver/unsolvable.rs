use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use crate::dependency::Dependency;

/// Why a world has no solution: the conflicts as data, of which there is at least one unless the
/// search failed in a way that leaves no trace.
///
/// `Display` explains each in words, with what would help; [`Unsolvable::to_apk_text`] says it in
/// apk's own form. Packages are written name-version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsolvable {
    /// What stands in the way, in the order in which it was met.
    pub conflicts: Vec<Conflict>,
    /// The repositories that were searched.
    pub repositories: Vec<String>,
    /// The architectures that were accepted beside `noarch`.
    pub arches: Vec<String>,
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A term of the world has a tag that no repository has.
    UnknownTag {
        /// The term.
        term: Dependency,
        /// The tags that there are.
        known: Vec<String>,
    },
    /// Nothing was chosen that has a name asked for.
    Missing(Missing),
    /// A package was chosen for want of a better one, but it cannot be installed.
    Package(Rejected),
}

/// A name that nothing chosen has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name.
    pub name: String,
    /// Who asks for it.
    pub required_by: Vec<Demand>,
    /// The packages that provide it without a version and without priority, so that none of them
    /// is chosen unasked. Empty: nothing provides it.
    pub providers: Vec<String>,
    /// A name that is provided and much like it.
    pub suggestion: Option<String>,
}

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The package, or none if the world asks.
    pub by: Option<String>,
    /// What it asks for.
    pub term: Dependency,
    /// Why `by` was chosen: the package that needs it, the one that needs that, and so on; last,
    /// the term of the world.
    pub because: Vec<String>,
}

/// A chosen package that cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// It can never be installed, see `defects` and `arch`.
    pub uninstallable: bool,
    /// What is wrong with its index entry.
    pub defects: Vec<String>,
    /// Its architecture, if it is not one of those accepted.
    pub arch: Option<String>,
    /// Where it is out of reach: tags (`@edge`) that are not asked for, or `--no-network`.
    pub masked: Vec<String>,
    /// Other chosen packages of the same name, or that provide what only one may.
    pub rivals: Vec<Rival>,
    /// The terms that it does not meet.
    pub breaks: Vec<Demand>,
    /// The terms that it meets.
    pub satisfies: Vec<Demand>,
    /// All packages that have or provide the names in `breaks`, with the version they have it in.
    pub alternatives: Vec<(String, Option<String>)>,
}

/// A package that stands beside another where only one may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The package.
    pub package: String,
    /// What the other one provides that this one has or provides too; none: the other's own name.
    pub provides: Option<Dependency>,
}

impl std::error::Error for Unsolvable {}

impl Rejected {
    fn label(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Whether anything stands against the package.
    pub(super) fn is_reason(&self) -> bool {
        self.uninstallable
            || !self.masked.is_empty()
            || !self.rivals.is_empty()
            || !self.breaks.is_empty()
    }
}

impl Unsolvable {
    pub(super) fn is_empty(&self) -> bool {
        self.conflicts.is_empty()
    }

    /// The report that apk prints, without its first line, at most `width` columns wide where
    /// words allow.
    pub fn to_apk_text(&self, width: usize) -> String {
        let mut text = String::new();
        for conflict in &self.conflicts {
            match conflict {
                Conflict::UnknownTag { term, .. } => {
                    _ = writeln!(
                        text,
                        "  The repository tag for world dependency '{term}' does not exist"
                    )
                }
                Conflict::Missing(missing) => missing.write_apk(&mut text, width),
                Conflict::Package(rejected) => rejected.write_apk(&mut text, width),
            }
        }
        if self.is_empty() {
            text.push_str("Huh? Error reporter did not find the broken constraints.\n");
        }
        text
    }
}

impl Missing {
    fn write_apk(&self, text: &mut String, width: usize) {
        let required_by: Vec<String> = self.required_by.iter().map(Demand::to_apk).collect();
        if self.providers.is_empty() {
            _ = writeln!(text, "  {} (no such package):", self.name);
        } else {
            _ = writeln!(text, "  {} (virtual):", self.name);
            let note = "please select one of the 'provided by' packages explicitly";
            let note: Vec<String> = note.split(' ').map(str::to_owned).collect();
            write_words(text, width, "note:", &note);
            write_words(text, width, "provided by:", &self.providers);
        }
        write_words(text, width, "required by:", &required_by);
    }
}

impl Rejected {
    fn write_apk(&self, text: &mut String, width: usize) {
        _ = writeln!(text, "  {}:", self.label());
        if self.uninstallable {
            write_words(text, width, "error:", &["uninstallable".to_owned()]);
        }
        if let Some(arch) = &self.arch {
            write_words(text, width, "arch:", std::slice::from_ref(arch));
        }
        write_words(text, width, "masked in:", &self.masked);
        let rivals = self.rivals.iter().map(|rival| match &rival.provides {
            None => rival.package.clone(),
            Some(provides) => format!("{}[{provides}]", rival.package),
        });
        write_words(text, width, "conflicts:", &rivals.collect::<Vec<_>>());
        let demands = |demands: &[Demand]| demands.iter().map(Demand::to_apk).collect::<Vec<_>>();
        write_words(text, width, "breaks:", &demands(&self.breaks));
        write_words(text, width, "satisfies:", &demands(&self.satisfies));
    }
}

/// A heading and what follows it, broken between words and indented under the first.
fn write_words(text: &mut String, width: usize, heading: &str, words: &[String]) {
    if words.is_empty() {
        return;
    }
    let indent = heading.len() + 5;
    _ = write!(text, "    {heading}");
    let mut column = indent - 1;
    for word in words {
        if column + word.len() + 1 >= width && column > indent {
            _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

impl Demand {
    fn to_apk(&self) -> String {
        let by = self.by.as_deref().unwrap_or("world");
        format!("{by}[{}]", self.term)
    }

    /// `b-1 needs d<2.0`
    fn sentence(&self) -> String {
        let positive = Dependency {
            conflict: false,
            ..self.term.clone()
        };
        match (&self.by, self.term.conflict) {
            (None, false) => format!("{positive} is asked for"),
            (None, true) => format!("{positive} is ruled out (`{}`)", self.term),
            (Some(by), false) => format!("{by} needs {positive}"),
            (Some(by), true) => format!("{by} rules out {positive} (`{}`)", self.term),
        }
    }

    /// `b-1 is needed by a-3, which is needed by app-1, which is asked for`
    fn reason(&self) -> Option<String> {
        const SHOWN: usize = 4;
        let by = self.by.as_deref()?;
        let Some((world, packages)) = self.because.split_last() else {
            return Some(format!("{by} comes by itself (its install_if is met)"));
        };
        let mut reason = by.to_owned();
        let mut link = " is needed by ";
        for package in packages.iter().take(SHOWN) {
            reason.push_str(link);
            reason.push_str(package);
            link = ", which is needed by ";
        }
        if packages.len() > SHOWN {
            _ = write!(reason, " (and so on, {} more)", packages.len() - SHOWN);
        }
        if packages.is_empty() {
            _ = write!(reason, " is asked for");
            if !reason.starts_with(world.as_str()) {
                _ = write!(reason, " as {world}");
            }
        } else {
            reason.push_str(", which is asked for");
        }
        Some(reason)
    }
}

/// One conflict in words: what, why, and what would help.
#[derive(Default)]
struct Explanation {
    what: String,
    why: Vec<String>,
    help: Vec<String>,
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no choice of packages satisfies all that is asked for")?;
        let mut said = BTreeSet::new();
        for conflict in &self.conflicts {
            let explanation = match conflict {
                Conflict::UnknownTag { term, known } => explain_tag(term, known),
                Conflict::Missing(missing) => self.explain_missing(missing),
                Conflict::Package(rejected) => self.explain_package(rejected),
            };
            if !said.insert(explanation.what.clone()) {
                continue;
            }
            write!(f, "\n  {}", explanation.what)?;
            for why in explanation.why {
                if said.insert(why.clone()) {
                    write!(f, "\n    {why}")?;
                }
            }
            for help in explanation.help {
                write!(f, "\n    help: {help}")?;
            }
        }
        if self.is_empty() {
            f.write_str("\n  the search ended without a trace of what stands in the way")?;
        }
        Ok(())
    }
}

fn explain_tag(term: &Dependency, known: &[String]) -> Explanation {
    let tag = term.tag.as_deref().unwrap_or_default();
    let known: Vec<String> = known.iter().map(|tag| format!("@{tag}")).collect();
    let help = if known.is_empty() {
        format!("leave out the tag, or give a repository the tag @{tag}")
    } else {
        format!("the tags in use are {}", listed(&known))
    };
    Explanation {
        what: format!("{term} is asked for, but no repository has the tag @{tag}"),
        why: Vec::new(),
        help: vec![help],
    }
}

impl Unsolvable {
    fn explain_missing(&self, missing: &Missing) -> Explanation {
        let demands: Vec<String> = missing.required_by.iter().map(Demand::sentence).collect();
        let demands = match demands.is_empty() {
            true => format!("{} is needed", missing.name),
            false => listed(&demands),
        };
        let mut explanation = Explanation {
            why: missing
                .required_by
                .iter()
                .filter_map(Demand::reason)
                .collect(),
            ..Explanation::default()
        };
        if missing.providers.is_empty() {
            let searched = self.searched();
            explanation.what = format!("{demands}, which nothing provides in {searched}");
            explanation.help.push(match &missing.suggestion {
                Some(suggestion) => format!("did you mean {suggestion}?"),
                None => format!("add a repository that has {}", missing.name),
            });
        } else {
            explanation.what =
                format!("{demands}, which several packages provide and none by preference");
            let providers = listed_by(&missing.providers, " or ");
            explanation
                .help
                .push(format!("ask for one of them by name: {providers}"));
        }
        explanation
    }

    fn searched(&self) -> String {
        let place = match self.repositories.as_slice() {
            [] => "no repository at all".to_owned(),
            repositories => listed(repositories),
        };
        match self.arches.as_slice() {
            [] => place,
            arches => format!("{place} ({})", arches.join(", ")),
        }
    }

    fn explain_package(&self, rejected: &Rejected) -> Explanation {
        let label = rejected.label();
        let wanted: Vec<&Demand> = rejected
            .satisfies
            .iter()
            .filter(|demand| !demand.term.conflict)
            .collect();
        let mut explanation = Explanation {
            why: wanted.iter().filter_map(|demand| demand.reason()).collect(),
            ..Explanation::default()
        };
        let wants: Vec<String> = wanted.iter().map(|demand| demand.sentence()).collect();
        let wants = match wants.is_empty() {
            true => format!("{label} is needed"),
            false => listed(&wants),
        };
        if let Some(arch) = &rejected.arch {
            let arches = self.arches.join(", ");
            explanation.what = format!("{wants}, but {label} is for {arch}, not for {arches}");
            let help = format!("add a repository that has {} for {arches}", rejected.name);
            explanation.help.push(help);
        } else if rejected.uninstallable {
            let defects = rejected.defects.join("; ");
            let why = if defects.is_empty() { "" } else { ": " };
            explanation.what = format!("{wants}, but {label} cannot be installed{why}{defects}");
            explanation
                .help
                .push("build the package anew, or ask for another version".to_owned());
        } else if !rejected.masked.is_empty() {
            let masked = listed(&rejected.masked);
            if rejected.masked.iter().all(|place| place.starts_with('@')) {
                explanation.what = format!("{wants}, but {label} is only in repositories {masked}");
                let name = &rejected.name;
                let tagged = rejected.masked.iter().map(|tag| format!("{name}{tag}"));
                let tagged: Vec<String> = tagged.collect();
                explanation
                    .help
                    .push(format!("ask for {}", listed_by(&tagged, " or ")));
            } else {
                explanation.what = format!("{wants}, but {label} is out of reach ({masked})");
                explanation
                    .help
                    .push("allow the network, or fetch it beforehand".to_owned());
            }
        } else if let Some(rival) = rejected.rivals.first() {
            explain_rivals(&mut explanation, rejected, rival);
        } else if let Some(broken) = rejected.breaks.first() {
            explain_broken(&mut explanation, rejected, broken, &wants);
        }
        explanation
    }
}

fn explain_rivals(explanation: &mut Explanation, rejected: &Rejected, rival: &Rival) {
    let label = rejected.label();
    let name = match &rival.provides {
        Some(provides) => provides.name.as_str(),
        None => rejected.name.as_str(),
    };
    explanation.what = if rival.package == label {
        format!("{label} conflicts with itself: it provides {name} twice")
    } else {
        // The same words from either side, so that they are said once.
        let mut pair = [label.as_str(), rival.package.as_str()];
        pair.sort_unstable();
        let [first, second] = pair;
        format!("{first} and {second} both own the name {name}, which only one package can")
    };
    explanation.help.push(if rival.package == label {
        "build the package anew, or ask for another version".to_owned()
    } else {
        "leave out what needs one of them".to_owned()
    });
    let needs = rejected
        .satisfies
        .iter()
        .filter(|demand| !demand.term.conflict);
    let needs: Vec<String> = needs.map(Demand::sentence).collect();
    explanation.why.splice(0..0, needs);
}

fn explain_broken(
    explanation: &mut Explanation,
    rejected: &Rejected,
    broken: &Demand,
    wants: &str,
) {
    let label = rejected.label();
    explanation.why.extend(broken.reason());
    if broken.term.conflict {
        explanation.what = format!("{}, but {wants}", broken.sentence());
        explanation.help.push("leave out one of them".to_owned());
        return;
    }
    let offers =
        |(_, version): &&(String, Option<String>)| broken.term.matches(version.as_deref(), None);
    let satisfied = rejected.alternatives.iter().any(|offer| offers(&offer));
    let all: Vec<String> = rejected
        .alternatives
        .iter()
        .map(|(label, _)| label.clone())
        .collect();
    let all = match all.is_empty() {
        true => label,
        false => listed(&all),
    };
    if satisfied {
        explanation.what = format!("{}, but {wants}", broken.sentence());
        explanation.help.push(format!(
            "no version will do for all of them; there are {all}"
        ));
    } else {
        let broken = broken.sentence();
        explanation.what = format!("{broken}, but there is no such version");
        explanation
            .help
            .push(format!("the versions there are: {all}"));
    }
}

fn listed(words: &[String]) -> String {
    listed_by(words, " and ")
}

/// `a, b and c`, but no more than a person reads.
fn listed_by(words: &[String], last: &str) -> String {
    const SHOWN: usize = 8;
    if words.len() > SHOWN {
        let more = words.len() - SHOWN;
        return format!("{}{last}{more} more", words[..SHOWN].join(", "));
    }
    match words.split_last() {
        Some((end, start)) if !start.is_empty() => format!("{}{last}{end}", start.join(", ")),
        _ => words.concat(),
    }
}
