//! What the commands on recipes share: reading one, and where its files lie.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest::spdx::RecipeRecord;
use base::{Arch, Digest, Problem, SourceText};
use build::recipe::{Bash, PipelineLibrary, Recipe, ResolveOptions, ResolvedRecipe, inputs};
use store::{AtomicFile, Origins, WriteError};
use yaml::Item;

use crate::arguments::Mirrors;
use crate::arguments::recipe::{GivenValues, RecipeValues};
use crate::output::failure::Failure;
use crate::settings::Session;

/// A recipe, resolved, and what is said of its file.
pub(crate) struct Loaded {
    /// The recipe's file.
    pub(crate) path: PathBuf,
    pub(crate) recipe: ResolvedRecipe,
    pub(crate) record: RecipeRecord,
    pub(crate) source_folder: PathBuf,
}

/// Reads and resolves each recipe for `arch`, with all problems of all recipes at once. A recipe that
/// is not meant for `arch` is left out, and a notice says so.
pub(crate) fn load(
    paths: &[PathBuf],
    arch: Arch,
    pipeline_dirs: &[PathBuf],
    source_dir: Option<&Path>,
    values: Option<&GivenValues>,
    session: &Session<'_>,
) -> Result<Vec<Loaded>, Failure> {
    let library = library(pipeline_dirs, session);
    let mut options = ResolveOptions::new(arch, &library);
    options.bash = Bash::find().map(Arc::new);
    let mut problems = Vec::new();
    if let Some(values) = values {
        give(&mut options, values, &mut problems);
    }
    let mut loaded = Vec::new();
    for path in paths {
        match load_one(path, &options, source_dir) {
            Ok(Some(recipe)) => loaded.push(recipe),
            Ok(None) => session.notice(&format!("{}: not for {arch}, left out", path.display())),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(Failure::Problems(problems))
    }
}

/// The pipelines of `folders`, then those built in. melange passes over a folder that is not there:
/// here a notice says so, since a recipe may then get another pipeline of that name.
pub(crate) fn library(folders: &[PathBuf], session: &Session<'_>) -> PipelineLibrary {
    for folder in folders.iter().filter(|folder| !folder.is_dir()) {
        let shown = folder.display();
        session.notice(&format!(
            "there is no folder of pipelines {shown}: it is passed over"
        ));
    }
    PipelineLibrary::new(folders.to_vec())
}

fn load_one(
    path: &Path,
    options: &ResolveOptions<'_>,
    source_dir: Option<&Path>,
) -> Result<Option<Loaded>, Vec<Problem>> {
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("the recipe {} can't be read: {error}", path.display());
        vec![Problem::error("unreadable", message).help("check the path; recipes are YAML files")]
    })?;
    let digest = Digest::of(text.as_bytes());
    let recipe = Recipe::parse(SourceText::new(path.display().to_string(), text))?;
    if !recipe.targets(options.arch) {
        return Ok(None);
    }
    let recipe = recipe.resolve(options)?;
    // Only the file's own name: where the checkout lies is no business of the result's.
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let record = RecipeRecord {
        path: name.unwrap_or_default(),
        digest,
        repository: None,
        commit: None,
    };
    let source_folder = source_dir.map_or_else(|| path.with_extension(""), Path::to_path_buf);
    Ok(Some(Loaded {
        path: path.to_owned(),
        recipe,
        record,
        source_folder,
    }))
}

/// Reads a recipe and what changes its meaning, and compiles it; the second value holds warnings.
pub(crate) fn compile(
    path: &Path,
    values: &RecipeValues,
    library: &PipelineLibrary,
) -> Result<(Item, Vec<Problem>), Failure> {
    let (recipe, options) = with_values(path, values, library)?;
    Ok(recipe.compile_with_warnings(&options)?)
}

/// Reads a recipe and what changes its meaning, and resolves it; the second value holds warnings.
pub(crate) fn resolve(
    path: &Path,
    values: &RecipeValues,
    library: &PipelineLibrary,
) -> Result<(ResolvedRecipe, Vec<Problem>), Failure> {
    let (recipe, options) = with_values(path, values, library)?;
    Ok(recipe.resolve_with_warnings(&options)?)
}

/// Reads a recipe and what it is resolved with, with all problems of all files at once. One that is
/// not meant for the architecture is a failure.
fn with_values<'l>(
    path: &Path,
    values: &RecipeValues,
    library: &'l PipelineLibrary,
) -> Result<(Recipe, ResolveOptions<'l>), Failure> {
    let mut options = ResolveOptions::new(Arch::host(), library);
    options.bash = Bash::find().map(Arc::new);
    let mut problems = Vec::new();
    give(&mut options, &values.given, &mut problems);
    let recipe = match read(path, "recipe").and_then(Recipe::parse) {
        Ok(recipe) if problems.is_empty() => recipe,
        Ok(_) => return Err(Failure::Problems(problems)),
        Err(more) => {
            problems.splice(..0, more);
            return Err(Failure::Problems(problems));
        }
    };
    let usual = || {
        let mut archs = [Arch::host()].into_iter().chain(Arch::ALL);
        archs.find(|arch| recipe.targets(*arch))
    };
    options.arch = values.arch.or_else(usual).unwrap_or(Arch::host());
    if recipe.targets(options.arch) {
        return Ok((recipe, options));
    }
    Err(Failure::Usage(format!(
        "{} is not meant for {}; name another architecture with --arch",
        path.display(),
        options.arch
    )))
}

/// Takes values from outside over.
fn give(options: &mut ResolveOptions<'_>, values: &GivenValues, problems: &mut Vec<Problem>) {
    options.build_options = values.build_options.iter().cloned().collect();
    options.commit.clone_from(&values.git_commit);
    if let Some(file) = &values.vars_file {
        match read(file, "file of variables").and_then(inputs::variables) {
            Ok(vars) => options.vars = vars,
            Err(more) => problems.extend(more),
        }
    }
    for file in &values.env_files {
        let environment =
            read(file, "environment file").and_then(|source| inputs::environment(&source));
        match environment {
            Ok(environment) => {
                for (name, value) in environment {
                    options.environment.entry(name).or_insert(value);
                }
            }
            Err(more) => problems.extend(more),
        }
    }
}

/// Reads a file that people wrote; `what` it is to be, for messages.
pub(crate) fn read(path: &Path, what: &str) -> Result<SourceText, Vec<Problem>> {
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("the {what} {} can't be read: {error}", path.display());
        vec![Problem::error("unreadable", message).help("check the path")]
    })?;
    Ok(SourceText::new(path.display().to_string(), text))
}

/// The recipes that paths name: files as they are, and of folders the YAML files right in them that
/// are not hidden, by name.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error| Failure::failed(format!("{} can't be read", path.display()), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let is_yaml = file
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml");
            let is_hidden = file
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if is_yaml && !is_hidden && file.is_file() {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Gives a file another text, all at once; a link stays one, and the mode stays.
pub(crate) fn rewrite(path: &Path, text: &str) -> Result<(), Failure> {
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = fs::metadata(&place).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    AtomicFile::with_mode(&place, mode)
        .and_then(|mut incoming| {
            incoming
                .file()
                .write_all(text.as_bytes())
                .map_err(WriteError::at("write", &place))?;
            incoming.commit()
        })
        .map_err(|error| Failure::failed(format!("{} stays as it is", path.display()), error))
}

pub(crate) fn origins(mirrors: Option<&Mirrors>, session: &Session<'_>) -> Origins {
    Origins {
        mirrors: mirrors
            .map(|mirrors| mirrors.mirrors.clone())
            .unwrap_or_default(),
        network: session.network(),
        local_repositories: mirrors.is_some_and(|mirrors| mirrors.local_repositories),
    }
}
