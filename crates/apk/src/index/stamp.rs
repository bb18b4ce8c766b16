//! How recent an index is: a number that grows with every one, and the time at which it was made.
//!
//! They are the last words of its description, `TEXT [serial 42, 2026-02-28T12:00:00Z]`: the one text
//! that both formats have, that every signature covers, and that every apk keeps and shows.

use std::fmt;

use base::{Age, Epoch};
use serde::{Deserialize, Serialize};

use super::DESCRIPTION_LIMIT;

const BEGIN: &str = "[serial ";

/// Seconds by which the clocks of two machines may differ.
const CLOCK_DIFFERENCE: u64 = 3600;

/// What tells an index from the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// One more than that of the index before.
    pub serial: u64,
    /// When it was made.
    pub time: Epoch,
}

impl Stamp {
    /// The stamp in an index's description, if it has one.
    pub fn of(description: &str) -> Option<Stamp> {
        split(description).1
    }

    /// The description with this stamp in place of the one that it may have, shortened to what apk
    /// takes.
    #[must_use]
    pub fn put(self, description: &str) -> String {
        let stamp = format!("[{self}]");
        let (text, _) = split(description);
        let room = DESCRIPTION_LIMIT.saturating_sub(stamp.len() + 1);
        let text = shortened(text, room);
        match text.trim_end() {
            "" => stamp,
            text => format!("{text} {stamp}"),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {}, {}", self.serial, self.time.rfc3339())
    }
}

/// The beginning of a text, of no more than so many bytes.
pub(super) fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev();
    let fits = end.filter_map(|end| text.get(..end)).next();
    fits.unwrap_or_default()
}

/// A description without its stamp, and that. Only what [`Stamp`] itself writes is one.
fn split(description: &str) -> (&str, Option<Stamp>) {
    let read = || {
        let (text, stamp) = description.split_at(description.rfind(BEGIN)?);
        let (serial, time) = stamp.strip_prefix(BEGIN)?.split_once(", ")?;
        let found = Stamp {
            serial: serial.parse().ok()?,
            time: Epoch::from_rfc3339(time.strip_suffix(']')?)?,
        };
        (format!("[{found}]") == stamp).then_some((text.trim_end(), found))
    };
    read().map_or((description, None), |(text, found)| (text, Some(found)))
}

/// How the stamps of new indexes come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamping {
    /// Begin with stamps where there were none. Where there were, they go on in any case.
    pub begin: bool,
    /// The time.
    pub now: Epoch,
}

impl Stamping {
    /// The description of an index that takes the place of one with the description `former`: its
    /// serial is one more, and it is not earlier.
    pub fn describe(self, description: &str, former: Option<&str>) -> String {
        let next = match former.and_then(Stamp::of) {
            None => self.begin.then_some(Stamp {
                serial: 1,
                time: self.now,
            }),
            Some(former) => Some(Stamp {
                serial: former.serial.saturating_add(1),
                time: former.time.max(self.now),
            }),
        };
        next.map_or_else(|| description.to_owned(), |next| next.put(description))
    }
}

/// What is asked of an index beside its signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The age at which it counts for nothing any more. With one, an index must have a stamp.
    pub maximum_age: Option<Age>,
    /// The time by which ages are told.
    pub now: Epoch,
    /// Take an index that is older than one seen before, and remember that one instead.
    pub accept_older: bool,
}

/// An index is not recent enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleIndex {
    /// One with a greater serial was seen before.
    #[error(
        "its index ({stamp}) is older than one seen before ({seen}): the server is behind, or somebody keeps what is newer from you; ask another mirror, or if it was begun anew, say --accept-older-index once"
    )]
    Older {
        /// That of the index.
        stamp: Stamp,
        /// The greatest that was seen.
        seen: Stamp,
    },
    /// Others of its time, or earlier, had stamps.
    #[error(
        "its index has no serial, but one seen before has ({seen}): somebody offers one from before there were serials, or it was made without (`apk index --stamp` goes on); if that is meant, say --accept-older-index once"
    )]
    Bare {
        /// The greatest that was seen.
        seen: Stamp,
    },
    /// Two are not the same, but have the same serial.
    #[error(
        "its index ({stamp}) is another than one seen before with the same serial ({seen}); whoever signs must make the next one from the last"
    )]
    Twice {
        /// That of the index.
        stamp: Stamp,
        /// The one that was seen.
        seen: Stamp,
    },
    /// It is too old.
    #[error(
        "its index ({stamp}) was made more than {maximum} ago; ask another mirror, or have it made again with `apk index --stamp`"
    )]
    Old {
        /// That of the index.
        stamp: Stamp,
        /// How old it may be.
        maximum: Age,
    },
    /// It would not be too old for long.
    #[error(
        "its index ({stamp}) is of the future, so nobody can say how old it is: set this machine's clock, or have it made again with `apk index --stamp`"
    )]
    Future {
        /// That of the index.
        stamp: Stamp,
    },
    /// Nobody can say how old it is.
    #[error(
        "its index doesn't say how old it is, and --index-max-age asks for it; have it made with `apk index --stamp`"
    )]
    Undated,
}

impl Freshness {
    /// Whether an index with this stamp may be used, after one with the stamp `seen`.
    ///
    /// # Errors
    /// It is not recent enough.
    pub fn check(self, stamp: Option<Stamp>, seen: Option<Stamp>) -> Result<(), StaleIndex> {
        match (stamp, seen.filter(|_| !self.accept_older)) {
            (_, None) => {}
            (None, Some(seen)) => return Err(StaleIndex::Bare { seen }),
            (Some(stamp), Some(seen)) if stamp.serial < seen.serial => {
                return Err(StaleIndex::Older { stamp, seen });
            }
            (Some(stamp), Some(seen)) if stamp.serial == seen.serial && stamp != seen => {
                return Err(StaleIndex::Twice { stamp, seen });
            }
            (Some(_), Some(_)) => {}
        }
        let Some(maximum) = self.maximum_age else {
            return Ok(());
        };
        let stamp = stamp.ok_or(StaleIndex::Undated)?;
        if stamp.time.0 > self.now.0.saturating_add(CLOCK_DIFFERENCE) {
            return Err(StaleIndex::Future { stamp });
        }
        let age = Age(self.now.0.saturating_sub(stamp.time.0));
        match age <= maximum {
            true => Ok(()),
            false => Err(StaleIndex::Old { stamp, maximum }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(serial: u64, time: u64) -> Stamp {
        Stamp {
            serial,
            time: Epoch(time),
        }
    }

    #[test]
    fn stamps_are_the_last_words_of_descriptions() {
        let one = stamp(7, 1_772_280_000);
        assert_eq!(one.put("v1"), "v1 [serial 7, 2026-02-28T12:00:00Z]");
        assert_eq!(one.put(""), "[serial 7, 2026-02-28T12:00:00Z]");
        assert_eq!(Stamp::of(&one.put("v1")), Some(one));
        assert_eq!(Stamp::of(&one.put("")), Some(one));
        // In place of the one before, and never longer than apk takes.
        assert_eq!(
            stamp(8, 0).put(&one.put("v1")),
            "v1 [serial 8, 1970-01-01T00:00:00Z]"
        );
        let long = stamp(u64::MAX, 1).put(&"ä".repeat(200));
        assert!(
            long.len() <= DESCRIPTION_LIMIT && long.starts_with('ä'),
            "{long}"
        );
        assert_eq!(Stamp::of(&long), Some(stamp(u64::MAX, 1)));
        for text in [
            "",
            "v1",
            "[serial 7, 2026-02-28T12:00:00Z] ",
            "[serial 07, 2026-02-28T12:00:00Z]",
            "[serial +7, 2026-02-28T12:00:00Z]",
            "[serial 7, 2026-02-28T14:00:00+02:00]",
            "[serial 18446744073709551616, 2026-02-28T12:00:00Z]",
            "[serial 7]",
        ] {
            assert_eq!(Stamp::of(text), None, "{text}");
        }
    }

    #[test]
    fn stamps_grow() {
        let describe = |begin, former: Option<&str>| {
            let stamping = Stamping {
                begin,
                now: Epoch(5),
            };
            stamping.describe("new", former)
        };
        assert_eq!(describe(false, None), "new");
        assert_eq!(describe(false, Some("old")), "new");
        let first = describe(true, Some("old"));
        assert_eq!(first, "new [serial 1, 1970-01-01T00:00:05Z]");
        assert_eq!(
            describe(false, Some(&first)),
            "new [serial 2, 1970-01-01T00:00:05Z]"
        );
        let later = stamp(4, 9).put("old");
        assert_eq!(
            describe(true, Some(&later)),
            "new [serial 5, 1970-01-01T00:00:09Z]"
        );
    }
}
