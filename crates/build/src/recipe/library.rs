use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use base::{Problem, SourceText, did_you_mean};
use yaml::{Decode, Decoder, Node, Value};

use super::built_in::{BUILT_IN, Native};
use super::validate;
use super::written::{Inputs, PipelineStep};

/// How deep folders of pipelines are listed.
const FOLDER_DEPTH: usize = 8;

/// A pipeline that recipes name in `uses`.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) source: SourceText,
    pub(crate) step: PipelineStep,
    pub(crate) native: Option<Native>,
}

/// Where pipelines are looked for: folders first, in their order, then those built in.
#[derive(Debug, Default)]
pub struct PipelineLibrary {
    folders: Vec<PathBuf>,
    is_closed: bool,
    loaded: Mutex<BTreeMap<String, Result<Arc<Definition>, LibraryError>>>,
}

/// A pipeline can't be had.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    /// Nothing has it.
    #[error("there is no pipeline `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What to do.
        help: String,
    },
    /// The file is there but can't be read.
    #[error("can't read the pipeline {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// The file is no pipeline.
    #[error("the pipeline `{name}` has problems")]
    Invalid {
        /// What was asked for.
        name: String,
        /// All of them.
        problems: Vec<Problem>,
    },
}

impl PipelineLibrary {
    /// Looks in `folders` before the pipelines built in.
    pub fn new(folders: Vec<PathBuf>) -> PipelineLibrary {
        PipelineLibrary {
            folders,
            ..PipelineLibrary::default()
        }
    }

    /// Looks for nothing: steps that use a pipeline keep its name and what they give it.
    pub fn closed() -> PipelineLibrary {
        PipelineLibrary {
            is_closed: true,
            ..PipelineLibrary::default()
        }
    }

    /// Whether pipelines are left as they are.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The names of the pipelines built in, sorted.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The names of every pipeline that it has, sorted: those of the folders and those built in.
    ///
    /// # Errors
    /// A folder that can't be listed.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names: BTreeSet<String> = PipelineLibrary::built_in().map(str::to_owned).collect();
        for folder in &self.folders {
            list(folder, "", FOLDER_DEPTH, &mut names)?;
        }
        Ok(names.into_iter().collect())
    }

    /// The inputs of the pipeline `name`, in the order written.
    ///
    /// # Errors
    /// All of its problems, or the one that it can't be found or read.
    pub fn inputs(&self, name: &str) -> Result<Inputs, Vec<Problem>> {
        match self.load(name) {
            Ok(definition) => Ok(definition.step.inputs.clone()),
            Err(LibraryError::Invalid { problems, .. }) => Err(problems),
            Err(error) => Err(vec![Problem::error("unknown-pipeline", error.to_string())]),
        }
    }

    /// The pipeline `name`, which must not lead out of the folders; read once.
    pub(crate) fn load(&self, name: &str) -> Result<Arc<Definition>, LibraryError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = loaded.get(name) {
            return found.clone();
        }
        let found = self.read(name).map(Arc::new);
        loaded.insert(name.to_owned(), found.clone());
        found
    }

    fn read(&self, name: &str) -> Result<Definition, LibraryError> {
        let safe =
            !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        for folder in self.folders.iter().filter(|_| safe) {
            let path = folder.join(format!("{name}.yaml"));
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let source = SourceText::new(path.display().to_string(), text);
                    return decode(name, source, None);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(LibraryError::Unreadable {
                        path,
                        reason: Arc::new(error),
                    });
                }
            }
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => {
                let source = SourceText::new(format!("built-in {name}.yaml"), *text);
                decode(name, source, Native::of(name))
            }
            None => Err(LibraryError::Unknown {
                name: name.to_owned(),
                help: self.suggestion(name),
            }),
        }
    }

    fn suggestion(&self, name: &str) -> String {
        let searched = match self.folders.as_slice() {
            [] => "only the built-in pipelines were looked at; `--pipeline-dir` names a folder of others"
                .to_owned(),
            folders => {
                let folders: Vec<String> = folders
                    .iter()
                    .map(|folder| folder.display().to_string())
                    .collect();
                format!("looked in {} and the built-in pipelines", folders.join(", "))
            }
        };
        match did_you_mean(name, PipelineLibrary::built_in()) {
            Some(meant) => format!("did you mean `{meant}`? ({searched})"),
            None => searched,
        }
    }
}

/// Adds the names of the pipelines below `folder`, whose own name below the library's is `prefix`.
fn list(folder: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                list(&entry.path(), &format!("{name}/"), depth - 1, names)?;
            }
        } else if let Some(name) = name.strip_suffix(".yaml") {
            names.insert(name.to_owned());
        }
    }
    Ok(())
}

struct Checked(PipelineStep);

/// Definitions in use say what they and their steps are for, under a key that recipes don't have.
fn drop_descriptions(node: &mut Node) {
    let Value::Mapping(entries) = &mut node.value else {
        return;
    };
    entries.retain(|entry| entry.key != "description");
    for entry in entries.iter_mut().filter(|entry| entry.key == "pipeline") {
        if let Value::Sequence(steps) = &mut entry.value.value {
            steps.iter_mut().for_each(drop_descriptions);
        }
    }
}

impl Decode for Checked {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Checked> {
        let mut node = node.clone();
        drop_descriptions(&mut node);
        let step = PipelineStep::decode(&node, decoder)?;
        validate::step(&step, decoder);
        Some(Checked(step))
    }
}

fn decode(
    name: &str,
    source: SourceText,
    native: Option<Native>,
) -> Result<Definition, LibraryError> {
    match yaml::decode::<Checked>(source.clone()) {
        Ok(Checked(step)) => Ok(Definition {
            source,
            step,
            native,
        }),
        Err(problems) => Err(LibraryError::Invalid {
            name: name.to_owned(),
            problems,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_pipeline_is_valid_and_described() {
        let library = PipelineLibrary::default();
        for name in PipelineLibrary::built_in() {
            let definition = library.load(name).unwrap();
            assert!(definition.step.name.is_some(), "{name} has no name");
            for (input, about) in definition.step.inputs.iter() {
                assert!(!about.description.is_empty(), "{name}: {}", input.value);
            }
        }
        assert!(PipelineLibrary::built_in().is_sorted());
    }

    #[test]
    fn folders_come_first_and_cannot_be_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("outside.yaml"), "runs: x\n").unwrap();
        fs::write(folder.path().join("in/strip.yaml"), "runs: mine\n").unwrap();
        fs::write(folder.path().join("in/bad.yaml"), "rnus: x\n").unwrap();
        let library = PipelineLibrary::new(vec![folder.path().join("in")]);
        let script = |name: &str| {
            library
                .load(name)
                .map(|found| found.step.runs.clone().map(|runs| runs.value))
        };
        assert_eq!(script("strip").unwrap().as_deref(), Some("mine"));
        assert!(matches!(
            script("../outside"),
            Err(LibraryError::Unknown { .. })
        ));
        assert!(matches!(script("bad"), Err(LibraryError::Invalid { .. })));
        let Err(LibraryError::Unknown { help, .. }) = script("split/devs") else {
            panic!()
        };
        assert!(help.starts_with("did you mean `split/dev`?"), "{help}");
    }
}
