use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::Problem;
use build::authoring::style;

use crate::arguments::recipe::RecipeFmt;
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::print_raw;

/// A file that is to be written again.
struct Changed {
    path: PathBuf,
    text: String,
}

pub(crate) fn run(arguments: &RecipeFmt) -> Result<ExitCode, Failure> {
    let mut changed = Vec::new();
    let mut problems = Vec::new();
    for path in recipes::files(&arguments.recipes)? {
        match format(&path) {
            Ok(Some(text)) => changed.push(Changed { path, text }),
            Ok(None) => {}
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Problems(problems));
    }
    let names: String = changed
        .iter()
        .map(|file| format!("{}\n", file.path.display()))
        .collect();
    if arguments.check {
        print_raw(&names)?;
        return Ok(ExitCode::from(u8::from(!changed.is_empty())));
    }
    for file in &changed {
        recipes::rewrite(&file.path, &file.text)?;
    }
    print_raw(&names)?;
    Ok(ExitCode::SUCCESS)
}

/// What the file is to be, if that is not what it is.
fn format(path: &Path) -> Result<Option<String>, Vec<Problem>> {
    let style = style::of(path)?;
    let text = recipes::read(path, "recipe")?;
    let formatted = yaml::format(&text, &style)?;
    Ok((formatted != text.text()).then_some(formatted))
}
