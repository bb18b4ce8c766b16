//! What the commands on recipes share: reading one, and where its files lie.

use std::fs;
use std::path::{Path, PathBuf};

use attest::spdx::RecipeRecord;
use base::{Arch, Digest, Problem, SourceText};
use build::recipe::{PipelineLibrary, Recipe, ResolveOptions, ResolvedRecipe};
use store::Origins;

use crate::arguments::Mirrors;
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
    session: &Session<'_>,
) -> Result<Vec<Loaded>, Failure> {
    let library = PipelineLibrary::new(pipeline_dirs.to_vec());
    let options = ResolveOptions::new(arch, &library);
    let mut loaded = Vec::new();
    let mut problems = Vec::new();
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

pub(crate) fn origins(mirrors: Option<&Mirrors>, session: &Session<'_>) -> Origins {
    Origins {
        mirrors: mirrors
            .map(|mirrors| mirrors.mirrors.clone())
            .unwrap_or_default(),
        network: session.network(),
        local_repositories: mirrors.is_some_and(|mirrors| mirrors.local_repositories),
    }
}
