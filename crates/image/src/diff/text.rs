//! Differences for people to read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::{
    Aspect, Differences, FileChange, FileFacts, FileFate, ImageDifferences, LibraryChange,
    PackageChange, PackageFacts, PackageFate, Pair, Privilege, Right, Setting, Statements,
};
use crate::verify::plain;

/// How many items of a kind are shown where not all are.
const SHOWN: usize = 20;

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Every file and symbol.
    pub(super) all: bool,
}

impl Differences {
    /// The differences as text, nothing if there are none: a summary, with `all` every file and
    /// symbol.
    pub fn to_text(&self, all: bool) -> String {
        let mut out = String::new();
        if self.equal && self.broken.is_empty() {
            return out;
        }
        let extent = Extent { all };
        let names = [&self.before, &self.after].map(|named| plain(&named.name));
        let _ = writeln!(out, "{} → {}", names[0], names[1]);
        for platform in &self.platforms.removed {
            let _ = writeln!(out, "- {}", plain(platform));
        }
        for platform in &self.platforms.added {
            let _ = writeln!(out, "+ {}", plain(platform));
        }
        if !self.annotations.is_empty() || !self.statements.is_same() {
            let _ = writeln!(out, "index {} → {}", self.before.digest, self.after.digest);
            section(
                &mut out,
                "annotations",
                &lines(&self.annotations, setting),
                extent,
            );
            section(
                &mut out,
                "what refers to it",
                &referring(&self.statements),
                extent,
            );
        }
        for image in &self.images {
            if !image.is_empty() {
                out.push_str(&one(image, extent));
            }
        }
        if !self.broken.is_empty() {
            out.push_str("broken rules\n");
        }
        for broken in &self.broken {
            let platform = broken.platform.as_deref().filter(|_| self.images.len() > 1);
            let platform = platform.map(|platform| format!(" ({})", plain(platform)));
            let _ = writeln!(out, "  ✗ {}{}", broken.rule, platform.unwrap_or_default());
            for reason in shown(&broken.reasons, extent) {
                let _ = writeln!(out, "      {}", plain(&reason));
            }
            if broken.omitted > 0 {
                let _ = writeln!(out, "      … and {} more", broken.omitted);
            }
        }
        out
    }
}

/// The parts of an image's comparison: a title and lines.
fn one(image: &ImageDifferences, extent: Extent) -> String {
    let mut out = String::new();
    let Pair { before, after } = image.manifest;
    let _ = writeln!(out, "{} {before} → {after}", plain(&image.platform));
    for (title, lines) in parts(image, extent) {
        section(&mut out, &title, &lines, extent);
    }
    out
}

/// What is to be said of an image, part by part; parts without anything to say are left out.
pub(super) fn parts(image: &ImageDifferences, extent: Extent) -> Vec<(String, Vec<String>)> {
    let mut parts = Vec::new();
    let mut part = |title: String, lines: Vec<String>| {
        if !lines.is_empty() {
            parts.push((title, lines));
        }
    };
    part(package_title(image), lines(&image.packages, package));
    part("licences".to_owned(), licences(image));
    part("rights".to_owned(), lines(&image.privileges, privilege));
    part("libraries".to_owned(), libraries(image, extent));
    part("modes and owners".to_owned(), permissions(image));
    part(file_title(image), files(image, extent));
    part("size".to_owned(), sizes(image));
    part("configuration".to_owned(), lines(&image.settings, setting));
    part("SBOM".to_owned(), bills(image));
    part("what refers to it".to_owned(), referring(&image.statements));
    parts
}

fn lines<T>(items: &[T], shown: impl Fn(&T) -> String) -> Vec<String> {
    items.iter().map(shown).collect()
}

fn section(out: &mut String, title: &str, lines: &[String], extent: Extent) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "  {title}");
    for line in shown(lines, extent) {
        let _ = writeln!(out, "    {}", plain(&line));
    }
}

/// The first lines, and how many more there are.
fn shown(lines: &[String], extent: Extent) -> Vec<String> {
    if extent.all || lines.len() <= SHOWN + 1 {
        return lines.to_vec();
    }
    let mut shown: Vec<String> = lines.iter().take(SHOWN).cloned().collect();
    shown.push(format!("… and {} more (--files)", lines.len() - SHOWN));
    shown
}

pub(super) fn or_none(text: &str) -> &str {
    match text {
        "" => "none",
        text => text,
    }
}

pub(super) fn counted(count: usize, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {what}"))
}

fn fates(image: &ImageDifferences) -> String {
    let count = |fate| {
        let changes = image.packages.iter();
        changes.filter(|change| change.change == fate).count()
    };
    let words = [
        (PackageFate::Added, "added"),
        (PackageFate::Removed, "removed"),
        (PackageFate::Upgraded, "upgraded"),
        (PackageFate::Downgraded, "downgraded"),
        (PackageFate::Rebuilt, "rebuilt"),
    ];
    let counted: Vec<String> = words
        .into_iter()
        .filter_map(|(fate, word)| counted(count(fate), word))
        .collect();
    counted.join(", ")
}

/// `packages (34 → 35): 1 added, 2 upgraded`.
pub(super) fn package_title(image: &ImageDifferences) -> String {
    let Pair { before, after } = image.package_count;
    format!("packages ({before} → {after}): {}", fates(image))
}

pub(super) fn file_title(image: &ImageDifferences) -> String {
    let files = &image.files;
    let counted: Vec<String> = [
        (files.added, "added"),
        (files.removed, "removed"),
        (files.changed, "changed"),
        (files.times, "of another time only"),
    ]
    .into_iter()
    .filter_map(|(count, word)| counted(count, word))
    .collect();
    format!("files: {}", counted.join(", "))
}

pub(super) fn package(change: &PackageChange) -> String {
    let version = |side: &Option<PackageFacts>| side.as_ref().map(|facts| facts.version.clone());
    let (before, after) = (
        version(&change.before).unwrap_or_default(),
        version(&change.after).unwrap_or_default(),
    );
    let name = &change.name;
    let licence = change.after.as_ref().map(|facts| or_none(&facts.licence));
    match change.change {
        PackageFate::Added => format!("+ {name} {after} ({})", licence.unwrap_or("none")),
        PackageFate::Removed => format!("- {name} {before}"),
        PackageFate::Upgraded => format!("↑ {name} {before} → {after}"),
        PackageFate::Downgraded => format!("↓ {name} {before} → {after}"),
        PackageFate::Rebuilt if before == after => format!("~ {name} {after}, built again"),
        PackageFate::Rebuilt => format!("~ {name} {before} → {after}, the same in apk's order"),
    }
}

fn licences(image: &ImageDifferences) -> Vec<String> {
    let licences = &image.licences;
    let changed = licences.changed.iter().map(|change| {
        format!(
            "{}: {} → {}",
            change.package,
            or_none(&change.before),
            or_none(&change.after)
        )
    });
    let new = licences
        .new
        .iter()
        .map(|(licence, packages)| format!("+ {licence} ({})", packages.join(", ")));
    let gone = licences.gone.iter().map(|licence| format!("- {licence}"));
    changed.chain(new).chain(gone).collect()
}

/// `/usr/bin/su is setuid now: 4755 0:0 (shadow)`.
pub(super) fn privilege(privilege: &Privilege) -> String {
    let right = match privilege.right {
        Right::Setuid => "setuid",
        Right::Setgid => "setgid",
        Right::Capability => "capabilities",
        Right::WorldWritable => "writable by everybody",
    };
    let package = privilege.package.as_ref();
    let package = package
        .map(|package| format!(" ({package})"))
        .unwrap_or_default();
    let path = absolute(&privilege.path);
    match (&privilege.before, &privilege.after) {
        (None, Some(after)) => format!("+ {path}{package}: {right}: {after}"),
        (Some(before), None) => format!("- {path}{package}: {right}: {before}"),
        (before, after) => {
            let word = |side: &Option<String>| side.clone().unwrap_or_default();
            format!(
                "! {path}{package}: {right}: {} → {}",
                word(before),
                word(after)
            )
        }
    }
}

pub(super) fn absolute(path: &str) -> String {
    match path {
        "." => "/".to_owned(),
        path => format!("/{path}"),
    }
}

fn symbols(count: usize) -> String {
    match count {
        1 => "1 symbol".to_owned(),
        count => format!("{count} symbols"),
    }
}

pub(super) fn library(library: &LibraryChange) -> String {
    let facts = library.after.as_ref().or(library.before.as_ref());
    let package = facts.and_then(|facts| facts.package.as_ref());
    let package = package
        .map(|package| format!(" ({package})"))
        .unwrap_or_default();
    let name = &library.name;
    match (library.change, &library.before, &library.after) {
        (FileFate::Removed, Some(before), _) => {
            format!("- {name}{package}: gone, with {}", symbols(before.symbols))
        }
        (FileFate::Added, _, Some(after)) => {
            format!("+ {name}{package}: new, with {}", symbols(after.symbols))
        }
        (_, before, after) => {
            let soname = |side: &Option<super::LibraryFacts>| {
                let soname = side.as_ref().and_then(|facts| facts.soname.clone());
                soname.unwrap_or_else(|| "none".to_owned())
            };
            let mut words = Vec::new();
            if soname(before) != soname(after) {
                words.push(format!("soname {} → {}", soname(before), soname(after)));
            }
            for (names, word) in [(&library.removed, "gone"), (&library.added, "new")] {
                if !names.is_empty() {
                    words.push(format!("{} {word}", symbols(names.len())));
                }
            }
            words.extend(counted(library.omitted, "more"));
            let mark = if library.may_break() { '!' } else { '~' };
            let first: Vec<&str> = library.removed.iter().take(3).map(String::as_str).collect();
            let first = match (first.is_empty(), library.removed.len() > 3) {
                (true, _) => String::new(),
                (false, false) => format!(" ({})", first.join(", ")),
                (false, true) => format!(" ({} …)", first.join(", ")),
            };
            format!("{mark} {name}{package}: {}{first}", words.join(", "))
        }
    }
}

fn libraries(image: &ImageDifferences, extent: Extent) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &image.libraries {
        lines.push(library(change));
        if extent.all {
            lines.extend(change.removed.iter().map(|symbol| format!("  - {symbol}")));
            lines.extend(change.added.iter().map(|symbol| format!("  + {symbol}")));
        }
    }
    lines
}

/// Files of which mode, owner or an attribute differs.
fn permissions(image: &ImageDifferences) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &image.files.changes {
        for kind in [Aspect::Mode, Aspect::Owner, Aspect::Attribute] {
            if change.aspects.contains(&kind) {
                lines.push(aspect(change, kind));
            }
        }
    }
    lines
}

/// What of a file differs, before and after.
pub(super) fn aspect(change: &FileChange, aspect: Aspect) -> String {
    let side = |facts: &Option<FileFacts>| -> String {
        let Some(facts) = facts else {
            return "none".to_owned();
        };
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match aspect {
            Aspect::Type => facts.kind.to_owned(),
            Aspect::Content => match facts.size {
                Some(size) => bytes(size),
                None => "none".to_owned(),
            },
            Aspect::Target => or(&facts.target),
            Aspect::HardLink => or(&facts.hard_link),
            Aspect::Device => or(&facts.device),
            Aspect::Mode => facts.mode.clone(),
            Aspect::Owner => format!("{}:{}", facts.uid, facts.gid),
            Aspect::Capability => or(&facts.capabilities),
            Aspect::Attribute => {
                let values = facts.attributes.iter();
                let values: Vec<String> = values
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                or_none(&values.join(" ")).to_owned()
            }
        }
    };
    let (path, words) = (absolute(&change.path), aspect.words());
    let (before, after) = (side(&change.before), side(&change.after));
    match before == after {
        // Other bytes, and as many.
        true => format!("{path}: {words}, {after}"),
        false => format!("{path}: {words} {before} → {after}"),
    }
}

/// `A`, `D` and `M` as git has them, the path and what differs.
pub(super) fn file(change: &FileChange) -> String {
    let path = absolute(&change.path);
    let kind = |facts: &Option<FileFacts>| -> String {
        let Some(facts) = facts else {
            return String::new();
        };
        let size = facts.size.map(|size| format!(", {}", bytes(size)));
        let target = facts.target.as_ref().map(|target| format!(" to {target}"));
        format!(
            "{}{}{}, {} {}:{}",
            facts.kind,
            target.unwrap_or_default(),
            size.unwrap_or_default(),
            facts.mode,
            facts.uid,
            facts.gid
        )
    };
    match change.change {
        FileFate::Added => format!("A {path} ({})", kind(&change.after)),
        FileFate::Removed => format!("D {path} ({})", kind(&change.before)),
        FileFate::Changed => {
            let prefix = format!("{path}: ");
            let aspects: Vec<String> = change
                .aspects
                .iter()
                .map(|kind| aspect(change, *kind))
                .map(|text| {
                    text.strip_prefix(&prefix)
                        .map(str::to_owned)
                        .unwrap_or(text)
                })
                .collect();
            format!("M {path} ({})", aspects.join("; "))
        }
    }
}

/// Files of packages by package, others one by one; with all, each.
fn files(image: &ImageDifferences, extent: Extent) -> Vec<String> {
    let files = &image.files;
    let mut lines = Vec::new();
    if extent.all {
        lines = files.changes.iter().map(file).collect();
    } else {
        let mut packages: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        let mut others = Vec::new();
        for change in &files.changes {
            let facts = change.after.as_ref().or(change.before.as_ref());
            let is_directory = facts.is_some_and(|facts| facts.kind == "directory");
            match facts.and_then(|facts| facts.package.as_deref()) {
                Some(package) => {
                    let counts = packages.entry(package).or_default();
                    counts[change.change as usize] += 1;
                }
                // A folder comes and goes with what is in it.
                None if is_directory && change.change != FileFate::Changed => {}
                None => others.push(file(change)),
            }
        }
        for (package, [added, removed, changed]) in packages {
            let counts = [(added, "added"), (removed, "removed"), (changed, "changed")];
            let counts: Vec<String> = counts
                .into_iter()
                .filter_map(|(count, word)| counted(count, word))
                .collect();
            lines.push(format!("{package}: {}", counts.join(", ")));
        }
        lines.append(&mut others);
    }
    if files.omitted > 0 {
        lines.push(format!("… and {} that are not listed", files.omitted));
    }
    if lines.is_empty() && files.times > 0 {
        lines.push(format!("{} of another time only", files.times));
    }
    lines
}

/// `12.3 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of the unit, rounded, in whole numbers.
    let mut tenths = u128::from(count) * 10;
    let mut unit = units[0];
    for next in units {
        unit = next;
        tenths = (tenths + 512) / 1024;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `12.3 MiB → 13.0 MiB (+5.7 %)`.
pub(super) fn growth(pair: Pair<u64>) -> String {
    let Pair { before, after } = pair;
    let sign = if after >= before { '+' } else { '-' };
    let difference = before.abs_diff(after);
    let percent = match before {
        0 => String::new(),
        before => {
            let tenths =
                (u128::from(difference) * 1000 + u128::from(before) / 2) / u128::from(before);
            format!(", {sign}{}.{} %", tenths / 10, tenths % 10)
        }
    };
    format!(
        "{} → {} ({sign}{}{percent})",
        bytes(before),
        bytes(after),
        bytes(difference)
    )
}

fn sizes(image: &ImageDifferences) -> Vec<String> {
    let size = &image.size;
    if size.layers.is_empty() {
        return Vec::new();
    }
    let count = |own: usize| size.shared_layers + own;
    let mut lines = vec![
        format!("as sent: {}", growth(size.compressed)),
        format!("unpacked: {}", growth(size.unpacked)),
        format!(
            "layers: {} → {}, {} shared; who has the first fetches {}",
            count(size.layers.removed.len()),
            count(size.layers.added.len()),
            size.shared_layers,
            bytes(size.to_send)
        ),
    ];
    for package in &size.packages {
        let name = match package.package.as_str() {
            "" => "of no package",
            name => name,
        };
        lines.push(format!(
            "{name}: {}",
            growth(Pair {
                before: package.before,
                after: package.after
            })
        ));
    }
    lines
}

/// A name without what a terminal would obey.
pub(super) fn plain_name(name: &str) -> String {
    plain(name)
}

/// A value for one line, not too long.
fn value(value: &Option<String>) -> String {
    const LONG: usize = 200;
    match value {
        None => "none".to_owned(),
        Some(text) if text.chars().count() > LONG => {
            let start: String = text.chars().take(LONG).collect();
            format!("{start}…")
        }
        Some(text) => text.clone(),
    }
}

pub(super) fn setting(setting: &Setting) -> String {
    format!(
        "{}: {} → {}",
        setting.key,
        value(&setting.before),
        value(&setting.after)
    )
}

fn bills(image: &ImageDifferences) -> Vec<String> {
    let sbom = &image.sbom;
    let mut lines = Vec::new();
    if sbom.components.is_empty() {
        return lines;
    }
    if !sbom.documents.is_same() {
        let Pair { before, after } = sbom.documents;
        lines.push(format!("documents: {before} → {after}"));
    }
    let removed = sbom.components.removed.iter();
    lines.extend(removed.map(|name| format!("- {name}")));
    let added = sbom.components.added.iter();
    lines.extend(added.map(|name| format!("+ {name}")));
    lines
}

pub(super) fn referring(statements: &Statements) -> Vec<String> {
    let mut lines = Vec::new();
    if !statements.signed.is_same() {
        let word = |signed| if signed { "signed" } else { "not signed" };
        let Pair { before, after } = statements.signed;
        lines.push(format!("{} → {}", word(before), word(after)));
    }
    let kinds = statements.kinds();
    lines.extend(kinds.removed.iter().map(|kind| format!("- {kind}")));
    lines.extend(kinds.added.iter().map(|kind| format!("+ {kind}")));
    for (kind, before) in &statements.before {
        if let Some(after) = statements.after.get(kind)
            && before != after
        {
            lines.push(format!("{kind}: {before} → {after}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        let shown = [
            bytes(0),
            bytes(1023),
            bytes(1024),
            bytes(1_572_864),
            bytes(10_737_418_240),
            growth(Pair {
                before: 1000,
                after: 1100,
            }),
            growth(Pair {
                before: 2048,
                after: 1024,
            }),
            growth(Pair {
                before: 0,
                after: 5,
            }),
        ];
        insta::assert_snapshot!(shown.join("\n"), @"
        0 B
        1023 B
        1.0 KiB
        1.5 MiB
        10.0 GiB
        1000 B → 1.1 KiB (+100 B, +10.0 %)
        2.0 KiB → 1.0 KiB (-1.0 KiB, -50.0 %)
        0 B → 5 B (+5 B)
        ");
    }
}
