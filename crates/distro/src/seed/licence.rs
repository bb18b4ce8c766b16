//! A Debian copyright file's licences as an SPDX expression.

use std::collections::BTreeSet;

use attest::licence::{CopyrightEntry, Expression, Licence};
use store::apt::paragraph::Paragraphs;

/// The licences of a machine-readable copyright file (Debian's copyright-format 1.0), all of them
/// in force. Other files claim nothing.
pub(super) fn of_copyright(text: &str) -> Licence {
    let mut paragraphs = Paragraphs::of(text);
    let is_readable = paragraphs
        .next()
        .and_then(|head| head.get("Format"))
        .is_some_and(|format| format.contains("copyright-format/1"));
    if !is_readable {
        return Licence::unknown();
    }
    let mut names = BTreeSet::new();
    for paragraph in paragraphs {
        if paragraph.get("Files").is_some()
            && let Some(licence) = paragraph.get("License")
            && let Some(name) = licence.lines().next()
        {
            let expression = expression(name.trim());
            if expression.contains(['(', ')']) || expression.contains(" OR ") {
                names.insert(expression);
            } else {
                names.extend(expression.split(" AND ").map(str::to_owned));
            }
        }
    }
    let entries: Vec<CopyrightEntry> = names
        .into_iter()
        .filter(|licence| !licence.is_empty())
        .map(|licence| CopyrightEntry {
            licence,
            text: None,
        })
        .collect();
    Licence::join(&entries)
}

/// Debian's names with `and` and `or` as SPDX has them, or the text itself where it has no place
/// in SPDX's grammar.
fn expression(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| match word {
            "and" => "AND".to_owned(),
            "or" => "OR".to_owned(),
            word => name(word.trim_end_matches(',')),
        })
        .collect();
    let joined = words.join(" ");
    match Expression::parse(&joined) {
        Ok(_) => joined,
        Err(_) => text.to_owned(),
    }
}

/// One of Debian's short names.
fn name(debian: &str) -> String {
    let spdx = match debian {
        "Expat" => "MIT",
        "BSD-3-clause" => "BSD-3-Clause",
        "BSD-2-clause" => "BSD-2-Clause",
        "Artistic" => "Artistic-1.0-Perl",
        "Apache-2" => "Apache-2.0",
        "zlib" => "Zlib",
        "public-domain" => "LicenseRef-public-domain",
        _ => "",
    };
    if !spdx.is_empty() {
        return spdx.to_owned();
    }
    // `GPL-2+`, `LGPL-2.1`, `GFDL-1.3+`.
    let (base, later) = match debian.strip_suffix('+') {
        Some(base) => (base, true),
        None => (debian, false),
    };
    if let Some((family @ ("GPL" | "LGPL" | "AGPL" | "GFDL"), number)) = base.split_once('-')
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        let number = if number.contains('.') {
            number.to_owned()
        } else {
            format!("{number}.0")
        };
        let which = if later { "or-later" } else { "only" };
        return format!("{family}-{number}-{which}");
    }
    debian.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_names() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
            Files: *\nCopyright: A\nLicense: GPL-3+\n text\n\n\
            Files: b\nLicense: LGPL-2.1 or Expat\n\n\
            Files: c\nLicense: GPL-3+\n\nFiles: d\nLicense: weird thing\n\n\
            License: GPL-3+\n words\n";
        let licence = of_copyright(text);
        insta::assert_snapshot!(licence.expression, @"GPL-3.0-or-later AND (LGPL-2.1-only OR MIT) AND LicenseRef-weird-thing");
        assert_eq!(of_copyright("This is free.\n"), Licence::unknown());
    }
}
