use super::shape::Shape;
use super::written::Contents;

/// What may be written in a place of a recipe.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Text, or whatever else a scalar looks like.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer,
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
    /// That of a whole recipe.
    pub fn recipe() -> Form {
        Contents::form()
    }

    /// The key `key` of a record.
    pub fn field(self, key: &str) -> Option<&'static FieldForm> {
        match self {
            Form::Record(fields) => fields.iter().find(|field| field.key == key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(form: Form, keys: &[&str]) -> Option<Form> {
        keys.iter().try_fold(form, |form, key| match form {
            Form::List(inner) | Form::Map(inner) if *key == "*" => Some(inner()),
            form => Some((form.field(key)?.form)()),
        })
    }

    #[test]
    fn forms_follow_the_types() {
        let recipe = Form::recipe();
        let name = below(recipe, &["package"]).and_then(|package| package.field("name"));
        assert!(name.is_some_and(|name| name.is_required && !name.about.is_empty()));
        assert!(matches!(
            below(
                recipe,
                &["pipeline", "*", "pipeline", "*", "needs", "packages", "*"]
            ),
            Some(Form::Text)
        ));
        assert!(matches!(
            below(recipe, &["package", "timeout"]),
            Some(Form::Duration)
        ));
        let period = below(recipe, &["update", "schedule", "period"]);
        assert!(matches!(
            period,
            Some(Form::Choice(["daily", "weekly", "monthly"]))
        ));
        let option = below(recipe, &["options", "*", "vars", "*"]);
        assert!(matches!(option, Some(Form::Text)));
    }
}
