//! Which of a name's providers a term speaks of, without asking each: they are sorted once by version
//! and by identity, and those that an operator accepts lie side by side.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::universe::{NameId, Provider};
use crate::dependency::{Constraint, Dependency, Identity};
use crate::version::{Operator, compare, compare_fuzzy};

/// Of fewer providers each is asked.
const FEW: usize = 8;

/// How many terms ask each provider before it is worth sorting them: about as many comparisons.
const WORTH_SORTING: u32 = 16;

/// What providers are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Version,
    Identity,
}

/// The providers of a name in their order; sorted once that is worth while.
#[derive(Default)]
struct Shelf {
    asked: AtomicU32,
    order: OnceLock<Order>,
}

/// Providers by their places among those of their name.
#[derive(Debug)]
pub(super) struct Order {
    /// Places, sorted by what they are found by. Without one come first.
    pub(super) places: Vec<u32>,
    /// For each place, where it is among those.
    pub(super) ranks: Vec<u32>,
    /// How many have none.
    pub(super) without: u32,
}

/// The names that many packages provide.
pub(super) struct Orders {
    names: Vec<(NameId, [Shelf; 2])>,
}

/// The providers that a term speaks of: side by side in an order.
#[derive(Clone)]
pub(super) struct Spoken<'o> {
    pub(super) key: Key,
    pub(super) order: &'o Order,
    /// Ranks.
    pub(super) range: Range<u32>,
}

impl Orders {
    /// For names that have so many providers, each with its count.
    pub(super) fn new(counts: impl Iterator<Item = usize>) -> Orders {
        let many = (0..).zip(counts).filter(|(_, count)| *count > FEW);
        Orders {
            names: many.map(|(name, _)| (name, Default::default())).collect(),
        }
    }

    /// The providers of `name`, which are all of `providers`, that a term speaks of; none if each of
    /// them had better be asked. `identity` tells that of a provider.
    pub(super) fn spoken_of<'a>(
        &self,
        name: NameId,
        providers: &[Provider<'a>],
        identity: impl Fn(&Provider<'a>) -> Option<Identity>,
        term: &Dependency,
    ) -> Option<Spoken<'_>> {
        if providers.len() <= FEW {
            return None;
        }
        let place = self.names.binary_search_by_key(&name, |(name, _)| *name);
        let (_, [versions, identities]) = self.names.get(place.ok()?)?;
        let is_by_identity = matches!(term.constraint, Some(Constraint::Identity(_)));
        let (key, shelf) = match is_by_identity {
            false => (Key::Version, versions),
            true => (Key::Identity, identities),
        };
        // Who asks at once counts wrong, which does no harm: the answer is the same.
        if shelf.order.get().is_none()
            && shelf.asked.fetch_add(1, Ordering::Relaxed) < WORTH_SORTING
        {
            return None;
        }
        let identity = |place: u32| {
            let identity = providers.get(place as usize).and_then(&identity);
            identity.map(|identity| identity.shortened())
        };
        let order = shelf.order.get_or_init(|| match key {
            Key::Version => Order::by_version(providers),
            Key::Identity => Order::by_identity(providers.len(), identity),
        });
        let range = match &term.constraint {
            None => 0..order.length(),
            Some(Constraint::Version(operator, version)) => {
                order.of_versions(providers, *operator, version.as_str())
            }
            Some(Constraint::Identity(named)) => order.of_identity(&named.shortened(), identity),
            Some(Constraint::NoIdentity(_)) => 0..0,
        };
        Some(Spoken { key, order, range })
    }
}

/// As constraints compare it: a name provided without version is earlier than all versions.
fn version_of<'a>(provider: &Provider<'a>) -> &'a str {
    provider.version.unwrap_or_default()
}

impl Order {
    fn new(places: Vec<u32>, without: usize) -> Order {
        let mut ranks = vec![0; places.len()];
        for (rank, place) in (0..).zip(&places) {
            ranks[*place as usize] = rank;
        }
        Order {
            places,
            ranks,
            without: without as u32,
        }
    }

    fn by_version(providers: &[Provider<'_>]) -> Order {
        let mut places: Vec<u32> = (0..providers.len() as u32).collect();
        places.sort_by(|left, right| {
            let (left, right) = (&providers[*left as usize], &providers[*right as usize]);
            let versions = compare(version_of(left), version_of(right));
            versions.then(left.version.is_some().cmp(&right.version.is_some()))
        });
        let without = providers.iter().filter(|of| of.version.is_none()).count();
        Order::new(places, without)
    }

    fn by_identity(length: usize, identity: impl Fn(u32) -> Option<Identity>) -> Order {
        let mut places: Vec<u32> = (0..length as u32).collect();
        places.sort_by_cached_key(|place| identity(*place));
        let without = places.iter().filter(|place| identity(**place).is_none());
        let without = without.count();
        Order::new(places, without)
    }

    fn length(&self) -> u32 {
        self.places.len() as u32
    }

    fn of_versions(
        &self,
        providers: &[Provider<'_>],
        operator: Operator,
        named: &str,
    ) -> Range<u32> {
        let compared = match operator {
            Operator::LessOrFuzzy | Operator::Fuzzy | Operator::GreaterOrFuzzy => compare_fuzzy,
            _ => compare,
        };
        let order = |place: &u32| compared(version_of(&providers[*place as usize]), named);
        let first = self.places.partition_point(|place| order(place).is_lt());
        let equal = self.places[first..].partition_point(|place| order(place).is_le());
        let (first, after) = (first as u32, (first + equal) as u32);
        match operator {
            Operator::Less => 0..first,
            Operator::LessOrEqual | Operator::LessOrFuzzy => 0..after,
            Operator::Equal | Operator::Fuzzy => first..after,
            Operator::GreaterOrEqual | Operator::GreaterOrFuzzy => first..self.length(),
            Operator::Greater => after..self.length(),
        }
    }

    fn of_identity(
        &self,
        named: &Identity,
        identity: impl Fn(u32) -> Option<Identity>,
    ) -> Range<u32> {
        let named = Some(*named);
        let first = self
            .places
            .partition_point(|place| identity(*place) < named);
        let equal = self.places[first..].partition_point(|place| identity(*place) == named);
        first as u32..(first + equal) as u32
    }
}

impl Spoken<'_> {
    /// Those without version are none of them after all.
    pub(super) fn leave_out_those_without(&mut self) {
        let Range { start, end } = self.range;
        let start = start.max(self.order.without);
        self.range = start..end.max(start);
    }

    /// The ranks of those that it speaks of, or else of all others.
    pub(super) fn ranks(&self, of_others: bool) -> [Range<u32>; 2] {
        let Range { start, end } = self.range;
        match of_others {
            false => [start..end, 0..0],
            true => [0..start, end..self.order.length()],
        }
    }

    /// Whether the provider at this place is one of them.
    pub(super) fn has(&self, place: usize) -> bool {
        let rank = self.order.ranks.get(place);
        rank.is_some_and(|rank| self.range.contains(rank))
    }
}
