//! `seed.yaml`: what the seed holds and how Debian's packages are turned into apks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::{Digest, SourceText};
use yaml::{Decode, Decoder, Fields, Node};

use super::{Lock, SeedError};

/// A package that only names others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaPackage {
    /// One line about it.
    pub description: String,
    /// What it asks for, in apk's grammar.
    pub depends: Vec<String>,
}

/// The seed as `seed.yaml` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The Debian release, such as `bookworm`. Its updates are not looked at: a lock has to stay
    /// fetchable, and the release itself changes only with point releases.
    pub suite: String,
    /// The packages wanted, by Debian's names.
    pub packages: Vec<String>,
    /// Packages that are never taken though others depend on them.
    pub ignore: BTreeSet<String>,
    /// By package: what it depends on and can do without.
    pub ignore_dependencies: BTreeMap<String, BTreeSet<String>>,
    /// By package: what it depends on besides, in apk's grammar.
    pub depends: BTreeMap<String, Vec<String>>,
    /// By package: more names it provides, each as version 0.
    pub provides: BTreeMap<String, Vec<String>>,
    /// By package: the name that dependencies on it ask for instead of its own, so that another
    /// package can take its place. One that has a program of its own name is asked for by that.
    pub stand_ins: BTreeMap<String, String>,
    /// By package: names found in it that it does not provide, because another package does.
    pub withhold: BTreeMap<String, BTreeSet<String>>,
    /// By package: symbolic links that its maintainer scripts would make, path to target.
    pub links: BTreeMap<String, BTreeMap<String, String>>,
    /// By package: files made by joining all `*.crt` files of a folder, path to folder.
    pub bundles: BTreeMap<String, BTreeMap<String, String>>,
    /// Folders that are left out.
    pub omit: Vec<String>,
    /// Names of files that are kept in spite of `omit`.
    pub keep: BTreeSet<String>,
    /// Packages made of nothing but dependencies.
    pub meta_packages: BTreeMap<String, MetaPackage>,
    /// The lock of another seed whose packages are there already, beside this file.
    pub upon: Option<String>,
    /// The digest of the file.
    pub digest: Digest,
}

/// A seed that another stands upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// What it holds.
    pub seed: Seed,
    /// Its packages.
    pub lock: Lock,
}

impl Seed {
    /// Reads a `seed.yaml`.
    ///
    /// # Errors
    /// It can't be read, or every problem in it.
    pub fn load(path: &Path) -> Result<Seed, SeedError> {
        let text = std::fs::read_to_string(path).map_err(|source| SeedError::Read {
            path: path.to_owned(),
            source,
        })?;
        Seed::parse(SourceText::new(path.display().to_string(), text))
    }

    /// The seed that this one, read from `path`, stands upon, if it does.
    ///
    /// # Errors
    /// That can't be read, or stands upon another itself.
    pub fn ground(&self, path: &Path) -> Result<Option<Ground>, SeedError> {
        let Some(upon) = &self.upon else {
            return Ok(None);
        };
        let lock_path = path.with_file_name(upon);
        let stem = upon.strip_suffix(".lock.yaml");
        let Some(stem) = stem.filter(|stem| !stem.is_empty() && !stem.contains('/')) else {
            return Err(SeedError::Upon {
                path: path.to_owned(),
                upon: upon.clone(),
                reason: "is not called NAME.lock.yaml, as the lock beside NAME.yaml is",
            });
        };
        let seed = Seed::load(&path.with_file_name(format!("{stem}.yaml")))?;
        let reason = match () {
            () if seed.upon.is_some() => "stands upon another seed itself",
            () if seed.suite != self.suite => "is of another suite",
            () => {
                let lock = Lock::load(&lock_path)?;
                return Ok(Some(Ground { seed, lock }));
            }
        };
        Err(SeedError::Upon {
            path: path.to_owned(),
            upon: upon.clone(),
            reason,
        })
    }

    /// What both seeds say of packages and what depends on what; this one's word goes first.
    pub(super) fn with_ground(&self, ground: &Seed) -> Seed {
        fn both<V: Clone>(
            own: &BTreeMap<String, V>,
            ground: &BTreeMap<String, V>,
        ) -> BTreeMap<String, V> {
            let mut both = ground.clone();
            both.extend(own.clone());
            both
        }
        Seed {
            ignore: self.ignore.union(&ground.ignore).cloned().collect(),
            ignore_dependencies: both(&self.ignore_dependencies, &ground.ignore_dependencies),
            depends: both(&self.depends, &ground.depends),
            provides: both(&self.provides, &ground.provides),
            stand_ins: both(&self.stand_ins, &ground.stand_ins),
            withhold: both(&self.withhold, &ground.withhold),
            ..self.clone()
        }
    }

    /// Reads the text of a `seed.yaml`.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(source: SourceText) -> Result<Seed, SeedError> {
        let digest = Digest::of(source.text().as_bytes());
        let seed = yaml::decode::<Seed>(source).map_err(SeedError::Problems)?;
        Ok(Seed { digest, ..seed })
    }
}

fn sets(map: BTreeMap<String, Vec<String>>) -> BTreeMap<String, BTreeSet<String>> {
    map.into_iter()
        .map(|(key, values)| (key, values.into_iter().collect()))
        .collect()
}

impl Decode for Seed {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Seed> {
        let mut fields = Fields::of(node, "the seed", decoder)?;
        let suite = fields.required("suite", decoder);
        let packages = fields.required("packages", decoder);
        let ignore: Vec<String> = fields.or_default("ignore", decoder);
        let ignore_dependencies = fields.or_default("ignore-dependencies", decoder);
        let depends = fields.or_default("depends", decoder);
        let provides = fields.or_default("provides", decoder);
        let stand_ins = fields.or_default("stand-ins", decoder);
        let withhold = fields.or_default("withhold", decoder);
        let links = fields.or_default("links", decoder);
        let bundles = fields.or_default("bundles", decoder);
        let omit = fields.or_default("omit", decoder);
        let keep: Vec<String> = fields.or_default("keep", decoder);
        let meta_packages = fields.or_default("meta-packages", decoder);
        let upon = fields.optional("upon", decoder);
        fields.finish(decoder);
        Some(Seed {
            suite: suite?,
            packages: packages?,
            ignore: ignore.into_iter().collect(),
            ignore_dependencies: sets(ignore_dependencies),
            depends,
            provides,
            stand_ins,
            withhold: sets(withhold),
            links,
            bundles,
            omit,
            keep: keep.into_iter().collect(),
            meta_packages,
            upon,
            digest: Digest::of(&[]),
        })
    }
}

impl Decode for MetaPackage {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<MetaPackage> {
        let mut fields = Fields::of(node, "a meta-package", decoder)?;
        let description = fields.required("description", decoder);
        let depends = fields.required("depends", decoder);
        fields.finish(decoder);
        Some(MetaPackage {
            description: description?,
            depends: depends?,
        })
    }
}
