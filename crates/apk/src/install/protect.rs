//! Protected paths: what the administrator is expected to change (apk-protected_paths(5)).

use crate::pattern::{Case, matches};

/// How files below a path are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protection {
    /// By no rule.
    #[default]
    None,
    /// `-`: not, though a wider rule says so.
    Ignore,
    /// `+`: what was changed stays.
    Changed,
    /// `@`: links that were changed stay.
    Links,
    /// `!`: everything stays.
    All,
}

impl Protection {
    /// Whether an installation keeps files that were changed; `@` and `!` do the same there.
    pub(super) fn protects(self) -> bool {
        !matches!(self, Protection::None | Protection::Ignore)
    }
}

/// A rule, as it is seen from one directory: what is left of its pattern there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pattern: String,
    protection: Protection,
}

/// What a directory inherits and hands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Protected {
    /// For the directory's files and all below, where no other rule says else.
    pub(super) protection: Protection,
    /// Whether something in it or below is protected, as far as can be told from here.
    pub(super) has_protected_children: bool,
    /// The rules that go on below.
    rules: Vec<Rule>,
}

/// The rules that always hold.
pub(super) const USUAL: &str = "+etc\n@etc/init.d\n!etc/apk\n";

/// Those of `audit --full`. apk passes over its own database in `lib/apk` alone; where `/lib` is a link to
/// `usr/lib`, that is `usr/lib/apk`.
pub(super) const FULL: &str = "+etc\n@etc/init.d\n-dev\n-home\n-lib/apk\n-lib/rc/cache\n-proc\n-root\n-run\n-sys\n-tmp\n-usr/lib/apk\n-var\n";

/// Reads rules, one a line.
pub(super) fn parse(text: &str) -> impl Iterator<Item = Rule> + '_ {
    text.split('\n').filter_map(|line| {
        let (protection, pattern) = match line.chars().next()? {
            '#' => return None,
            '-' => (Protection::Ignore, &line[1..]),
            '+' => (Protection::Changed, &line[1..]),
            '@' => (Protection::Links, &line[1..]),
            '!' => (Protection::All, &line[1..]),
            _ => (Protection::Changed, line),
        };
        Some(Rule {
            pattern: pattern.trim_matches('/').to_owned(),
            protection,
        })
    })
}

impl Protected {
    /// The root: nothing in it is protected but by rules.
    pub(super) fn root(rules: Vec<Rule>) -> Protected {
        Protected {
            protection: Protection::None,
            has_protected_children: true,
            rules,
        }
    }

    /// The directory `name` in this one.
    pub(super) fn child(&self, name: &str) -> Protected {
        let mut child = Protected {
            protection: self.protection,
            has_protected_children: self.protection.protects(),
            rules: Vec::new(),
        };
        for rule in &self.rules {
            match rule.pattern.split_once('/') {
                Some((first, rest)) => {
                    if !matches(first, name, Case::Exact) {
                        continue;
                    }
                    child.rules.push(Rule {
                        pattern: rest.to_owned(),
                        protection: rule.protection,
                    });
                }
                None => {
                    if !matches(&rule.pattern, name, Case::Exact) {
                        continue;
                    }
                    child.protection = rule.protection;
                }
            }
            child.has_protected_children |= rule.protection.protects();
        }
        child
    }

    /// How a file of this directory is protected to `audit`, which knows rules for single files.
    pub(super) fn file(&self, name: &str) -> Protection {
        self.rules
            .iter()
            .filter(|rule| !rule.pattern.contains('/'))
            .rfind(|rule| matches(&rule.pattern, name, Case::Exact))
            .map_or(self.protection, |rule| rule.protection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rules: &str, path: &str) -> Protected {
        path.split('/')
            .fold(Protected::root(parse(rules).collect()), |here, name| {
                here.child(name)
            })
    }

    #[test]
    fn later_and_deeper_rules_win() {
        let rules = format!("{USUAL}# no rule\n\n-etc/ssl/certs/\n+/opt/*/conf\nsrv\n-etc/x*.tmp");
        for (path, expected) in [
            ("etc", Protection::Changed),
            ("etc/ssl", Protection::Changed),
            ("etc/ssl/certs", Protection::Ignore),
            ("etc/ssl/certs/below", Protection::Ignore),
            ("etc/init.d", Protection::Links),
            ("etc/apk/keys", Protection::All),
            ("opt/one/conf/deep", Protection::Changed),
            ("opt/one/two/conf", Protection::None),
            ("srv/x", Protection::Changed),
            ("usr/etc", Protection::None),
        ] {
            assert_eq!(at(&rules, path).protection, expected, "{path}");
        }
        assert!(at(&rules, "opt/one").has_protected_children);
        assert!(!at(&rules, "usr/share").has_protected_children);
        let etc = at(&rules, "etc");
        assert_eq!(etc.file("x1.tmp"), Protection::Ignore);
        assert_eq!(etc.file("passwd"), Protection::Changed);
        assert!(!Protection::Ignore.protects() && Protection::Links.protects());
    }
}
