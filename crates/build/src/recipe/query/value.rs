//! What expressions of a template are worth.

use base::did_you_mean;
use yaml::Item;

use crate::recipe::compiled::Serialized;
use crate::recipe::form::{FieldForm, Form};

/// A value; its form tells what it lacks from what nothing has.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) item: Item,
    pub(super) form: Option<Form>,
}

/// Fields whose Go names aren't those of their keys but for case and dashes.
const GO_NAMES: [(&str, &str); 8] = [
    ("WorkDir", "working-directory"),
    ("GitHubMonitor", "github"),
    ("GitMonitor", "git"),
    ("OCIMonitor", "oci"),
    ("VersionDataMonitor", "version_data"),
    ("Format", "version_format"),
    ("UseTags", "use-tag"),
    ("RuntimeOnlyRepositories", "runtime_repositories"),
];

fn plain(name: &str) -> String {
    name.chars()
        .filter(|character| !matches!(character, '-' | '_'))
        .map(|character| character.to_ascii_lowercase())
        .collect()
}

fn find(fields: &'static [FieldForm], name: &str) -> Option<&'static FieldForm> {
    let wanted = plain(name);
    let renamed = GO_NAMES
        .iter()
        .filter(|(go, _)| *go == name)
        .find_map(|(_, key)| fields.iter().find(|field| field.key == *key));
    renamed.or_else(|| fields.iter().find(|field| plain(field.key) == wanted))
}

impl Value {
    pub(super) fn of(item: Item, form: Form) -> Value {
        Value {
            item,
            form: Some(form),
        }
    }

    pub(super) fn plain(item: impl Into<Item>) -> Value {
        Value {
            item: item.into(),
            form: None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Item> {
        match &self.item {
            Item::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, item)| item),
            _ => None,
        }
    }

    /// A field by its Go name or its key; the error says what is wrong, and what may help.
    pub(super) fn field(&self, name: &str) -> Result<Value, (String, Option<String>)> {
        match self.form {
            Some(Form::Record(fields)) => {
                if let Some(field) = find(fields, name) {
                    let form = (field.form)();
                    let item = self.entry(field.key).cloned();
                    return Ok(Value::of(item.unwrap_or_else(|| nothing(form)), form));
                }
                if let Some(value) = self.method(name) {
                    return Ok(value);
                }
                let keys = fields.iter().map(|field| field.key);
                let help = match did_you_mean(&plain(name), keys.clone()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("it has {}", keys.collect::<Vec<_>>().join(", ")),
                };
                Err((format!("nothing here is called `{name}`"), Some(help)))
            }
            Some(Form::Map(inner)) => Ok(match self.entry(name) {
                Some(item) => Value::of(item.clone(), inner()),
                None => Value::plain(Item::Null),
            }),
            _ => Err((format!("{} has no fields", self.kind()), None)),
        }
    }

    /// What melange computes of fields: methods of its structs.
    fn method(&self, name: &str) -> Option<Value> {
        let text = |key: &str| match self.entry(key) {
            Some(Item::Text(text)) => text.clone(),
            Some(Item::Integer(number)) => number.to_string(),
            _ => String::new(),
        };
        let is_package = self.entry("version").is_some();
        match name {
            "FullVersion" if is_package => Some(Value::plain(format!(
                "{}-r{}",
                text("version"),
                text("epoch")
            ))),
            "Name" => match self.entry("package")? {
                Item::Map(package) => package
                    .iter()
                    .find(|(key, _)| key == "name")
                    .map(|(_, name)| Value::plain(name.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.item {
            Item::Null => "nothing",
            Item::Bool(_) => "a truth value",
            Item::Integer(_) => "a number",
            Item::Text(_) => "text",
            Item::List(_) => "a list",
            Item::Map(_) => "a mapping",
        }
    }

    /// As conditions take it: what is empty or zero doesn't hold.
    pub(super) fn holds(&self) -> bool {
        match &self.item {
            Item::Null => false,
            Item::Bool(value) => *value,
            Item::Integer(value) => *value != 0,
            Item::Text(text) => !text.is_empty(),
            Item::List(items) => !items.is_empty(),
            Item::Map(entries) => !entries.is_empty(),
        }
    }

    pub(super) fn len(&self) -> Option<usize> {
        match &self.item {
            Item::Text(text) => Some(text.len()),
            Item::List(items) => Some(items.len()),
            Item::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// Keys or positions, and members; mappings in the order of their keys.
    pub(super) fn members(&self) -> Option<Vec<(Value, Value)>> {
        let inner = match self.form {
            Some(Form::List(inner) | Form::Map(inner)) => Some(inner()),
            _ => None,
        };
        let member = |item: &Item| Value {
            item: item.clone(),
            form: inner,
        };
        match &self.item {
            Item::Null => Some(Vec::new()),
            Item::Integer(count) => {
                let numbers = 0..(*count).clamp(0, 1_000_000);
                Some(
                    numbers
                        .map(|number| (Value::plain(number), Value::plain(number)))
                        .collect(),
                )
            }
            Item::List(items) => Some(
                (0_i64..)
                    .zip(items)
                    .map(|(position, item)| (Value::plain(position), member(item)))
                    .collect(),
            ),
            Item::Map(entries) if !matches!(self.form, Some(Form::Record(_))) => {
                let mut entries: Vec<&(String, Item)> = entries.iter().collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                Some(
                    entries
                        .into_iter()
                        .map(|(key, item)| (Value::plain(key.as_str()), member(item)))
                        .collect(),
                )
            }
            _ => None,
        }
    }

    /// As Go prints it; whole records, which Go prints without names, as JSON.
    pub(super) fn print(&self) -> String {
        match (&self.item, self.form) {
            (Item::Integer(nanoseconds), Some(Form::Duration)) => duration(*nanoseconds),
            (item, Some(Form::Record(_))) => json(item),
            (item, form) => print(item, form),
        }
    }
}

fn json(item: &Item) -> String {
    // An item has text keys alone, so that nothing can go wrong.
    serde_json::to_string(&Serialized(item)).unwrap_or_default()
}

fn print(item: &Item, form: Option<Form>) -> String {
    let inner = match form {
        Some(Form::List(inner) | Form::Map(inner)) => Some(inner()),
        _ => None,
    };
    let member = |item: &Item| Value {
        item: item.clone(),
        form: inner,
    };
    match item {
        Item::Null => "<no value>".to_owned(),
        Item::Bool(value) => value.to_string(),
        Item::Integer(value) => value.to_string(),
        Item::Text(text) => text.clone(),
        Item::List(items) => {
            let items: Vec<String> = items.iter().map(|item| member(item).print()).collect();
            format!("[{}]", items.join(" "))
        }
        Item::Map(entries) => {
            let mut entries: Vec<String> = entries
                .iter()
                .map(|(key, item)| format!("{key}:{}", member(item).print()))
                .collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// Go's notation of a length of time, in whole seconds.
fn duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// What a field that says nothing is worth.
fn nothing(form: Form) -> Item {
    match form {
        Form::Text | Form::Choice(_) => Item::Text(String::new()),
        Form::Flag => Item::Bool(false),
        Form::Integer | Form::Natural | Form::Duration => Item::Integer(0),
        Form::List(_) => Item::List(Vec::new()),
        Form::Map(_) | Form::Record(_) => Item::Map(Vec::new()),
    }
}
