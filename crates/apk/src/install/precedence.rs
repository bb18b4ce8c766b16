//! Which of two packages a file or directory belongs to (apk-tools' `package.c`).

use super::ledger::Slot;

/// Whether the newcomer takes what a package has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Takes,
    /// It leaves it alone.
    Leaves,
    /// Nothing says so.
    Conflict,
}

/// Whether `newcomer` decides on the mode and owner of a directory that `owner` decides on now.
/// None is the overlay, which goes first.
pub(super) fn takes_directory(owner: Option<&Slot>, newcomer: Option<&Slot>) -> bool {
    let (Some(owner), Some(newcomer)) = (owner, newcomer) else {
        return owner.is_some();
    };
    if owner.name() == newcomer.name() || owner.leaving {
        return true;
    }
    if newcomer.leaving {
        return false;
    }
    let (before, after) = (owner.replaces_priority(), newcomer.replaces_priority());
    if before != after {
        return after > before;
    }
    if same_origin(owner, newcomer) {
        if owner.name() == owner.origin() {
            return false;
        }
        if newcomer.name() == newcomer.origin() {
            return true;
        }
    }
    owner.name() > newcomer.name()
}

/// Whether `newcomer` may put its file in place of one that `owner` has.
pub(super) fn takes_file(owner: Option<&Slot>, newcomer: &Slot) -> Verdict {
    // The name in the database changes hands, but the overlay's file stays.
    let Some(owner) = owner else {
        return Verdict::Takes;
    };
    if owner.name() == newcomer.name() || owner.leaving {
        return Verdict::Takes;
    }
    if newcomer.leaving {
        return Verdict::Leaves;
    }
    let owners = owner.replaces(newcomer).then(|| owner.replaces_priority());
    let newcomers = newcomer
        .replaces(owner)
        .then(|| newcomer.replaces_priority());
    if owners > newcomers {
        return Verdict::Leaves;
    }
    if newcomers.is_some() || same_origin(owner, newcomer) {
        return Verdict::Takes;
    }
    Verdict::Conflict
}

fn same_origin(left: &Slot, right: &Slot) -> bool {
    !left.origin().is_empty() && left.origin() == right.origin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::InstalledPackage;
    use crate::dependency::Dependency;

    fn slot(name: &str, origin: &str, replaces: &str, priority: u64) -> Slot {
        let record = "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1.5\n";
        let mut package: InstalledPackage = crate::database::parse(record).unwrap().remove(0);
        let info = &mut package.entry.info;
        info.name = name.to_owned();
        info.origin = origin.to_owned();
        info.replaces = Dependency::parse_list(replaces).unwrap();
        info.replaces_priority = Some(priority);
        Slot::new(package)
    }

    #[test]
    fn files_go_to_who_replaces() {
        use Verdict::{Conflict, Leaves, Takes};
        let plain = slot("owner", "", "", 0);
        for (newcomer, verdict) in [
            (slot("other", "", "", 9), Conflict),
            (slot("other", "", "owner", 0), Takes),
            (slot("other", "", "owner<1.5", 0), Conflict),
            (slot("other", "", "owner<2 owner>3", 0), Takes),
            (slot("owner", "", "", 0), Takes),
        ] {
            assert_eq!(takes_file(Some(&plain), &newcomer), verdict);
        }
        let replacing = slot("owner", "", "other", 5);
        assert_eq!(
            takes_file(Some(&replacing), &slot("other", "", "owner", 4)),
            Leaves
        );
        assert_eq!(
            takes_file(Some(&replacing), &slot("other", "", "owner", 5)),
            Takes
        );
        assert_eq!(
            takes_file(Some(&replacing), &slot("other", "", "", 9)),
            Leaves
        );
        let related = slot("one", "source", "", 0);
        assert_eq!(
            takes_file(Some(&related), &slot("two", "source", "", 0)),
            Takes
        );
        let mut leaving = slot("owner", "", "other", 5);
        leaving.leaving = true;
        assert_eq!(takes_file(Some(&leaving), &slot("other", "", "", 0)), Takes);
        assert_eq!(takes_file(None, &plain), Takes);
    }

    #[test]
    fn directories_go_by_priority_then_origin_then_name() {
        let owner = slot("m", "m", "", 1);
        for (newcomer, takes) in [
            (slot("a", "", "", 2), true),
            (slot("a", "", "", 0), false),
            (slot("a", "", "", 1), true),
            (slot("z", "", "", 1), false),
            (slot("a", "m", "", 1), false),
            (slot("m", "", "", 0), true),
        ] {
            assert_eq!(takes_directory(Some(&owner), Some(&newcomer)), takes);
        }
        assert!(takes_directory(
            Some(&slot("a", "z", "", 0)),
            Some(&slot("z", "z", "", 0))
        ));
        assert!(!takes_directory(None, Some(&owner)));
        assert!(takes_directory(Some(&owner), None));
    }
}
