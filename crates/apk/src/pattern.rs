//! Shell patterns, as fnmatch(3) reads them: apk's triggers, protected paths and name arguments.

/// How letters are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// As they are.
    #[default]
    Exact,
    /// Without regard to case (`FNM_CASEFOLD`): names of packages.
    Fold,
}

/// Whether all of `text` matches `pattern`: `*`, `?`, `[a-z]`, `[!a-z]`, `\` before what is meant
/// literally. A bracket that isn't closed stands for itself.
pub fn matches(pattern: &str, text: &str, case: Case) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut place) = (0, 0);
    // The star that was passed last, and how far it reaches now.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, place));
            at += 1;
            continue;
        }
        if let Some(next) = one(&pattern, at, text[place], case) {
            at = next;
            place += 1;
            continue;
        }
        let Some((star_at, reach)) = star else {
            return false;
        };
        star = Some((star_at, reach + 1));
        (at, place) = (star_at + 1, reach + 1);
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// The same for paths (`FNM_PATHNAME`): only `/` matches `/`.
pub fn matches_path(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    pattern.split('/').all(|pattern| {
        segments
            .next()
            .is_some_and(|segment| matches(pattern, segment, Case::Exact))
    }) && segments.next().is_none()
}

/// Where the pattern goes on if what stands at `at` matches `character`.
fn one(pattern: &[char], at: usize, character: char, case: Case) -> Option<usize> {
    let same = |left: char| folded(left, case) == folded(character, case);
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at, character, case) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => same('[').then_some(at + 1),
        },
        '\\' => match pattern.get(at + 1) {
            Some(literal) => same(*literal).then_some(at + 2),
            None => same('\\').then_some(at + 1),
        },
        literal => same(literal).then_some(at + 1),
    }
}

/// Whether the bracket expression that begins at `at` has the character, and where it ends; none if
/// it is not closed.
fn bracket(pattern: &[char], at: usize, character: char, case: Case) -> Option<(bool, usize)> {
    let mut next = at + 1;
    let negated = matches!(pattern.get(next), Some('!' | '^'));
    next += usize::from(negated);
    let first = next;
    let mut found = false;
    let character = folded(character, case);
    loop {
        let low = match *pattern.get(next)? {
            ']' if next > first => return Some((found != negated, next + 1)),
            '[' if pattern.get(next + 1) == Some(&':') => {
                let end = (next + 2..pattern.len())
                    .find(|end| pattern[*end] == ':' && pattern.get(*end + 1) == Some(&']'));
                if let Some(end) = end {
                    let name: String = pattern[next + 2..end].iter().collect();
                    found |= class(&name, character, case);
                    next = end + 2;
                    continue;
                }
                '['
            }
            '\\' => {
                next += 1;
                *pattern.get(next)?
            }
            literal => literal,
        };
        next += 1;
        let mut high = low;
        if pattern.get(next) == Some(&'-') && pattern.get(next + 1).is_some_and(|end| *end != ']') {
            next += 1;
            if pattern.get(next) == Some(&'\\') {
                next += 1;
            }
            high = *pattern.get(next)?;
            next += 1;
        }
        found |= (folded(low, case)..=folded(high, case)).contains(&character);
    }
}

fn class(name: &str, character: char, case: Case) -> bool {
    match name {
        "alnum" => character.is_alphanumeric(),
        "alpha" => character.is_alphabetic(),
        "blank" => matches!(character, ' ' | '\t'),
        "cntrl" => character.is_control(),
        "digit" => character.is_ascii_digit(),
        "graph" => !character.is_control() && !character.is_whitespace(),
        "lower" => character.is_lowercase() || case == Case::Fold && character.is_alphabetic(),
        "print" => !character.is_control(),
        "punct" => character.is_ascii_punctuation(),
        "space" => character.is_whitespace(),
        "upper" => character.is_uppercase() || case == Case::Fold && character.is_alphabetic(),
        "xdigit" => character.is_ascii_hexdigit(),
        _ => false,
    }
}

fn folded(character: char, case: Case) -> char {
    match case {
        Case::Exact => character,
        Case::Fold => character.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("?b", "äb", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[[:digit:]]z", "7z", true),
            ("[[:digit:]]z", "az", false),
            ("[ab", "[ab", true),
            ("[ab", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("ca-cert-*.pem", "ca-cert-x.pem", true),
        ] {
            assert_eq!(
                matches(pattern, text, Case::Exact),
                expected,
                "{pattern:?} {text:?}"
            );
        }
        assert!(matches("LIB[A-Z]*", "libfoo", Case::Fold));
        assert!(!matches("LIB*", "libfoo", Case::Exact));
    }

    #[test]
    fn only_a_slash_matches_a_slash() {
        for (pattern, path, expected) in [
            ("/usr/share/*", "/usr/share/man", true),
            ("/usr/share/*", "/usr/share/man/de", false),
            ("/usr/share/*", "/usr/share", false),
            ("/usr?share", "/usr/share", false),
            ("/*/lib*", "/usr/lib64", true),
            ("*", ".hidden", true),
        ] {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        }
    }
}
