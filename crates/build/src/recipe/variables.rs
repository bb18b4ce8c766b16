//! The variables every part of a recipe sees.
//!
//! A variable may refer to any other, in whatever order they are written; only circles are wrong.

use std::collections::BTreeMap;

use base::{Problem, SourceText};
use regex::Regex;

use super::resolve::{Libc, ResolveOptions};
use super::resolved::{HOME, OUTPUT_FOLDER};
use super::substitute::{Piece, Place, Scope, pieces, substitute, substitute_prose};
use super::text::Text;
use super::written::{Recipe, VarTransform};

/// How many variables may lead to one another in a row.
const CHAIN_LIMIT: usize = 100;

/// Where a variable's value comes from.
enum Definition<'r> {
    /// A text of the recipe.
    Written(&'r Text),
    /// A text of the recipe for people, where the unknown stays as written; the field itself is
    /// where that is told.
    Prose(&'r Text),
    /// A text given from outside, with its name for messages.
    Given(SourceText, Text),
    /// A value that is known.
    Known(String),
    /// A transform, by its position among all of them.
    Transform(usize, &'r VarTransform),
}

struct Evaluation<'r> {
    source: &'r SourceText,
    definitions: &'r BTreeMap<String, Vec<Definition<'r>>>,
    done: BTreeMap<(String, usize), Option<String>>,
    under_way: Vec<(String, usize)>,
    problems: &'r mut Vec<Problem>,
}

/// Evaluates them all. Names whose value has a problem are in the scope without one.
pub(crate) fn global_scope<'r>(
    recipe: &'r Recipe,
    options: &ResolveOptions,
    problems: &'r mut Vec<Problem>,
) -> Scope<'static> {
    let contents = &recipe.contents;
    let package = &contents.package;
    let mut definitions: BTreeMap<String, Vec<Definition<'r>>> = BTreeMap::new();
    let mut known = |name: &str, value: &str| {
        definitions.insert(name.to_owned(), vec![Definition::Known(value.to_owned())]);
    };
    let arch = options.arch;
    let musl = |triplet: &str| triplet.replace("-linux-gnu", "-linux-musl");
    let (gnu, rust) = (arch.gnu_triplet(), arch.rust_triplet());
    let (host_gnu, host_rust) = match options.libc {
        Libc::Gnu => (gnu.to_owned(), rust.to_owned()),
        Libc::Musl => (musl(gnu), musl(rust)),
    };
    known("package.epoch", &package.epoch.to_string());
    known("package.srcdir", HOME);
    known("targets.outdir", OUTPUT_FOLDER);
    known("host.triplet.gnu", &host_gnu);
    known("host.triplet.rust", &host_rust);
    known("cross.triplet.gnu.glibc", gnu);
    known("cross.triplet.gnu.musl", &musl(gnu));
    known("cross.triplet.rust.glibc", rust);
    known("cross.triplet.rust.musl", &musl(rust));
    known("build.arch", arch.apk());
    known("build.goarch", arch.oci().0);
    for name in contents
        .options
        .names()
        .chain(options.build_options.iter().map(String::as_str))
    {
        let enabled = options.build_options.contains(name);
        known(
            &format!("options.{name}.enabled"),
            if enabled { "true" } else { "false" },
        );
    }

    let mut written = |name: String, text: &'r Text| {
        definitions
            .entry(name)
            .or_default()
            .push(Definition::Written(text));
    };
    written("package.name".to_owned(), &package.name);
    written("package.version".to_owned(), &package.version);
    for (name, text) in contents.vars.iter() {
        written(format!("vars.{}", name.value), text);
    }
    definitions.insert(
        "package.description".to_owned(),
        vec![Definition::Prose(&package.description)],
    );
    for (name, value) in &options.vars {
        let source = SourceText::new(format!("the value given for {name}"), value.as_str());
        let text = Text::new(value.clone(), 0..value.len());
        definitions
            .entry(format!("vars.{name}"))
            .or_default()
            .push(Definition::Given(source, text));
    }
    for (name, option) in contents.options.iter() {
        if options.build_options.contains(&name.value) {
            for (variable, text) in option.vars.iter() {
                definitions
                    .entry(format!("vars.{}", variable.value))
                    .or_default()
                    .push(Definition::Written(text));
            }
        }
    }
    for (position, transform) in contents.var_transforms.iter().enumerate() {
        definitions
            .entry(format!("vars.{}", transform.to.value))
            .or_default()
            .push(Definition::Transform(position, transform));
    }

    let mut evaluation = Evaluation {
        source: &recipe.source,
        definitions: &definitions,
        done: BTreeMap::new(),
        under_way: Vec::new(),
        problems,
    };
    let names: Vec<(String, usize)> = evaluation
        .definitions
        .iter()
        .map(|(name, definitions)| (name.clone(), definitions.len() - 1))
        .collect();
    let mut scope = Scope::default();
    for (name, last) in names {
        let value = evaluation.value(&name, last);
        scope.set(name, value);
    }
    let derived = |prefix: &str, value: Option<&str>, suffix: &str| {
        value.map(|value| format!("{prefix}{value}{suffix}"))
    };
    let name = scope.get("package.name").flatten().map(str::to_owned);
    let version = scope.get("package.version").flatten().map(str::to_owned);
    let destination = derived(&format!("{OUTPUT_FOLDER}/"), name.as_deref(), "");
    scope.set(
        "package.full-version",
        derived("", version.as_deref(), &format!("-r{}", package.epoch)),
    );
    scope.set("targets.destdir", destination.clone());
    scope.set("targets.contextdir", destination);
    scope.set("context.name", name);
    scope
}

impl Evaluation<'_> {
    /// The value that the definition at `position` of `name` gives.
    fn value(&mut self, name: &str, position: usize) -> Option<String> {
        let key = (name.to_owned(), position);
        if let Some(done) = self.done.get(&key) {
            return done.clone();
        }
        let definition = self.definitions.get(name)?.get(position)?;
        self.under_way.push(key.clone());
        let value = self.evaluate(definition);
        self.under_way.pop();
        self.done.insert(key, value.clone());
        value
    }

    fn evaluate(&mut self, definition: &Definition<'_>) -> Option<String> {
        match definition {
            Definition::Known(value) => Some(value.clone()),
            Definition::Written(text) => self.text(text, self.source, usize::MAX),
            Definition::Prose(text) => {
                let scope = self.referenced(text, self.source, usize::MAX);
                let place = Place {
                    source: self.source,
                    used_by: None,
                };
                Some(substitute_prose(text, &scope, place, &mut Vec::new()))
            }
            Definition::Given(source, text) => self.text(text, source, usize::MAX),
            Definition::Transform(position, transform) => {
                let from = self.text(&transform.from, self.source, *position)?;
                // A group's value may hold `$`, and so may a variable's, which is no group.
                let source = self.source.clone();
                let mut scope = self.referenced(&transform.replace, &source, *position);
                scope.map_own(|value| value.replace('$', "$$"));
                let place = Place {
                    source: &source,
                    used_by: None,
                };
                let replace = substitute(&transform.replace, &scope, place, self.problems)?;
                // A pattern that is none has been reported by now.
                let pattern = Regex::new(&transform.matching).ok()?;
                Some(pattern.replace_all(&from, replace.as_str()).into_owned())
            }
        }
    }

    fn text(&mut self, text: &Text, source: &SourceText, before: usize) -> Option<String> {
        let scope = self.referenced(text, source, before);
        let place = Place {
            source,
            used_by: None,
        };
        substitute(text, &scope, place, self.problems)
    }

    /// The values of the names that a text refers to. Transforms from position `before` on are not
    /// seen, as long as the name has another definition.
    fn referenced(&mut self, text: &Text, source: &SourceText, before: usize) -> Scope<'static> {
        let place = Place {
            source,
            used_by: None,
        };
        let mut scope = Scope::default();
        for piece in pieces(text) {
            let Piece::Reference { name, span } = piece else {
                continue;
            };
            // Whole chains of derived names need no order of their own.
            let needed = match name {
                "package.full-version" => "package.version",
                "targets.destdir" | "targets.contextdir" | "context.name" => "package.name",
                name => name,
            };
            let Some(position) = self.visible(needed, before) else {
                let names: Vec<String> = self.definitions.keys().cloned().collect();
                for name in names {
                    if scope.get(&name).is_none() {
                        scope.set(name, None);
                    }
                }
                continue;
            };
            let circle = self
                .under_way
                .iter()
                .position(|(under_way, at)| under_way == needed && *at == position);
            let value = if let Some(start) = circle {
                let mut circle: Vec<&str> = self
                    .under_way
                    .iter()
                    .skip(start)
                    .map(|(name, _)| name.as_str())
                    .collect();
                circle.push(needed);
                let message = format!("the variables go in a circle: {}", circle.join(" → "));
                self.problems.push(place.problem(
                    "circular-variable",
                    message,
                    place.span_within(text, span),
                    "",
                ));
                None
            } else if self.under_way.len() > CHAIN_LIMIT {
                self.problems.push(place.problem(
                    "long-chain",
                    format!("more than {CHAIN_LIMIT} variables lead to one another"),
                    place.span_within(text, span),
                    "",
                ));
                None
            } else {
                self.value(needed, position)
            };
            let value = match name {
                "package.full-version" => self.full_version(value),
                "targets.destdir" | "targets.contextdir" => {
                    value.map(|name| format!("{OUTPUT_FOLDER}/{name}"))
                }
                _ => value,
            };
            scope.set(name, value);
        }
        scope
    }

    fn full_version(&mut self, version: Option<String>) -> Option<String> {
        let epoch = self.value("package.epoch", 0)?;
        version.map(|version| format!("{version}-r{epoch}"))
    }

    /// Which definition of a name a reference means.
    fn visible(&self, name: &str, before: usize) -> Option<usize> {
        let definitions = self.definitions.get(name)?;
        definitions
            .iter()
            .rposition(|definition| match definition {
                Definition::Transform(position, _) => *position < before,
                _ => true,
            })
            .or(definitions.len().checked_sub(1))
    }
}
