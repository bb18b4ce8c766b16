use std::collections::BTreeMap;
use std::fmt::Write as _;

use build::recipe::{
    Action, GuestRequest, ResolvedPackage, ResolvedRecipe, ResolvedTest, Serialized, Step,
};

use crate::arguments::recipe::{RecipeFormat, RecipeShow};
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) fn run(arguments: &RecipeShow, session: &Session<'_>) -> Result<(), Failure> {
    let input = &arguments.input;
    let library = recipes::library(&input.pipeline_dirs, session);
    if arguments.format == RecipeFormat::Text {
        let (recipe, warnings) = recipes::resolve(&input.recipe, &input.values, &library)?;
        session.show(&warnings);
        return print_raw(&text(&recipe));
    }
    let (compiled, warnings) = recipes::compile(&input.recipe, &input.values, &library)?;
    session.show(&warnings);
    let out = if arguments.format == RecipeFormat::Yaml {
        yaml::to_string(&compiled)
    } else {
        let json = serde_json::to_string_pretty(&Serialized(&compiled))
            .map_err(|error| Failure::failed("the recipe can't be written as JSON", error))?;
        json + "\n"
    };
    print_raw(&out)
}

/// The recipe as people read it.
fn text(recipe: &ResolvedRecipe) -> String {
    let mut out = String::new();
    package(&recipe.package, &mut out);
    let _ = writeln!(out, "  architecture: {}", recipe.arch);
    if let Some(seconds) = recipe.limits.timeout {
        let _ = writeln!(out, "  timeout: {seconds} s");
    }
    if let Some(thousandths) = recipe.limits.processors {
        let _ = writeln!(out, "  processors: {}", thousandths as f64 / 1000.0);
    }
    for (what, bytes) in [
        ("memory", recipe.limits.memory),
        ("disk", recipe.limits.disk),
    ] {
        if let Some(bytes) = bytes {
            let _ = writeln!(out, "  {what}: {} MiB", bytes >> 20);
        }
    }
    list("capabilities", &recipe.capabilities.add, &mut out);
    guest("guest", &recipe.environment, &mut out);
    steps("steps", &recipe.steps, &mut out);
    test(recipe.test.as_ref(), &mut out);
    for subpackage in &recipe.subpackages {
        out.push('\n');
        package(&subpackage.package, &mut out);
        steps("steps", &subpackage.steps, &mut out);
        test(subpackage.test.as_ref(), &mut out);
    }
    out
}

fn package(package: &ResolvedPackage, out: &mut String) {
    let _ = writeln!(out, "{} {}", package.name, package.full_version);
    line("description", &package.description, out);
    line("url", &package.url, out);
    line("commit", &package.commit, out);
    let licenses: Vec<&str> = package
        .licenses
        .iter()
        .map(|copyright| copyright.license.as_str())
        .collect();
    line("licences", &licenses.join(", "), out);
    list("needs", &package.runtime, out);
    list("provides", &package.provides, out);
    list("replaces", &package.replaces, out);
    for (name, priority) in [
        ("provider priority", package.provider_priority),
        ("replaces priority", package.replaces_priority),
    ] {
        if let Some(priority) = priority {
            let _ = writeln!(out, "  {name}: {priority}");
        }
    }
    list("checks that only warn", &package.disabled_checks, out);
    for file in &package.setcap {
        let reason = file.reason.replace('\n', "; ");
        let _ = writeln!(out, "  capabilities of /{}: {reason}", file.path);
    }
}

fn line(name: &str, value: &str, out: &mut String) {
    if !value.is_empty() {
        let value = value.trim_end().replace('\n', "\n    ");
        let _ = writeln!(out, "  {name}: {value}");
    }
}

fn list(name: &str, values: &[String], out: &mut String) {
    line(name, &values.join(", "), out);
}

fn guest(name: &str, guest: &GuestRequest, out: &mut String) {
    list(name, &guest.packages, out);
    list("repositories", &guest.repositories, out);
    if let Some(user) = &guest.accounts.run_as {
        line("runs as", user, out);
    }
    for (name, value) in &guest.environment {
        if build::recipe::usual_variable(name) != Some(value.as_str()) {
            let _ = writeln!(out, "  environment: {name}={value}");
        }
    }
}

fn test(test: Option<&ResolvedTest>, out: &mut String) {
    if let Some(test) = test {
        guest("test's guest", &test.environment, out);
        steps("test", &test.steps, out);
    }
}

fn steps(name: &str, steps: &[Step], out: &mut String) {
    if !steps.is_empty() {
        let _ = writeln!(out, "  {name}:");
        for (position, step) in steps.iter().enumerate() {
            let number = (position + 1).to_string();
            self::step(step, &BTreeMap::new(), &number, "    ", out);
        }
    }
}

/// `outer` is the environment of the step around it.
fn step(
    step: &Step,
    outer: &BTreeMap<String, String>,
    number: &str,
    indent: &str,
    out: &mut String,
) {
    let what = match &step.uses {
        Some(uses) if *uses != step.name => format!("{} ({uses})", step.name),
        _ => step.name.clone(),
    };
    let _ = write!(out, "{indent}{number}. {what}");
    if step.working_directory != build::recipe::HOME {
        let _ = write!(out, " in {}", step.working_directory);
    }
    out.push('\n');
    for (name, value) in &step.with {
        let value = value
            .trim_end()
            .replace('\n', &format!("\n{indent}       "));
        let _ = writeln!(out, "{indent}   {name}: {value}");
    }
    for (name, value) in &step.environment {
        if outer.get(name) != Some(value) {
            let value = value
                .trim_end()
                .replace('\n', &format!("\n{indent}       "));
            let _ = writeln!(out, "{indent}   {name}={value}");
        }
    }
    if let Action::Run { script } = &step.action {
        for line in script.trim_end().lines() {
            let _ = writeln!(out, "{indent}   | {line}");
        }
    }
    for (position, inner) in step.steps.iter().enumerate() {
        let number = format!("{number}.{}", position + 1);
        self::step(
            inner,
            &step.environment,
            &number,
            &format!("{indent}  "),
            out,
        );
    }
}
