//! Two compiled recipes, ours and melange's, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::script;

/// A difference that is meant: how both sides are brought to one form before they are compared.
pub(crate) struct Exception {
    pub(crate) name: &'static str,
    /// Why the difference is none, or is melange's defect.
    pub(crate) reason: &'static str,
    /// Whether it found anything to change.
    apply: fn(ours: &mut Value, theirs: &mut Value, written: &Value) -> bool,
}

/// Every difference that doesn't count, in the order they are applied.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "step-conditions",
        reason: "melange decides the `if` of steps when they run; here those that don't hold are gone",
        apply: |_, theirs, _| conditions(theirs),
    },
    Exception {
        name: "nested-needs",
        reason: "melange leaves `needs` in nested steps though the guest has the packages already",
        apply: |_, theirs, _| each_step(theirs, &mut |step| step.remove("needs").is_some()),
    },
    Exception {
        name: "step-environment",
        reason: "melange passes `environment` down to nested steps when they run, not when it compiles",
        apply: |_, theirs, _| inherit(theirs, "environment"),
    },
    Exception {
        name: "working-directory",
        reason: "melange writes working directories relative to /home/build, and joins them later",
        apply: |_, theirs, _| working_directories(theirs),
    },
    Exception {
        name: "guest-package-order",
        reason: "melange lists a package once for each step that needs it; a guest is a set",
        apply: |ours, theirs, _| {
            let mine = package_sets(ours);
            package_sets(theirs) | mine
        },
    },
    Exception {
        name: "test-environment",
        reason: "melange adds the usual variables to a test's guest when the test runs",
        apply: |ours, theirs, _| {
            let mine = test_defaults(ours);
            test_defaults(theirs) | mine
        },
    },
    Exception {
        name: "users",
        reason: "melange leaves out the group of a user that names none, which is the user's own number, and \
                 the home of `build`, which is /home/build",
        apply: |_, theirs, _| users(theirs),
    },
    Exception {
        name: "misplaced-conflict",
        reason: "melange passes a conflict below `provides` on to apk, for which it means nothing; here it \
                 is one below `runtime`, as was meant",
        apply: |_, theirs, _| misplaced_conflicts(theirs),
    },
    Exception {
        name: "variables",
        reason: "melange copies `vars`, `var-transforms` and `options` as written, and so they are compared; \
                 here `vars` have their values and the rest has had its effect",
        apply: |ours, theirs, written| {
            let mut changed = false;
            for key in ["vars", "var-transforms", "options"] {
                remove(ours, key);
                if let (Value::Object(ours), Some(written)) = (&mut *ours, written.get(key)) {
                    ours.insert(key.to_owned(), written.clone());
                }
                changed |= theirs.get(key).is_some();
            }
            changed
        },
    },
    Exception {
        name: "script-layout",
        reason: "melange prints scripts anew without comments; here they stay as written",
        apply: |ours, theirs, _| {
            let mut canonical = |step: &mut Map<String, Value>| {
                let Some(Value::String(script)) = step.get_mut("runs") else {
                    return false;
                };
                let form = script::canonical(script);
                let changed = form != *script;
                *script = form;
                changed
            };
            let mine = each_step(ours, &mut canonical);
            each_step(theirs, &mut canonical) | mine
        },
    },
    Exception {
        name: "empty",
        reason: "melange writes some mappings and lists even when they hold nothing",
        apply: |ours, theirs, _| {
            let mine = prune(ours);
            prune(theirs) | mine
        },
    },
    Exception {
        name: "default-inputs",
        reason: "melange lists inputs left at a default with variables in it only where a step of a recipe \
                 gives some other input",
        apply: |ours, theirs, _| default_inputs(ours, theirs),
    },
];

fn remove(value: &mut Value, key: &str) -> bool {
    value
        .as_object_mut()
        .is_some_and(|map| map.remove(key).is_some())
}

/// Every list of steps in a recipe: its own, its subpackages', their tests'.
fn pipelines<'v>(recipe: &'v mut Value, found: &mut Vec<&'v mut Vec<Value>>) {
    let Value::Object(map) = recipe else { return };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("pipeline", Value::Array(steps)) => found.push(steps),
            ("test", test) => pipelines(test, found),
            ("subpackages", Value::Array(subpackages)) => {
                for subpackage in subpackages {
                    pipelines(subpackage, found);
                }
            }
            _ => {}
        }
    }
}

/// Calls `change` with every step, the outer ones first; whether any call changed something.
fn each_step(recipe: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>) -> bool) -> bool {
    fn within(
        steps: &mut [Value],
        change: &mut dyn FnMut(&mut Map<String, Value>) -> bool,
    ) -> bool {
        let mut changed = false;
        for step in steps {
            let Value::Object(step) = step else { continue };
            changed |= change(step);
            if let Some(Value::Array(steps)) = step.get_mut("pipeline") {
                changed |= within(steps, change);
            }
        }
        changed
    }
    let mut found = Vec::new();
    pipelines(recipe, &mut found);
    let mut changed = false;
    for steps in found {
        changed |= within(steps, change);
    }
    changed
}

fn conditions(recipe: &mut Value) -> bool {
    fn within(steps: &mut Vec<Value>) -> bool {
        let before = steps.len();
        steps.retain(|step| {
            let condition = step.get("if").and_then(Value::as_str);
            // What can't be read stays, and shows as a difference.
            condition.is_none_or(|condition| build::recipe::holds(condition) != Ok(false))
        });
        let mut changed = steps.len() != before;
        for step in steps {
            changed |= remove(step, "if");
            if let Some(Value::Array(steps)) = step.get_mut("pipeline") {
                changed |= within(steps);
            }
        }
        changed
    }
    let mut found = Vec::new();
    pipelines(recipe, &mut found);
    let mut changed = false;
    for steps in found {
        changed |= within(steps);
    }
    changed
}

/// Drops the inputs of our steps where melange's say nothing of any.
fn default_inputs(ours: &mut Value, theirs: &mut Value) -> bool {
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    pipelines(ours, &mut mine);
    pipelines(theirs, &mut yours);
    let mut changed = false;
    // Steps in a pipeline inherit inputs, so that this is about the outermost alone.
    for (mine, yours) in mine.into_iter().zip(yours) {
        for (mine, yours) in mine.iter_mut().zip(yours) {
            if yours.get("with").is_none() {
                changed |= remove(mine, "with");
            }
        }
    }
    changed
}

/// Passes what a step has under `key`, a mapping, down to those in it; their own entries win.
fn inherit(recipe: &mut Value, key: &str) -> bool {
    each_step(recipe, &mut |step| {
        let Some(Value::Object(own)) = step.get(key).cloned() else {
            return false;
        };
        let mut changed = false;
        if let Some(Value::Array(steps)) = step.get_mut("pipeline") {
            for inner in steps.iter_mut().filter_map(Value::as_object_mut) {
                let inner = inner
                    .entry(key)
                    .or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(inner) = inner else {
                    continue;
                };
                for (name, value) in &own {
                    if !inner.contains_key(name) {
                        inner.insert(name.clone(), value.clone());
                        changed = true;
                    }
                }
            }
        }
        changed
    })
}

fn working_directories(recipe: &mut Value) -> bool {
    each_step(recipe, &mut |step| {
        let Some(Value::String(directory)) = step.get_mut("working-directory") else {
            return false;
        };
        let absolute = build::recipe::absolute(directory);
        if absolute == build::recipe::HOME {
            step.remove("working-directory");
            return true;
        }
        let changed = absolute != *directory;
        *directory = absolute;
        changed
    })
}

/// Every guest of a recipe: the build's and the tests'.
fn guests(recipe: &mut Value) -> Vec<&mut Value> {
    let mut found = Vec::new();
    let Value::Object(map) = recipe else {
        return found;
    };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("environment", guest) => found.push(guest),
            ("test", Value::Object(test)) => found.extend(test.get_mut("environment")),
            ("subpackages", Value::Array(subpackages)) => {
                for subpackage in subpackages {
                    found.extend(
                        subpackage
                            .get_mut("test")
                            .and_then(|test| test.get_mut("environment")),
                    );
                }
            }
            _ => {}
        }
    }
    found
}

fn package_sets(recipe: &mut Value) -> bool {
    let mut changed = false;
    for guest in guests(recipe) {
        let packages = guest.pointer_mut("/contents/packages");
        let Some(Value::Array(packages)) = packages else {
            continue;
        };
        let before = packages.clone();
        packages.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
        packages.dedup();
        changed |= before != *packages;
    }
    changed
}

fn test_defaults(recipe: &mut Value) -> bool {
    let mut changed = false;
    // The first is the build's own.
    for guest in guests(recipe).into_iter().skip(1) {
        if let Some(Value::Object(environment)) = guest.get_mut("environment") {
            let before = environment.len();
            environment.retain(|name, value| {
                let usual = build::recipe::usual_variable(name);
                usual.is_none() || usual != value.as_str()
            });
            changed |= before != environment.len();
        }
    }
    changed
}

fn users(recipe: &mut Value) -> bool {
    let mut changed = false;
    for guest in guests(recipe) {
        let users = guest.pointer_mut("/accounts/users");
        for user in users.and_then(Value::as_array_mut).into_iter().flatten() {
            let Value::Object(user) = user else { continue };
            let is_builder = user.get("username").is_some_and(|name| name == "build");
            let home = is_builder.then(|| build::recipe::HOME.into());
            for (key, usual) in [("gid", user.get("uid").cloned()), ("homedir", home)] {
                if let (false, Some(usual)) = (user.contains_key(key), usual) {
                    user.insert(key.to_owned(), usual);
                    changed = true;
                }
            }
        }
    }
    changed
}

fn misplaced_conflicts(recipe: &mut Value) -> bool {
    fn within(dependencies: Option<&mut Value>) -> bool {
        let Some(Value::Object(dependencies)) = dependencies else {
            return false;
        };
        let Some(Value::Array(provides)) = dependencies.get_mut("provides") else {
            return false;
        };
        let is_conflict = |entry: &Value| entry.as_str().is_some_and(|text| text.starts_with('!'));
        let conflicts: Vec<Value> = provides
            .extract_if(.., |entry| is_conflict(entry))
            .collect();
        if conflicts.is_empty() {
            return false;
        }
        let runtime = dependencies
            .entry("runtime")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(runtime) = runtime {
            runtime.extend(conflicts);
        }
        true
    }
    let mut changed = within(recipe.pointer_mut("/package/dependencies"));
    let subpackages = recipe.get_mut("subpackages").and_then(Value::as_array_mut);
    for subpackage in subpackages.into_iter().flatten() {
        changed |= within(subpackage.get_mut("dependencies"));
    }
    changed
}

/// Drops what says nothing, from the inside out.
fn prune(value: &mut Value) -> bool {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(number) => number.as_u64() == Some(0),
            Value::Bool(true) => false,
        }
    }
    match value {
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |changed, item| prune(item) | changed),
        Value::Object(map) => {
            let mut changed = map
                .values_mut()
                .fold(false, |changed, item| prune(item) | changed);
            let before = map.len();
            map.retain(|_, value| !is_empty(value));
            changed |= before != map.len();
            changed
        }
        _ => false,
    }
}

/// What a comparison found.
#[derive(Default)]
pub(crate) struct Comparison {
    /// Fields that are equal.
    pub(crate) equal: usize,
    /// Fields that aren't: where, with `[]` for any member of a list, and both sides.
    pub(crate) differences: Vec<(String, String)>,
    /// The exceptions that applied.
    pub(crate) excepted: BTreeMap<&'static str, usize>,
}

/// Compares a recipe that was compiled here with melange's result.
pub(crate) fn compare(mut ours: Value, mut theirs: Value, written: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    for exception in EXCEPTIONS {
        if (exception.apply)(&mut ours, &mut theirs, written) {
            comparison.excepted.insert(exception.name, 1);
        }
    }
    fields("", &ours, &theirs, &mut comparison);
    comparison
}

fn fields(place: &str, ours: &Value, theirs: &Value, comparison: &mut Comparison) {
    match (ours, theirs) {
        (Value::Object(mine), Value::Object(yours)) => {
            let keys: std::collections::BTreeSet<&String> =
                mine.keys().chain(yours.keys()).collect();
            for key in keys {
                let place = match place {
                    "" => key.clone(),
                    place => format!("{place}.{key}"),
                };
                let side = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                fields(&place, &side(mine), &side(yours), comparison);
            }
        }
        (Value::Array(mine), Value::Array(yours)) if mine.len() == yours.len() => {
            for (mine, yours) in mine.iter().zip(yours) {
                fields(&format!("{place}[]"), mine, yours, comparison);
            }
        }
        (mine, yours) if mine == yours => comparison.equal += 1,
        (mine, yours) => {
            let both = format!("ours {}, theirs {}", short(mine, yours), short(yours, mine));
            comparison.differences.push((place.to_owned(), both));
        }
    }
}

/// A value from a little before where it begins to differ from the other.
fn short(value: &Value, other: &Value) -> String {
    let (text, other) = (value.to_string(), other.to_string());
    let same = text
        .chars()
        .zip(other.chars())
        .take_while(|(left, right)| left == right)
        .count();
    let start = same.saturating_sub(30);
    let part: String = text.chars().skip(start).take(100).collect();
    if start > 0 {
        format!("…{part}")
    } else {
        part
    }
}
