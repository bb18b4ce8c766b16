//! How terms are written in few bytes.

use crate::dependency::Constraint;
use crate::version::{Operator, Version};

/// The number of "any version".
pub(super) const ANY: u8 = 0;

/// The number of `><`.
pub(super) const IDENTITY: u8 = 9;

/// An operator's place among all, from 1 on.
pub(super) fn number_of(operator: Operator) -> u8 {
    let place = Operator::ALL.iter().position(|known| *known == operator);
    place.map_or(ANY, |place| place as u8 + 1)
}

/// The constraint of that number and text; none as well for numbers that are none.
pub(super) fn constraint(number: u8, text: &str) -> Option<Constraint> {
    match number.checked_sub(1)? {
        place if number < IDENTITY => {
            let operator = Operator::ALL.get(usize::from(place))?;
            Some(Constraint::Version(*operator, Version::as_written(text)))
        }
        _ => Some(match text.parse() {
            Ok(identity) => Constraint::Identity(identity),
            Err(_) => Constraint::NoIdentity(text.into()),
        }),
    }
}

/// The number and the text of a constraint.
pub(super) fn split(constraint: &Constraint) -> (u8, String) {
    match constraint {
        Constraint::Version(operator, version) => (number_of(*operator), version.to_string()),
        Constraint::Identity(identity) => (IDENTITY, identity.to_string()),
        Constraint::NoIdentity(text) => (IDENTITY, text.to_string()),
    }
}
