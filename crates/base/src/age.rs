use std::fmt;
use std::str::FromStr;

/// How old something is, or may be, in seconds: as people write it (`30d`, `12h`, `90m`, `10s`), and as
/// they say it (`2 days`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub u64);

/// The text is no age.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no age such as 30d, 12h or 90m")]
pub struct InvalidAge(String);

impl FromStr for Age {
    type Err = InvalidAge;

    fn from_str(text: &str) -> Result<Age, InvalidAge> {
        let read = || {
            let unit = text.chars().next_back()?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return None,
            };
            let number = text.strip_suffix(unit)?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let count: u64 = number.parse().ok().filter(|_| digits)?;
            count.checked_mul(seconds).map(Age)
        };
        read().ok_or_else(|| InvalidAge(text.to_owned()))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            0..60 => (self.0, "second"),
            60..3600 => (self.0 / 60, "minute"),
            3600..86_400 => (self.0 / 3600, "hour"),
            _ => (self.0 / 86_400, "day"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_told() {
        for (text, seconds, told) in [
            ("0s", 0, "0 seconds"),
            ("1s", 1, "1 second"),
            ("90m", 5400, "1 hour"),
            ("59m", 3540, "59 minutes"),
            ("47h", 169_200, "1 day"),
            ("30d", 2_592_000, "30 days"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.0, age.to_string().as_str()), (seconds, told));
        }
        for text in [
            "",
            "d",
            "30",
            "+3d",
            "-1d",
            "1.5h",
            "1w",
            "3 d",
            "99999999999999999999d",
            "9999999999999999d",
        ] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }
}
