//! Debian's relations between packages: `Depends: a (>= 1) | b, c [amd64]`.

use std::cmp::Ordering;

use super::debian_version;

/// One alternative of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// The package's name, or that of a virtual one.
    pub(super) name: String,
    /// Operator and version.
    pub(super) constraint: Option<(Operator, String)>,
}

/// How a version is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
}

impl Relation {
    /// Whether a package of this version will do.
    pub(super) fn accepts(&self, version: &str) -> bool {
        self.constraint.as_ref().is_none_or(|(operator, named)| {
            let order = debian_version::compare(version, named);
            match operator {
                Operator::Less => order == Ordering::Less,
                Operator::AtMost => order != Ordering::Greater,
                Operator::Equal => order == Ordering::Equal,
                Operator::AtLeast => order != Ordering::Less,
                Operator::Greater => order == Ordering::Greater,
            }
        })
    }
}

/// The dependencies of a field: each a list of alternatives.
pub(super) fn parse(field: &str) -> Vec<Vec<Relation>> {
    field
        .split(',')
        .map(|group| group.split('|').filter_map(one).collect::<Vec<_>>())
        .filter(|group| !group.is_empty())
        .collect()
}

fn one(text: &str) -> Option<Relation> {
    let text = text.split('[').next().unwrap_or_default();
    let (name, constraint) = match text.split_once('(') {
        Some((name, constraint)) => (name, Some(constraint)),
        None => (text, None),
    };
    // `perl:any` asks for any architecture's; a seed has one.
    let name = name.trim().split(':').next().unwrap_or_default();
    let constraint = constraint.and_then(|constraint| {
        let constraint = constraint.split(')').next().unwrap_or_default().trim();
        let at = constraint.find(|letter: char| !"<>=".contains(letter))?;
        let (operator, version) = constraint.split_at(at);
        let operator = match operator {
            "<<" => Operator::Less,
            "<=" | "<" => Operator::AtMost,
            "=" => Operator::Equal,
            ">=" | ">" => Operator::AtLeast,
            ">>" => Operator::Greater,
            _ => return None,
        };
        Some((operator, version.trim().to_owned()))
    });
    (!name.is_empty()).then(|| Relation {
        name: name.to_owned(),
        constraint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let groups = parse("libc6 (>= 2.34), perl:any | awk (<<2) [amd64],\n debconf (= 1:0.5-1),");
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[1][0].name, "perl");
        assert_eq!(
            groups[1][1].constraint,
            Some((Operator::Less, "2".to_owned()))
        );
        assert!(groups[2][0].accepts("1:0.5-1") && !groups[2][0].accepts("0.5-1"));
        assert!(groups[0][0].accepts("2.36-9") && !groups[0][0].accepts("2.34~rc1"));
        assert!(parse(" ").is_empty());
    }
}
