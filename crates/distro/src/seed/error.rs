//! What can go wrong with a seed.

use std::path::PathBuf;

use base::{Arch, Digest, Problem};

/// The seed can't be resolved, fetched or converted.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file is wrong.
    #[error("{}", listed(.0))]
    Problems(Vec<Problem>),
    /// A seed can't stand upon what it says it does.
    #[error("{} stands upon {upon}, which {reason}", path.display())]
    Upon {
        /// The seed's file.
        path: PathBuf,
        /// The lock it names.
        upon: String,
        /// Why not.
        reason: &'static str,
    },
    /// A dependency has no provider in the suite.
    #[error(
        "nothing in {suite} for {arch} satisfies `{relation}`{}; correct the name, or list it under `ignore`",
        wanted_by(.by)
    )]
    Unsatisfied {
        /// The suite.
        suite: String,
        /// The architecture.
        arch: Arch,
        /// What was asked for.
        relation: String,
        /// The package that asks; `None` when `seed.yaml` does.
        by: Option<String>,
    },
    /// The lock has nothing for an architecture.
    #[error("the seed's lock has no packages for {arch}; resolve the seed for it first")]
    NoArch {
        /// The architecture.
        arch: Arch,
    },
    /// The lock does not fit the seed.
    #[error("the seed's lock does not hold {package}, which {by} asks for; resolve the seed again")]
    Stale {
        /// The package missing.
        package: String,
        /// What asks for it.
        by: String,
    },
    /// apt or the archive failed.
    #[error(transparent)]
    Apt(#[from] store::apt::AptError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] store::WriteError),
    /// A .deb can't be understood.
    #[error("{package} ({digest}) can't be converted: {reason}")]
    Deb {
        /// The package.
        package: String,
        /// The .deb.
        digest: Digest,
        /// What is wrong with it.
        reason: DebDefect,
    },
    /// An apk can't be written.
    #[error("can't write the apk of {package}: {source}")]
    Package {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: Box<apk::package::PackageError>,
    },
    /// The index can't be written.
    #[error("can't write the seed's index: {0}")]
    Index(#[source] Box<apk::index::IndexError>),
    /// Two packages have the same file.
    #[error(
        "`{path}` is in both {first} and {second}; leave it out of one of them with `omit`, or `ignore` one"
    )]
    Owned {
        /// The path.
        path: String,
        /// One package.
        first: String,
        /// The other.
        second: String,
    },
    /// Two packages provide the same name, so they could not be installed together.
    #[error(
        "`{name}` is provided by both {first} and {second}; `withhold` it from one of them in the seed's list"
    )]
    Provided {
        /// The name.
        name: String,
        /// One package.
        first: String,
        /// The other.
        second: String,
    },
    /// A name in seed.yaml can't be used in an apk.
    #[error("`{term}` in the seed's list: {source}")]
    Term {
        /// The term.
        term: String,
        /// Why.
        #[source]
        source: apk::dependency::InvalidDependency,
    },
    /// A .deb's files can't be analysed.
    #[error(transparent)]
    Analyse(#[from] build::analyse::AnalyseError),
    /// An SPDX document can't be made.
    #[error("can't describe {package}: {source}")]
    Describe {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: attest::intoto::JsonError,
    },
}

/// What is wrong with a .deb.
#[derive(Debug, thiserror::Error)]
pub enum DebDefect {
    /// It is no ar archive.
    #[error(transparent)]
    Ar(#[from] archive::ar::ArError),
    /// A member can't be read.
    #[error(transparent)]
    Tar(#[from] archive::tar::ReadError),
    /// A member can't be decompressed.
    #[error("it can't be decompressed: {0}")]
    Decompress(#[from] std::io::Error),
    /// Its larger files can't be put on disk, or not be read to the end.
    #[error("its files can't be unpacked into the store: {0}")]
    Scratch(std::io::Error),
    /// A part is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// The control file is not UTF-8.
    #[error("its control file is not UTF-8")]
    NotUtf8,
    /// A path leaves the root.
    #[error("`{path}`: {source}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: archive::tar::UnsafePath,
    },
    /// Two of its files become one path.
    #[error("two of its files become `{0}` once /bin, /sbin and /lib are links to /usr")]
    Merged(String),
    /// A hard link to nothing.
    #[error("`{path}` is a hard link to `{target}`, which is not in the package")]
    HardLink {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// It is another package than the lock says.
    #[error("it is {found}, not what the lock says")]
    Other {
        /// What it is.
        found: String,
    },
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

fn wanted_by(by: &Option<String>) -> String {
    by.as_ref()
        .map_or_else(String::new, |by| format!(", which {by} needs"))
}
