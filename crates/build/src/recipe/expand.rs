//! From steps as written to steps that run: pipelines looked up, inputs given, conditions decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Problem, SourceText, did_you_mean};

use super::library::{Definition, LibraryError, PipelineLibrary};
use super::native::NativeInputs;
use super::resolved::{Action, HOME, Step};
use super::substitute::{Piece, Place, Scope, condition, pieces, substitute, substitute_prose};
use super::syntax::Bash;
use super::text::Text;
use super::written::{Input, Inputs, PipelineStep, Recipe};

/// How deep pipelines and steps may nest.
const DEPTH_LIMIT: usize = 32;

/// How many steps one pipeline may become.
const STEP_LIMIT: usize = 20_000;

/// What steps inherit from what is around them.
pub(crate) struct Surroundings<'s> {
    place: Place<'s>,
    directory: Option<String>,
    environment: BTreeMap<String, String>,
    /// The pipelines being expanded, the outermost first.
    uses: Vec<String>,
    /// `2.1.` for what is in the first step of the second.
    number: String,
    depth: usize,
}

impl<'s> Surroundings<'s> {
    /// Those of a recipe's own steps.
    pub(crate) fn of(recipe: &'s Recipe) -> Surroundings<'s> {
        Surroundings {
            place: Place {
                source: &recipe.source,
                used_by: None,
            },
            directory: None,
            environment: BTreeMap::new(),
            uses: Vec::new(),
            number: String::new(),
            depth: 0,
        }
    }
}

/// Expands steps; gathers problems, and the packages that steps need.
pub(crate) struct Expansion<'e> {
    pub(crate) library: &'e PipelineLibrary,
    pub(crate) recipe: &'e SourceText,
    pub(crate) problems: &'e mut Vec<Problem>,
    pub(crate) needs: &'e mut Vec<String>,
    /// How many steps were expanded so far.
    pub(crate) expanded: usize,
    /// Whom to ask whether scripts can be read.
    pub(crate) bash: Option<&'e Bash>,
}

/// The text an input gets its value from.
struct InputText<'i> {
    text: &'i Text,
    place: Place<'i>,
    is_default: bool,
}

impl Expansion<'_> {
    /// The steps that will run.
    pub(crate) fn steps(
        &mut self,
        written: &[PipelineStep],
        scope: &Scope<'_>,
        around: &Surroundings<'_>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (position, step) in written.iter().enumerate() {
            let number = format!("{}{}", around.number, position + 1);
            steps.extend(self.step(step, number, scope, around));
        }
        steps
    }

    fn step(
        &mut self,
        written: &PipelineStep,
        number: String,
        outer: &Scope<'_>,
        around: &Surroundings<'_>,
    ) -> Option<Step> {
        let place = around.place;
        self.expanded += 1;
        if self.expanded > STEP_LIMIT {
            if self.expanded == STEP_LIMIT + 1 {
                self.problems.push(Problem::error(
                    "too-many-steps",
                    format!(
                        "a pipeline of {} becomes more than {STEP_LIMIT} steps",
                        self.recipe.name()
                    ),
                ));
            }
            return None;
        }
        let uses = written.uses.as_ref().filter(|uses| !uses.is_empty());
        // Where steps are spelled out, `uses` only tells where they came from.
        let named = uses.filter(|_| written.pipeline.is_empty());
        let named = named.filter(|_| !self.library.is_closed());
        let definition = match named {
            Some(uses) => Some(self.definition(uses, around)?),
            None => None,
        };
        let used_by = around.place.used_by.map(str::to_owned).or_else(|| {
            let at = self.recipe.location(uses?.start);
            Some(format!("{}:{}:{}", self.recipe.name(), at.line, at.column))
        });
        let inner_place = match &definition {
            Some(definition) => Place {
                source: &definition.source,
                used_by: used_by.as_deref(),
            },
            None => place,
        };
        let inner = definition.as_ref().map(|definition| &definition.step);

        let declared = inner.map_or(&written.inputs, |inner| &inner.inputs);
        let mut scope = Scope::inside(outer);
        let with = if uses.is_some() && named.is_none() && written.inputs.names().next().is_none() {
            // Nothing says what the pipeline takes: what it was given is only told.
            let given = written.with.iter().flat_map(|with| with.iter());
            given
                .filter_map(|(name, text)| {
                    let value = substitute(text, outer, place, self.problems)?;
                    Some((name.value.clone(), value))
                })
                .collect()
        } else {
            self.inputs(written, declared, outer, &mut scope, place, inner_place)
        };

        let mut runs = true;
        for (step, place) in [(Some(written), place), (inner, inner_place)] {
            if let Some(text) = step.and_then(|step| step.condition.as_ref()) {
                runs &= condition(text, &scope, place, self.problems).unwrap_or(true);
            }
        }
        if !runs {
            return None;
        }

        let mut directory = around.directory.clone();
        let mut environment = around.environment.clone();
        for (step, place) in [(Some(written), place), (inner, inner_place)] {
            let Some(step) = step else { continue };
            if let Some(text) = step
                .working_directory
                .as_ref()
                .filter(|text| !text.is_empty())
            {
                directory = substitute(text, &scope, place, self.problems);
            }
            for (name, value) in step.environment.iter() {
                let value = substitute(value, &scope, place, self.problems);
                environment.insert(name.value.clone(), value.unwrap_or_default());
            }
            for text in &step.needs.packages {
                self.need(text, &scope, place);
            }
        }

        let script = inner.map_or(&written.runs, |inner| &inner.runs);
        let script = script.as_ref().filter(|script| !script.trim().is_empty());
        let native = definition.as_ref().and_then(|definition| definition.native);
        let action = match (native, script, uses) {
            (Some(native), _, Some(uses)) => NativeInputs {
                scope: &scope,
                written,
                uses: uses.span(),
                place,
                problems: self.problems,
            }
            .action(native)
            .unwrap_or(Action::Nothing),
            (_, Some(script), _) => Action::Run {
                script: self.script(script, &scope, inner_place),
            },
            _ => Action::Nothing,
        };

        let children = inner.map_or(&written.pipeline, |inner| &inner.pipeline);
        let mut uses_within = around.uses.clone();
        uses_within.extend(named.map(|uses| uses.value.clone()));
        let within = Surroundings {
            place: inner_place,
            directory: directory.clone(),
            environment: environment.clone(),
            uses: uses_within,
            number: format!("{number}."),
            depth: around.depth + 1,
        };
        if within.depth > DEPTH_LIMIT {
            let span = named.map_or(0..0, Text::span);
            self.problems.push(place.problem(
                "deep-pipeline",
                format!("steps nest more than {DEPTH_LIMIT} levels"),
                span,
                "",
            ));
            return None;
        }
        let steps = self.steps(children, &scope, &within);

        let assertions = [(inner, inner_place), (Some(written), place)]
            .into_iter()
            .find_map(|(step, place)| Some((step?.assertions.required_steps.as_ref()?, place)));
        if let Some((required, place)) = assertions
            && required.value as usize != steps.len()
        {
            self.problems.push(place.problem(
                "required-steps",
                format!(
                    "exactly {} steps are required to run, but the conditions leave {} of {}",
                    required.value,
                    steps.len(),
                    children.len()
                ),
                required.span(),
                "",
            ));
        }

        let name = written.name.as_ref().filter(|name| !name.is_empty());
        let name = match (name, uses) {
            (Some(name), _) => substitute_prose(name, &scope, place, self.problems),
            (None, Some(uses)) => uses.value.clone(),
            (None, None) => format!("step {number}"),
        };
        Some(Step {
            name,
            uses: uses.map(|uses| uses.value.clone()),
            with,
            action,
            working_directory: absolute(directory.as_deref().unwrap_or_default()),
            environment,
            steps,
            required_steps: assertions.map(|(required, _)| required.value as usize),
        })
    }

    fn script(&mut self, written: &Text, scope: &Scope<'_>, place: Place<'_>) -> String {
        let script = substitute(written, scope, place, self.problems);
        if let (Some(script), Some(bash)) = (&script, self.bash)
            && let Some(objection) = bash.objection(script)
        {
            self.problems.push(place.problem(
                "script-syntax",
                format!("no shell can read this script: {objection}"),
                written.span(),
                "lines are counted from the script's first; variables stand for their values there",
            ));
        }
        script.unwrap_or_default()
    }

    fn definition(&mut self, uses: &Text, around: &Surroundings<'_>) -> Option<Arc<Definition>> {
        let place = around.place;
        if let Some(start) = around.uses.iter().position(|name| *name == uses.value) {
            let circle: Vec<&str> = around
                .uses
                .iter()
                .skip(start)
                .map(String::as_str)
                .chain([uses.value.as_str()])
                .collect();
            let message = format!("the pipeline uses itself: {}", circle.join(" → "));
            self.problems
                .push(place.problem("circular-pipeline", message, uses.span(), ""));
            return None;
        }
        match self.library.load(uses) {
            Ok(definition) => Some(definition),
            Err(LibraryError::Invalid { problems, .. }) => {
                self.problems.extend(problems);
                None
            }
            Err(error) => {
                let help = match &error {
                    LibraryError::Unknown { help, .. } => help.as_str(),
                    _ => "",
                };
                self.problems.push(place.problem(
                    "unknown-pipeline",
                    error.to_string(),
                    uses.span(),
                    help,
                ));
                None
            }
        }
    }

    /// Puts the inputs into `scope`; gives those that differ from their defaults as written.
    fn inputs(
        &mut self,
        written: &PipelineStep,
        declared: &Inputs,
        outer: &Scope<'_>,
        scope: &mut Scope<'_>,
        place: Place<'_>,
        inner_place: Place<'_>,
    ) -> BTreeMap<String, String> {
        let uses = written.uses.as_ref();
        if let (Some(uses), Some(with)) = (uses, &written.with)
            && written.pipeline.is_empty()
        {
            for (name, _) in with.iter() {
                if declared.get(name).is_none() {
                    self.unknown_input(uses, name, declared, place);
                }
            }
        }
        let mut texts: BTreeMap<&str, InputText<'_>> = BTreeMap::new();
        for (name, input) in declared.iter() {
            let given = written.with.as_ref().and_then(|with| with.get(name));
            let given = given.filter(|text| !text.is_empty());
            if given.is_none() && input.required && input.default.is_empty() {
                self.missing_input(uses, name, input, place);
                scope.set(format!("inputs.{}", name.value), None);
                continue;
            }
            let text = InputText {
                text: given.unwrap_or(&input.default),
                place: if given.is_some() { place } else { inner_place },
                is_default: given.is_none(),
            };
            texts.insert(&name.value, text);
        }
        let mut values = BTreeMap::new();
        for name in texts.keys() {
            self.input(name, &texts, outer, &mut values, &mut Vec::new());
        }
        let mut with = BTreeMap::new();
        for (name, text) in &texts {
            let value = values.remove(*name).flatten();
            if let Some(value) = &value {
                self.check_digest(name, value, text);
                let default = declared.get(name).map(|input| &input.default.value);
                if default != Some(value) {
                    with.insert((*name).to_owned(), value.clone());
                }
            }
            scope.set(format!("inputs.{name}"), value);
        }
        with
    }

    /// The value of one input. What the step gives is read in the scope around it, a default in
    /// that of its siblings; each falls back on the other.
    fn input<'i>(
        &mut self,
        name: &'i str,
        texts: &BTreeMap<&'i str, InputText<'i>>,
        outer: &Scope<'_>,
        values: &mut BTreeMap<&'i str, Option<String>>,
        under_way: &mut Vec<&'i str>,
    ) -> Option<String> {
        if let Some(value) = values.get(name) {
            return value.clone();
        }
        let input = texts.get(name)?;
        under_way.push(name);
        let mut scope = Scope::inside(outer);
        for piece in pieces(input.text) {
            let Piece::Reference {
                name: variable,
                span,
            } = piece
            else {
                continue;
            };
            let sibling = variable
                .strip_prefix("inputs.")
                .and_then(|sibling| texts.get_key_value(sibling).map(|(name, _)| *name));
            let Some(sibling) = sibling else { continue };
            let is_known_outside = outer.get(variable).is_some();
            let is_under_way = under_way.contains(&sibling) || under_way.len() > 100;
            if is_known_outside && (!input.is_default || is_under_way) {
                continue;
            }
            let value = if is_under_way {
                let mut circle = under_way.clone();
                circle.push(sibling);
                self.problems.push(input.place.problem(
                    "circular-variable",
                    format!("the inputs go in a circle: {}", circle.join(" → ")),
                    input.place.span_within(input.text, span),
                    "",
                ));
                None
            } else {
                self.input(sibling, texts, outer, values, under_way)
            };
            scope.set(variable, value);
        }
        under_way.pop();
        let value = substitute(input.text, &scope, input.place, self.problems);
        values.insert(name, value.clone());
        value
    }

    fn unknown_input(&mut self, uses: &Text, name: &Text, declared: &Inputs, place: Place<'_>) {
        let mut known: Vec<&str> = declared.names().collect();
        known.sort_unstable();
        let help = match did_you_mean(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`? It takes {}", known.join(", ")),
            None if known.is_empty() => "it takes none".to_owned(),
            None => format!("it takes {}", known.join(", ")),
        };
        self.problems.push(place.problem(
            "unknown-input",
            format!(
                "the pipeline `{}` has no input `{}`",
                uses.value, name.value
            ),
            name.span(),
            &help,
        ));
    }

    fn missing_input(&mut self, uses: Option<&Text>, name: &Text, input: &Input, place: Place<'_>) {
        let (who, span) = match uses {
            Some(uses) => (format!("the pipeline `{}`", uses.value), uses.span()),
            None => ("the step".to_owned(), name.span()),
        };
        let about = input.description.trim().trim_end_matches('.');
        let help = match about {
            "" => format!("add it below `with`: `{}: …`", name.value),
            about => format!("add `{}` below `with`: {about}", name.value),
        };
        self.problems.push(place.problem(
            "missing-input",
            format!("{who} requires the input `{}`", name.value),
            span,
            &help,
        ));
    }

    fn check_digest(&mut self, name: &str, value: &str, input: &InputText<'_>) {
        let length = match name {
            "expected-sha256" => 64,
            "expected-sha512" => 128,
            "expected-commit" => 40,
            _ => return,
        };
        let is_hex = value.bytes().all(|byte| byte.is_ascii_hexdigit());
        if value.is_empty() || (value.len() == length && is_hex) {
            return;
        }
        let message = if is_hex {
            format!(
                "`{name}` has {length} hexadecimal digits, not {}",
                value.len()
            )
        } else {
            format!("`{name}` has {length} hexadecimal digits; `{value}` holds something else")
        };
        self.problems.push(
            input
                .place
                .problem("invalid-digest", message, input.text.span(), ""),
        );
    }

    fn need(&mut self, text: &Text, scope: &Scope<'_>, place: Place<'_>) {
        let Some(package) = substitute(text, scope, place, self.problems) else {
            return;
        };
        // An input that names a package may be empty.
        if package.is_empty() {
            return;
        }
        match apk::dependency::Dependency::parse_apko(&package) {
            Ok(_) => self.needs.push(package),
            Err(reason) => self.problems.push(place.problem(
                "invalid-dependency",
                reason.to_string(),
                text.span(),
                "",
            )),
        }
    }
}

/// A working directory as an absolute path without `.`, `..` and doubled slashes; a relative one
/// begins at [`HOME`].
pub fn absolute(directory: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if directory.starts_with('/') { "" } else { HOME };
    for part in start.split('/').chain(directory.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_directories() {
        for (written, absolute_path) in [
            ("", "/home/build"),
            (".", "/home/build"),
            ("src/./a//b/", "/home/build/src/a/b"),
            ("../x", "/home/x"),
            ("../../../x", "/x"),
            ("/opt/../tmp", "/tmp"),
            ("/", "/"),
        ] {
            assert_eq!(absolute(written), absolute_path, "{written}");
        }
    }
}
