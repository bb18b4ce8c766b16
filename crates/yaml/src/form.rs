/// What may be written in a place of a document.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Text, or whatever else a scalar looks like.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer,
    /// A whole number that is not negative.
    Natural,
    /// A length of time, such as `1h30m`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of what the function gives the form of.
    List(fn() -> Form),
    /// A mapping from names to what the function gives the form of.
    Map(fn() -> Form),
    /// A mapping with these keys.
    Record(&'static [FieldForm]),
}

/// A key of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct FieldForm {
    /// As it is written.
    pub key: &'static str,
    /// What it is for: lines of prose, a space before each.
    pub about: &'static [&'static str],
    /// Whether it must be there.
    pub is_required: bool,
    /// What may stand below it.
    pub form: fn() -> Form,
}

impl Form {
    /// The key `key` of a record.
    pub fn field(self, key: &str) -> Option<&'static FieldForm> {
        match self {
            Form::Record(fields) => fields.iter().find(|field| field.key == key),
            _ => None,
        }
    }
}
