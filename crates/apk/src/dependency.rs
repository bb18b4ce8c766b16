//! What a package or a world file asks for: `[!]name[@tag][operator version]`.

use std::fmt;
use std::str::FromStr;

use base::{Digest, Sha1};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};

use crate::version::{InvalidVersion, Operator, Version, is_valid};

/// One term of a world file, or of a package's `depends`, `provides`, `replaces` or `install_if`.
///
/// `Display` writes apk's form, which apk 3 accepts in `/etc/apk/world` and in indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of a package, or one that packages provide (`so:libc.so.6`, `cmd:sh`, `/bin/sh`).
    pub name: String,
    /// The repository tag of a world term, without its `@`.
    pub tag: Option<String>,
    /// Which versions will do; none means any.
    pub constraint: Option<Constraint>,
    /// Written `!name`: nothing that matches may be installed.
    pub conflict: bool,
}

/// Which versions of a name satisfy a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// An operator and the version on its right.
    Version(Operator, Version),
    /// `><Q1…`: one package, by its identity.
    Identity(Identity),
    /// What stands after `><` in packages of others and is no identity: nothing has it.
    NoIdentity(Box<str>),
}

/// What identifies one package file: the hash of its compressed control member (v2) or of its
/// unsigned metadata (v3). Written `Q1` + base64 or `X1` + hex for SHA-1, `Q2` and `X2` for SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// 20 bytes.
    Sha1(Sha1),
    /// 32 bytes.
    Sha256(Digest),
}

impl Identity {
    /// The first 20 bytes: what apk keeps of it in an installed database, where it is written as a
    /// SHA-1.
    #[must_use]
    pub fn shortened(self) -> Identity {
        match self {
            Identity::Sha1(_) => self,
            Identity::Sha256(digest) => {
                let first = digest.as_bytes().first_chunk();
                Identity::Sha1(Sha1::from_bytes(first.copied().unwrap_or_default()))
            }
        }
    }
}

/// A term that follows neither grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDependency {
    /// There is no name.
    #[error("`{}` names no package; expected name[@tag][<>=~version]", .0.escape_debug())]
    NoName(String),
    /// A character that no name has.
    #[error(
        "`{}` holds {character:?}, which no name has; expected name[@tag][<>=~version]",
        text.escape_debug()
    )]
    Character {
        /// The whole term.
        text: String,
        /// The first character that may not stand there.
        character: char,
    },
    /// A character that no tag has: it would end the tag, or the term.
    #[error(
        "`{}` holds {character:?}, which no tag has; expected name[<>=~version][@tag]",
        text.escape_debug()
    )]
    TagCharacter {
        /// The whole term.
        text: String,
        /// The first character that may not stand there.
        character: char,
    },
    /// What stands after the operator is no version.
    #[error("`{}`: {source}", text.escape_debug())]
    Version {
        /// The whole term.
        text: String,
        /// What is wrong with the version.
        source: InvalidVersion,
    },
    /// What stands after `><` is no identity.
    #[error(
        "`{}`: `><` is followed by a package's identity, Q1 and base64 of a SHA-1 or Q2 and \
         base64 of a SHA-256",
        .0.escape_debug()
    )]
    Identity(String),
    /// A tag where none may stand: in a package, or an empty one.
    #[error(
        "`{}`: a repository tag is not empty, and stands in a world only, as in name@tag",
        .0.escape_debug()
    )]
    Tag(String),
}

impl Dependency {
    /// Any version of `name`.
    pub fn any(name: impl Into<String>) -> Dependency {
        Dependency {
            name: name.into(),
            tag: None,
            constraint: None,
            conflict: false,
        }
    }

    /// Exactly `version` of `name`.
    pub fn exact(name: impl Into<String>, version: Version) -> Dependency {
        Dependency {
            constraint: Some(Constraint::Version(Operator::Equal, version)),
            ..Dependency::any(name)
        }
    }

    /// Reads apk's form, as in a world file: `[!]name[@tag][operator version]`.
    pub fn parse(text: &str) -> Result<Dependency, InvalidDependency> {
        let (conflict, name, rest) = split(text)?;
        let (name, tag) = match name.split_once('@') {
            None => (name, None),
            Some((_, "")) => return Err(InvalidDependency::Tag(text.to_owned())),
            Some((name, tag)) => (name, Some(tag)),
        };
        Parts::assemble(text, conflict, name, tag, rest).map(Parts::into_dependency)
    }

    /// Reads apk's form as it stands in a package or an index, where no tag may be.
    pub fn parse_untagged(text: &str) -> Result<Dependency, InvalidDependency> {
        Parts::parse_untagged(text).map(Parts::into_dependency)
    }

    /// Reads apko's form, `[!]name[operator version][@tag]`. apk's place for the tag will do too.
    pub fn parse_apko(text: &str) -> Result<Dependency, InvalidDependency> {
        let (conflict, name, rest) = split(text)?;
        if name.contains('@') {
            return Dependency::parse(text);
        }
        let (rest, tag) = match rest.split_once('@') {
            None => (rest, None),
            Some((_, "")) => return Err(InvalidDependency::Tag(text.to_owned())),
            Some((rest, tag)) => (rest, Some(tag)),
        };
        let ends_tag = |c: char| is_forbidden(c) || matches!(c, '<' | '>' | '=' | '~');
        if let Some(character) = tag.and_then(|tag| tag.chars().find(|c| ends_tag(*c))) {
            return Err(InvalidDependency::TagCharacter {
                text: text.to_owned(),
                character,
            });
        }
        Parts::assemble(text, conflict, name, tag, rest).map(Parts::into_dependency)
    }

    /// Reads the terms of a world file or an index field, which spaces and line ends separate.
    pub fn parse_list(text: &str) -> Result<Vec<Dependency>, InvalidDependency> {
        text.split_ascii_whitespace()
            .map(Dependency::parse)
            .collect()
    }

    /// What becomes of a term of a package or an index that [`Dependency::parse_untagged`] refused.
    pub(crate) fn refused(text: &str) -> Refused {
        let (conflict, term) = match text.strip_prefix('!') {
            Some(term) => (true, term),
            None => (false, text),
        };
        let (name, rest) = before_operator(term);
        let (operator, version) = behind_operator(rest);
        if name.contains('@') || (version.is_empty() && !rest.is_empty()) {
            return Refused::Ends;
        }
        if name.contains(is_forbidden) {
            return Refused::LeftOut;
        }
        let named = Dependency {
            conflict,
            ..Dependency::any(name)
        };
        let is_nameless = name.is_empty() && !conflict;
        let constraint = match comparison(operator) {
            Comparison::Nothing | Comparison::Version(None) => None,
            _ if version.contains(is_forbidden) && is_nameless => return Refused::LeftOut,
            _ if version.contains(is_forbidden) => return Refused::Named(named),
            Comparison::Identity => Some(match version.parse() {
                Ok(identity) => Constraint::Identity(identity),
                Err(_) => Constraint::NoIdentity(version.into()),
            }),
            Comparison::Version(Some(operator)) => {
                Some(Constraint::Version(operator, Version::as_written(version)))
            }
        };
        if is_nameless && constraint.is_none() {
            return Refused::LeftOut;
        }
        Refused::Kept(Dependency {
            constraint,
            ..named
        })
    }

    /// Whether it names a version that follows no grammar, which apk calls broken.
    pub fn is_broken(&self) -> bool {
        self.version()
            .is_some_and(|version| !is_valid(version.as_str()))
    }

    /// The version that the constraint names: in `provides`, the one that is provided.
    pub fn version(&self) -> Option<&Version> {
        match &self.constraint {
            Some(Constraint::Version(_, version)) => Some(version),
            _ => None,
        }
    }

    /// Whether a package of this name, version and identity is one that the term speaks of; for a
    /// conflict, one that it forbids. A name provided without version (`None`) is earlier than all
    /// versions, so that only `<`, `<=` and `<~` have use for it: apk compares the empty text.
    pub fn matches(&self, version: Option<&str>, identity: Option<&Identity>) -> bool {
        match &self.constraint {
            None => true,
            Some(Constraint::Version(operator, named)) => {
                operator.accepts(version.unwrap_or_default(), named.as_str())
            }
            Some(Constraint::Identity(named)) => {
                identity.is_some_and(|of| of.shortened() == named.shortened())
            }
            Some(Constraint::NoIdentity(_)) => false,
        }
    }
}

/// What apk makes of a term that follows no grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It stands in its list, and has to be met.
    Kept(Dependency),
    /// The same, but what stands after the operator could not be written again: the name alone.
    Named(Dependency),
    /// Nothing of it could be written again.
    LeftOut,
    /// Nothing is read of its list from it on.
    Ends,
}

/// Adds a term to a world; one of the same name gives way, as with `apk add`.
pub fn add_term(world: &mut Vec<Dependency>, term: Dependency) {
    match world.iter_mut().find(|known| known.name == term.name) {
        Some(known) => *known = term,
        None => world.push(term),
    }
}

/// Takes the term of that name out of a world, if there is one.
pub fn remove_term(world: &mut Vec<Dependency>, name: &str) {
    if let Some(place) = world.iter().position(|known| known.name == name) {
        world.remove(place);
    }
}

/// Into the conflict mark, the name (a tag may cling to it) and what begins at the operator.
fn split(text: &str) -> Result<(bool, &str, &str), InvalidDependency> {
    let (conflict, term) = match text.strip_prefix('!') {
        Some(term) => (true, term),
        None => (false, text),
    };
    let (name, rest) = before_operator(term);
    if name.is_empty() || name.starts_with('@') {
        return Err(InvalidDependency::NoName(text.to_owned()));
    }
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok((conflict, name, rest));
    }
    match name.chars().find(|character| is_forbidden(*character)) {
        Some(character) => Err(InvalidDependency::Character {
            text: text.to_owned(),
            character,
        }),
        None => Ok((conflict, name, rest)),
    }
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'=' | b'~')
}

/// Into what stands before an operator and what begins with it.
fn before_operator(text: &str) -> (&str, &str) {
    let end = text.bytes().position(is_operator);
    text.split_at(end.unwrap_or(text.len()))
}

/// Into an operator and what stands behind it.
fn behind_operator(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !is_operator(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// Whether a character would end a term, or the line that it stands in.
fn is_forbidden(character: char) -> bool {
    character.is_whitespace() || character.is_control()
}

/// A term, taken apart but not copied.
pub(crate) struct Parts<'t> {
    pub(crate) conflict: bool,
    pub(crate) name: &'t str,
    pub(crate) tag: Option<&'t str>,
    pub(crate) constraint: Option<PartConstraint<'t>>,
}

/// Which versions will do, not copied either.
pub(crate) enum PartConstraint<'t> {
    Version(Operator, &'t str),
    Identity(Identity, &'t str),
}

impl<'t> Parts<'t> {
    /// As [`Dependency::parse_untagged`].
    pub(crate) fn parse_untagged(text: &'t str) -> Result<Parts<'t>, InvalidDependency> {
        let (conflict, name, rest) = split(text)?;
        if name.contains('@') {
            return Err(InvalidDependency::Tag(text.to_owned()));
        }
        Parts::assemble(text, conflict, name, None, rest)
    }

    fn assemble(
        text: &str,
        conflict: bool,
        name: &'t str,
        tag: Option<&'t str>,
        rest: &'t str,
    ) -> Result<Parts<'t>, InvalidDependency> {
        let (operator, version) = behind_operator(rest);
        Ok(Parts {
            conflict,
            name,
            tag,
            constraint: constraint(text, operator, version)?,
        })
    }

    fn into_dependency(self) -> Dependency {
        Dependency {
            name: self.name.to_owned(),
            tag: self.tag.map(str::to_owned),
            constraint: self.constraint.map(|constraint| match constraint {
                PartConstraint::Version(operator, version) => {
                    Constraint::Version(operator, Version::as_written(version))
                }
                PartConstraint::Identity(identity, _) => Constraint::Identity(identity),
            }),
            conflict: self.conflict,
        }
    }
}

/// What an operator compares.
enum Comparison {
    /// There is none.
    Nothing,
    /// The identity.
    Identity,
    /// The version; without operator it is less, equal or greater: every version, so nothing is
    /// asked.
    Version(Option<Operator>),
}

/// apk reads an operator as the set of its characters: `=>` is `>=`, and `<>` is `><`.
fn comparison(operator: &str) -> Comparison {
    let has = |character| operator.as_bytes().contains(&character);
    Comparison::Version(match (has(b'<'), has(b'>'), has(b'='), has(b'~')) {
        (false, false, false, false) => return Comparison::Nothing,
        (true, true, false, false) => return Comparison::Identity,
        (true, true, _, _) => None,
        (true, false, false, false) => Some(Operator::Less),
        (true, false, true, false) => Some(Operator::LessOrEqual),
        (true, false, _, true) => Some(Operator::LessOrFuzzy),
        (false, true, false, false) => Some(Operator::Greater),
        (false, true, true, false) => Some(Operator::GreaterOrEqual),
        (false, true, _, true) => Some(Operator::GreaterOrFuzzy),
        (false, false, true, false) => Some(Operator::Equal),
        (false, false, _, true) => Some(Operator::Fuzzy),
    })
}

fn constraint<'t>(
    text: &str,
    operator: &str,
    version: &'t str,
) -> Result<Option<PartConstraint<'t>>, InvalidDependency> {
    match comparison(operator) {
        Comparison::Nothing => Ok(None),
        Comparison::Identity => version
            .parse()
            .map(|identity| Some(PartConstraint::Identity(identity, version)))
            .map_err(|_| InvalidDependency::Identity(text.to_owned())),
        Comparison::Version(operator) if is_valid(version) => {
            Ok(operator.map(|operator| PartConstraint::Version(operator, version)))
        }
        Comparison::Version(_) => Err(InvalidDependency::Version {
            text: text.to_owned(),
            source: InvalidVersion(version.to_owned()),
        }),
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflict {
            f.write_str("!")?;
        }
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, "@{tag}")?;
        }
        match &self.constraint {
            None => Ok(()),
            Some(constraint) => constraint.fmt(f),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constraint::Version(operator, version) => write!(f, "{operator}{version}"),
            Constraint::Identity(identity) => write!(f, "><{identity}"),
            Constraint::NoIdentity(text) => write!(f, "><{text}"),
        }
    }
}

impl FromStr for Dependency {
    type Err = InvalidDependency;

    /// As [`Dependency::parse`].
    fn from_str(text: &str) -> Result<Dependency, InvalidDependency> {
        Dependency::parse(text)
    }
}

impl Serialize for Dependency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dependency, D::Error> {
        let text = String::deserialize(deserializer)?;
        Dependency::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The text is no identity of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no identity of a package: Q1 and base64 of a SHA-1, or Q2 and base64 of a SHA-256",
    .0.escape_debug()
)]
pub struct InvalidIdentity(pub String);

impl From<Sha1> for Identity {
    fn from(digest: Sha1) -> Identity {
        Identity::Sha1(digest)
    }
}

impl From<Digest> for Identity {
    fn from(digest: Digest) -> Identity {
        Identity::Sha256(digest)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Sha1(digest) => write!(f, "Q1{}", STANDARD.encode(digest.as_bytes())),
            Identity::Sha256(digest) => write!(f, "Q2{}", STANDARD.encode(digest.as_bytes())),
        }
    }
}

/// Takes no notice of the bits left over in the last character, as apk does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Identity, InvalidIdentity> {
        let invalid = || InvalidIdentity(text.to_owned());
        let (encoding, value) = text.split_at_checked(2).ok_or_else(invalid)?;
        let bytes = match encoding {
            "Q1" | "Q2" => LENIENT.decode(value).map_err(|_| invalid())?,
            "X1" | "X2" => hex::decode(value).map_err(|_| invalid())?,
            _ => return Err(invalid()),
        };
        // Readers take a 32-byte hash after Q1 too.
        if let Ok(bytes) = <[u8; 20]>::try_from(bytes.as_slice())
            && encoding.ends_with('1')
        {
            return Ok(Identity::Sha1(Sha1::from_bytes(bytes)));
        }
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Identity::Sha256(Digest::from_bytes(bytes))),
            Err(_) => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_grammars() {
        for (apk, apko) in [
            ("busybox", "busybox"),
            ("foo@edge", "foo@edge"),
            ("foo@edge>=1.2-r0", "foo>=1.2-r0@edge"),
            ("!foo<1", "!foo<1"),
            ("so:libc.so.6", "so:libc.so.6"),
            ("/bin/sh", "/bin/sh"),
            ("foo~1.2", "foo~1.2"),
            ("foo<~1.2", "foo<~1.2"),
            ("foo>~1.2", "foo~>1.2"),
            ("foo>=1", "foo=>1"),
            ("foo=1", "foo==1"),
            (
                "foo><Q1C4uoV7SdMdDhYg4OCVmI71D8HIA=",
                "foo<>X10b8ba857b49d31d0e1620e0e095988ef50fc1c80",
            ),
        ] {
            let read = Dependency::parse(apk).unwrap();
            assert_eq!(read.to_string(), apk);
            assert_eq!(
                Dependency::parse_apko(apko).unwrap().to_string(),
                apk,
                "{apko}"
            );
            assert_eq!(Dependency::parse_apko(apk).unwrap(), read);
        }
        assert_eq!(
            Dependency::parse("foo<=>1").unwrap(),
            Dependency::any("foo")
        );
    }

    #[test]
    fn what_is_no_dependency() {
        let errors: Vec<String> = [
            "", "!", "@edge", "=1", "foo=", "foo=one", "foo@", "a b", "foo><1",
        ]
        .into_iter()
        .map(|text| Dependency::parse(text).unwrap_err().to_string())
        .chain([Dependency::parse_untagged("foo@edge")
            .unwrap_err()
            .to_string()])
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r"
        `` names no package; expected name[@tag][<>=~version]
        `!` names no package; expected name[@tag][<>=~version]
        `@edge` names no package; expected name[@tag][<>=~version]
        `=1` names no package; expected name[@tag][<>=~version]
        `foo=`: `` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
        `foo=one`: `one` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
        `foo@`: a repository tag is not empty, and stands in a world only, as in name@tag
        `a b` holds ' ', which no name has; expected name[@tag][<>=~version]
        `foo><1`: `><` is followed by a package's identity, Q1 and base64 of a SHA-1 or Q2 and base64 of a SHA-256
        `foo@edge`: a repository tag is not empty, and stands in a world only, as in name@tag
        ");
    }

    /// Behind the version too, a tag is part of one term of a world.
    #[test]
    fn what_is_no_tag() {
        let errors: Vec<String> = [
            "foo~1@",
            "foo~1@edge evil",
            "foo~1@edge\nevil",
            "foo~1@t\u{1}\0",
            "foo~1@edge>2",
        ]
        .into_iter()
        .map(|text| Dependency::parse_apko(text).unwrap_err().to_string())
        .collect();
        insta::assert_debug_snapshot!(errors, @r#"
        [
            "`foo~1@`: a repository tag is not empty, and stands in a world only, as in name@tag",
            "`foo~1@edge evil` holds ' ', which no tag has; expected name[<>=~version][@tag]",
            "`foo~1@edge\\nevil` holds '\\n', which no tag has; expected name[<>=~version][@tag]",
            "`foo~1@t\\u{1}\\0` holds '\\u{1}', which no tag has; expected name[<>=~version][@tag]",
            "`foo~1@edge>2` holds '>', which no tag has; expected name[<>=~version][@tag]",
        ]
        "#);
    }

    /// What apk keeps of terms that follow no grammar.
    #[test]
    fn terms_as_they_are_written() {
        let read = |text: &str| {
            Dependency::parse_untagged(text).unwrap_err();
            Dependency::refused(text)
        };
        for (text, name, conflict, written, broken) in [
            ("foo=one", "foo", false, "foo=one", true),
            ("foo>=one", "foo", false, "foo>=one", true),
            ("!foo=>one=two", "foo", true, "!foo>=one=two", true),
            ("foo<=>one", "foo", false, "foo", false),
            ("0d~00.=", "0d", false, "0d~00.=", true),
            ("foo><Q1", "foo", false, "foo><Q1", false),
            ("foo<>zz", "foo", false, "foo><zz", false),
            ("=one", "", false, "=one", true),
            ("!=1", "", true, "!=1", false),
            ("!", "", true, "!", false),
        ] {
            let Refused::Kept(kept) = read(text) else {
                panic!("{text}");
            };
            assert_eq!(
                (kept.name.as_str(), kept.conflict, kept.is_broken()),
                (name, conflict, broken),
                "{text}"
            );
            assert_eq!(kept.to_string(), written);
        }
        for text in ["foo=1.\u{1}", "foo=1.\u{a0}"] {
            assert_eq!(read(text), Refused::Named(Dependency::any("foo")), "{text}");
        }
        for text in ["f\u{1}oo=1", "~><r)3", "<=>1", "=1.\u{1}"] {
            assert_eq!(read(text), Refused::LeftOut, "{text}");
        }
        for text in ["foo=", "d~=", "!><", "=", "foo@t=one", "foo@t", "@t", "@"] {
            assert_eq!(read(text), Refused::Ends, "{text}");
        }
        let no_identity = Dependency {
            constraint: Some(Constraint::NoIdentity("zz".into())),
            ..Dependency::any("foo")
        };
        assert!(!no_identity.matches(Some("zz"), None));
    }

    #[test]
    fn what_is_provided_without_version_is_earlier_than_all_versions() {
        for (text, matches) in [
            ("foo", true),
            ("foo<1", true),
            ("foo<=0_alpha", true),
            ("foo<~1", true),
            ("foo=1", false),
            ("foo~1", false),
            ("foo>0", false),
            ("foo>=0", false),
        ] {
            let term = Dependency::parse(text).unwrap();
            assert_eq!(term.matches(None, None), matches, "{text}");
        }
        let exact = Dependency::parse("foo><Q1C4uoV7SdMdDhYg4OCVmI71D8HIA=").unwrap();
        assert!(!exact.matches(Some("1"), None));
        let other: Identity = "Q1EyN5AdpAOBJWKMR89pp/C66o+OE=".parse().unwrap();
        assert!(!exact.matches(Some("1"), Some(&other)));
    }

    #[test]
    fn a_world_keeps_one_term_for_a_name() {
        let mut world = Dependency::parse_list("a b>1\nc@edge").unwrap();
        add_term(&mut world, Dependency::parse("b@edge").unwrap());
        add_term(&mut world, Dependency::parse("!d").unwrap());
        remove_term(&mut world, "a");
        remove_term(&mut world, "absent");
        let text: Vec<String> = world.iter().map(Dependency::to_string).collect();
        assert_eq!(text, ["b@edge", "c@edge", "!d"]);
    }

    /// Texts of a term: its parts in apk's order.
    fn parts()
    -> impl Strategy<Value = (bool, String, Option<String>, Option<(&'static str, String)>)> {
        let operators = vec!["<", "<=", "<~", "=", "~", ">=", ">~", ">"];
        let version = "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}[a-z]?(_rc[0-9])?(~[0-9a-f]{1,4})?(-r[0-9])?";
        (
            any::<bool>(),
            "[a-z:/.+_-]{1,8}",
            prop::option::of("[a-zA-Z0-9]{1,4}"),
            prop::option::of(prop_oneof![
                4 => (prop::sample::select(operators), version),
                1 => (Just("><"), any::<[u8; 20]>().prop_map(|bytes| Identity::Sha1(Sha1::from_bytes(bytes)).to_string())),
                1 => (Just("><"), any::<[u8; 32]>().prop_map(|bytes| Identity::Sha256(Digest::from_bytes(bytes)).to_string())),
            ]),
        )
    }

    proptest! {
        /// One model behind both grammars: the tag before the operator, or after the version.
        #[test]
        fn both_grammars_read_the_same((conflict, name, tag, constraint) in parts()) {
            let not = if conflict { "!" } else { "" };
            let tag = tag.map(|tag| format!("@{tag}")).unwrap_or_default();
            let constraint = constraint.map(|(operator, version)| format!("{operator}{version}"));
            let constraint = constraint.unwrap_or_default();
            let apk = format!("{not}{name}{tag}{constraint}");
            let apko = format!("{not}{name}{constraint}{tag}");
            let read = Dependency::parse(&apk).unwrap();
            prop_assert_eq!(&Dependency::parse_apko(&apko).unwrap(), &read);
            prop_assert_eq!(&Dependency::parse_apko(&apk).unwrap(), &read);
            prop_assert_eq!(read.to_string(), apk.clone());
            prop_assert_eq!(read.conflict, conflict);
            prop_assert_eq!(&read.name, &name);
            prop_assert_eq!(Dependency::parse_untagged(&apk).is_ok(), tag.is_empty());
            let json = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<Dependency>(&json).unwrap(), read);
        }

        /// A term speaks of what its operator accepts; `!` turns nothing but its meaning.
        #[test]
        fn terms_match_as_their_operators_accept(
            operator in prop::sample::select(vec!["<", "<=", "<~", "=", "~", ">=", ">~", ">"]),
            named in "[0-9](\\.[0-9]){0,2}(_rc1)?(-r[01])?",
            offered in "[0-9](\\.[0-9]){0,2}(_rc1)?(-r[01])?",
        ) {
            let term = Dependency::parse(&format!("a{operator}{named}")).unwrap();
            let conflict = Dependency::parse(&format!("!a{operator}{named}")).unwrap();
            let Some(Constraint::Version(of, version)) = &term.constraint else {
                panic!("{term}");
            };
            prop_assert_eq!(of.as_str(), operator);
            prop_assert_eq!(version.as_str(), &named);
            let accepted = of.accepts(&offered, &named);
            prop_assert_eq!(term.matches(Some(&offered), None), accepted);
            prop_assert_eq!(conflict.matches(Some(&offered), None), accepted);
        }

        #[test]
        fn an_identity_matches_itself_alone(one in any::<[u8; 20]>(), other in any::<[u8; 20]>()) {
            let identity = |bytes| Identity::Sha1(Sha1::from_bytes(bytes));
            let term = Dependency::parse(&format!("a><{}", identity(one))).unwrap();
            prop_assert!(term.matches(Some("1"), Some(&identity(one))));
            prop_assert!(term.matches(None, Some(&identity(one))));
            prop_assert_eq!(term.matches(Some("1"), Some(&identity(other))), one == other);
            prop_assert!(!term.matches(Some("1"), None));
        }

        #[test]
        fn display_reads_back(text in "!?[a-z:/.+_-]{1,8}(@[a-z]{1,4})?(([<>~=]|>=|<=|<~|>~)[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(_rc[0-9])?(-r[0-9])?)?") {
            let read = Dependency::parse(&text).unwrap();
            prop_assert_eq!(Dependency::parse(&read.to_string()).unwrap(), read.clone());
            prop_assert_eq!(read.to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[!a-c@<>=~0-9. ]{0,10}|\\PC{0,10}") {
            if let Ok(read) = Dependency::parse(&text) {
                prop_assert_eq!(Dependency::parse(&read.to_string()).unwrap(), read);
            }
            if let Ok(read) = Dependency::parse_apko(&text) {
                prop_assert_eq!(Dependency::parse(&read.to_string()).unwrap(), read);
            }
        }
    }
}
