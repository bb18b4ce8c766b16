//! What images say of themselves: configuration and annotations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::Setting;

/// Settings by the key they are told by.
pub(super) type Settings = BTreeMap<String, String>;

/// The settings of an image's configuration (OCI image specification, `config.md`), with what polpo
/// itself has no use for, such as a health check.
pub(super) fn of_configuration(configuration: &Value) -> Settings {
    let mut settings = Settings::new();
    let Some(fields) = configuration.as_object() else {
        return settings;
    };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("rootfs", _) => {}
            ("config", Value::Object(run)) => {
                for (name, value) in run {
                    add_run(&mut settings, name, value);
                }
            }
            ("history", Value::Array(entries)) => {
                let words: Vec<&str> = entries.iter().filter_map(step).collect();
                put(&mut settings, "history", &Value::from(words));
            }
            // Docker's own, of the container that an image was made in.
            ("container" | "container_config", _) => {}
            (name, value) => put(&mut settings, name, value),
        }
    }
    settings
}

/// How a layer came to be: what was run, or what is said of it.
fn step(entry: &Value) -> Option<&str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    text("created_by").or_else(|| text("comment"))
}

fn add_run(settings: &mut Settings, name: &str, value: &Value) {
    let key = match name {
        "Cmd" => "cmd",
        "Entrypoint" => "entrypoint",
        "User" => "user",
        "WorkingDir" => "working-dir",
        "StopSignal" => "stop-signal",
        "Healthcheck" => "health-check",
        "Shell" => "shell",
        "OnBuild" => "on-build",
        // The image that a builder began with, by its own name for it.
        "Image" | "Hostname" | "Domainname" => return,
        other => other,
    };
    match (name, value) {
        ("Env", Value::Array(lines)) => {
            for line in lines.iter().filter_map(Value::as_str) {
                let (name, value) = line.split_once('=').unwrap_or((line, ""));
                settings.insert(format!("env {name}"), value.to_owned());
            }
        }
        ("Labels", Value::Object(labels)) => {
            for (name, value) in labels {
                put(settings, &format!("label {name}"), value);
            }
        }
        ("Volumes" | "ExposedPorts", Value::Object(names)) => {
            let kind = if name == "Volumes" { "volume" } else { "port" };
            for name in names.keys() {
                settings.insert(format!("{kind} {name}"), "yes".to_owned());
            }
        }
        _ => put(settings, key, value),
    }
}

/// What is not set, in any of the ways that programs write that, is left out.
fn put(settings: &mut Settings, key: &str, value: &Value) {
    let text = match value {
        Value::Null | Value::Bool(false) => return,
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => return,
        Value::Object(fields) if fields.is_empty() => return,
        other => other.to_string(),
    };
    if !text.is_empty() {
        settings.insert(key.to_owned(), text);
    }
}

/// Annotations as settings.
pub(super) fn of_annotations(annotations: &BTreeMap<String, String>) -> Settings {
    let named = annotations.iter();
    named
        .map(|(name, value)| (format!("annotation {name}"), value.clone()))
        .collect()
}

/// Settings that differ.
pub(super) fn compare(before: &Settings, after: &Settings) -> Vec<Setting> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Setting {
            key: key.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
        })
        .collect()
}
