pub use yaml::{FieldForm, Form};

use super::shape::Shape;
use super::written::Contents;

/// What may be written in a recipe.
pub fn form() -> Form {
    Contents::form()
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
        let recipe = form();
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
