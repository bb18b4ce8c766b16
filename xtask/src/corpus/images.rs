//! Image files as polpo shows them beside what apko, where it is on PATH, shows of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::{Digest, SourceText};
use yaml::{Document, Item};

pub(crate) const USAGE: &str =
    "corpus images FOLDER   decode every image file and compare with `apko show-config`";

pub(crate) fn check(words: &[&str]) -> Result<String, String> {
    let [folder] = words else {
        return Err(format!("usage: {USAGE}"));
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| format!("can't read {folder}: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "json" || kind == "yaml")
        })
        .collect();
    paths.sort();
    let mut all = String::new();
    let mut problems = Vec::new();
    let mut compared = 0;
    for path in &paths {
        let loaded = match image::configuration::load(path, &[]) {
            Ok(loaded) => loaded,
            Err(found) => {
                problems.extend(found.iter().map(ToString::to_string));
                continue;
            }
        };
        let ours = normal(&image::configuration::shown(&loaded.configuration))?;
        all.push_str(&ours);
        if let Some(theirs) = apko(path) {
            compared += 1;
            let theirs = normal(&theirs)?;
            let differs = ours
                .lines()
                .zip(theirs.lines())
                .find(|(one, other)| one != other);
            if theirs != ours {
                let (one, other) = differs.unwrap_or(("the end", "or more"));
                problems.push(format!(
                    "{}: shows {}, apko {}",
                    path.display(),
                    one.trim(),
                    other.trim()
                ));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    Ok(format!(
        "{} image files decode, {compared} of them as with apko; digest {}",
        paths.len(),
        Digest::of(all.as_bytes()).hex()
    ))
}

fn apko(path: &Path) -> Option<String> {
    let output = Command::new("apko")
        .args(["show-config", "--offline"])
        .arg(path)
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|_| output.status.success())
}

/// The same values are the same text, whoever wrote them.
fn normal(text: &str) -> Result<String, String> {
    let document = Document::parse(SourceText::new("shown", text.to_owned()))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())?;
    Ok(yaml::to_string(&sorted(Item::from(&document.root))))
}

fn sorted(item: Item) -> Item {
    match item {
        Item::List(items) => Item::List(items.into_iter().map(sorted).collect()),
        Item::Map(entries) => {
            let entries = entries.into_iter().map(|(key, item)| (key, sorted(item)));
            let entries: BTreeMap<String, Item> = entries.collect();
            Item::Map(entries.into_iter().collect())
        }
        other => other,
    }
}
