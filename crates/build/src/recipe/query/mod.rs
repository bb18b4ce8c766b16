//! Questions to a recipe, put as a template in Go's language (`text/template`), which is what
//! scripts give to `melange query`.
//!
//! Fields have the names of melange's Go structs (`.Package.TargetArchitecture`) or those of the
//! file (`.package.target-architecture` can't be written in Go's grammar, so without the dash).
//! There are `if`, `else`, `range`, `with`, `break`, `continue`, variables, comments, trim marks, and
//! the functions `and`, `or`, `not`, `len`, `index`, `slice`, `print`, `printf`, `println`, `eq`,
//! `ne`, `lt`, `le`, `gt` and `ge`. There are no templates within templates.

mod evaluate;
mod parse;
mod value;

use base::{Problem, SourceText};
use yaml::Item;

use value::Value;

/// What `template` makes of a compiled recipe.
///
/// # Errors
/// The template can't be read, or asks for what recipes don't have.
pub fn query(template: &str, compiled: &Item) -> Result<String, Vec<Problem>> {
    let source = SourceText::new("the template", template);
    let told = |failure: Failure| {
        let problem = Problem::error("invalid-template", failure.message);
        let problem = problem.at(&source, failure.span, "");
        vec![match failure.help {
            Some(help) => problem.help(help),
            None => problem,
        }]
    };
    let nodes = parse::parse(template).map_err(told)?;
    evaluate::evaluate(&nodes, Value::of(compiled.clone(), crate::recipe::form())).map_err(told)
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    /// Bytes of the template.
    span: std::ops::Range<usize>,
    message: String,
    help: Option<String>,
}

impl Failure {
    fn new(span: std::ops::Range<usize>, message: impl Into<String>) -> Failure {
        Failure {
            span,
            message: message.into(),
            help: None,
        }
    }
}

#[cfg(test)]
mod tests;
