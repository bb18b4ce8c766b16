use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

/// What of JSON Schema the schema uses, checked against a value.
fn complaints(schema: &Value, root: &Value, value: &Value, place: &str, out: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        complaints(target, root, value, place, out);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let best = choices.iter().map(|choice| {
            let mut found = Vec::new();
            complaints(choice, root, value, place, &mut found);
            found
        });
        out.extend(best.min_by_key(Vec::len).unwrap());
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !(types.is_empty()
        || types.contains(&kind)
        || kind == "integer" && types.contains(&"number"))
    {
        out.push(format!("{place}: {kind}"));
        return;
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        out.push(format!("{place}: {text}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        out.push(format!("{place}: {value}"));
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            complaints(
                &schema["items"],
                root,
                item,
                &format!("{place}[{index}]"),
                out,
            );
        }
    }
    if let (Value::Object(entries), "object") =
        (value, if schema["$ref"].is_null() { kind } else { "" })
    {
        if schema["anyOf"].is_array() {
            return;
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if !entries.contains_key(name.as_str().unwrap()) {
                out.push(format!("{place}: no {name}"));
            }
        }
        for (key, value) in entries {
            let place = format!("{place}.{key}");
            let inner = match schema["properties"].get(key) {
                Some(inner) => inner,
                None if schema["additionalProperties"].is_object() => {
                    &schema["additionalProperties"]
                }
                None => {
                    out.push(format!("{place}: unknown"));
                    continue;
                }
            };
            complaints(inner, root, value, &place, out);
        }
    }
}

fn checked(recipe: Value) -> String {
    let schema = schema();
    let mut out = Vec::new();
    complaints(&schema, &schema, &recipe, "", &mut out);
    out.join("; ")
}

#[test]
fn good_recipes_keep_the_schema() {
    for recipe in [
        json!({"package": {"name": "a", "version": 1.5}}),
        json!({
            "package": {
                "name": "a", "version": "1", "epoch": 3, "timeout": "1h30m", "checks": null,
                "copyright": [{"license": "MIT"}], "setcap": [{"path": "a", "add": {"x": "+ep"}}],
            },
            "environment": {"contents": {"packages": ["a", 7]}, "environment": {"A": 1, "B": true}},
            "pipeline": [{"uses": "fetch", "with": {"uri": "x", "strip-components": 0}},
                {"pipeline": [{"pipeline": [{"runs": "true", "needs": {"packages": ["x"]}}]}]}],
            "subpackages": [{"name": "b", "if": "x", "test": {"pipeline": [{"runs": "b"}]}}],
            "options": {"fast": {"vars": {"a": "b"}}},
            "update": {"enabled": true, "schedule": {"period": "daily"}, "release-monitor": {"identifier": 5}},
        }),
    ] {
        assert_eq!(checked(recipe), "");
    }
}

#[test]
fn bad_recipes_break_the_schema() {
    for (recipe, complaint) in [
        (json!({}), ": no \"package\""),
        (
            json!({"package": {"name": "a"}}),
            ".package: no \"version\"",
        ),
        (
            json!({"package": {"name": "a", "version": "1", "versio": 1}}),
            ".package.versio: unknown",
        ),
        (
            json!({"package": {"name": "a", "version": "1", "epoch": "one"}}),
            ".package.epoch: string",
        ),
        (
            json!({"package": {"name": "a", "version": "1", "timeout": "90"}}),
            ".package.timeout: 90",
        ),
        (
            json!({"package": {"name": ["a"], "version": "1"}}),
            ".package.name: array",
        ),
        (
            json!({"package": {"name": "a", "version": "1"}, "pipeline": [{"pipeline": [{"use": "x"}]}]}),
            ".pipeline[0].pipeline[0].use: unknown",
        ),
        (
            json!({"package": {"name": "a", "version": "1"}, "update": {"schedule": {"period": "hourly"}}}),
            ".update.schedule.period: \"hourly\"",
        ),
    ] {
        assert_eq!(checked(recipe), complaint);
    }
}

/// docs/src/reference/recipe.schema.json is the schema. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_published_schema_follows_the_types() {
    let text = text();
    let page =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/recipe.schema.json");
    if std::env::var_os("POLPO_UPDATE").is_some() {
        fs::write(&page, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap_or_default() == text,
        "{} is stale: run this test with POLPO_UPDATE=1",
        page.display()
    );
}
