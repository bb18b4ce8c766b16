use std::path::{Path, PathBuf};

use base::{Digest, Problem, SourceText};
use yaml::decode_with_warnings;

use super::{Entrypoint, ImageConfiguration};

/// How deep files may include each other.
const DEPTH_LIMIT: usize = 16;

/// Decodes an image file that includes no other.
///
/// # Errors
/// Every problem of the file at once. An `include` is kept, not followed.
pub fn parse(source: SourceText) -> Result<(ImageConfiguration, Vec<Problem>), Vec<Problem>> {
    decode_with_warnings(source)
}

/// An image file, with all that it includes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says, what it includes merged into it.
    pub configuration: ImageConfiguration,
    /// What is worth a warning.
    pub warnings: Vec<Problem>,
    /// The file and those it includes, in this order.
    pub sources: Vec<SourceText>,
}

impl Loaded {
    /// SHA-256 of the bytes of the file and of those it includes: what a lock is held to.
    pub fn checksum(&self) -> Digest {
        let bytes: Vec<u8> = self
            .sources
            .iter()
            .flat_map(|source| source.text().bytes())
            .collect();
        Digest::of(&bytes)
    }
}

/// Reads an image file and what it includes: a path relative to its own folder, to the working
/// directory, or to one of `include_paths`, in this order.
///
/// The including file wins: single values are taken from the included file only where it has none,
/// maps are merged by key, and lists begin with the included file's entries.
///
/// # Errors
/// Every problem of the first file that has some: syntax, values, a file that can't be read, or
/// files that include each other in a circle.
pub fn load(path: &Path, include_paths: &[PathBuf]) -> Result<Loaded, Vec<Problem>> {
    let source = read(path).map_err(|reason| {
        vec![
            Problem::error(
                "unreadable",
                format!("can't read the image file {}: {reason}", path.display()),
            )
            .help("check the path"),
        ]
    })?;
    follow(path, source, include_paths, &mut Vec::new())
}

fn read(path: &Path) -> Result<SourceText, std::io::Error> {
    let text = std::fs::read_to_string(path)?;
    Ok(SourceText::new(path.display().to_string(), text))
}

fn follow(
    path: &Path,
    source: SourceText,
    include_paths: &[PathBuf],
    chain: &mut Vec<PathBuf>,
) -> Result<Loaded, Vec<Problem>> {
    let (mut configuration, mut warnings) = parse(source.clone())?;
    let Some(include) = configuration.include.clone() else {
        return Ok(Loaded {
            configuration,
            warnings,
            sources: vec![source],
        });
    };
    let span = source
        .text()
        .find(&include)
        .map_or(0..0, |start| start..start + include.len());
    let failed = |message: String, help: &str| {
        vec![
            Problem::error("include", message)
                .at(&source, span.clone(), "")
                .help(help),
        ]
    };
    chain.push(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let folder = path.parent().unwrap_or(Path::new(""));
    let candidates: Vec<PathBuf> = [folder, Path::new("")]
        .into_iter()
        .chain(include_paths.iter().map(PathBuf::as_path))
        .map(|folder| folder.join(&include))
        .collect();
    let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) else {
        return Err(failed(
            format!("can't include `{include}`: no such file"),
            "an include is a local file, relative to this file, the working directory or --include-paths",
        ));
    };
    let canonical = found.canonicalize().unwrap_or_else(|_| found.clone());
    if chain.contains(&canonical) || chain.len() > DEPTH_LIMIT {
        return Err(failed(
            format!("`{include}` includes itself in the end"),
            "remove one of the includes of the circle",
        ));
    }
    let included = read(found).map_err(|reason| {
        failed(
            format!("can't include {}: {reason}", found.display()),
            "check that it can be read",
        )
    })?;
    let below = follow(found, included, include_paths, chain)?;
    warnings.extend(below.warnings);
    configuration.add_beneath(below.configuration);
    let mut sources = vec![source];
    sources.extend(below.sources);
    Ok(Loaded {
        configuration,
        warnings,
        sources,
    })
}

fn prepend<T>(list: &mut Vec<T>, first: Vec<T>) {
    list.splice(0..0, first);
}

impl ImageConfiguration {
    /// Merges an included configuration; what `self` says wins.
    fn add_beneath(&mut self, below: ImageConfiguration) {
        prepend(
            &mut self.contents.build_repositories,
            below.contents.build_repositories,
        );
        prepend(
            &mut self.contents.runtime_repositories,
            below.contents.runtime_repositories,
        );
        prepend(&mut self.contents.repositories, below.contents.repositories);
        prepend(&mut self.contents.keyring, below.contents.keyring);
        prepend(
            &mut self.contents.runtime_keyring,
            below.contents.runtime_keyring,
        );
        prepend(&mut self.contents.packages, below.contents.packages);
        prepend(&mut self.accounts.users, below.accounts.users);
        prepend(&mut self.accounts.groups, below.accounts.groups);
        prepend(&mut self.paths, below.paths);
        prepend(&mut self.volumes, below.volumes);
        if self.entrypoint == Entrypoint::default() {
            self.entrypoint = below.entrypoint;
        }
        for (own, other) in [
            (&mut self.cmd, below.cmd),
            (&mut self.stop_signal, below.stop_signal),
            (&mut self.work_dir, below.work_dir),
            (&mut self.accounts.run_as, below.accounts.run_as),
        ] {
            if own.is_empty() {
                *own = other;
            }
        }
        if self.archs.is_empty() {
            self.archs = below.archs;
        }
        for (name, value) in below.environment {
            self.environment.entry(name).or_insert(value);
        }
        for (name, value) in below.annotations {
            self.annotations.entry(name).or_insert(value);
        }
        if self.contents.baseimage.is_none() {
            self.contents.baseimage = below.contents.baseimage;
        }
        if self.layering.is_none() {
            self.layering = below.layering;
        }
        if self.format.is_none() {
            self.format = below.format;
        }
        if self.certificates.is_none() {
            self.certificates = below.certificates;
        }
    }
}
