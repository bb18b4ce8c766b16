use yaml::{Decode, Decoder, Node, Spanned, Value};

/// A text of the file and its place.
pub type Text = Spanned<String>;

/// A mapping from text to text in the order written, places kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMap {
    entries: Vec<(Text, Text)>,
}

impl TextMap {
    /// Keys and values, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Text> {
        self.iter()
            .find(|(name, _)| name.value == key)
            .map(|(_, value)| value)
    }

    /// The values, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Text> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Decode for TextMap {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<TextMap> {
        let entries = match &node.value {
            Value::Null => &[],
            Value::Mapping(entries) => entries.as_slice(),
            _ => {
                decoder.mismatch("a mapping from names to texts", node);
                return None;
            }
        };
        let decoded: Vec<Option<(Text, Text)>> = entries
            .iter()
            .map(|entry| {
                let key = Spanned::new(entry.key.clone(), entry.key_span.clone());
                Some((key, Text::decode(&entry.value, decoder)?))
            })
            .collect();
        let entries = decoded.into_iter().collect::<Option<_>>()?;
        Some(TextMap { entries })
    }
}

/// A length of time as Go writes it: `1h30m`, `90s`, `1.5h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    /// Nanoseconds.
    pub nanoseconds: u64,
}

/// Nanoseconds of one.
const SECOND: u64 = 1_000_000_000;

impl Duration {
    /// Whole seconds, rounded up.
    pub fn seconds(self) -> u64 {
        self.nanoseconds.div_ceil(SECOND)
    }

    /// Parses Go's notation (`time.ParseDuration`), without a sign.
    pub fn parse(text: &str) -> Option<Duration> {
        if text == "0" {
            return Some(Duration::default());
        }
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, behind) = rest.split_at(number_end);
            let unit_end = behind
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(behind.len());
            let (unit, next) = behind.split_at(unit_end);
            let scale: u64 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => SECOND,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
                return None;
            }
            let whole: u64 = if whole.is_empty() {
                0
            } else {
                whole.parse().ok()?
            };
            let parts = if fraction.is_empty() {
                0
            } else {
                let digits: u128 = fraction.parse().ok()?;
                let parts = digits * u128::from(scale) / 10_u128.pow(fraction.len() as u32);
                u64::try_from(parts).ok()?
            };
            total = whole
                .checked_mul(scale)?
                .checked_add(parts)?
                .checked_add(total)?;
            rest = next;
        }
        (!text.is_empty()).then_some(Duration { nanoseconds: total })
    }
}

impl Decode for Duration {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Duration> {
        let text = node.text().unwrap_or_default();
        // Compiled recipes count nanoseconds; fewer than a second's can't be meant.
        let counted = text.parse().ok().filter(|count| *count >= SECOND);
        let duration = counted
            .map(|nanoseconds| Duration { nanoseconds })
            .or_else(|| Duration::parse(text));
        if duration.is_none() {
            let mut expected = "a length of time such as `1h30m` or `90s`".to_owned();
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                expected = format!("a length of time with a unit, such as `{text}s` or `{text}m`");
            }
            decoder.mismatch(&expected, node);
        }
        duration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        let seconds = |text| Duration::parse(text).map(Duration::seconds);
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("1.5h"), Some(5400));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1ms"), Some(1));
        assert_eq!(seconds(".5m"), Some(30));
        assert_eq!(seconds("0"), Some(0));
        for bad in [
            "",
            "90",
            "h",
            "1x",
            "1h 3m",
            ".s",
            "-1s",
            "99999999999999h",
            "1.2.3s",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
