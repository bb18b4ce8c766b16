//! `copyright` of a recipe, corrected by the licences' texts among its sources.

use std::collections::BTreeSet;
use std::ops::Range;

use attest::licence::detect::{identifiers, same_text};
use base::{Problem, SourceText};
use yaml::{Document, Node, Value};

use super::edits::Edits;
use crate::licences::{LicenceFile, about, plain, unsaid};
use crate::recipe::{Copyright, Recipe};

/// What becomes of `copyright`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entries {
    /// What is borne out stays. Each text that nothing is said of gets an entry, in the place of one that
    /// no text bears out, if there is one.
    #[default]
    Flat,
    /// One entry names all licences that were found.
    Simple,
}

/// A recipe whose `copyright` was corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// The file's text: what didn't change is as it was, to the byte.
    pub text: String,
    /// What changed, in words.
    pub changes: Vec<String>,
}

/// Corrects what the recipe in `source` says of licences by the `files` that were found among its sources.
/// `said` is what its `copyright` comes to, entry by entry. Nothing, if the texts are of the licences
/// that it names.
///
/// # Errors
/// The recipe is wrong, or written so that it can't be changed without changing more.
pub fn correct(
    source: &SourceText,
    said: &[Copyright],
    files: &[LicenceFile],
    entries: Entries,
) -> Result<Option<Corrected>, Vec<Problem>> {
    let all: Vec<&Copyright> = said.iter().collect();
    let contradicts = |file: &LicenceFile| !unsaid(&about(&all, file), file).is_empty();
    if !files.iter().any(contradicts) {
        return Ok(None);
    }
    let document = Document::parse(source.clone())?;
    let place = Place::find(source, &document, said.len())?;
    let wanted = match entries {
        Entries::Flat => flat(&all, files),
        Entries::Simple => simple(&all, files),
    };
    let (edits, changes) = place.edits(said, &wanted);
    let text = Edits {
        source,
        made: edits,
    }
    .applied();
    Recipe::parse(SourceText::new(source.name(), text.as_str()))?;
    Ok(Some(Corrected { text, changes }))
}

/// What becomes of the entries, and those that are new: licence and path.
#[derive(Debug, Default)]
struct Wanted {
    kept: Vec<Fate>,
    new: Vec<(String, Option<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Gets another licence, and maybe a file.
    Becomes(String, Option<String>),
    Goes,
}

fn flat(said: &[&Copyright], files: &[LicenceFile]) -> Wanted {
    let mut wanted = Wanted {
        kept: vec![Fate::Stays; said.len()],
        new: Vec::new(),
    };
    // Texts of the whole first.
    let mut files: Vec<&LicenceFile> = files.iter().collect();
    files.sort_by_key(|file| (file.path.matches('/').count(), &file.path));
    let found: BTreeSet<&str> = files
        .iter()
        .flat_map(|file| &file.licences)
        .map(|licence| same_text(licence))
        .collect();
    let mut new: Vec<(String, Option<String>)> = Vec::new();
    for file in files {
        if unsaid(&about(said, file), file).is_empty() {
            continue;
        }
        let licence = joined(file.licences.iter().cloned());
        let own = said
            .iter()
            .position(|entry| plain(&entry.license_path) == file.path);
        match own {
            Some(own) => wanted.kept[own] = Fate::Becomes(licence, None),
            // Another text of it.
            None if wanted.kept.contains(&Fate::Becomes(licence.clone(), None))
                || new.iter().any(|(other, _)| *other == licence) => {}
            None => new.push((licence, Some(file.path.clone()))),
        }
    }
    let mut new = new.into_iter();
    for (fate, entry) in wanted.kept.iter_mut().zip(said) {
        if *fate == Fate::Stays && !is_borne_out(entry, &found) {
            *fate = match new.next() {
                Some((licence, path)) => Fate::Becomes(licence, path),
                None => Fate::Goes,
            };
        }
    }
    wanted.new = new.collect();
    wanted
}

/// Whether an entry is right, as far as texts can tell: what people attest, and licences without a text
/// that is known, are theirs to say.
fn is_borne_out(entry: &Copyright, found: &BTreeSet<&str>) -> bool {
    let own = ["PROPRIETARY", "custom"].contains(&entry.license.as_str());
    let named = identifiers(&entry.license);
    own || [
        &entry.attestation,
        &entry.detection_override,
        &entry.license_path,
    ]
    .iter()
    .any(|text| !text.is_empty())
        || named
            .iter()
            .any(|name| name.starts_with("LicenseRef-") || found.contains(same_text(name)))
}

fn simple(said: &[&Copyright], files: &[LicenceFile]) -> Wanted {
    let licence = joined(files.iter().flat_map(|file| file.licences.iter().cloned()));
    let mut wanted = Wanted {
        kept: vec![Fate::Goes; said.len()],
        new: Vec::new(),
    };
    match wanted.kept.first_mut() {
        Some(first) => *first = Fate::Becomes(licence, None),
        None => wanted.new.push((licence, None)),
    }
    wanted
}

fn joined(licences: impl Iterator<Item = String>) -> String {
    let licences: BTreeSet<String> = licences.collect();
    let licences: Vec<String> = licences.into_iter().collect();
    licences.join(" AND ")
}

/// Where a recipe says it.
struct Place<'d> {
    source: &'d SourceText,
    items: &'d [Node],
    /// Where the list is written, if it is one in brackets.
    brackets: Option<Range<usize>>,
    /// Where entries go behind those that are there: the end of a line.
    end: usize,
    /// Spaces before the dash of an entry.
    indent: usize,
    /// What comes before the first entry.
    head: String,
}

impl<'d> Place<'d> {
    fn find(
        source: &'d SourceText,
        document: &'d Document,
        count: usize,
    ) -> Result<Place<'d>, Vec<Problem>> {
        let text = source.text();
        let refused = |span: Range<usize>| {
            let problem = Problem::error(
                "copyright-form",
                "`copyright` is written so that it can't be corrected here",
            );
            vec![
                problem
                    .at(source, span, "")
                    .help("write it as a list of entries, each with a dash and a line of its own"),
            ]
        };
        let Some(package) = document.root.get("package") else {
            return Err(refused(0..0));
        };
        let Value::Mapping(keys) = &package.value else {
            return Err(refused(package.span.clone()));
        };
        let found = keys.iter().find(|entry| entry.key == "copyright");
        let is_block = |node: &Node| !text[node.span.clone()].starts_with(['[', '{', '*']);
        let mut place = Place {
            source,
            items: &[],
            brackets: None,
            end: 0,
            indent: 0,
            head: String::new(),
        };
        let Some(found) = found else {
            // Below what people read of the package.
            let above = ["name", "version", "epoch", "description", "url"];
            let above = keys
                .iter()
                .filter(|entry| above.contains(&entry.key.as_str()))
                .max_by_key(|entry| entry.value.span.end);
            let Some(above) = above.filter(|_| is_block(package)) else {
                return Err(refused(package.span.clone()));
            };
            let column = column(text, above.key_span.start);
            place.indent = column + 2;
            place.end = line_end(text, content_end(text, &above.value));
            place.head = format!("\n{}copyright:", " ".repeat(column));
            return Ok(place);
        };
        match &found.value.value {
            Value::Null => {
                place.indent = column(text, found.key_span.start) + 2;
                place.end = line_end(text, found.key_span.end);
                if !text[found.value.span.clone()].is_empty() || !is_block(package) {
                    return Err(refused(found.value.span.clone()));
                }
            }
            Value::Sequence(items) => {
                place.items = items;
                let span = found.value.span.clone();
                if text[span.clone()].starts_with('[') {
                    let last = items.last();
                    place.end = last.map_or(span.start + 1, |item| item.span.end);
                    place.brackets = Some(span);
                } else if let (true, Some(first), Some(last)) =
                    (is_block(&found.value), items.first(), items.last())
                {
                    let dash = line_start(text, first.span.start);
                    let before = &text[dash..first.span.start];
                    let indent = before.len() - before.trim_start_matches(' ').len();
                    place.indent = indent;
                    place.end = line_end(text, content_end(text, last));
                    let on_their_own = items.iter().all(|item| {
                        text[line_start(text, item.span.start)..item.span.start].trim() == "-"
                    });
                    if !on_their_own {
                        return Err(refused(span));
                    }
                } else {
                    return Err(refused(span));
                }
            }
            _ => return Err(refused(found.value.span.clone())),
        }
        if place.items.len() != count {
            return Err(refused(found.value.span.clone()));
        }
        Ok(place)
    }

    /// What is written anew, and where; and what that changes, in words.
    fn edits(
        &self,
        said: &[Copyright],
        wanted: &Wanted,
    ) -> (Vec<(Range<usize>, String)>, Vec<String>) {
        let text = self.source.text();
        let mut edits = Vec::new();
        let mut changes = Vec::new();
        for (number, (fate, item)) in wanted.kept.iter().zip(self.items).enumerate() {
            let before = &said[number].license;
            match fate {
                Fate::Stays => {}
                Fate::Becomes(licence, path) => {
                    let Some(value) = item.get("license") else {
                        continue;
                    };
                    if licence == before {
                        continue;
                    }
                    edits.push((value.span.clone(), scalar(licence)));
                    if let Some(path) = path {
                        let end = content_end(text, value);
                        let key = item_key(item, "license");
                        let inserted = match text[item.span.clone()].starts_with('{') {
                            true => (end..end, format!(", license-path: {}", scalar(path))),
                            false => {
                                let end = line_end(text, end);
                                let indent = " ".repeat(column(text, key));
                                (
                                    end..end,
                                    format!("\n{indent}license-path: {}", scalar(path)),
                                )
                            }
                        };
                        edits.push(inserted);
                    }
                    let path = path.clone().unwrap_or_default();
                    changes.push(format!("{before} → {}", with_path(licence, &path)));
                }
                Fate::Goes => {
                    edits.push((self.removed(number), String::new()));
                    changes.push(format!("{before} removed"));
                }
            }
        }
        let mut written = String::new();
        for (number, (licence, path)) in wanted.new.iter().enumerate() {
            let path = path.as_deref().unwrap_or_default();
            let (key, value) = (scalar(licence), scalar(path));
            if self.brackets.is_some() {
                let comma = if number == 0 && self.items.is_empty() {
                    ""
                } else {
                    ", "
                };
                written += &format!("{comma}{{license: {key}");
                if !path.is_empty() {
                    written += &format!(", license-path: {value}");
                }
                written.push('}');
            } else {
                let indent = " ".repeat(self.indent);
                written += &format!("\n{indent}- license: {key}");
                if !path.is_empty() {
                    written += &format!("\n{indent}  license-path: {value}");
                }
            }
            changes.push(format!("{} added", with_path(licence, path)));
        }
        if !written.is_empty() {
            edits.push((self.end..self.end, format!("{}{written}", self.head)));
        }
        (edits, changes)
    }

    /// The bytes of an entry that goes.
    fn removed(&self, number: usize) -> Range<usize> {
        let text = self.source.text();
        let item = &self.items[number];
        if self.brackets.is_some() {
            return match (number.checked_sub(1), self.items.get(number + 1)) {
                (Some(before), _) => self.items[before].span.end..item.span.end,
                (None, Some(next)) => item.span.start..next.span.start,
                (None, None) => item.span.clone(),
            };
        }
        // The line break before it goes, not the one behind: what is added at its end stays.
        let start = line_start(text, item.span.start).saturating_sub(1);
        start..line_end(text, content_end(text, item))
    }
}

fn with_path(licence: &str, path: &str) -> String {
    match path {
        "" => licence.to_owned(),
        path => format!("{licence} ({path})"),
    }
}

/// Where the key of an entry begins.
fn item_key(item: &Node, name: &str) -> usize {
    let Value::Mapping(keys) = &item.value else {
        return item.span.start;
    };
    let key = keys.iter().find(|entry| entry.key == name);
    key.map_or(item.span.start, |entry| entry.key_span.start)
}

/// A text as YAML has it, in or outside brackets.
fn scalar(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._/+-() ".contains(letter);
    let is_plain = text.chars().all(plain)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.parse::<f64>().is_err()
        && !["true", "false", "null"].contains(&text);
    match is_plain {
        true => text.to_owned(),
        // All that JSON has is YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, offset: usize) -> usize {
    let rest = &text[offset..];
    rest.find('\n').map_or(text.len(), |end| offset + end)
}

/// The column of what begins at `offset`.
fn column(text: &str, offset: usize) -> usize {
    offset - line_start(text, offset)
}

/// Where a value ends, without the line ends that belong to it.
fn content_end(text: &str, node: &Node) -> usize {
    node.span.start + text[node.span.clone()].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, licences: &[&str]) -> LicenceFile {
        LicenceFile {
            path: path.to_owned(),
            licences: licences.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// What becomes of `copyright` in a package, and what is said of it.
    fn corrected(copyright: &str, files: &[LicenceFile], entries: Entries) -> (String, String) {
        let package = "package:\n  name: x # the name\n  version: 1.0\n  epoch: 0\n";
        let rest = "  dependencies:\n    runtime:\n      - y # why\n\npipeline:\n  - runs: x\n";
        let source = SourceText::new("x.yaml", format!("{package}{copyright}{rest}"));
        let recipe = Recipe::parse(source.clone()).unwrap();
        let said: Vec<Copyright> = recipe
            .contents
            .package
            .copyright
            .iter()
            .map(|entry| Copyright {
                license: entry.license.value.clone(),
                license_path: entry.license_path.value.clone(),
                attestation: entry.attestation.value.clone(),
                detection_override: entry.detection_override.value.clone(),
                ..Copyright::default()
            })
            .collect();
        let Some(found) = correct(&source, &said, files, entries).unwrap() else {
            return ("the same".to_owned(), String::new());
        };
        // Corrected once, it is right.
        let again = Recipe::parse(SourceText::new("x.yaml", found.text.as_str())).unwrap();
        let again = again.contents.package.copyright;
        assert!(again.iter().all(|entry| !entry.license.value.is_empty()));
        let changed = found.text.strip_prefix(package).unwrap();
        let changed = changed.strip_suffix(rest).unwrap();
        (changed.to_owned(), found.changes.join("\n"))
    }

    #[test]
    fn entries_are_corrected_and_nothing_else() {
        let found = [
            file("COPYING", &["Apache-2.0"]),
            file("lib/LICENSE", &["MIT"]),
            file("docs/COPYING", &[]),
            file("sub/COPYING", &["Apache-2.0"]),
        ];
        let flat = |copyright| corrected(copyright, &found, Entries::Flat);
        let (text, changes) =
            flat("  # see there\n  copyright:\n    - license: Not-Applicable # really?\n");
        assert_eq!(
            text,
            "  # see there\n  copyright:\n    - license: Apache-2.0 # really?\n      license-path: COPYING\n    - license: MIT\n      license-path: lib/LICENSE\n"
        );
        insta::assert_snapshot!(changes, @"
        Not-Applicable → Apache-2.0 (COPYING)
        MIT (lib/LICENSE) added
        ");
        // What is right stays, and so do its comments.
        let (text, changes) = flat(
            "  copyright:\n  # first\n  - attestation: |\n      Copyright A\n    license: Apache-2.0 # yes\n  # second\n  - license: ISC\n    paths: ['*']\n  # third\n  - license: Zlib\n  - license: PROPRIETARY\n",
        );
        assert_eq!(
            text,
            "  copyright:\n  # first\n  - attestation: |\n      Copyright A\n    license: Apache-2.0 # yes\n  # second\n  - license: MIT\n    license-path: lib/LICENSE\n    paths: ['*']\n  # third\n  - license: PROPRIETARY\n"
        );
        insta::assert_snapshot!(changes, @"
        ISC → MIT (lib/LICENSE)
        Zlib removed
        ");
        // An entry about the file.
        let (text, _) = flat(
            "  copyright:\n    - license: GPL-2.0-only\n      license-path: ./COPYING\n    - license: \"MIT OR ISC\"\n",
        );
        assert_eq!(
            text,
            "  copyright:\n    - license: Apache-2.0\n      license-path: ./COPYING\n    - license: \"MIT OR ISC\"\n"
        );
        // Brackets.
        for copyright in [
            "  copyright: [{license: ISC}]\n",
            "  copyright: []\n",
            "  copyright: [{license: MIT}, {license: ISC}]\n",
        ] {
            let (text, changes) = flat(copyright);
            assert!(
                text.contains("{license: Apache-2.0, license-path: COPYING}"),
                "{text} {changes}"
            );
        }
        // Nothing is said yet.
        for copyright in ["", "  copyright:\n", "  copyright: # todo\n"] {
            let (text, _) = flat(copyright);
            assert!(
                text.ends_with("\n    - license: Apache-2.0\n      license-path: COPYING\n    - license: MIT\n      license-path: lib/LICENSE\n"),
                "{text}"
            );
        }
        let right = "  copyright:\n    - license: Apache-2.0 AND MIT\n";
        assert_eq!(flat(right).0, "the same");
    }

    #[test]
    fn one_entry_may_name_all() {
        let found = [
            file("lib/LICENSE", &["MIT"]),
            file("COPYING", &["GPL-2.0-only", "Apache-2.0"]),
        ];
        let simple = |copyright| corrected(copyright, &found, Entries::Simple);
        let (text, changes) = simple(
            "  copyright:\n    # all of it\n    - license: ISC # so far\n      attestation: x\n    - license: MIT\n",
        );
        assert_eq!(
            text,
            "  copyright:\n    # all of it\n    - license: Apache-2.0 AND GPL-2.0-only AND MIT # so far\n      attestation: x\n"
        );
        insta::assert_snapshot!(changes, @"
        ISC → Apache-2.0 AND GPL-2.0-only AND MIT
        MIT removed
        ");
        let (text, _) = simple("  copyright: [{license: ISC}, {license: MIT}]\n");
        assert_eq!(
            text,
            "  copyright: [{license: Apache-2.0 AND GPL-2.0-only AND MIT}]\n"
        );
        assert_eq!(
            simple("").0,
            "  copyright:\n    - license: Apache-2.0 AND GPL-2.0-only AND MIT\n"
        );
        assert_eq!(
            simple("  copyright:\n    - license: GPL-2.0-or-later AND MIT AND Apache-2.0\n").0,
            "the same"
        );
    }

    #[test]
    fn odd_paths_and_forms() {
        let odd = [file("a: b#[c]/LICENSE", &["MIT"])];
        let (text, _) = corrected("  copyright:\n    - license: ISC\n", &odd, Entries::Flat);
        assert_eq!(
            text,
            "  copyright:\n    - license: MIT\n      license-path: \"a: b#[c]/LICENSE\"\n"
        );
        let source = SourceText::new(
            "x.yaml",
            "package: {name: x, version: 1.0, epoch: 0}\npipeline: []\n",
        );
        let problems = correct(&source, &[], &odd, Entries::Flat).unwrap_err();
        assert_eq!(
            problems[0].message,
            "`copyright` is written so that it can't be corrected here"
        );
    }
}
