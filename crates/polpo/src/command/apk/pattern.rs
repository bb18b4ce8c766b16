//! Names as command lines give them: `*`, `?` and `[…]` stand for other characters, and case
//! doesn't matter (fnmatch(3) with `FNM_CASEFOLD`).

/// Whether a name fits a pattern.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut place) = (0, 0);
    // Where the last `*` was, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = name.get(place) {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, place));
            at += 1;
            continue;
        }
        if let Some(next) = one(&pattern, at, *character) {
            at = next;
            place += 1;
            continue;
        }
        let Some((before, taken)) = &mut star else {
            return false;
        };
        *taken += 1;
        (at, place) = (*before + 1, *taken);
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|rest| *rest == '*')
}

/// Where the pattern goes on if its element at a place stands for the character.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    let same = |other: char| other.eq_ignore_ascii_case(&character);
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '\\' => match pattern.get(at + 1) {
            Some(escaped) => same(*escaped).then_some(at + 2),
            None => same('\\').then_some(at + 1),
        },
        '[' => match set(pattern, at, character) {
            Some((next, true)) => Some(next),
            Some((_, false)) => None,
            // Without an end it is a bracket.
            None => same('[').then_some(at + 1),
        },
        literal => same(literal).then_some(at + 1),
    }
}

/// Where a set ends, and whether the character is in it; none if it has no end.
fn set(pattern: &[char], start: usize, character: char) -> Option<(usize, bool)> {
    let character = character.to_ascii_lowercase();
    let mut at = start + 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    loop {
        let from = *pattern.get(at)?;
        if from == ']' && at > first {
            return Some((at + 1, found != negated));
        }
        let to = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(to)) if *to != ']' => {
                at += 2;
                *to
            }
            _ => from,
        };
        found |= (from.to_ascii_lowercase()..=to.to_ascii_lowercase()).contains(&character);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        let yes = [
            ("foo", "foo"),
            ("FOO", "foo"),
            ("f*", "foo"),
            ("*o", "foo"),
            ("*", ""),
            ("f?o", "foo"),
            ("*-doc*", "zlib-doc"),
            ("a*b*c", "axxbxbxc"),
            ("lib[a-c]", "libB"),
            ("lib[!a-c]", "libd"),
            ("[]x]", "]"),
            ("a[", "a["),
            ("\\*", "*"),
        ];
        for (pattern, name) in yes {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        let no = [
            ("foo", "fooo"),
            ("f?", "f"),
            ("*o", "fox"),
            ("lib[a-c]", "libd"),
            ("lib[!a-c]", "liba"),
            ("\\*", "x"),
            ("", "x"),
        ];
        for (pattern, name) in no {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
