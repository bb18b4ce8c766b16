//! Rules about the package, its guests, scripts and updates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use attest::licence::Expression;
use regex::Regex;

use super::{Findings, Subject, sources, uses};
use crate::recipe::{Piece, Shape, Text, pieces};

const OWN_REPOSITORIES: [&str; 1] = ["https://packages.wolfi.dev/os"];
const OWN_KEYS: [&str; 1] = ["https://packages.wolfi.dev/os/wolfi-signing.rsa.pub"];

/// How many letters a host may differ in and still be taken for another.
const NEAR: usize = 2;

/// Hosts that are near each other and both right.
const PAIRS: [(&str, &str); 1] = [("www.libssh.org", "www.libssh2.org")];

const FOREIGN_VARIABLES: [&str; 4] = ["$pkgdir", "$pkgver", "$pkgname", "$srcdir"];

fn repositories_of<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = &'s Text> {
    let contents = &subject.recipe.contents.environment.contents;
    contents
        .build_repositories
        .iter()
        .chain(&contents.repositories)
}

pub(super) fn repositories(subject: &Subject<'_>, findings: &mut Findings) {
    for repository in repositories_of(subject) {
        if OWN_REPOSITORIES.contains(&repository.trim_end_matches('/')) {
            findings.add(
                format!("the recipe names the repository {}", repository.value),
                repository.span(),
            );
        }
    }
}

pub(super) fn tagged(subject: &Subject<'_>, findings: &mut Findings) {
    for repository in repositories_of(subject) {
        if repository.starts_with('@') {
            findings.add(
                format!("the repository `{}` is tagged", repository.value),
                repository.span(),
            );
        }
    }
}

pub(super) fn keyrings(subject: &Subject<'_>, findings: &mut Findings) {
    for key in &subject.recipe.contents.environment.contents.keyring {
        if OWN_KEYS.contains(&key.value.as_str()) {
            findings.add(
                format!("the recipe names the key {}", key.value),
                key.span(),
            );
        }
    }
}

pub(super) fn copyright(subject: &Subject<'_>, findings: &mut Findings) {
    if subject.recipe.contents.package.copyright.is_empty() {
        findings.add("the package has no `copyright`", subject.name());
    }
}

pub(super) fn epoch(subject: &Subject<'_>, findings: &mut Findings) {
    let document = yaml::Document::parse(subject.file.source.clone());
    let is_written = document.is_ok_and(|document| {
        document
            .root
            .get("package")
            .is_some_and(|package| package.get("epoch").is_some())
    });
    if !is_written {
        findings.add("the package has no `epoch`", subject.name());
    }
}

/// The hosts that sources come from, without repetition.
pub(super) fn hosts<'s>(subject: &'s Subject<'_>) -> Vec<(String, &'s Text)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for step in subject.building() {
        // Repositories are compared by nobody: forges are few.
        if let Some(Ok(text)) = sources::place(step).filter(|_| uses(step, "fetch"))
            && let uri = subject.value(text)
            && let Some(host) = sources::host(&uri)
            && !host.is_empty()
            && !host.contains("${{")
            && seen.insert(host.to_owned())
        {
            found.push((host.to_owned(), text));
        }
    }
    found
}

pub(super) fn mimics(subject: &Subject<'_>, findings: &mut Findings) {
    // Those of recipes before this one, and of its own steps before.
    let before = subject.hosts.seen.iter();
    let before = before.filter(|(_, (place, _))| *place < subject.place);
    let own = hosts(subject);
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (host, text) in &own {
        let host = host.as_str();
        let known = subject.hosts.seen.get(host);
        let is_new = known.is_none_or(|(place, _)| *place >= subject.place);
        if is_new {
            let others = before.clone().map(|(other, (_, file))| (*other, *file));
            let others = others.chain(seen.iter().map(|(other, file)| (*other, *file)));
            // The first by name.
            let near = others
                .filter(|(other, _)| is_near(host, other))
                .min_by_key(|(other, _)| *other);
            if let Some((other, file)) = near {
                findings.add(
                    format!("the host `{host}` is nearly `{other}` of {file}"),
                    subject.within(text, host),
                );
            }
        }
        seen.insert(host, "this recipe");
    }
}

fn is_near(host: &str, other: &str) -> bool {
    let pair =
        |(one, two): &(&str, &str)| (*one, *two) == (host, other) || (*one, *two) == (other, host);
    let stem = |host: &str| host.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    !PAIRS.iter().any(pair)
        && (distance(host, other) <= NEAR || stem(host).is_some() && stem(host) == stem(other))
}

/// How many letters must be put in, taken out or taken out and put in elsewhere to make one of the
/// other; [`NEAR`] + 1 for everything farther. A change of a letter counts for two.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > NEAR {
        return NEAR + 1;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in other.iter().enumerate() {
            let change = diagonal + if left == right { 0 } else { 2 };
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()].min(NEAR + 1)
}

pub(super) fn repeated(subject: &Subject<'_>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for package in &subject.recipe.contents.environment.contents.packages {
        if !seen.insert(package.value.as_str()) {
            findings.add(
                format!("the package `{}` is listed twice", package.value),
                package.span(),
            );
        }
    }
}

pub(super) fn template_variables(subject: &Subject<'_>, findings: &mut Findings) {
    for step in subject.building() {
        let Some(script) = &step.runs else { continue };
        for variable in FOREIGN_VARIABLES {
            if script.contains(variable) {
                findings.add(
                    format!("`{variable}` is no variable of recipes"),
                    subject.within(script, variable),
                );
            }
        }
    }
}

pub(super) fn version(subject: &Subject<'_>, findings: &mut Findings) {
    let version = &subject.recipe.contents.package.version;
    let value = subject.value(version);
    if !apk::version::is_valid(&value) || value.contains("-r") {
        findings.add(format!("`{value}` is no version of apk's"), version.span());
    }
}

pub(super) fn checked_versions(subject: &Subject<'_>, findings: &mut Findings) {
    const MARK: &str = "# CHECK-WHEN-VERSION-CHANGES: ";
    let version = subject.value(&subject.recipe.contents.package.version);
    for step in subject.building() {
        let Some(script) = &step.runs else { continue };
        for line in script.lines() {
            if let Some((_, checked)) = line.split_once(MARK)
                && checked != version
            {
                findings.add(
                    format!("this was checked for {checked}, and the version is {version}"),
                    subject.within(script, &format!("{MARK}{checked}")),
                );
            }
        }
    }
}

pub(super) fn licences(subject: &Subject<'_>, findings: &mut Findings) {
    for entry in &subject.recipe.contents.package.copyright {
        let value = subject.value(&entry.license);
        if !matches!(value.as_str(), "custom" | "PROPRIETARY")
            && let Err(error) = Expression::parse(&value)
        {
            findings.add(error.to_string(), entry.license.span());
        }
    }
}

pub(super) fn tested(subject: &Subject<'_>, findings: &mut Findings) {
    if subject.testing().is_empty() {
        findings.add(
            "neither the package nor a subpackage has a test",
            subject.name(),
        );
    }
}

pub(super) fn update_reason(subject: &Subject<'_>, findings: &mut Findings) {
    let update = subject.recipe.contents.update.as_ref();
    let is_told = update.is_some_and(|update| {
        update.enabled
            || update
                .exclude_reason
                .as_ref()
                .is_some_and(|reason| !reason.is_empty())
    });
    if !is_told {
        findings.add("updates are off, and nothing says why", subject.name());
    }
}

/// A program left running: `&` at the end of a command, or before a `sleep`, or an option that says so.
static BACKGROUND: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:^|[^&>])&(?:\s*$|\s+sleep\b)|(?:^|\s)(?:--daemon|--daemonize|--detach|-daemon)\b",
    )
    .ok()
});

pub(super) fn background(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(background) = BACKGROUND.as_ref() else {
        return;
    };
    for step in subject.testing() {
        let Some(script) = &step.runs else { continue };
        let mut command = String::new();
        for line in script.lines() {
            if let Some(start) = line.strip_suffix('\\') {
                command.push_str(start);
                continue;
            }
            command.push_str(line);
            if background.is_match(&command) && !command.contains('>') {
                findings.add(
                    format!("`{}` is left running with its output open", command.trim()),
                    subject.within(script, line.trim()),
                );
            }
            command.clear();
        }
    }
}

pub(super) fn compiler_cache(subject: &Subject<'_>, findings: &mut Findings) {
    for step in subject.building().into_iter().chain(subject.testing()) {
        if let Some(uses) = &step.uses
            && uses.value == "sccache/enable"
        {
            findings.add("a step uses `sccache/enable`", uses.span());
        }
    }
}

pub(super) fn schedule(subject: &Subject<'_>, findings: &mut Findings) {
    let update = subject.recipe.contents.update.as_ref();
    if let Some(schedule) = update.and_then(|update| update.schedule.as_ref())
        && schedule.period.is_none()
    {
        let span = schedule
            .reason
            .as_ref()
            .map_or_else(|| subject.name(), Text::span);
        findings.add("the schedule of updates has no `period`", span);
    }
}

pub(super) fn unused_transforms(subject: &Subject<'_>, findings: &mut Findings) {
    let transforms = &subject.recipe.contents.var_transforms;
    if transforms.is_empty() {
        return;
    }
    let mut used = BTreeSet::new();
    let mut note = |text: &str| {
        for piece in pieces(text) {
            if let Piece::Reference { name, .. } = piece {
                used.insert(name.to_owned());
            }
        }
    };
    for transform in transforms {
        note(&transform.from);
    }
    let mut rest = subject.recipe.contents.clone();
    rest.var_transforms.clear();
    rest.change_texts(&mut |text| note(text));
    for transform in transforms {
        if !used.contains(&format!("vars.{}", transform.to.value)) {
            findings.add(
                format!("nothing uses the variable `{}`", transform.to.value),
                transform.to.span(),
            );
        }
    }
}

pub(super) fn python(subject: &Subject<'_>, findings: &mut Findings) {
    let contents = &subject.recipe.contents;
    let guests = &contents.environment.contents.packages;
    let runtime = contents.subpackages.iter();
    let runtime = runtime.flat_map(|subpackage| &subpackage.dependencies.runtime);
    for package in contents
        .package
        .dependencies
        .runtime
        .iter()
        .chain(guests)
        .chain(runtime)
    {
        if package.starts_with("py3-") && !package.starts_with("py3-supported-") {
            findings.add(
                format!("`{}` is provided for every Python", package.value),
                package.span(),
            );
        }
    }
}

pub(super) fn layout(subject: &Subject<'_>, findings: &mut Findings) {
    let text = subject.file.source.text();
    let Ok(formatted) = yaml::format(&subject.file.source, &subject.file.style) else {
        return;
    };
    if formatted != text {
        let mut at = 0;
        for (line, other) in text.split('\n').zip(formatted.split('\n')) {
            if line != other {
                break;
            }
            at += line.len() + 1;
        }
        let at = at.min(text.len());
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        findings.add("from here on the file is laid out otherwise", at..end);
    }
}
