//! `seed.lock.yaml`: every .deb of the seed by its hash.

use std::collections::BTreeMap;
use std::path::Path;

use base::{Arch, Digest, SourceText};
use yaml::{Decode, Decoder, Fields, Item, Node};

use super::SeedError;

const HEAD: &str = "# The seed's packages, resolved from seed.yaml. Made by polpo; do not edit.\n";

/// One .deb.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedPackage {
    /// Debian's name of the package.
    pub package: String,
    /// Debian's version.
    pub version: String,
    /// Debian's name of its architecture, or `all`.
    pub architecture: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its path beneath the archive's URI.
    pub path: String,
}

/// The lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The Debian release the packages are of.
    pub suite: String,
    /// By architecture: the packages, sorted by name.
    pub packages: BTreeMap<Arch, Vec<LockedPackage>>,
}

impl Lock {
    /// Reads a `seed.lock.yaml`.
    ///
    /// # Errors
    /// It can't be read, or every problem in it.
    pub fn load(path: &Path) -> Result<Lock, SeedError> {
        let text = std::fs::read_to_string(path).map_err(|source| SeedError::Read {
            path: path.to_owned(),
            source,
        })?;
        Lock::parse(SourceText::new(path.display().to_string(), text))
    }

    /// Reads the text of a `seed.lock.yaml`.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(source: SourceText) -> Result<Lock, SeedError> {
        yaml::decode(source).map_err(SeedError::Problems)
    }

    /// The text of the lock: always the same for the same lock.
    pub fn to_yaml(&self) -> String {
        let text = |text: &str| Item::Text(text.to_owned());
        let package = |package: &LockedPackage| {
            Item::Map(vec![
                ("package".to_owned(), text(&package.package)),
                ("version".to_owned(), text(&package.version)),
                ("architecture".to_owned(), text(&package.architecture)),
                ("sha256".to_owned(), text(&package.sha256.hex())),
                (
                    "size".to_owned(),
                    Item::Integer(i64::try_from(package.size).unwrap_or(i64::MAX)),
                ),
                ("path".to_owned(), text(&package.path)),
            ])
        };
        let packages = self
            .packages
            .iter()
            .map(|(arch, packages)| {
                let list = packages.iter().map(package).collect();
                (arch.apk().to_owned(), Item::List(list))
            })
            .collect();
        let root = Item::Map(vec![
            ("suite".to_owned(), text(&self.suite)),
            ("packages".to_owned(), Item::Map(packages)),
        ]);
        format!("{HEAD}{}", yaml::to_string(&root))
    }

    /// Writes the lock.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), SeedError> {
        Ok(store::write_atomically(path, self.to_yaml().as_bytes())?)
    }
}

impl Decode for Lock {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Lock> {
        let mut fields = Fields::of(node, "the seed's lock", decoder)?;
        let suite = fields.required("suite", decoder);
        let named: Option<BTreeMap<String, Vec<LockedPackage>>> =
            fields.required("packages", decoder);
        fields.finish(decoder);
        let mut packages = BTreeMap::new();
        for (name, mut list) in named? {
            match name.parse::<Arch>() {
                Ok(arch) => {
                    list.sort();
                    packages.insert(arch, list);
                }
                Err(unknown) => decoder.error(
                    "unknown-architecture",
                    unknown.to_string(),
                    node.span.clone(),
                    String::new(),
                ),
            }
        }
        Some(Lock {
            suite: suite?,
            packages,
        })
    }
}

impl Decode for LockedPackage {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<LockedPackage> {
        let mut fields = Fields::of(node, "a locked package", decoder)?;
        let package = fields.required("package", decoder);
        let version = fields.required("version", decoder);
        let architecture = fields.required("architecture", decoder);
        let sha256: Option<String> = fields.required("sha256", decoder);
        let size = fields.required("size", decoder);
        let path = fields.required("path", decoder);
        fields.finish(decoder);
        let sha256 = match sha256?.parse() {
            Ok(digest) => digest,
            Err(error) => {
                let error: base::InvalidDigest = error;
                decoder.error(
                    "digest",
                    error.to_string(),
                    node.span.clone(),
                    String::new(),
                );
                return None;
            }
        };
        Some(LockedPackage {
            package: package?,
            version: version?,
            architecture: architecture?,
            sha256,
            size: size?,
            path: path?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_comes_back_from_its_text() {
        let package = |name: &str, version: &str| LockedPackage {
            package: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: Digest::of(name.as_bytes()),
            size: 12,
            path: format!("pool/main/{name}_{version}_amd64.deb"),
        };
        let lock = Lock {
            suite: "bookworm".to_owned(),
            packages: BTreeMap::from([
                (
                    Arch::X86_64,
                    vec![package("bc", "1.07"), package("gcc", "4:12.2.0-3")],
                ),
                (Arch::Aarch64, vec![]),
            ]),
        };
        let text = lock.to_yaml();
        let read = Lock::parse(SourceText::new("seed.lock.yaml", text.as_str())).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.to_yaml(), text);
        // The version looks like a number and must stay text.
        insta::assert_snapshot!(text, @r#"
        # The seed's packages, resolved from seed.yaml. Made by polpo; do not edit.
        suite: bookworm
        packages:
          aarch64: []
          x86_64:
            - package: bc
              version: "1.07"
              architecture: amd64
              sha256: "1e0bbd6c686ba050b8eb03ffeedc64fdc9d80947fce821abbe5d6dc8d252c5ac"
              size: 12
              path: pool/main/bc_1.07_amd64.deb
            - package: gcc
              version: "4:12.2.0-3"
              architecture: amd64
              sha256: "94f0fa7f897ccce65856dc5a98bae4bf6957a346766613d79414c976d093aa4a"
              size: 12
              path: pool/main/gcc_4:12.2.0-3_amd64.deb
        "#);
    }

    #[test]
    fn problems_are_told_with_their_place() {
        let text = "suite: bookworm\npackages:\n  x86_64:\n    - package: a\n      version: 1\n      architecture: all\n      sha256: 12\n      size: 1\n      path: p\n      colour: red\n";
        let error = Lock::parse(SourceText::new("seed.lock.yaml", text)).unwrap_err();
        insta::assert_snapshot!(error, @r"
        seed.lock.yaml:4:7: `12` is not a SHA-256 digest: 64 hexadecimal digits, optionally after `sha256:`
        seed.lock.yaml:10:7: unknown key `colour` in a locked package
        ");
    }
}
