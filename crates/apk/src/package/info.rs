use std::collections::BTreeSet;
use std::fmt::Write as _;

use base::Digest;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::dependency::{Dependency, InvalidDependency, Refused};
use crate::version::{InvalidVersion, Version};

/// What a package says of itself: the keys of `.PKGINFO` (apk-package(5), v2).
///
/// An absent text is empty, an absent number `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// `pkgname`.
    pub name: String,
    /// `pkgver`, as written. Valid in every package that is written here; indexes of others hold
    /// versions that follow no grammar.
    pub version: String,
    /// `arch`: apk's name of an architecture, or `noarch`.
    pub arch: String,
    /// `size`: bytes of all files, installed. apk 3 unpacks nothing of a package where this is 0;
    /// [`super::write`] raises it to 1 where there are entries.
    pub installed_size: u64,
    /// `origin`: the name of the recipe that made it.
    pub origin: String,
    /// `pkgdesc`: one line.
    pub description: String,
    /// `url`.
    pub url: String,
    /// `commit`: of the repository that holds the recipe.
    pub commit: String,
    /// `maintainer`.
    pub maintainer: String,
    /// `packager`.
    pub packager: String,
    /// `builddate`: seconds since 1970-01-01 UTC.
    pub build_time: Option<u64>,
    /// `license`, each as written.
    pub licenses: Vec<String>,
    /// `depend`.
    pub depends: Vec<Dependency>,
    /// `provides`. In packages of others, a version here may follow no grammar.
    #[serde(deserialize_with = "read_provides")]
    pub provides: Vec<Dependency>,
    /// `replaces`.
    pub replaces: Vec<Dependency>,
    /// `install_if`.
    pub install_if: Vec<Dependency>,
    /// `# vendored = …`: what is contained though its dependency was not declared; a comment to apk.
    pub vendored: Vec<String>,
    /// `provider_priority`.
    pub provider_priority: Option<u64>,
    /// `replaces_priority`.
    pub replaces_priority: Option<u64>,
    /// `triggers`: patterns of directories, `+` before one that is passed only when modified.
    pub triggers: Vec<String>,
    /// What goes well with it. Format 3 alone has it, as it has tags and layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recommends: Vec<Dependency>,
    /// Tags to find it by: letters, digits and `+,-.:=/[]_`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The layer that it is installed into: 0 the root, 1 a volume for what changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u64>,
    /// `datahash`: SHA-256 of the compressed data member.
    pub datahash: Option<Digest>,
    /// Terms that follow no grammar and that apk keeps, which are not among those above: a package
    /// that has them in `depends` can't be installed. Not written to `.PKGINFO`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ungrammatical: Vec<Ungrammatical>,
    /// What could not be understood. Not written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defects: Vec<Defect>,
}

/// Which list of a package a term stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermList {
    /// [`PackageInfo::depends`].
    Depends,
    /// [`PackageInfo::provides`].
    Provides,
    /// [`PackageInfo::replaces`].
    Replaces,
    /// [`PackageInfo::install_if`].
    InstallIf,
    /// [`PackageInfo::recommends`].
    Recommends,
}

impl TermList {
    /// All lists.
    pub const ALL: [TermList; 5] = [
        TermList::Depends,
        TermList::Provides,
        TermList::Replaces,
        TermList::InstallIf,
        TermList::Recommends,
    ];

    /// By the key of `.PKGINFO` or the letter of an index.
    fn of(field: &str) -> TermList {
        match field {
            "depend" | "D" => TermList::Depends,
            "provides" | "p" => TermList::Provides,
            "replaces" | "r" => TermList::Replaces,
            "recommends" => TermList::Recommends,
            _ => TermList::InstallIf,
        }
    }
}

/// A term that follows no grammar, where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ungrammatical {
    /// In which list.
    pub list: TermList,
    /// How many terms that follow the grammar come before it there.
    pub place: usize,
    /// The term as it is written, but for different spellings of operators. It may have no name.
    #[serde(deserialize_with = "read_ungrammatical")]
    pub term: Dependency,
}

/// A term of a package or an index that follows no grammar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect {
    /// The key or field it stands in.
    pub field: String,
    /// Why, in words that name the term.
    pub reason: String,
    /// Whether apk refuses to install the package for it: a broken `depend` does that, and an
    /// index field that is not known.
    pub fatal: bool,
}

/// `.PKGINFO` can't be read, or the values can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// It is not UTF-8.
    #[error("its .PKGINFO is not UTF-8")]
    NotUtf8,
    /// A key that every package has is missing.
    #[error("its .PKGINFO has no `{key}`")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is no number.
    #[error("`{key}` in its .PKGINFO is `{value}`, not a number")]
    NotANumber {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// The datahash is no SHA-256.
    #[error("`datahash` in its .PKGINFO is `{value}`, not 64 hexadecimal digits")]
    Datahash {
        /// The value.
        value: String,
    },
    /// Its version, or one that it provides, follows no grammar.
    #[error("one of its versions can't be written: {0}")]
    Version(#[from] InvalidVersion),
    /// The name can't be a file's name.
    #[error(
        "`{name}` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The commit is no hash.
    #[error("the commit `{value}` is not hexadecimal, as format 3 has it")]
    Commit {
        /// The value.
        value: String,
    },
    /// A name that packages of format 3 can't speak of.
    #[error("`{name}` can't stand in a dependency: letters, digits and `+,-./:[]_` only")]
    DependencyName {
        /// The name.
        name: String,
    },
    /// A tag that is none.
    #[error("`{tag}` is no tag: letters, digits and `+,-./:=[]_` only")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// A value has a line end or a control character, which would start another key.
    #[error("`{key}` has a line end or control character in `{value}`; write it in one line")]
    Control {
        /// The key.
        key: &'static str,
        /// The value, escaped.
        value: String,
    },
    /// A list's item has a space, which would make it two.
    #[error("`{key}` has `{value}`, which must not contain spaces")]
    Space {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// apk reads the texts of a package into 2048 bytes and fails beyond.
    #[error(
        "name, version, description, url, license, origin, maintainer and commit are {length} bytes together; apk takes at most {limit}: shorten the description"
    )]
    TooLong {
        /// The bytes they are.
        length: usize,
        /// The bytes they may be.
        limit: usize,
    },
}

/// apk formats an installed package's texts in a buffer of 2048 bytes (`apk_pkg_write_index_header`);
/// what is left is for the field letters and numbers.
const MAXIMUM_TEXTS: usize = 1800;

impl PackageInfo {
    /// Reads a `.PKGINFO`. Unknown keys are passed over, as apk does.
    ///
    /// # Errors
    /// It isn't UTF-8, lacks a name or version, or holds a number that is none.
    pub fn parse(bytes: &[u8]) -> Result<PackageInfo, InfoError> {
        let text = std::str::from_utf8(bytes).map_err(|_| InfoError::NotUtf8)?;
        let mut info = PackageInfo::default();
        for line in text.split('\n') {
            if let Some(vendored) = line.strip_prefix("# vendored = ") {
                info.vendored.push(vendored.to_owned());
            }
            if line.starts_with('#') {
                continue;
            }
            // melange writes an absent value as `url = `; trimming editors leave `url =`.
            let (key, value) = match line.split_once(" = ") {
                Some(pair) => pair,
                None => continue,
            };
            info.set(key, value)?;
        }
        for (key, value) in [("pkgname", &info.name), ("pkgver", &info.version)] {
            if value.is_empty() {
                return Err(InfoError::Missing { key });
            }
        }
        info.check_names()?;
        Ok(info)
    }

    /// Whether name and version follow their grammars.
    pub(super) fn check_names(&self) -> Result<(), InfoError> {
        check_name(&self.name)?;
        Version::parse(&self.version)?;
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), InfoError> {
        let text = || value.to_owned();
        match key {
            "pkgname" => self.name = text(),
            "pkgver" => self.version = text(),
            "arch" => self.arch = text(),
            "size" => self.installed_size = number("size", value)?,
            "origin" => self.origin = text(),
            "pkgdesc" => self.description = text(),
            "url" => self.url = text(),
            "commit" => self.commit = text(),
            "maintainer" => self.maintainer = text(),
            "packager" => self.packager = text(),
            "builddate" => self.build_time = Some(number("builddate", value)?),
            "license" => self.licenses.push(text()),
            "depend" | "provides" | "replaces" | "install_if" => self.add_terms(key, value),
            "provider_priority" => {
                self.provider_priority = Some(number("provider_priority", value)?);
            }
            "replaces_priority" => {
                self.replaces_priority = Some(number("replaces_priority", value)?);
            }
            "triggers" => self
                .triggers
                .extend(value.split_ascii_whitespace().map(str::to_owned)),
            "datahash" => {
                let invalid = || InfoError::Datahash { value: text() };
                if value.len() != 64 {
                    return Err(invalid());
                }
                self.datahash = Some(value.parse().map_err(|_| invalid())?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends the terms of a `depend`, `provides`, `replaces` or `install_if` value, or of the
    /// index field of the same meaning. What follows no grammar becomes a defect, and does what it
    /// does to apk: a name that is provided is kept, all of `install_if` is not, and some end the
    /// list.
    pub(crate) fn add_terms(&mut self, field: &str, value: &str) {
        let list = TermList::of(field);
        for text in value.split_ascii_whitespace() {
            let error = match Dependency::parse_untagged(text) {
                Ok(term) => {
                    self.terms_mut(list).push(term);
                    continue;
                }
                Err(error) => error,
            };
            self.defect(field, &error, list == TermList::Depends);
            let refused = Dependency::refused(text);
            // What remains would ask for less, and install the package too often.
            if list == TermList::InstallIf
                && !matches!(&refused, Refused::Kept(term) if !term.is_broken())
            {
                self.install_if.clear();
                self.ungrammatical.retain(|of| of.list != list);
                return;
            }
            let is_version = matches!(error, InvalidDependency::Version { .. });
            match refused {
                // apk too lets it be found by its name.
                Refused::Kept(term) | Refused::Named(term)
                    if list == TermList::Provides && is_version =>
                {
                    self.provides.push(term);
                }
                Refused::Kept(term) => {
                    let place = self.terms(list).len();
                    self.ungrammatical.push(Ungrammatical { list, place, term });
                }
                Refused::Named(_) | Refused::LeftOut => {}
                Refused::Ends => break,
            }
        }
        if list == TermList::InstallIf && self.ungrammatical.iter().any(|of| of.list == list) {
            // No one of them can be met, so that none is asked for.
            let all: Vec<Dependency> = self.as_written(list).cloned().collect();
            self.install_if.clear();
            self.ungrammatical.retain(|of| of.list != list);
            let place = 0;
            let all = all.into_iter();
            self.ungrammatical
                .extend(all.map(|term| Ungrammatical { list, place, term }));
        }
    }

    /// The terms of a list that follow the grammar, and provided names.
    fn terms(&self, list: TermList) -> &Vec<Dependency> {
        match list {
            TermList::Depends => &self.depends,
            TermList::Provides => &self.provides,
            TermList::Replaces => &self.replaces,
            TermList::InstallIf => &self.install_if,
            TermList::Recommends => &self.recommends,
        }
    }

    fn terms_mut(&mut self, list: TermList) -> &mut Vec<Dependency> {
        match list {
            TermList::Depends => &mut self.depends,
            TermList::Provides => &mut self.provides,
            TermList::Replaces => &mut self.replaces,
            TermList::InstallIf => &mut self.install_if,
            TermList::Recommends => &mut self.recommends,
        }
    }

    /// The terms of a list as they are written: those that follow no grammar as well.
    pub fn as_written(&self, list: TermList) -> impl Iterator<Item = &Dependency> + Clone {
        let mut terms = self.terms(list).iter();
        let ungrammatical = self.ungrammatical.iter();
        let mut ungrammatical = ungrammatical.filter(move |of| of.list == list).peekable();
        let mut place = 0;
        std::iter::from_fn(move || {
            if let Some(next) = ungrammatical.next_if(|of| of.place <= place) {
                return Some(&next.term);
            }
            place += 1;
            terms.next()
        })
    }

    fn defect(&mut self, field: &str, error: &InvalidDependency, fatal: bool) {
        self.defects.push(Defect {
            field: field.to_owned(),
            reason: error.to_string(),
            fatal,
        });
    }

    /// Whether a value can be written: no line ends or control characters that would inject keys,
    /// a name and a version that follow their grammars, texts that fit apk's buffer.
    ///
    /// # Errors
    /// The first value that can't.
    pub fn check(&self) -> Result<(), InfoError> {
        check_name(&self.name)?;
        Version::parse(&self.version)?;
        for version in self.provides.iter().filter_map(Dependency::version) {
            Version::parse(version.as_str())?;
        }
        let texts = [
            ("arch", &self.arch),
            ("origin", &self.origin),
            ("pkgdesc", &self.description),
            ("url", &self.url),
            ("commit", &self.commit),
            ("maintainer", &self.maintainer),
            ("packager", &self.packager),
        ];
        let licenses = self.licenses.iter().map(|value| ("license", value));
        let vendored = self.vendored.iter().map(|value| ("vendored", value));
        for (key, value) in texts.into_iter().chain(licenses).chain(vendored) {
            if value.chars().any(char::is_control) {
                return Err(InfoError::Control {
                    key,
                    value: value.escape_debug().to_string(),
                });
            }
        }
        for (key, value) in std::iter::once(("arch", &self.arch))
            .chain(self.triggers.iter().map(|value| ("triggers", value)))
        {
            if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(InfoError::Space {
                    key,
                    value: value.escape_debug().to_string(),
                });
            }
        }
        let length = self.name.len()
            + self.version.len()
            + self.license().len()
            + texts.iter().map(|(_, value)| value.len()).sum::<usize>();
        if length > MAXIMUM_TEXTS {
            return Err(InfoError::TooLong {
                length,
                limit: MAXIMUM_TEXTS,
            });
        }
        Ok(())
    }

    /// As [`PackageInfo::check`], for a package of format 3: its commit is hexadecimal, and names
    /// and tags hold what apk takes there.
    ///
    /// # Errors
    /// The first value that can't be written.
    pub fn check_v3(&self) -> Result<(), InfoError> {
        self.check()?;
        if !self.name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(InfoError::Name {
                name: self.name.clone(),
            });
        }
        if hex::decode(&self.commit).is_err() {
            return Err(InfoError::Commit {
                value: self.commit.clone(),
            });
        }
        let lists = [
            &self.depends,
            &self.provides,
            &self.replaces,
            &self.install_if,
            &self.recommends,
        ];
        let of_names = |c: char| c.is_ascii_alphanumeric() || "+-.,:/[]_".contains(c);
        for term in lists.into_iter().flatten() {
            if !term.name.chars().all(of_names) {
                return Err(InfoError::DependencyName {
                    name: term.name.escape_debug().to_string(),
                });
            }
        }
        let of_tags = |c: char| of_names(c) || c == '=';
        for tag in &self.tags {
            if tag.is_empty() || !tag.chars().all(of_tags) {
                return Err(InfoError::Tag {
                    tag: tag.escape_debug().to_string(),
                });
            }
        }
        Ok(())
    }

    /// The `.PKGINFO`, in melange's order of keys. `depend`, `provides` and `install_if` are
    /// sorted and unique; `replaces` keeps its order.
    ///
    /// # Errors
    /// As [`PackageInfo::check`].
    pub fn to_pkginfo(&self) -> Result<String, InfoError> {
        self.check()?;
        let mut out = String::from("# Generated by polpo\n");
        let mut line = |key: &str, value: &str| {
            // Writing to a string can't fail.
            let _ = writeln!(out, "{key} = {value}");
        };
        line("pkgname", &self.name);
        line("pkgver", &self.version);
        line("arch", &self.arch);
        line("size", &self.installed_size.to_string());
        line("origin", &self.origin);
        line("pkgdesc", &self.description);
        line("url", &self.url);
        line("commit", &self.commit);
        for (key, value) in [
            ("maintainer", &self.maintainer),
            ("packager", &self.packager),
        ] {
            if !value.is_empty() {
                line(key, value);
            }
        }
        if let Some(time) = self.build_time {
            line("builddate", &time.to_string());
        }
        for license in &self.licenses {
            line("license", license);
        }
        for (key, terms) in [
            ("depend", &self.depends),
            ("provides", &self.provides),
            ("install_if", &self.install_if),
        ] {
            for term in sorted(terms) {
                line(key, &term);
            }
        }
        for term in &self.replaces {
            line("replaces", &term.to_string());
        }
        for vendored in &self.vendored {
            line("# vendored", vendored);
        }
        for (key, value) in [
            ("provider_priority", self.provider_priority),
            ("replaces_priority", self.replaces_priority),
        ] {
            if let Some(value) = value {
                line(key, &value.to_string());
            }
        }
        if !self.triggers.is_empty() {
            line("triggers", &self.triggers.join(" "));
        }
        if let Some(datahash) = &self.datahash {
            line("datahash", &datahash.hex());
        }
        Ok(out)
    }

    /// The licences as one SPDX expression: several are all in force, so `AND` joins them.
    pub fn license(&self) -> String {
        match self.licenses.as_slice() {
            [one] => one.clone(),
            several => several
                .iter()
                .map(|license| {
                    if license.contains(" OR ") {
                        format!("({license})")
                    } else {
                        license.clone()
                    }
                })
                .collect::<Vec<_>>()
                .join(" AND "),
        }
    }

    /// `name-version.apk`, the file's name in a repository.
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

fn read_provides<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Dependency>, D::Error> {
    let mut info = PackageInfo::default();
    for term in Vec::<String>::deserialize(deserializer)? {
        info.add_terms("provides", &term);
    }
    Ok(info.provides)
}

fn read_ungrammatical<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dependency, D::Error> {
    let text = String::deserialize(deserializer)?;
    match Dependency::parse_untagged(&text).map_err(|_| Dependency::refused(&text)) {
        Ok(term) | Err(Refused::Kept(term)) => Ok(term),
        Err(_) => Err(D::Error::custom(format!(
            "`{}` is no term",
            text.escape_debug()
        ))),
    }
}

/// The terms' texts, sorted, each once.
pub(crate) fn sorted(terms: &[Dependency]) -> BTreeSet<String> {
    terms.iter().map(Dependency::to_string).collect()
}

fn number(key: &'static str, value: &str) -> Result<u64, InfoError> {
    value.parse().map_err(|_| InfoError::NotANumber {
        key,
        value: value.escape_debug().to_string(),
    })
}

/// A package's name becomes a file's name and a field of line-based formats.
fn check_name(name: &str) -> Result<(), InfoError> {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = |c: char| first(c) || matches!(c, '+' | '-' | '.');
    if name.starts_with(first) && name.chars().all(rest) && name.len() <= 200 {
        Ok(())
    } else {
        Err(InfoError::Name {
            name: name.escape_debug().to_string(),
        })
    }
}
