//! What a recipe wants of the machine: resources, and capabilities of its steps.

use base::{Problem, did_you_mean};

use super::resolve::Resolver;
use super::resolved::{CAPABILITIES, CapabilityChange};
use super::substitute::Scope;
use super::text::Text;
use super::written;
use crate::plan::Limits;

impl Resolver<'_> {
    pub(super) fn limits(
        &mut self,
        written: &written::Resources,
        timeout: Option<u64>,
        scope: &Scope<'_>,
    ) -> Limits {
        Limits {
            timeout,
            memory: self.quantity(&written.memory, scope, bytes, BYTES),
            processors: self.quantity(&written.cpu, scope, processors, PROCESSORS),
            disk: self.quantity(&written.disk, scope, bytes, BYTES),
            processes: None,
        }
    }

    fn quantity(
        &mut self,
        text: &Text,
        scope: &Scope<'_>,
        parse: fn(&str) -> Option<u64>,
        help: &'static str,
    ) -> Option<u64> {
        if text.is_empty() {
            return None;
        }
        let value = self.text(text, scope);
        let parsed = parse(&value);
        if parsed.is_none() {
            let message = format!("`{value}` is no amount");
            self.error("invalid-resources", message, text.span().clone(), help);
        }
        parsed
    }

    pub(super) fn capabilities(
        &mut self,
        written: &written::Capabilities,
        scope: &Scope<'_>,
    ) -> CapabilityChange {
        let mut named = |texts: &[Text], all: bool| {
            let names = texts.iter().filter_map(|text| {
                let name = self.text(text, scope).to_ascii_uppercase();
                if all && name == "ALL" {
                    return Some(name);
                }
                let name = match name.strip_prefix("CAP_") {
                    Some(_) => name,
                    None => format!("CAP_{name}"),
                };
                if CAPABILITIES.contains(&name.as_str()) {
                    return Some(name);
                }
                let message = format!("there is no capability `{name}`");
                let problem = Problem::error("unknown-capability", message);
                let problem = problem.at(&self.recipe.source, text.span().clone(), "");
                self.problems.push(match did_you_mean(&name, CAPABILITIES) {
                    Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                    None => problem.help("capabilities(7) lists them"),
                });
                None
            });
            names.collect()
        };
        CapabilityChange {
            add: named(&written.add, false),
            drop: named(&written.drop, true),
        }
    }
}

const BYTES: &str = "it is a number of bytes, or one with a unit such as `512Mi`, `8Gi` or `20G`";
const PROCESSORS: &str = "it is a number of processors, such as `2`, `0.5` or `500m`";

/// Bytes as Kubernetes writes them: `512Mi`, `1.5G`; with a `B` behind, too.
pub fn bytes(text: &str) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
    let scale = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" | "m" => 1_000_000,
        "G" | "g" => 1_000_000_000,
        "T" | "t" => 1_000_000_000_000,
        "Ki" | "ki" => 1 << 10,
        "Mi" | "mi" => 1 << 20,
        "Gi" | "gi" => 1 << 30,
        "Ti" | "ti" => 1 << 40,
        _ => return None,
    };
    scaled(number, scale)
}

/// Thousandths of processors: `2`, `0.5` or `500m`.
pub fn processors(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok().filter(|count| *count > 0),
        None => scaled(text, 1000),
    }
}

/// A decimal number times `scale`, if it is more than nothing.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let divisor = 10_u128.pow(fraction.len() as u32);
    let parts = fraction.parse::<u128>().ok()? * u128::from(scale) / divisor;
    let sum = whole.checked_add(u64::try_from(parts).ok()?)?;
    Some(sum).filter(|sum| *sum > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, value) in [
            ("4096", Some(4096)),
            ("1Gi", Some(1 << 30)),
            ("1.5GiB", Some(3 << 29)),
            ("20 GB", Some(20_000_000_000)),
            ("64mi", Some(64 << 20)),
            ("0", None),
            ("-1Gi", None),
            ("1.Gi", None),
            ("1Xi", None),
            ("Gi", None),
            ("99999999Ti", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), value, "{text}");
        }
        for (text, value) in [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("250m", Some(250)),
            ("0", None),
            ("two", None),
        ] {
            assert_eq!(processors(text), value, "{text}");
        }
    }
}
