//! Which crate may use which: the table of ARCHITECTURE.md, checked.

use std::collections::BTreeMap;
use std::process::Command;

/// Crates by level, lowest first. A crate uses only crates of lower levels.
const LEVELS: [&[&str]; 7] = [
    &["base"],
    &["yaml", "archive", "store", "key"],
    &["apk", "oci", "attest"],
    &["image"],
    &["build"],
    &["distro"],
    &["polpo"],
];

/// Crates that only tests use, on top of anything.
const BESIDE: [&str; 2] = ["testkit", "xtask"];

pub(crate) fn check() -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| format!("cargo metadata can't be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata's answer is no JSON: {error}"))?;
    let crates = dependencies(&metadata);
    let complaints = complaints(&crates);
    if complaints.is_empty() {
        Ok(format!(
            "layers: {} crates, each uses only lower levels",
            crates.len()
        ))
    } else {
        Err(complaints.join("\n"))
    }
}

/// Each workspace crate with the workspace crates that it uses outside its tests.
fn dependencies(metadata: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
    let short = |name: &str| name.strip_prefix("polpo-").unwrap_or(name).to_owned();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let used = list(&package["dependencies"])
                .iter()
                .filter(|dependency| !dependency["path"].is_null() && dependency["kind"] != "dev")
                .filter_map(|dependency| dependency["name"].as_str())
                .map(short)
                .collect();
            (short(package["name"].as_str().unwrap_or_default()), used)
        })
        .collect()
}

fn complaints(crates: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let level = |name: &str| LEVELS.iter().position(|names| names.contains(&name));
    let mut complaints = Vec::new();
    for (name, used) in crates {
        if BESIDE.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = level(name) else {
            complaints.push(format!(
                "{name} has no level: give it one in xtask/src/layers.rs and ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in used {
            if level(dependency).is_none_or(|other| other >= own) {
                complaints.push(format!(
                    "{name} (level {own}) uses {dependency}, which is not below it: move the shared \
                     part down or the use up"
                ));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        pairs
            .iter()
            .map(|(name, used)| ((*name).to_owned(), owned(used)))
            .collect()
    }

    #[test]
    fn only_downwards() {
        assert_eq!(
            complaints(&crates(&[("apk", &["base", "archive"]), ("base", &[])])),
            [""; 0]
        );
        assert_eq!(
            complaints(&crates(&[("apk", &["oci"])])).len(),
            1,
            "same level"
        );
        assert_eq!(
            complaints(&crates(&[("base", &["apk"])])).len(),
            1,
            "upwards"
        );
        assert_eq!(complaints(&crates(&[("new", &[])])).len(), 1, "no level");
        assert_eq!(
            complaints(&crates(&[("apk", &["testkit"])])).len(),
            1,
            "only for tests"
        );
    }
}
