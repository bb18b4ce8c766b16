use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use base::Problem;
use build::authoring::style;
use store::AtomicFile;

use crate::arguments::recipe::RecipeFmt;
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::print_raw;

/// A file that is to be written again.
struct Changed {
    name: String,
    path: PathBuf,
    mode: u32,
    text: String,
}

pub(crate) fn run(arguments: &RecipeFmt) -> Result<ExitCode, Failure> {
    let mut changed = Vec::new();
    let mut problems = Vec::new();
    for path in recipes::files(&arguments.recipes)? {
        let name = path.display().to_string();
        match format(path) {
            Ok(Some((path, mode, text))) => changed.push(Changed {
                name,
                path,
                mode,
                text,
            }),
            Ok(None) => {}
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Problems(problems));
    }
    let names: String = changed
        .iter()
        .map(|file| format!("{}\n", file.name))
        .collect();
    if arguments.check {
        print_raw(&names)?;
        return Ok(ExitCode::from(u8::from(!changed.is_empty())));
    }
    for file in &changed {
        let written = AtomicFile::with_mode(&file.path, file.mode).and_then(|mut incoming| {
            std::io::Write::write_all(incoming.file(), file.text.as_bytes())
                .map_err(store::WriteError::at("write", &file.path))?;
            incoming.commit()
        });
        written.map_err(|error| Failure::failed(format!("{} stays as it is", file.name), error))?;
    }
    print_raw(&names)?;
    Ok(ExitCode::SUCCESS)
}

/// The file's own place, its mode and what it is to be, if that is not what it is.
fn format(path: PathBuf) -> Result<Option<(PathBuf, u32, String)>, Vec<Problem>> {
    let style = style::of(&path)?;
    let text = recipes::read(&path, "recipe")?;
    let formatted = yaml::format(&text, &style)?;
    if formatted == text.text() {
        return Ok(None);
    }
    let mode = fs::metadata(&path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    // What a link leads to is written, not the link.
    let path = fs::canonicalize(&path).unwrap_or(path);
    Ok(Some((path, mode, formatted)))
}
