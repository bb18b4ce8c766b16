use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::form::{FieldForm, Form};

/// The JSON Schema (draft 2020-12) of documents of this form, the top one called `name`: every key
/// with what it is for, for editors to complete and check by.
pub fn json_schema(form: Form, name: &str, title: &str, description: &str) -> Value {
    let mut definitions = Definitions::default();
    let top = definitions.schema(form, name, true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        "$ref": top["$ref"],
        "$defs": definitions.made,
    })
}

#[derive(Default)]
struct Definitions {
    made: Map<String, Value>,
    /// The names of mappings by their keys and what these are for.
    names: BTreeMap<Vec<(&'static str, &'static [&'static str])>, String>,
}

impl Definitions {
    /// The schema of `form`; `key` leads to it.
    fn schema(&mut self, form: Form, key: &str, is_required: bool) -> Value {
        let types = |names: &[&str]| {
            let mut names = names.to_vec();
            // An absent value is as good as an absent key.
            if !is_required {
                names.push("null");
            }
            json!(names)
        };
        match form {
            Form::Text => json!({"type": types(&["string", "number", "boolean"])}),
            Form::Flag => json!({"type": types(&["boolean"])}),
            Form::Integer => json!({"type": types(&["integer"])}),
            Form::Natural => json!({"type": types(&["integer"]), "minimum": 0}),
            Form::Duration => json!({
                "type": types(&["string", "integer"]),
                "pattern": r"^(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|\d{10,})$",
            }),
            Form::Choice(words) => {
                let mut words: Vec<Value> = words.iter().map(|word| json!(word)).collect();
                if !is_required {
                    words.push(Value::Null);
                }
                json!({"enum": words})
            }
            Form::List(inner) => {
                let items = self.schema(inner(), key, false);
                json!({"type": types(&["array"]), "items": items})
            }
            Form::Map(inner) => {
                let values = self.schema(inner(), key, false);
                json!({"type": types(&["object"]), "additionalProperties": values})
            }
            Form::Record(fields) => {
                let name = self.record(fields, key);
                let reference = json!({"$ref": format!("#/$defs/{name}")});
                if is_required {
                    reference
                } else {
                    json!({"anyOf": [reference, {"type": "null"}]})
                }
            }
        }
    }

    /// The name of the definition of a mapping, which is made if it isn't there.
    fn record(&mut self, fields: &'static [FieldForm], key: &str) -> String {
        let signature: Vec<_> = fields
            .iter()
            .map(|field| (field.key, field.about))
            .collect();
        if let Some(name) = self.names.get(&signature) {
            return name.clone();
        }
        let mut name = key.to_owned();
        let mut number = 2;
        while self.made.contains_key(&name) {
            name = format!("{key}-{number}");
            number += 1;
        }
        self.names.insert(signature, name.clone());
        // Steps hold steps: the name stands before the definition does.
        self.made.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        for field in fields {
            let mut schema = self.schema((field.form)(), field.key, field.is_required);
            let about: Vec<&str> = field.about.iter().map(|line| line.trim()).collect();
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), json!(about.join(" ")));
            }
            properties.insert(field.key.to_owned(), schema);
        }
        let required: Vec<&str> = fields
            .iter()
            .filter(|field| field.is_required)
            .map(|field| field.key)
            .collect();
        let mut definition = Map::new();
        definition.insert("type".to_owned(), json!("object"));
        definition.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            definition.insert("required".to_owned(), json!(required));
        }
        definition.insert("additionalProperties".to_owned(), json!(false));
        self.made.insert(name.clone(), Value::Object(definition));
        name
    }
}
