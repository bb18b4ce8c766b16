//! Debian's relations between packages: `Depends: a (>= 1) | b, c [amd64]`.

use std::cmp::Ordering;

use super::debian_version;

/// One alternative of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The package's name, or that of a virtual one.
    pub name: String,
    /// Operator and version.
    pub constraint: Option<(Operator, String)>,
}

/// How a version is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Less,
    /// `<=`, and `<`, which Debian takes for the same.
    AtMost,
    /// `=`
    Equal,
    /// `>=`, and `>`, which Debian takes for the same.
    AtLeast,
    /// `>>`
    Greater,
}

impl Relation {
    /// The relations of a field: each a list of alternatives.
    pub fn parse(field: &str) -> Vec<Vec<Relation>> {
        field
            .split(',')
            .map(|group| group.split('|').filter_map(one).collect::<Vec<_>>())
            .filter(|group| !group.is_empty())
            .collect()
    }

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
        let groups = Relation::parse(
            "libc6 (>= 2.34), perl:any | awk (<<2) [amd64],\n debconf (= 1:0.5-1),",
        );
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[1][0].name, "perl");
        assert_eq!(
            groups[1][1].constraint,
            Some((Operator::Less, "2".to_owned()))
        );
        assert!(groups[2][0].accepts("1:0.5-1") && !groups[2][0].accepts("0.5-1"));
        assert!(groups[0][0].accepts("2.36-9") && !groups[0][0].accepts("2.34~rc1"));
        assert!(Relation::parse(" ").is_empty());
    }
}
