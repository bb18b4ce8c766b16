//! Debian's versions in apk's grammar.
//!
//! `12.2.0-14+deb12u1` becomes `12.2.0_rc-r1400120100`: without the epoch; the suffix `_rc` makes
//! it less than the same upstream version built here (`12.2.0-r0`), so that a stage's own package
//! takes over; the revision's numbers stand in fixed columns, two digits each after the first
//! (`.N`, `+debNuN`, `+bN`).
//!
//! Shapes that apk's grammar has no place for (`+dfsg`, `~git…`) lose what doesn't fit. Their order
//! may be wrong, and the second value of [`map_version`] says so.

use std::cmp::Ordering;

use super::debian_version;

/// The version in apk's grammar, and whether nothing was lost: any two versions of the same epoch
/// for which that is so compare as they do in Debian.
pub fn map_version(version: &str) -> (String, bool) {
    let rest = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let (mut text, mut left, mut exact) = numbers(upstream);
    let mut letters = left.chars();
    if let Some(letter) = letters.next().filter(char::is_ascii_lowercase)
        && !letters
            .as_str()
            .starts_with(|next: char| next.is_ascii_alphanumeric())
    {
        text.push(letter);
        left = letters.as_str();
    }
    if let Some((suffix, after, fits)) = before(left) {
        text.push_str(&suffix);
        left = after;
        exact &= fits;
    }
    exact &= left.is_empty();
    // A native version (`20230311+deb12u1`) has its columns, but no revision, behind the upstream.
    let (revision, whole) = if revision.is_empty() && !left.is_empty() {
        columns(left)
    } else {
        let end = number_end(revision);
        let (value, whole) = columns(&revision[end..]);
        let main = revision[..end].parse().unwrap_or(0).min(LARGEST);
        exact &= main < LARGEST && (end > 0 || revision.is_empty());
        (main * COLUMNS + value, whole)
    };
    (format!("{text}_rc-r{revision}"), exact && whole)
}

/// Revisions are smaller; numbers that are not would overflow in apk.
const LARGEST: u64 = 1_000_000;

/// What the columns after the first take.
const COLUMNS: u64 = 100_000_000;

/// Longer numbers overflow in apk.
const LONGEST: usize = 15;

/// Whether `version`, converted, stands to `named`, converted, as it does in Debian.
pub fn agrees(version: &str, named: &str) -> bool {
    let epoch = |text: &str| {
        text.split_once(':')
            .map_or("0", |(epoch, _)| epoch)
            .to_owned()
    };
    if epoch(version) != epoch(named) {
        return false;
    }
    let mapped: Ordering = apk::version::compare(&map_version(version).0, &map_version(named).0);
    mapped == debian_version::compare(version, named)
}

fn number_end(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len())
}

/// A number without leading zeros, which apk would compare as text.
fn plain(number: &str) -> &str {
    match number.trim_start_matches('0') {
        "" => "0",
        other => other,
    }
}

/// The dotted numbers at the start, what follows, and whether there are any and all fit.
fn numbers(upstream: &str) -> (String, &str, bool) {
    let mut parts = Vec::new();
    let mut rest = upstream;
    let mut fits = true;
    loop {
        let end = number_end(rest);
        if end == 0 {
            break;
        }
        let number = plain(&rest[..end]);
        fits &= number.len() <= LONGEST;
        parts.push(number);
        rest = &rest[end..];
        match rest.strip_prefix('.') {
            Some(after) if number_end(after) > 0 => rest = after,
            _ => break,
        }
    }
    if parts.is_empty() {
        return ("0".to_owned(), rest, false);
    }
    (parts.join("."), rest, fits)
}

/// A pre-release (`~alpha1`, `~beta2`, `~rc3`) as a suffix below `_rc`, what follows, and whether
/// its number fits.
fn before(text: &str) -> Option<(String, &str, bool)> {
    let kinds = [("~alpha", "_alpha"), ("~beta", "_beta"), ("~rc", "_pre")];
    let (suffix, rest) = kinds
        .iter()
        .find_map(|(debian, apk)| text.strip_prefix(debian).map(|rest| (apk, rest)))?;
    let (number, after) = rest.split_at(number_end(rest));
    let number = number.trim_start_matches('0');
    Some((format!("{suffix}{number}"), after, number.len() <= LONGEST))
}

/// What follows a revision's first number (`.B`, `+debCuD`, `+bE`, each at most once and in this
/// order) as columns of two digits, and whether that was all.
fn columns(text: &str) -> (u64, bool) {
    let mut rest = text;
    let mut exact = true;
    let mut folded = 0;
    for (prefix, optional) in [(".", true), ("+deb", true), ("u", false), ("+b", true)] {
        let mut value = 0;
        let expected = optional || folded % 100 != 0;
        if let Some(after) = rest.strip_prefix(prefix).filter(|_| expected) {
            let (number, after) = after.split_at(number_end(after));
            value = number.parse().unwrap_or(0_u64).min(99);
            // Nothing and 0 differ in Debian, not here.
            exact &= value > 0 && number.len() <= 2;
            rest = after;
        } else if !optional && expected {
            exact = false;
        }
        folded = folded * 100 + value;
    }
    (folded, exact && rest.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        let shown: Vec<String> = [
            "12.2.0-14+deb12u1",
            "2.36-9+deb12u10",
            "4:12.2.0-3",
            "5.2.15-2+b7",
            "1.1.1n-0+deb11u5",
            "20230311+deb12u1",
            "2.0~rc3-1.1",
            "1:1.2.13.dfsg-1",
            "0.07-2",
            "6.04~git20190206.bf6db5b4+dfsg1-2",
        ]
        .iter()
        .map(|version| {
            let (mapped, exact) = map_version(version);
            assert!(apk::version::is_valid(&mapped), "{mapped}");
            format!(
                "{version} {mapped}{}",
                if exact { "" } else { " (inexact)" }
            )
        })
        .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        12.2.0-14+deb12u1 12.2.0_rc-r1400120100
        2.36-9+deb12u10 2.36_rc-r900121000
        4:12.2.0-3 12.2.0_rc-r300000000
        5.2.15-2+b7 5.2.15_rc-r200000007
        1.1.1n-0+deb11u5 1.1.1n_rc-r110500
        20230311+deb12u1 20230311_rc-r120100 (inexact)
        2.0~rc3-1.1 2.0_pre3_rc-r101000000
        1:1.2.13.dfsg-1 1.2.13_rc-r100000000 (inexact)
        0.07-2 0.7_rc-r200000000
        6.04~git20190206.bf6db5b4+dfsg1-2 6.4_rc-r200000000 (inexact)
        ");
    }

    #[test]
    fn what_is_built_here_is_newer_than_the_seed() {
        for (built, seed) in [("12.2.0-r0", "4:12.2.0-14"), ("1.1.1n-r0", "1.1.1n-1")] {
            let order = apk::version::compare(built, &map_version(seed).0);
            assert_eq!(order, Ordering::Greater, "{built} {seed}");
        }
    }

    /// Versions as packagers write them, and some that they should not.
    fn version() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "(0|[1-9][0-9]?|0[1-9])(\\.(0|[1-9][0-9]?)){0,3}[a-d]?(~(alpha|beta|rc)[0-9]?)?(-[0-9]{1,2}(\\.[0-9])?(\\+deb1[12]u[0-9])?(\\+b[0-9]{1,2})?)?",
            1 => "[0-9][0-9.a-c~+u]{0,6}(-[0-9a-c.~+]{1,6})?",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn exact_versions_compare_as_in_debian(left in version(), right in version()) {
            let ((a, a_exact), (b, b_exact)) = (map_version(&left), map_version(&right));
            prop_assert!(apk::version::is_valid(&a), "{left} {a}");
            if a_exact && b_exact {
                let expected = debian_version::compare(&left, &right);
                prop_assert_eq!(apk::version::compare(&a, &b), expected, "{} {} as {} {}", left, right, a, b);
                prop_assert_eq!(agrees(&left, &right), true);
            }
        }
    }
}
