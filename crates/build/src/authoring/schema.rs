use serde_json::Value;

/// The JSON Schema (draft 2020-12) of recipes: every key with what it is for. Editors complete and
/// check recipes by it; what only makes sense together, [`crate::recipe::Recipe::parse`] checks.
pub fn schema() -> Value {
    yaml::json_schema(
        crate::recipe::form(),
        "recipe",
        "Recipe",
        "A recipe for apk packages.",
    )
}

/// The schema as text, two spaces a level, a newline at the end.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

#[cfg(test)]
mod tests;
