//! How the file of a package is called, in a repository and in apk's cache.

use crate::dependency::Identity;
use crate::index::IndexEntry;

use super::grammar::{Unsubstituted, substitute};

/// A pattern such as `${arch}/${name}-${version}.apk` (apk-index(8), `--pkgname-spec`). Variables
/// are `name`, `version`, `arch` and `hash`; `${hash:8}` is the first 8 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern(String);

/// The text is no pattern of names that apk takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no pattern of package names: {reason}; write one such as `${{name}}-${{version}}.apk`"
)]
pub struct InvalidNamePattern {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl NamePattern {
    /// apk's name for a package beside its index, and on a disk.
    pub const BESIDE_INDEX: &'static str = "${name}-${version}.apk";

    /// apk's name for a package in a repository with a folder for each architecture.
    pub const REPOSITORY: &'static str = "${arch}/${name}-${version}.apk";

    /// apk's name for a package in its cache.
    pub const CACHE: &'static str = "${name}-${version}.${hash:8}.apk";

    /// Reads a pattern. As in apk, what follows its last slash begins with `${name}` and then `_`,
    /// `-` or `.`.
    ///
    /// # Errors
    /// It names other variables, or would not tell packages apart.
    pub fn parse(text: &str) -> Result<NamePattern, InvalidNamePattern> {
        let pattern = NamePattern::of_index(text)?;
        let file = text.rsplit_once('/').map_or(text, |(_, file)| file);
        let rest = file.strip_prefix("${name}").unwrap_or_default();
        if !rest.starts_with(['_', '-', '.']) {
            return Err(InvalidNamePattern {
                text: text.to_owned(),
                reason: "a file's name must begin with `${name}` and then `_`, `-` or `.`",
            });
        }
        Ok(pattern)
    }

    /// Reads the pattern that an index of format 3 has, which as in apk need not tell a package by
    /// the name of its file.
    ///
    /// # Errors
    /// It names other variables.
    pub fn of_index(text: &str) -> Result<NamePattern, InvalidNamePattern> {
        let invalid = |reason| InvalidNamePattern {
            text: text.escape_debug().to_string(),
            reason,
        };
        substitute(text, |key| {
            matches!(key, "name" | "version" | "arch" | "hash").then(|| "x".to_owned())
        })
        .map_err(|(_, failure)| {
            invalid(match failure {
                Unsubstituted::Unknown(_) => {
                    "its variables may be name, version, arch and hash alone"
                }
                Unsubstituted::Malformed => "a variable is written `${name}` or `${name:8}`",
                Unsubstituted::Long => "it is too long",
            })
        })?;
        Ok(NamePattern(text.to_owned()))
    }

    /// One of the patterns that apk goes by when an index has none.
    pub fn standard(text: &'static str) -> NamePattern {
        NamePattern(text.to_owned())
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with a URL of its own, so that nothing is put before it.
    pub fn is_absolute(&self) -> bool {
        self.0.contains("://")
    }

    /// The name of an entry's package. It can hold anything that the entry's name and version do:
    /// check it before a path is made of it.
    pub fn file_name(&self, entry: &IndexEntry) -> String {
        let value = |key: &str| {
            Some(match key {
                "name" => entry.info.name.clone(),
                "version" => entry.info.version.to_string(),
                "arch" => entry.info.arch.clone(),
                "hash" => match entry.identity {
                    Identity::Sha1(digest) => digest.hex(),
                    Identity::Sha256(digest) => digest.hex(),
                },
                _ => return None,
            })
        };
        // Parsed patterns fail only for names too long, which no server and no disk has.
        substitute(&self.0, value).unwrap_or_default()
    }
}
