//! Which licences a text is, by SPDX's texts of them: likeness of pairs of words, by the crate `spdx`.
//!
//! `texts.gz` is made by `scripts/licence-texts`.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use rayon::prelude::*;
use spdx::detection::scan::Scanner;
use spdx::detection::{LicenseEntry, Store, TextData};

/// The list's version; then of each text its identifiers, its length in bytes, and itself.
const TEXTS: &[u8] = include_bytes!("texts.gz");

/// The version of the list, part of what a result depends on.
pub const VERSION: &str = spdx::identifiers::VERSION;

/// Longer files are no licences' texts: 256 KiB.
pub const MAX_TEXT: usize = 256 * 1024;

/// Below this likeness a text is another one. melange's threshold.
const CONFIDENT: f32 = 0.9;

/// Bytes of a text that may hold another one and more.
const SHORTEST_WHOLE: usize = 500;

/// Where the terms of some licences end, and advice on how to apply them begins, which is often left
/// out.
const END_OF_TERMS: &str = "END OF TERMS AND CONDITIONS";

/// A licence whose text was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its identifier on SPDX's list. Of several with the same text (`GPL-2.0-only`,
    /// `GPL-2.0-or-later`) the one that grants least; [`same_text`] knows the others.
    pub identifier: &'static str,
    /// How alike the texts are, up to 1.
    pub likeness: f32,
}

/// One of SPDX's texts.
struct Known {
    identifier: &'static str,
    length: usize,
    text: &'static str,
    /// As it is compared: whole, and where it has them its terms alone.
    compared: OnceLock<Vec<TextData>>,
}

impl Known {
    fn compared(&self) -> &[TextData] {
        self.compared.get_or_init(|| {
            let mut forms = vec![TextData::new(self.text)];
            if let Some((terms, _)) = self.text.split_once(END_OF_TERMS) {
                forms.push(TextData::new(&format!("{terms}{END_OF_TERMS}")));
            }
            forms
        })
    }
}

/// Every text of the list.
fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut text = String::new();
        // The bytes are the program's own, and a test reads them.
        let _ = GzDecoder::new(TEXTS).read_to_string(&mut text);
        let text: &'static str = text.leak();
        let Some((_, mut rest)) = text.split_once('\n') else {
            return Vec::new();
        };
        let mut known = Vec::new();
        while let Some((names, behind)) = rest.split_once('\n')
            && let Some((length, behind)) = behind.split_once('\n')
            && let Some(length) = length.parse::<usize>().ok()
            && let (Some(text), Some(behind)) = (behind.get(..length), behind.get(length + 1..))
        {
            rest = behind;
            if text.is_empty() {
                continue; // that of NOASSERTION
            }
            let strictest = names.split(' ').min_by_key(|name| {
                let deprecated = spdx::license_id(name).is_none_or(|id| id.is_deprecated());
                (deprecated, name.ends_with("-or-later"))
            });
            known.push(Known {
                identifier: strictest.unwrap_or(names),
                length,
                text,
                compared: OnceLock::new(),
            });
        }
        known
    })
}

/// The licences that `text` is made of, the likeliest first: one that is most of it, or else those that
/// are parts of it. None for a text of nothing known, or one longer than [`MAX_TEXT`].
pub fn detect(text: &str) -> Vec<Found> {
    if text.len() > MAX_TEXT || text.trim().is_empty() {
        return Vec::new();
    }
    let data = TextData::new(text);
    // Texts of much another length are no match, and needn't be read for it.
    let near = |length: usize| length * 2 / 3 <= text.len() && text.len() <= length * 2 + 200;
    let best = known()
        .par_iter()
        .filter(|known| near(known.length) || near(terms_length(known.text)))
        .map(|known| {
            let likeness = known
                .compared()
                .iter()
                .map(|form| form.match_score(&data))
                .fold(0.0, f32::max);
            Found {
                identifier: known.identifier,
                likeness,
            }
        })
        .reduce_with(better);
    match best {
        Some(best) if best.likeness >= CONFIDENT => vec![best],
        _ if text.len() < SHORTEST_WHOLE => Vec::new(),
        _ => parts(&data),
    }
}

fn terms_length(text: &str) -> usize {
    text.find(END_OF_TERMS).unwrap_or(text.len())
}

/// The likelier; of two alike the first by name, whatever the order.
fn better(one: Found, other: Found) -> Found {
    let order = one
        .likeness
        .total_cmp(&other.likeness)
        .then_with(|| other.identifier.cmp(one.identifier));
    if order.is_ge() { one } else { other }
}

/// The licences whose texts are parts of another text.
fn parts(data: &TextData) -> Vec<Found> {
    static STORE: OnceLock<Store> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        known().par_iter().for_each(|known| {
            known.compared();
        });
        let mut store = Store::new();
        for known in known() {
            let mut forms = known.compared().iter().cloned();
            let Some(whole) = forms.next() else { continue };
            let mut entry = LicenseEntry::new(whole);
            entry.alternates = forms.collect();
            store.insert_entry(known.identifier.to_owned(), entry);
        }
        store
    });
    let scanner = Scanner::new(store)
        .confidence_threshold(CONFIDENT)
        .optimize(true)
        .max_passes(8);
    let scanned = scanner.scan(data);
    let mut found: Vec<Found> = Vec::new();
    let whole = scanned.license.map(|licence| (licence.name, scanned.score));
    let inner = scanned.containing.iter();
    for (name, likeness) in whole
        .into_iter()
        .chain(inner.map(|part| (part.license.name, part.score)))
    {
        let identifier = known().iter().map(|known| known.identifier);
        let Some(identifier) = identifier.into_iter().find(|known| *known == name) else {
            continue;
        };
        if likeness >= CONFIDENT && found.iter().all(|found| found.identifier != identifier) {
            found.push(Found {
                identifier,
                likeness,
            });
        }
    }
    found
}

/// An identifier without what licences of one text differ by: `GPL-2.0` of `GPL-2.0-or-later` and
/// `GPL-2.0+`.
pub fn same_text(identifier: &str) -> &str {
    ["-only", "-or-later", "+"]
        .iter()
        .find_map(|end| identifier.strip_suffix(end))
        .unwrap_or(identifier)
}

/// The identifiers that an expression names, without exceptions; none of what is no expression.
pub fn identifiers(expression: &str) -> BTreeSet<String> {
    let Ok(parsed) = spdx::Expression::parse_mode(expression, super::MODE) else {
        return BTreeSet::new();
    };
    parsed
        .requirements()
        .map(|requirement| requirement.req.license.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        detect(text).iter().map(|found| found.identifier).collect()
    }

    fn text_of(identifier: &str) -> &'static str {
        let known = known().iter().find(|known| known.identifier == identifier);
        known.unwrap().text
    }

    #[test]
    fn the_texts_are_those_of_the_list() {
        let mut text = String::new();
        GzDecoder::new(TEXTS).read_to_string(&mut text).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            VERSION,
            "the list is newer: run scripts/licence-texts"
        );
        let written: usize = text
            .lines()
            .filter(|line| line.parse::<usize>().is_ok())
            .count();
        assert!(known().len() > 690 && written >= known().len());
        for known in known() {
            let id = spdx::license_id(known.identifier).unwrap();
            assert!(!id.name.is_empty() && known.length == known.text.len());
        }
    }

    #[test]
    fn every_text_is_found_to_be_itself() {
        // Nothing is left of these few words once copyright notices are taken out.
        const TOO_SHORT: [&str; 5] = [
            "AdaCore-doc",
            "FSFAP",
            "TermReadKey",
            "Unlicense-libtelnet",
            "swrule",
        ];
        // Some texts differ by a word or two: there the likeness tells, not the name.
        let mut wrong = Vec::new();
        for known in known().iter().step_by(10) {
            let best = detect(known.text).into_iter().next();
            let missed = best
                .as_ref()
                .is_none_or(|best| best.identifier != known.identifier && best.likeness < 0.99);
            if missed && !TOO_SHORT.contains(&known.identifier) {
                wrong.push((known.identifier, best));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn texts_as_they_are_in_sources() {
        let mit = text_of("MIT").replace("<year> <copyright holders>", "2019 A. Person");
        assert_eq!(names(&mit), ["MIT"]);
        let reflowed = mit.split_whitespace().collect::<Vec<_>>().join("\n * ");
        assert_eq!(names(&reflowed), ["MIT"]);
        // Without the advice at its end, and in the company of a notice.
        let apache = text_of("Apache-2.0").split_once(END_OF_TERMS).unwrap().0;
        assert_eq!(names(apache), ["Apache-2.0"]);
        assert_eq!(names(text_of("GPL-2.0-only")), ["GPL-2.0-only"]);
        let both = format!(
            "This library may be used under either of two licences.\n\n{mit}\n\n\
             {}\n\n{}",
            "-".repeat(60),
            text_of("BSD-3-Clause")
        );
        let mut found = names(&both);
        found.sort_unstable();
        assert_eq!(found, ["BSD-3-Clause", "MIT"]);
        for other in [
            "",
            "Do what you like with it.",
            "All rights reserved. No part of this software may be copied.",
            &"lorem ipsum ".repeat(MAX_TEXT),
        ] {
            assert_eq!(names(other), [""; 0], "{other:.40}");
        }
    }

    #[test]
    fn identifiers_of_expressions() {
        let of = |text| identifiers(text).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(of("MIT OR (Apache-2.0 AND ISC)"), "Apache-2.0 ISC MIT");
        assert_eq!(
            of("GPL-2.0-or-later WITH Classpath-exception-2.0"),
            "GPL-2.0-or-later"
        );
        assert_eq!(of("Something Else"), "");
        assert_eq!(same_text("GPL-2.0-or-later"), same_text("GPL-2.0-only"));
        assert_eq!(same_text("MIT"), "MIT");
    }
}
