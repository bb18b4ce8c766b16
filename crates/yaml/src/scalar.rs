//! What plain scalars mean where a field is typed (go-yaml v3, `resolve.go` and `decode.go`).

/// A boolean; the spellings of YAML 1.1 that go-yaml still takes for typed fields included.
pub(crate) fn boolean(text: &str, plain: bool) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" if plain => Some(true),
        "false" | "False" | "FALSE" if plain => Some(false),
        "y" | "Y" | "yes" | "on" => Some(true),
        "n" | "N" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An integer: decimal, `0x`, `0b`, octal as `0755` or `0o755`, underscores between digits, and
/// floats without a fraction (`1e3`).
pub(crate) fn integer(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    let (negative, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = magnitude.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit())
    {
        // `08` is no octal number, so that go-yaml falls back to a float.
        if lower.contains(['8', '9']) {
            (10, lower.as_str())
        } else {
            (8, &lower[1..])
        }
    } else {
        (10, lower.as_str())
    };
    if body.is_empty() || body.starts_with(['+', '-']) {
        return None;
    }
    let value = match u64::from_str_radix(body, radix) {
        Ok(value) => i128::from(value),
        Err(_) if radix == 10 => whole_float(body)?,
        Err(_) => return None,
    };
    Some(if negative { -value } else { value })
}

fn whole_float(text: &str) -> Option<i128> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte))
    {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i128)
}

/// Whether a reader might take the plain text for something other than text.
pub(crate) fn looks_typed(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) || text.starts_with(|first: char| first.is_ascii_digit())
        || (text.starts_with(['+', '-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_go_yaml_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("12", 12),
            ("-12", -12),
            ("+7", 7),
            ("0755", 0o755),
            ("0o755", 0o755),
            ("0xFF", 255),
            ("0b101", 5),
            ("1_000", 1000),
            ("08", 8),
            ("1e3", 1000),
            ("2.0", 2),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in [
            "", "-", "abc", "0x", "1.5", "--1", "0o9", "1h", "e3", "inf", "nan",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn booleans() {
        assert_eq!(boolean("yes", true), Some(true));
        assert_eq!(boolean("off", true), Some(false));
        assert_eq!(boolean("True", true), Some(true));
        assert_eq!(boolean("true", false), None);
        assert_eq!(boolean("Yes", true), None);
    }
}
