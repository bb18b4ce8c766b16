use std::fmt;

use serde::{Deserialize, Serialize};

/// The time that outputs carry, in seconds since 1970-01-01 UTC: `SOURCE_DATE_EPOCH`.
///
/// It is always an argument. No output depends on a clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// A time in the form of RFC 3339, with any offset; fractions of a second are dropped. None if it is
    /// no such time, or before 1970.
    pub fn from_rfc3339(text: &str) -> Option<Epoch> {
        let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(time.timestamp()).ok().map(Epoch)
    }

    /// `2024-02-29T12:00:00Z`, as RFC 3339 has it, in UTC and without fractions.
    pub fn rfc3339(self) -> String {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Days since 1970-01-01 as a date of the Gregorian calendar
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn dates() {
        assert_eq!(Epoch(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Epoch(951_782_400).rfc3339(), "2000-02-29T00:00:00Z");
        assert_eq!(Epoch(1_709_251_199).rfc3339(), "2024-02-29T23:59:59Z");
        assert_eq!(Epoch(4_102_444_800).rfc3339(), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-22T09:30:00Z", Some(1_795_339_800)),
            ("2000-02-29T23:59:59.5+02:00", Some(951_861_599)),
            ("2024-12-31T00:00:00-05:30", Some(1_735_623_000)),
            ("1969-12-31T23:59:59Z", None),
            ("2023-02-29T00:00:00Z", None),
            ("2023-13-01T00:00:00Z", None),
            ("2023-00-01T00:00:00Z", None),
            ("2023-01-01", None),
            ("2023-01-01T00:00Z", None),
            ("2023-01-01T00:00:00", None),
        ] {
            assert_eq!(Epoch::from_rfc3339(text), seconds.map(Epoch), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_was_written(seconds in 0u64..=253_402_300_799) {
            let epoch = Epoch(seconds);
            prop_assert_eq!(Epoch::from_rfc3339(&epoch.rfc3339()), Some(epoch));
        }
    }
}
