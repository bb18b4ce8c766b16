//! Every recipe and every pipeline of a distribution: decoded, resolved and expanded, and compared
//! with what melange makes of them where it is on PATH.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base::{Arch, Problem, Severity, SourceText};
use build::recipe::{PipelineLibrary, Recipe, ResolveOptions, ResolvedRecipe, Serialized};
use rayon::prelude::*;
use serde_json::Value;
use yaml::Item;

use super::compare::{self, Comparison, EXCEPTIONS};

pub(crate) const USAGE: &str = "corpus recipes FOLDER [--pipeline-dir FOLDER]… [--arch ARCH]…
            [--compiled FOLDER]
            decode, resolve and expand every recipe of FOLDER and every pipeline, for each ARCH
            (x86_64 and aarch64); where melange is on PATH, compare with what it compiles, with
            the first pipeline folder, and keep that below the FOLDER of --compiled";

/// How many files of each kind of failure are named.
const NAMED: usize = 8;

/// The commit that both sides are told, which neither is to look for.
const COMMIT: &str = "unknown";

struct Arguments {
    folder: PathBuf,
    pipelines: Vec<PathBuf>,
    archs: Vec<Arch>,
    compiled: Option<PathBuf>,
}

impl Arguments {
    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let mut folder = None;
        let mut arguments = Arguments {
            folder: PathBuf::new(),
            pipelines: Vec::new(),
            archs: Vec::new(),
            compiled: None,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word {
                "--pipeline-dir" => arguments.pipelines.push(value()?.into()),
                "--compiled" => arguments.compiled = Some(value()?.into()),
                "--arch" => {
                    let arch = value()?.parse().map_err(|error| format!("{error}"))?;
                    arguments.archs.push(arch);
                }
                word if word.starts_with('-') => return Err(format!("{word} is not known")),
                word if folder.is_none() => folder = Some(word),
                word => return Err(format!("one folder is enough, {word} is another")),
            }
        }
        arguments.folder = folder
            .ok_or("the folder that holds the recipes is missing")?
            .into();
        if arguments.archs.is_empty() {
            arguments.archs = vec![Arch::X86_64, Arch::Aarch64];
        }
        Ok(arguments)
    }
}

/// What became of a file for one architecture.
struct Failed {
    file: String,
    problems: Vec<Problem>,
}

pub(crate) fn check(words: &[&str]) -> Result<String, String> {
    let arguments = Arguments::parse(words)?;
    let files = recipes(&arguments.folder)?;
    let mut report = String::new();
    let mut failures = 0;
    let melange = Melange::find(&arguments)?;
    if melange.is_none() {
        report.push_str("melange is not on PATH: nothing is compared with it\n");
    }
    for &arch in &arguments.archs {
        let library = PipelineLibrary::new(arguments.pipelines.clone());
        let started = Instant::now();
        let results: Vec<Result<Option<Box<ResolvedRecipe>>, Failed>> = files
            .par_iter()
            .map(|file| resolve(file, arch, &library))
            .collect();
        let took = started.elapsed();
        let failed: Vec<&Failed> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        let skipped = results.iter().filter(|r| matches!(r, Ok(None))).count();
        failures += failed.len();
        let _ = writeln!(
            report,
            "{arch}: {} recipes resolved and expanded in {}, {skipped} not meant for it, {} failed",
            results.len() - failed.len() - skipped,
            seconds(took),
            failed.len()
        );
        table(&failed, &mut report);
        if let Some(melange) = &melange {
            failures += compare(&files, arch, &library, melange, &mut report);
        }
        let (pipelines, failed) = check_pipelines(&library, arch)?;
        failures += failed.len();
        let _ = writeln!(
            report,
            "{arch}: {} pipelines expanded, {} failed",
            pipelines - failed.len(),
            failed.len()
        );
        table(&failed.iter().collect::<Vec<_>>(), &mut report);
    }
    if failures == 0 {
        Ok(report)
    } else {
        Err(report)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// The recipes right in `folder`, by name.
fn recipes(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let error = |error| format!("{} can't be listed: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn resolve(
    file: &Path,
    arch: Arch,
    library: &PipelineLibrary,
) -> Result<Option<Box<ResolvedRecipe>>, Failed> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let failed = |problems| Failed {
        file: name.clone().into_owned(),
        problems,
    };
    let text = fs::read_to_string(file)
        .map_err(|error| failed(vec![Problem::error("unreadable", error.to_string())]))?;
    let recipe = Recipe::parse(SourceText::new(name.clone(), text)).map_err(failed)?;
    if !recipe.targets(arch) {
        return Ok(None);
    }
    let resolved = recipe
        .resolve(&ResolveOptions::new(arch, library))
        .map_err(failed)?;
    Ok(Some(Box::new(resolved)))
}

/// Expands each pipeline as a recipe with nothing else would use it, in a subpackage, with words in
/// the place of what it requires. Gives how many there are, and those that fail.
fn check_pipelines(library: &PipelineLibrary, arch: Arch) -> Result<(usize, Vec<Failed>), String> {
    let names = library
        .names()
        .map_err(|error| format!("the pipelines can't be listed: {error}"))?;
    let failed = names
        .par_iter()
        .filter_map(|name| {
            let problems = check_pipeline(name, library, arch).err()?;
            Some(Failed {
                file: name.clone(),
                problems,
            })
        })
        .collect();
    Ok((names.len(), failed))
}

fn check_pipeline(name: &str, library: &PipelineLibrary, arch: Arch) -> Result<(), Vec<Problem>> {
    let mut text = format!(
        "package: {{name: probe, version: '1', epoch: 0}}\n\
         subpackages:\n- name: probe-dev\n  pipeline:\n  - uses: {name}\n    with:\n"
    );
    for (input, declared) in library.inputs(name)?.iter() {
        let value = match input.value.as_str() {
            "expected-sha256" => "0".repeat(64),
            "expected-sha512" => String::new(),
            "expected-commit" => "0".repeat(40),
            "repository" => "https://example.org/probe".to_owned(),
            _ if declared.required && declared.default.is_empty() => "probe".to_owned(),
            _ => continue,
        };
        let _ = writeln!(text, "      {}: '{value}'", input.value);
    }
    let source = SourceText::new(format!("a use of {name}"), text);
    Recipe::parse(source)?
        .resolve(&ResolveOptions::new(arch, library))
        .map(drop)
}

/// melange's own program, to compare with.
struct Melange {
    pipelines: Option<PathBuf>,
    /// Where its results are kept.
    kept: PathBuf,
    /// Removes them, unless they are to be kept.
    _temporary: Option<tempfile::TempDir>,
}

impl Melange {
    fn find(arguments: &Arguments) -> Result<Option<Melange>, String> {
        let Ok(output) = Command::new("melange").arg("version").output() else {
            return Ok(None);
        };
        if !output.status.success() {
            return Err("`melange version` fails".to_owned());
        }
        let error = |error| format!("no folder for melange's results: {error}");
        let (kept, temporary) = match &arguments.compiled {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::tempdir().map_err(error)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        Ok(Some(Melange {
            pipelines: arguments.pipelines.first().cloned(),
            kept,
            _temporary: temporary,
        }))
    }

    fn compile(&self, file: &Path, arch: Arch) -> Result<Value, String> {
        let folder = self.kept.join(arch.apk());
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let kept = folder.join(format!("{stem}.json"));
        let bytes = match fs::read(&kept) {
            Ok(bytes) => bytes,
            Err(_) => {
                let mut command = Command::new("melange");
                command.args(["compile", "--log-level", "error", "--git-commit", COMMIT]);
                command.args(["--arch", arch.apk()]);
                if let Some(pipelines) = &self.pipelines {
                    command.arg("--pipeline-dir").arg(pipelines);
                }
                let output = command
                    .arg(file)
                    .output()
                    .map_err(|error| format!("melange can't be run: {error}"))?;
                if !output.status.success() {
                    let words = String::from_utf8_lossy(&output.stderr).into_owned();
                    return Err(words.lines().last().unwrap_or_default().to_owned());
                }
                fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(&kept, &output.stdout))
                    .map_err(|error| format!("{} can't be written: {error}", kept.display()))?;
                output.stdout
            }
        };
        serde_json::from_slice(&bytes).map_err(|error| format!("melange's answer: {error}"))
    }
}

/// Compares every recipe; gives how many differ.
fn compare(
    files: &[PathBuf],
    arch: Arch,
    library: &PipelineLibrary,
    melange: &Melange,
    report: &mut String,
) -> usize {
    let mut options = ResolveOptions::new(arch, library);
    options.commit = Some(COMMIT.to_owned());
    let results: Vec<(String, Result<Option<Comparison>, String>)> = files
        .par_iter()
        .map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            (name.into_owned(), compare_one(file, &options, melange))
        })
        .collect();
    let mut total = Comparison::default();
    let (mut compared, mut different) = (0, 0);
    let mut places: BTreeMap<String, Vec<(&str, String)>> = BTreeMap::new();
    for (name, result) in &results {
        match result {
            Ok(None) => {}
            Ok(Some(comparison)) => {
                compared += 1;
                different += usize::from(!comparison.differences.is_empty());
                total.equal += comparison.equal;
                for exception in comparison.excepted.keys() {
                    *total.excepted.entry(exception).or_default() += 1;
                }
                for (place, both) in &comparison.differences {
                    let found = places.entry(place.clone()).or_default();
                    found.push((name, both.clone()));
                }
            }
            Err(reason) => {
                compared += 1;
                different += 1;
                let found = places.entry("(whole recipe)".to_owned()).or_default();
                found.push((name, reason.clone()));
            }
        }
    }
    let fields = total.equal + places.values().map(Vec::len).sum::<usize>();
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let _ = writeln!(
        report,
        "{arch}: {compared} recipes compared with melange: {} equal ({:.2} %); {} of {fields} fields ({:.3} %)",
        compared - different,
        percent(compared - different, compared),
        total.equal,
        percent(total.equal, fields),
    );
    for (place, found) in &places {
        let _ = writeln!(report, "  {:5} {place}", found.len());
        for (name, both) in found.iter().take(NAMED) {
            let _ = writeln!(report, "          {name}: {both}");
        }
    }
    let _ = writeln!(report, "  exceptions, and how many recipes have them:");
    for exception in EXCEPTIONS {
        let count = total.excepted.get(exception.name).unwrap_or(&0);
        let _ = writeln!(
            report,
            "  {count:5} {}: {}",
            exception.name, exception.reason
        );
    }
    different
}

/// `None` where the recipe is not for the architecture, which melange must say, too.
fn compare_one(
    file: &Path,
    options: &ResolveOptions<'_>,
    melange: &Melange,
) -> Result<Option<Comparison>, String> {
    let theirs = melange.compile(file, options.arch);
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let first = |problems: Vec<Problem>| {
        let problem = problems.into_iter().next();
        problem.map_or_else(String::new, |problem| problem.to_string())
    };
    let recipe = Recipe::parse(SourceText::new(name, text)).map_err(first)?;
    if !recipe.targets(options.arch) {
        return match theirs {
            Err(reason) if reason.contains("skip this arch") => Ok(None),
            _ => Err("melange compiles it for this architecture".to_owned()),
        };
    }
    let ours = recipe.compile(options).map_err(first)?;
    let json =
        |item: &Item| serde_json::to_value(Serialized(item)).map_err(|error| error.to_string());
    let written = json(&recipe.contents.as_written())?;
    Ok(Some(compare::compare(json(&ours)?, theirs?, &written)))
}

/// Failures by the kind of their first error.
fn table(failed: &[&Failed], report: &mut String) {
    let mut kinds: BTreeMap<&str, Vec<(&str, &Problem)>> = BTreeMap::new();
    for failed in failed {
        let first = failed
            .problems
            .iter()
            .find(|problem| problem.severity == Severity::Error);
        if let Some(problem) = first {
            let files = kinds.entry(problem.rule).or_default();
            files.push((&failed.file, problem));
        }
    }
    for (kind, files) in kinds {
        let _ = writeln!(report, "  {:5} {kind}", files.len());
        for (file, problem) in files.iter().take(NAMED) {
            let _ = writeln!(report, "          {file}: {problem}");
        }
        if files.len() > NAMED {
            let _ = writeln!(report, "          …");
        }
    }
}
