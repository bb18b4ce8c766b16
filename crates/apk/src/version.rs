//! Version numbers of packages: grammar, order and matching, as apk 3 defines them
//! (apk-package(5); `digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN]`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version that follows the grammar. Its text is kept as written.
///
/// The order is [`compare`]'s, under which different texts may be equal (`01` and `1`); equality
/// and `Hash`-like uses follow the order too.
#[derive(Clone)]
pub struct Version(Box<str>);

/// The text follows no version grammar that apk accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a version: expected digits{{.digits}}…[letter]{{_suffix[digits]}}…[~hex][-rN], \
     for example 1.2.3_rc1-r0", .0.escape_debug()
)]
pub struct InvalidVersion(pub String);

impl Version {
    /// Checks the grammar and keeps the text.
    pub fn parse(text: &str) -> Result<Version, InvalidVersion> {
        if is_valid(text) {
            Ok(Version(text.into()))
        } else {
            Err(InvalidVersion(text.to_owned()))
        }
    }

    /// Keeps a text that need not follow the grammar: what packages of others provide does not
    /// always, and is still found by its name. It compares up to the first token that is none.
    pub(crate) fn as_written(text: &str) -> Version {
        Version(text.into())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Version, InvalidVersion> {
        Version::parse(text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        let text = String::deserialize(deserializer)?;
        Version::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// How a constraint compares the version offered with the one it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `<~`: less, or beginning with the version named.
    LessOrFuzzy,
    /// `=`
    Equal,
    /// `~`: beginning with the version named (`3.6_pre1` is `~3.6`, and so is `3.6.2`).
    Fuzzy,
    /// `>=`
    GreaterOrEqual,
    /// `>~`: greater, or beginning with the version named.
    GreaterOrFuzzy,
    /// `>`
    Greater,
}

impl Operator {
    /// All of them. What is kept in stores counts by this order.
    pub(crate) const ALL: [Operator; 8] = [
        Operator::Less,
        Operator::LessOrEqual,
        Operator::LessOrFuzzy,
        Operator::Equal,
        Operator::Fuzzy,
        Operator::GreaterOrEqual,
        Operator::GreaterOrFuzzy,
        Operator::Greater,
    ];

    /// apk's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::LessOrFuzzy => "<~",
            Operator::Equal => "=",
            Operator::Fuzzy => "~",
            Operator::GreaterOrEqual => ">=",
            Operator::GreaterOrFuzzy => ">~",
            Operator::Greater => ">",
        }
    }

    /// Whether `offered` is what this operator and `named` ask for. Texts that follow no grammar
    /// compare up to the first token that is none.
    pub fn accepts(self, offered: &str, named: &str) -> bool {
        let order = match self {
            Operator::LessOrFuzzy | Operator::Fuzzy | Operator::GreaterOrFuzzy => {
                compare_fuzzy(offered, named)
            }
            _ => compare(offered, named),
        };
        match self {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual | Operator::LessOrFuzzy => order.is_le(),
            Operator::Equal | Operator::Fuzzy => order.is_eq(),
            Operator::GreaterOrEqual | Operator::GreaterOrFuzzy => order.is_ge(),
            Operator::Greater => order.is_gt(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `text` follows the version grammar.
pub fn is_valid(text: &str) -> bool {
    let mut tokens = Tokens::new(text);
    loop {
        match tokens.next_token() {
            Token::End => return true,
            Token::Invalid => return false,
            _ => {}
        }
    }
}

/// The order of two versions: token by token, the first that differs decides. A total order on
/// texts that follow the grammar (`01` and `1` are equal in it).
pub fn compare(left: &str, right: &str) -> Ordering {
    compare_tokens(left, right, false)
}

/// As [`compare`], but equal when `right` ends where they first differ.
pub fn compare_fuzzy(left: &str, right: &str) -> Ordering {
    compare_tokens(left, right, true)
}

fn compare_tokens(left: &str, right: &str, fuzzy: bool) -> Ordering {
    let mut left = Tokens::new(left);
    let mut right = Tokens::new(right);
    if let Some(length) = same_numbers(left.rest, right.rest) {
        left.skip_numbers(length);
        right.skip_numbers(length);
    }
    loop {
        let (a, b) = (left.next_token(), right.next_token());
        match (&a, &b) {
            (Token::End, Token::End) | (Token::Invalid, Token::Invalid) => return Ordering::Equal,
            _ if a.rank() == b.rank() => match a.compare_same_kind(&b) {
                Ordering::Equal => {}
                order => return order,
            },
            (_, Token::End) if fuzzy => return Ordering::Equal,
            // All before was equal: what continues is greater, except with a pre-release suffix.
            (a, _) if a.is_prerelease() => return Ordering::Less,
            (_, b) if b.is_prerelease() => return Ordering::Greater,
            (a, b) => return b.rank().cmp(&a.rank()),
        }
    }
}

/// Shorter versions are compared number by number.
const LONG: usize = 64;

/// How long the text is with which both begin, if it is numbers with dots between them, and a dot
/// follows: then their tokens are the same so far. None of short versions, as nearly all are; but an
/// index may hold very many that begin with the same thousand numbers.
fn same_numbers(left: &str, right: &str) -> Option<usize> {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len().min(right.len()) < LONG {
        return None;
    }
    let pieces = left.chunks_exact(LONG).zip(right.chunks_exact(LONG));
    let same = LONG * pieces.take_while(|(left, right)| left == right).count();
    let end = left[..same].iter().rposition(|byte| *byte == b'.')?;
    let numbers = &left[..end];
    // No early end: this way, many bytes are looked at together.
    let plain = numbers.iter().fold(true, |plain, byte| {
        plain & (byte.is_ascii_digit() | (*byte == b'.'))
    });
    let apart = left[..end].iter().zip(&left[1..=end]);
    let apart = apart.fold(true, |apart, (byte, next)| {
        apart & !((*byte == b'.') & (*next == b'.'))
    });
    (plain && apart && numbers.first() != Some(&b'.') && end > 0).then_some(end)
}

/// In ascending order. `Suffix::is_prerelease` divides them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    Alpha,
    Beta,
    Pre,
    Rc,
    Cvs,
    Svn,
    Git,
    Hg,
    P,
}

impl Suffix {
    fn parse(text: &str) -> Option<Suffix> {
        Some(match text {
            "alpha" => Suffix::Alpha,
            "beta" => Suffix::Beta,
            "pre" => Suffix::Pre,
            "rc" => Suffix::Rc,
            "cvs" => Suffix::Cvs,
            "svn" => Suffix::Svn,
            "git" => Suffix::Git,
            "hg" => Suffix::Hg,
            "p" => Suffix::P,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    FirstNumber(&'t str),
    Number(&'t str),
    Letter(u8),
    Suffix(Suffix),
    SuffixNumber(&'t str),
    Hash(&'t str),
    Revision(&'t str),
    End,
    Invalid,
}

impl Token<'_> {
    /// Where tokens of different kinds meet, the lower rank is the greater version. The rank also
    /// says what may follow.
    fn rank(self) -> u8 {
        match self {
            Token::FirstNumber(_) => 0,
            Token::Number(_) => 1,
            Token::Letter(_) => 2,
            Token::Suffix(_) => 3,
            Token::SuffixNumber(_) => 4,
            Token::Hash(_) => 5,
            Token::Revision(_) => 6,
            Token::End => 7,
            Token::Invalid => 8,
        }
    }

    fn is_prerelease(self) -> bool {
        matches!(self, Token::Suffix(suffix) if suffix <= Suffix::Rc)
    }

    fn compare_same_kind(&self, other: &Token<'_>) -> Ordering {
        match (*self, *other) {
            // Gentoo's rule: a leading zero makes it a fraction, compared as text.
            (Token::Number(a), Token::Number(b)) if a.starts_with('0') || b.starts_with('0') => {
                a.cmp(b)
            }
            (Token::FirstNumber(a), Token::FirstNumber(b))
            | (Token::Number(a), Token::Number(b))
            | (Token::SuffixNumber(a), Token::SuffixNumber(b))
            | (Token::Revision(a), Token::Revision(b)) => compare_numbers(a, b),
            (Token::Letter(a), Token::Letter(b)) => a.cmp(&b),
            (Token::Suffix(a), Token::Suffix(b)) => a.cmp(&b),
            (Token::Hash(a), Token::Hash(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

/// Decimal numbers of any length.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    let left = left.trim_start_matches('0');
    let right = right.trim_start_matches('0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

struct Tokens<'t> {
    rest: &'t str,
    /// The rank of the last token; none before the first.
    last: Option<u8>,
}

impl<'t> Tokens<'t> {
    fn new(text: &'t str) -> Tokens<'t> {
        Tokens {
            rest: text,
            last: None,
        }
    }

    /// Goes on behind numbers with dots between them, of this length in all.
    fn skip_numbers(&mut self, length: usize) {
        let (numbers, rest) = self.rest.split_at(length);
        let number = match numbers.contains('.') {
            true => Token::Number(numbers),
            false => Token::FirstNumber(numbers),
        };
        self.rest = rest;
        self.last = Some(number.rank());
    }

    fn next_token(&mut self) -> Token<'t> {
        let token = self.parse_next().unwrap_or(Token::Invalid);
        self.last = Some(token.rank());
        token
    }

    fn parse_next(&mut self) -> Option<Token<'t>> {
        const NUMBER: u8 = 1;
        const SUFFIX: u8 = 3;
        const SUFFIX_NUMBER: u8 = 4;
        const HASH: u8 = 5;
        const REVISION: u8 = 6;

        let Some(last) = self.last else {
            return self.digits().map(Token::FirstNumber);
        };
        let Some(first) = self.rest.bytes().next() else {
            return Some(Token::End);
        };
        match first {
            b'a'..=b'z' if last <= NUMBER => {
                self.rest = &self.rest[1..];
                Some(Token::Letter(first))
            }
            b'.' if last <= NUMBER => {
                self.rest = &self.rest[1..];
                self.digits().map(Token::Number)
            }
            b'0'..=b'9' if last <= NUMBER => self.digits().map(Token::Number),
            b'0'..=b'9' if last == SUFFIX => self.digits().map(Token::SuffixNumber),
            b'_' if last <= SUFFIX_NUMBER => {
                self.rest = &self.rest[1..];
                let name = self.take_while(|byte| byte.is_ascii_lowercase());
                Suffix::parse(name).map(Token::Suffix)
            }
            b'~' if last < HASH => {
                self.rest = &self.rest[1..];
                let hash = self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                (!hash.is_empty()).then_some(Token::Hash(hash))
            }
            b'-' if last < REVISION => {
                self.rest = self.rest.strip_prefix("-r")?;
                self.digits().map(Token::Revision)
            }
            _ => None,
        }
    }

    fn digits(&mut self) -> Option<&'t str> {
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        (!digits.is_empty()).then_some(digits)
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'t str {
        let length = self.rest.bytes().take_while(|byte| keep(*byte)).count();
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn corpus() -> PathBuf {
        match std::env::var_os("POLPO_CORPUS") {
            Some(folder) => folder.into(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        }
    }

    fn operator(text: &str) -> Operator {
        use Operator::*;
        [
            Less,
            LessOrEqual,
            LessOrFuzzy,
            Equal,
            Fuzzy,
            GreaterOrEqual,
            GreaterOrFuzzy,
            Greater,
        ]
        .into_iter()
        .find(|operator| operator.as_str() == text)
        .unwrap()
    }

    /// `left op right`, `left !op right`, `valid` and `!invalid`, one a line.
    #[test]
    fn apk_version_data() {
        let path = corpus().join("apk/version.data");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut wrong = Vec::new();
        let mut cases = 0;
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
            let words: Vec<&str> = line.split(' ').collect();
            let right = match words.as_slice() {
                [""] => continue,
                [version] => match version.strip_prefix('!') {
                    Some(version) => !is_valid(version),
                    None => is_valid(version),
                },
                [left, op, right] => match op.strip_prefix('!') {
                    Some(op) => !operator(op).accepts(left, right),
                    None => operator(op).accepts(left, right),
                },
                _ => panic!("{line}"),
            };
            cases += 1;
            if !right {
                wrong.push(line);
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(cases, 785);
    }

    #[test]
    fn leading_zeros_are_fractions() {
        for (left, right) in [
            ("4.09", "4.5"),
            ("1.0", "1.00"),
            ("1.2.05", "1.2.1"),
            ("20240101.09", "20240101.1"),
            ("1.99999999999999999999998", "1.99999999999999999999999"),
        ] {
            assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
        }
        assert_eq!(compare("007", "7"), Ordering::Equal);
    }

    #[test]
    fn the_error_shows_an_example() {
        insta::assert_snapshot!(Version::parse("1.0-beta").unwrap_err(), @"`1.0-beta` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0");
    }

    /// Versions of any shape that the grammar allows.
    const GRAMMAR: &str = "[0-9]{1,12}(\\.[0-9]{1,4}){0,4}[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]{0,8}){0,3}(~[0-9a-f]{1,8})?(-r[0-9]{1,3})?";

    prop_compose! {
        /// Versions out of few pieces, so that many share a beginning.
        fn version()(
            numbers in prop::collection::vec(prop::sample::select(vec!["0", "00", "1", "01", "2", "09", "10", "5"]), 1..4),
            letter in prop::option::weighted(0.2, prop::sample::select(vec!["a", "b"])),
            suffixes in prop::collection::vec((
                prop::sample::select(vec!["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"]),
                prop::sample::select(vec!["", "0", "1", "2", "10"]),
            ), 0..3),
            hash in prop::option::weighted(0.2, prop::sample::select(vec!["0", "ab", "1f"])),
            revision in prop::option::weighted(0.4, 0..3u8),
        ) -> String {
            let mut text = numbers.join(".");
            text.extend(letter);
            for (suffix, number) in suffixes {
                text.push_str(&format!("_{suffix}{number}"));
            }
            text.extend(hash.map(|hash| format!("~{hash}")));
            text.extend(revision.map(|revision| format!("-r{revision}")));
            text
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn versions_are_totally_ordered(a in version(), b in version(), c in version()) {
            prop_assert!(is_valid(&a));
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|left, right| compare(left, right));
            let [first, second, third] = sorted;
            prop_assert!(compare(first, second).is_le());
            prop_assert!(compare(second, third).is_le());
            prop_assert!(compare(first, third).is_le());
        }

        #[test]
        fn versions_of_any_shape_are_totally_ordered(
            a in GRAMMAR,
            b in GRAMMAR,
            c in GRAMMAR,
        ) {
            prop_assert!(is_valid(&a), "{}", a);
            prop_assert_eq!(Version::parse(&a).unwrap().to_string(), a.clone());
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|left, right| compare(left, right));
            let [first, second, third] = sorted;
            prop_assert!(compare(first, third).is_le());
            // What is equal is equal to all else.
            if compare(first, second).is_eq() {
                prop_assert_eq!(compare(first, third), compare(second, third));
            }
            prop_assert_eq!(Version::parse(&a).unwrap() == Version::parse(&b).unwrap(), compare(&a, &b).is_eq());
        }

        /// Whether numbers that both begin with are skipped or not, and whether they are numbers at all.
        #[test]
        fn long_versions_compare_as_short_ones(
            number in "[0-9]{1,2}",
            between in "[.]{1,2}",
            a in "[0-9.a_pr~-]{0,6}",
            b in "[0-9.a_pr~-]{0,6}",
        ) {
            let of = |count: usize, tail: &str| {
                format!("{number}{}{tail}", format!("{between}{number}").repeat(count))
            };
            for compare in [compare, compare_fuzzy] {
                let long = compare(&of(60, &a), &of(60, &b));
                prop_assert_eq!(long, compare(&of(1, &a), &of(1, &b)));
            }
        }

        /// Each part that may follow makes a version greater, but for the pre-release suffixes.
        #[test]
        fn what_continues_is_greater(a in "[0-9]{1,3}(\\.[1-9][0-9]?){0,2}") {
            for more in [".0", ".1", "a", "_p", "_cvs1", "_git20240101", "~ab12", "-r0", "-r12"] {
                let longer = format!("{a}{more}");
                prop_assert_eq!(compare(&longer, &a), Ordering::Greater, "{}", longer);
                prop_assert_eq!(compare_fuzzy(&longer, &a), Ordering::Equal, "{}", longer);
                prop_assert_eq!(compare_fuzzy(&a, &longer), Ordering::Less, "{}", longer);
            }
            for before in ["_alpha", "_beta1", "_pre", "_rc9"] {
                let longer = format!("{a}{before}");
                prop_assert_eq!(compare(&longer, &a), Ordering::Less, "{}", longer);
                prop_assert_eq!(compare_fuzzy(&longer, &a), Ordering::Equal, "{}", longer);
                prop_assert_eq!(compare_fuzzy(&a, &longer), Ordering::Greater, "{}", longer);
            }
        }

        #[test]
        fn operators_agree_with_the_order(a in version(), b in version()) {
            let order = compare(&a, &b);
            prop_assert_eq!(Operator::Less.accepts(&a, &b), order.is_lt());
            prop_assert_eq!(Operator::LessOrEqual.accepts(&a, &b), order.is_le());
            prop_assert_eq!(Operator::Equal.accepts(&a, &b), order.is_eq());
            prop_assert_eq!(Operator::GreaterOrEqual.accepts(&a, &b), order.is_ge());
            prop_assert_eq!(Operator::Greater.accepts(&a, &b), order.is_gt());
            let fuzzy = compare_fuzzy(&a, &b);
            prop_assert_eq!(Operator::LessOrFuzzy.accepts(&a, &b), fuzzy.is_le());
            prop_assert_eq!(Operator::Fuzzy.accepts(&a, &b), fuzzy.is_eq());
            prop_assert_eq!(Operator::GreaterOrFuzzy.accepts(&a, &b), fuzzy.is_ge());
            // Fuzzy is wider than equal, and never crosses to the other side.
            prop_assert!(!order.is_eq() || fuzzy.is_eq());
            prop_assert!(fuzzy.is_eq() || fuzzy == order);
            // What begins with the version named, piece by piece, is what fuzzy accepts.
            if fuzzy.is_eq() {
                let beginning = (0..=a.len()).filter(|end| a.is_char_boundary(*end));
                let mut beginning = beginning.map(|end| &a[..end]);
                prop_assert!(beginning.any(|part| compare(part, &b).is_eq()), "{} ~ {}", a, b);
            }
        }

        #[test]
        fn fuzzy_is_transitive(a in version(), b in version(), c in version()) {
            if Operator::Fuzzy.accepts(&a, &b) && Operator::Fuzzy.accepts(&b, &c) {
                prop_assert!(Operator::Fuzzy.accepts(&a, &c), "{} ~ {} ~ {}", a, b, c);
            }
        }

        /// Texts that follow no grammar have a place among the others too, and what an operator
        /// accepts lies side by side.
        #[test]
        fn texts_of_any_kind_are_ordered(
            mut texts in prop::collection::vec(prop_oneof![
                2 => version(),
                1 => "[0-2a._~rp-]{0,6}",
                1 => "\\PC{0,3}",
            ], 3..12),
            named in prop_oneof![1 => version(), 1 => "[0-2a._~rp-]{0,4}"],
        ) {
            texts.sort_by(|left, right| compare(left, right));
            for (place, left) in texts.iter().enumerate() {
                for right in &texts[place..] {
                    prop_assert!(compare(left, right).is_le(), "{} {}", left, right);
                    prop_assert!(compare(right, left).is_ge(), "{} {}", left, right);
                }
            }
            prop_assert!(texts.is_sorted_by_key(|text| compare(text, &named)));
            prop_assert!(texts.is_sorted_by_key(|text| compare_fuzzy(text, &named)));
        }

        #[test]
        fn any_text_compares(a in "[0-9a-z._~rp-]{0,12}", b in "\\PC{0,12}") {
            let _ = compare(&a, &b);
            let _ = compare_fuzzy(&b, &a);
            prop_assert_eq!(is_valid(&a), Version::parse(&a).is_ok());
        }
    }
}
