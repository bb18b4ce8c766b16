//! SPDX licence expressions (SPDX 2.3, annex D), and how a package's several copyright entries
//! become one.

pub mod detect;

use std::collections::BTreeMap;

use spdx::expression::{ExprNode, Operator};
use spdx::{LicenseItem, ParseMode};

/// Longer texts are no licence expressions.
const MAX_LENGTH: usize = 16 * 1024;

/// What SPDX writes where nothing is claimed.
pub const NO_ASSERTION: &str = "NOASSERTION";

/// What the recipes of packages really say: deprecated identifiers such as `GPL-2.0` count,
/// invented ones and `/` don't.
const MODE: ParseMode = ParseMode {
    allow_slash_as_or_operator: false,
    allow_imprecise_license_names: false,
    allow_postfix_plus_on_gpl: true,
    allow_deprecated: true,
    allow_unknown: false,
};

/// The text is no SPDX licence expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LicenceError {
    /// It doesn't parse.
    #[error(
        "`{text}` is not an SPDX licence expression: {reason} at `{found}`; \
         identifiers are those of spdx.org/licenses, others are written `LicenseRef-NAME`"
    )]
    Syntax {
        /// The text given.
        text: String,
        /// What is wrong.
        reason: String,
        /// The part of the text that is wrong.
        found: String,
    },
    /// It is longer than an expression can sensibly be.
    #[error("a licence expression of {length} bytes is too long; at most {MAX_LENGTH} are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// A licence expression in canonical form: operators in capitals, single spaces, parentheses only
/// where `OR` stands within `AND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    /// Whether the outermost operator is `OR`.
    alternative: bool,
    references: Vec<String>,
}

impl Expression {
    /// Checks `text` against SPDX's grammar and its list of licences and exceptions. Deprecated
    /// identifiers are accepted.
    pub fn parse(text: &str) -> Result<Expression, LicenceError> {
        if text.len() > MAX_LENGTH {
            return Err(LicenceError::TooLong { length: text.len() });
        }
        let parsed =
            spdx::Expression::parse_mode(text, MODE).map_err(|error| LicenceError::Syntax {
                text: text.to_owned(),
                reason: error.reason.to_string(),
                found: text.get(error.span.clone()).unwrap_or_default().to_owned(),
            })?;
        let mut references = Vec::new();
        // The nodes come in postfix order; each stack entry is a text and its outermost operator.
        let mut stack: Vec<(String, Option<Operator>)> = Vec::new();
        for node in parsed.iter() {
            match node {
                ExprNode::Req(requirement) => {
                    if let LicenseItem::Other(other) = &requirement.req.license
                        && other.doc_ref.is_none()
                    {
                        references.push(format!("LicenseRef-{}", other.lic_ref));
                    }
                    stack.push((requirement.req.to_string(), None));
                }
                ExprNode::Op(operator) => {
                    // The parser only lets complete expressions through.
                    let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else {
                        continue;
                    };
                    let word = match operator {
                        Operator::And => "AND",
                        Operator::Or => "OR",
                    };
                    let joined = format!(
                        "{} {word} {}",
                        within(left, *operator),
                        within(right, *operator)
                    );
                    stack.push((joined, Some(*operator)));
                }
            }
        }
        let (text, operator) = stack.pop().unwrap_or_default();
        references.sort();
        references.dedup();
        Ok(Expression {
            text,
            alternative: operator == Some(Operator::Or),
            references,
        })
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The `LicenseRef-…` identifiers in it, sorted, each once.
    pub fn references(&self) -> &[String] {
        &self.references
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// `OR` binds less than `AND`.
fn within((text, own): (String, Option<Operator>), outer: Operator) -> String {
    if outer == Operator::And && own == Some(Operator::Or) {
        format!("({text})")
    } else {
        text
    }
}

/// One entry of a recipe's `copyright:` list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyrightEntry {
    /// The licence expression, or a name SPDX doesn't know.
    pub licence: String,
    /// The licence's own text, for licences that are not on SPDX's list.
    pub text: Option<String>,
}

/// What a package is licensed under, as SPDX documents state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// A valid SPDX expression or `NOASSERTION`.
    pub expression: String,
    /// The licences that are not on SPDX's list, by their `LicenseRef-…` identifier: their texts.
    pub extracted: BTreeMap<String, String>,
}

impl Licence {
    /// Nothing is claimed.
    pub fn unknown() -> Licence {
        Licence {
            expression: NO_ASSERTION.to_owned(),
            extracted: BTreeMap::new(),
        }
    }

    /// Joins the entries with `AND`, each one in parentheses that is an alternative. An entry that
    /// is no expression becomes a `LicenseRef-…`. Equal entries count once. Without entries, or
    /// when one of them is `NOASSERTION`, nothing is claimed.
    pub fn join<'e>(entries: impl IntoIterator<Item = &'e CopyrightEntry>) -> Licence {
        let mut extracted = BTreeMap::new();
        let mut parts: Vec<(String, bool)> = Vec::new();
        for entry in entries {
            let given = entry.licence.trim();
            if given.is_empty() || given == NO_ASSERTION || given == "NONE" {
                return Licence::unknown();
            }
            let part = match Expression::parse(given) {
                Ok(expression) => {
                    for reference in &expression.references {
                        let text = entry.text.clone().unwrap_or_else(|| reference.clone());
                        extracted.entry(reference.clone()).or_insert(text);
                    }
                    (expression.text, expression.alternative)
                }
                Err(_) => {
                    let reference = reference_for(given);
                    let text = entry.text.clone().unwrap_or_else(|| given.to_owned());
                    extracted.entry(reference.clone()).or_insert(text);
                    (reference, false)
                }
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let single = parts.len() == 1;
        let texts: Vec<String> = parts
            .into_iter()
            .map(|(text, alternative)| {
                if alternative && !single {
                    format!("({text})")
                } else {
                    text
                }
            })
            .collect();
        if texts.is_empty() {
            return Licence::unknown();
        }
        Licence {
            expression: texts.join(" AND "),
            extracted,
        }
    }

    /// One expression or name on its own.
    pub fn of(text: &str) -> Licence {
        Licence::join(&[CopyrightEntry {
            licence: text.to_owned(),
            text: None,
        }])
    }
}

/// `LicenseRef-` and the name with everything but letters, digits, `.` and `-` as `-`.
fn reference_for(name: &str) -> String {
    let name = name.strip_prefix("LicenseRef-").unwrap_or(name);
    let mut reference = String::from("LicenseRef-");
    for letter in name.chars().take(200) {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            reference.push(letter);
        } else if !reference.ends_with('-') {
            reference.push('-');
        }
    }
    let trimmed = reference.trim_end_matches('-');
    if trimmed == "LicenseRef" {
        return "LicenseRef-unnamed".to_owned();
    }
    trimmed.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(entries: &[&str]) -> Licence {
        let entries: Vec<CopyrightEntry> = entries
            .iter()
            .map(|licence| CopyrightEntry {
                licence: (*licence).to_owned(),
                text: None,
            })
            .collect();
        Licence::join(&entries)
    }

    #[test]
    fn expressions_are_checked_and_made_canonical() {
        let text = |given: &str| Expression::parse(given).map(|e| e.as_str().to_owned());
        assert_eq!(text("MIT").unwrap(), "MIT");
        assert_eq!(text("(MIT  or Apache-2.0)").unwrap(), "MIT OR Apache-2.0");
        assert_eq!(
            text("GPL-2.0-only WITH Classpath-exception-2.0").unwrap(),
            "GPL-2.0-only WITH Classpath-exception-2.0"
        );
        assert_eq!(
            text("(MIT OR ISC) AND (Zlib AND X11)").unwrap(),
            "(MIT OR ISC) AND Zlib AND X11"
        );
        assert_eq!(text("MIT OR ISC AND Zlib").unwrap(), "MIT OR ISC AND Zlib");
        assert_eq!(text("GPL-2.0").unwrap(), "GPL-2.0");
        let referring = Expression::parse("LicenseRef-b OR LicenseRef-a AND MIT").unwrap();
        assert_eq!(referring.references(), ["LicenseRef-a", "LicenseRef-b"]);
        for wrong in [
            "",
            "MIT AND",
            "Frobnicated",
            "MIT WITH nothing",
            "MIT/ISC",
            "(MIT",
        ] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        let message = text("MIT AND Frobnicated").unwrap_err().to_string();
        assert!(message.contains("`Frobnicated`"), "{message}");
        assert_eq!(
            text(&"(".repeat(MAX_LENGTH + 1)),
            Err(LicenceError::TooLong {
                length: MAX_LENGTH + 1
            })
        );
    }

    #[test]
    fn entries_are_joined_without_changing_their_meaning() {
        assert_eq!(
            join(&["Apache-2.0 OR MIT", "BSD-3-Clause"]).expression,
            "(Apache-2.0 OR MIT) AND BSD-3-Clause"
        );
        assert_eq!(join(&["Apache-2.0 OR MIT"]).expression, "Apache-2.0 OR MIT");
        assert_eq!(join(&["MIT", "MIT"]).expression, "MIT");
        assert_eq!(join(&[]), Licence::unknown());
        assert_eq!(join(&["MIT", "NOASSERTION"]), Licence::unknown());
    }

    #[test]
    fn names_that_are_no_licences_become_references() {
        let licence = join(&["MIT", "Acme Public & Co"]);
        assert_eq!(licence.expression, "MIT AND LicenseRef-Acme-Public-Co");
        assert_eq!(
            licence.extracted["LicenseRef-Acme-Public-Co"],
            "Acme Public & Co"
        );
        assert_eq!(join(&["!!"]).expression, "LicenseRef-unnamed");
        for name in ["Acme, Inc. ©", "a/b", "LicenseRef-has space"] {
            let expression = join(&[name]).expression;
            assert!(Expression::parse(&expression).is_ok(), "{expression}");
        }
        let given = Licence::join(&[CopyrightEntry {
            licence: "LicenseRef-acme".to_owned(),
            text: Some("Do what you like.".to_owned()),
        }]);
        assert_eq!(given.extracted["LicenseRef-acme"], "Do what you like.");
    }
}
