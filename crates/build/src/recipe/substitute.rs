//! `${{name}}`: finding references in texts, and putting values in their place.

use std::collections::BTreeMap;
use std::ops::Range;

use base::{Problem, Severity, SourceText, did_you_mean};

use super::condition;
use super::text::Text;

/// The largest text that substitution makes, in bytes: variables that double each other would
/// otherwise fill the memory.
const SIZE_LIMIT: usize = 8 << 20;

/// How many problems of one recipe are told; nobody reads more.
pub(crate) const PROBLEM_LIMIT: usize = 500;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// Text that stays.
    Text(&'t str),
    /// `${{ name }}`, with its bytes.
    Reference { name: &'t str, span: Range<usize> },
    /// `${{` that no name and `}}` follow; the bytes up to where it goes wrong.
    Broken { span: Range<usize> },
}

fn is_name_character(character: char) -> bool {
    // `+` stands in package names, after `targets.package.`.
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | '+')
}

/// Whether `word` could be a variable's name.
pub(crate) fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(is_name_character)
}

/// Takes a text apart.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let Some(after) = rest.strip_prefix("${{") else {
            let length = rest.find("${{").unwrap_or(rest.len());
            at += length;
            return rest.get(..length).map(Piece::Text);
        };
        let spaces = [' ', '\t', '\n', '\r'];
        let inner = after.trim_start_matches(spaces);
        let length = inner
            .find(|character| !is_name_character(character))
            .unwrap_or(inner.len());
        let (name, behind) = inner.split_at(length);
        let behind = behind.trim_start_matches(spaces);
        Some(match behind.strip_prefix("}}") {
            Some(rest) if !name.is_empty() => {
                at = text.len() - rest.len();
                Piece::Reference {
                    name,
                    span: start..at,
                }
            }
            _ => {
                at = text.len() - behind.len();
                Piece::Broken { span: start..at }
            }
        })
    })
}

/// Names and their values; a scope inside another sees through to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'o> {
    outer: Option<&'o Scope<'o>>,
    /// `None` is a name whose value has a problem that is reported already.
    values: BTreeMap<String, Option<String>>,
}

impl<'o> Scope<'o> {
    /// A scope that sees everything of `outer`.
    pub(crate) fn inside(outer: &'o Scope<'o>) -> Scope<'o> {
        Scope {
            outer: Some(outer),
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn set(&mut self, name: impl Into<String>, value: Option<String>) {
        self.values.insert(name.into(), value);
    }

    /// The value of a name; the inner `None` says that its problem is reported already.
    pub(crate) fn get(&self, name: &str) -> Option<Option<&str>> {
        match self.values.get(name) {
            Some(value) => Some(value.as_deref()),
            None => self.outer?.get(name),
        }
    }

    /// Changes this scope's own values.
    pub(crate) fn map_own(&mut self, change: impl Fn(&str) -> String) {
        for value in self.values.values_mut().flatten() {
            *value = change(value);
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names = self.outer.map(Scope::names).unwrap_or_default();
        names.extend(self.values.keys().map(String::as_str));
        names
    }
}

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'s> {
    /// The file.
    pub(crate) source: &'s SourceText,
    /// What led to it, if it is another file than the recipe: for the help of a problem.
    pub(crate) used_by: Option<&'s str>,
}

impl Place<'_> {
    /// An error at `span`; `help` may be empty.
    pub(crate) fn problem(
        &self,
        rule: &'static str,
        message: impl Into<String>,
        span: Range<usize>,
        help: &str,
    ) -> Problem {
        let problem = Problem::error(rule, message).at(self.source, span, "");
        match (help, self.used_by) {
            ("", None) => problem,
            ("", Some(user)) => problem.help(format!("used by {user}")),
            (help, None) => problem.help(help),
            (help, Some(user)) => problem.help(format!("{help} (used by {user})")),
        }
    }

    /// The bytes of the file that hold the bytes `inner` of `text`. Escapes and folding make them
    /// differ, so that the same characters are looked for; without luck it is the whole text.
    pub(crate) fn span_within(&self, text: &Text, inner: Range<usize>) -> Range<usize> {
        let whole = text.span();
        let Some(wanted) = text.get(inner.clone()).filter(|wanted| !wanted.is_empty()) else {
            return whole;
        };
        let before = text.get(..inner.start).unwrap_or_default();
        let earlier = before.matches(wanted).count();
        let written = self.source.text().get(whole.clone()).unwrap_or_default();
        match written.match_indices(wanted).nth(earlier) {
            Some((offset, _)) => {
                let start = whole.start + offset;
                start..start + wanted.len()
            }
            None => whole,
        }
    }
}

fn unknown(
    place: Place<'_>,
    text: &Text,
    name: &str,
    span: Range<usize>,
    scope: &Scope<'_>,
) -> Problem {
    let names = scope.names();
    let group = name.split('.').next().unwrap_or_default();
    let help = match name {
        "subpkg.name" | "targets.subpkgdir" => {
            "it exists in subpackages only; `targets.contextdir` and `context.name` exist everywhere"
                .to_owned()
        }
        "range.key" | "range.value" => "it exists in subpackages with a `range` only".to_owned(),
        _ => match did_you_mean(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `${{{{{meant}}}}}`?"),
            None => {
                let mut alike: Vec<&str> = names
                    .iter()
                    .copied()
                    .filter(|known| known.split('.').next() == Some(group))
                    .take(20)
                    .collect();
                alike.sort_unstable();
                if alike.is_empty() {
                    let mut groups: Vec<&str> =
                        names.iter().filter_map(|known| known.split('.').next()).collect();
                    groups.sort_unstable();
                    groups.dedup();
                    format!("variables begin with {}", groups.join(", "))
                } else {
                    format!("there are {}", alike.join(", "))
                }
            }
        },
    };
    place.problem(
        "unknown-variable",
        format!("unknown variable `{name}`"),
        place.span_within(text, span),
        &help,
    )
}

fn tell(problems: &mut Vec<Problem>, problem: impl FnOnce() -> Problem) {
    if problems.len() < PROBLEM_LIMIT {
        problems.push(problem());
    }
}

/// Puts values in the place of references. `None` when one has none; what is unknown here is
/// reported, all of it.
pub(crate) fn substitute(
    text: &Text,
    scope: &Scope<'_>,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let mut result = Some(String::with_capacity(text.len()));
    for piece in pieces(text) {
        let value = match piece {
            Piece::Text(text) => Some(text),
            Piece::Reference { name, span } => match scope.get(name) {
                Some(value) => value,
                None => {
                    tell(problems, || unknown(place, text, name, span, scope));
                    None
                }
            },
            Piece::Broken { span } => {
                tell(problems, || broken(place, text, span));
                None
            }
        };
        result = match (result, value) {
            (Some(result), Some(value)) if result.len() + value.len() > SIZE_LIMIT => {
                problems.push(place.problem(
                    "too-large",
                    format!("with its variables replaced, this is larger than {SIZE_LIMIT} bytes"),
                    place.span_within(text, 0..0),
                    "",
                ));
                return None;
            }
            (Some(result), Some(value)) => Some(result + value),
            _ => None,
        };
    }
    result
}

/// As [`substitute`], for words that only people read: what has no value stays as it stands, with
/// a warning.
pub(crate) fn substitute_prose(
    text: &Text,
    scope: &Scope<'_>,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> String {
    let mut found = Vec::new();
    if let Some(result) = substitute(text, scope, place, &mut found) {
        return result;
    }
    problems.extend(found.into_iter().map(|problem| Problem {
        severity: Severity::Warning,
        ..problem
    }));
    let mut result = String::with_capacity(text.len());
    for piece in pieces(text) {
        let (known, span) = match piece {
            Piece::Text(text) => (Some(text), 0..0),
            Piece::Reference { name, span } => (scope.get(name).flatten(), span),
            Piece::Broken { span } => (None, span),
        };
        result += known.or(text.get(span)).unwrap_or_default();
    }
    result
}

fn broken(place: Place<'_>, text: &Text, span: Range<usize>) -> Problem {
    let rest = text.get(span.end..).unwrap_or_default();
    let message = if rest.starts_with("}}") {
        "no variable is named between `${{` and `}}`"
    } else {
        "`${{` begins a variable that is not closed"
    };
    place.problem(
        "broken-variable",
        message,
        place.span_within(text, span),
        "a variable is written `${{name}}`",
    )
}

/// Evaluates an `if`. `None` when it can't be; the problem is reported.
pub(crate) fn condition(
    text: &Text,
    scope: &Scope<'_>,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<bool> {
    if text.trim().is_empty() {
        return Some(true);
    }
    let result = condition::evaluate(text, &mut |name, span| match scope.get(name) {
        Some(value) => value.map(str::to_owned),
        None => {
            tell(problems, || unknown(place, text, name, span, scope));
            None
        }
    });
    match result {
        Ok(value) => value,
        Err(error) => {
            let span = place.span_within(text, error.span.clone());
            problems.push(place.problem(
                "invalid-condition",
                error.message,
                span,
                "conditions compare: ${{build.arch}} == 'x86_64' && ${{vars.a}} != 'b'",
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_apart() {
        let found: Vec<Piece<'_>> = pieces("a ${{x.y}}${{ z-1\n}} $ ${{}}").collect();
        assert_eq!(
            found,
            [
                Piece::Text("a "),
                Piece::Reference {
                    name: "x.y",
                    span: 2..10
                },
                Piece::Reference {
                    name: "z-1",
                    span: 10..20
                },
                Piece::Text(" $ "),
                Piece::Broken { span: 23..26 },
                Piece::Text("}}"),
            ]
        );
        let found: Vec<Piece<'_>> = pieces("${{a b}}").collect();
        assert_eq!(found, [Piece::Broken { span: 0..5 }, Piece::Text("b}}")]);
        assert_eq!(
            pieces("${{").collect::<Vec<_>>(),
            [Piece::Broken { span: 0..3 }]
        );
    }

    #[test]
    fn scopes_see_outwards() {
        let mut outer = Scope::default();
        outer.set("a", Some("1".into()));
        outer.set("b", None);
        let mut inner = Scope::inside(&outer);
        inner.set("a", Some("2".into()));
        assert_eq!(inner.get("a"), Some(Some("2")));
        assert_eq!(inner.get("b"), Some(None));
        assert_eq!(inner.get("c"), None);
        inner.map_own(|value| value.repeat(2));
        assert_eq!(
            (inner.get("a"), outer.get("a")),
            (Some(Some("22")), Some(Some("1")))
        );
    }
}
