use std::fmt;

/// A field of what `query` tells of a package, with apk's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `query`: the word that was asked for.
    Query,
    /// `error`: why there is nothing to tell.
    Error,
    /// `path-target`: where a path that was asked for points to.
    PathTarget,
    /// `owner`: the package that owns a path; to match with only.
    Owner,
    /// `package`: name and version.
    Package,
    /// `name`
    Name,
    /// `version`
    Version,
    /// `hash`: apk tells it of no package.
    Hash,
    /// `description`
    Description,
    /// `arch`
    Arch,
    /// `license`
    License,
    /// `origin`
    Origin,
    /// `maintainer`
    Maintainer,
    /// `url`
    Url,
    /// `commit`
    Commit,
    /// `build-time`: seconds since 1970-01-01 UTC.
    BuildTime,
    /// `installed-size`: bytes.
    InstalledSize,
    /// `file-size`: bytes.
    FileSize,
    /// `provider-priority`
    ProviderPriority,
    /// `depends`
    Depends,
    /// `provides`
    Provides,
    /// `replaces`: of installed packages.
    Replaces,
    /// `install-if`
    InstallIf,
    /// `recommends`
    Recommends,
    /// `layer`
    Layer,
    /// `tags`
    Tags,
    /// `contents`: the paths of an installed package's files.
    Contents,
    /// `triggers`: of installed packages.
    Triggers,
    /// `scripts`: the names of an installed package's scripts.
    Scripts,
    /// `replaces-priority`: of installed packages.
    ReplacesPriority,
    /// `status`: of installed packages.
    Status,
    /// `repositories`: those that have the package.
    Repositories,
    /// `download-url`
    DownloadUrl,
    /// `reverse-depends`: what depends on it.
    ReverseDepends,
    /// `reverse-install-if`: what is installed because of it.
    ReverseInstallIf,
}

/// The fields with their keys and their titles, in apk's order, which is that of its numbers.
const TABLE: [(Field, &str, &str); 35] = [
    (Field::Query, "query", "Query"),
    (Field::Error, "error", "Error"),
    (Field::PathTarget, "path-target", "Path-Target"),
    (Field::Owner, "owner", "Owner"),
    (Field::Package, "package", "Package"),
    (Field::Name, "name", "Name"),
    (Field::Version, "version", "Version"),
    (Field::Hash, "hash", "Hash"),
    (Field::Description, "description", "Description"),
    (Field::Arch, "arch", "Arch"),
    (Field::License, "license", "License"),
    (Field::Origin, "origin", "Origin"),
    (Field::Maintainer, "maintainer", "Maintainer"),
    (Field::Url, "url", "URL"),
    (Field::Commit, "commit", "Commit"),
    (Field::BuildTime, "build-time", "Build-Time"),
    (Field::InstalledSize, "installed-size", "Installed-Size"),
    (Field::FileSize, "file-size", "File-Size"),
    (
        Field::ProviderPriority,
        "provider-priority",
        "Provider-Priority",
    ),
    (Field::Depends, "depends", "Depends"),
    (Field::Provides, "provides", "Provides"),
    (Field::Replaces, "replaces", "Replaces"),
    (Field::InstallIf, "install-if", "Install-If"),
    (Field::Recommends, "recommends", "Recommends"),
    (Field::Layer, "layer", "Layer"),
    (Field::Tags, "tags", "Tags"),
    (Field::Contents, "contents", "Contents"),
    (Field::Triggers, "triggers", "Triggers"),
    (Field::Scripts, "scripts", "Scripts"),
    (
        Field::ReplacesPriority,
        "replaces-priority",
        "Replaces-Priority",
    ),
    (Field::Status, "status", "Status"),
    (Field::Repositories, "repositories", "Repositories"),
    (Field::DownloadUrl, "download-url", "Download-URL"),
    (Field::ReverseDepends, "reverse-depends", "Reverse-Depends"),
    (
        Field::ReverseInstallIf,
        "reverse-install-if",
        "Reverse-Install-If",
    ),
];

impl Field {
    /// Every field.
    pub fn all() -> impl Iterator<Item = Field> {
        TABLE.iter().map(|(field, ..)| *field)
    }

    /// apk's name: `build-time`.
    pub fn key(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The name as people read it: `Build-Time`.
    pub fn title(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// The field of that name.
    pub fn from_key(key: &str) -> Option<Field> {
        TABLE
            .iter()
            .find(|(_, known, _)| *known == key)
            .map(|(field, ..)| *field)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A set of fields.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Fields(u64);

impl Fields {
    /// None.
    pub const NONE: Fields = Fields(0);
    /// Every field.
    pub const ALL: Fields = Fields((1 << TABLE.len()) - 1);
    /// Those that a word of a query can be compared with.
    pub const MATCHABLE: Fields = Fields::of(&[
        Field::Package,
        Field::Name,
        Field::Version,
        Field::Description,
        Field::Arch,
        Field::License,
        Field::Origin,
        Field::Maintainer,
        Field::Url,
        Field::Provides,
        Field::Depends,
        Field::InstallIf,
        Field::Recommends,
        Field::Replaces,
        Field::Tags,
        Field::Contents,
        Field::Owner,
    ]);
    /// Those that can be summarised.
    pub const SUMMARISABLE: Fields = Fields::of(&[
        Field::Package,
        Field::Name,
        Field::Origin,
        Field::Depends,
        Field::Provides,
        Field::Replaces,
        Field::InstallIf,
        Field::Recommends,
        Field::ReverseDepends,
        Field::ReverseInstallIf,
    ]);
    /// What `query` tells unless it is asked for else.
    pub const USUAL: Fields = Fields::of(&[
        Field::Query,
        Field::Error,
        Field::Name,
        Field::Version,
        Field::Description,
        Field::Arch,
        Field::License,
        Field::Origin,
        Field::Url,
        Field::Tags,
        Field::FileSize,
    ]);
    /// Those that installed packages alone have.
    pub const INSTALLED: Fields = Fields::of(&[
        Field::Replaces,
        Field::Contents,
        Field::Triggers,
        Field::Scripts,
        Field::ReplacesPriority,
        Field::Status,
    ]);

    /// The set of these.
    pub const fn of(fields: &[Field]) -> Fields {
        let mut set = 0;
        let mut at = 0;
        while at < fields.len() {
            set |= 1 << fields[at] as u64;
            at += 1;
        }
        Fields(set)
    }

    /// Reads apk's list: `name,version`, or `all`.
    ///
    /// # Errors
    /// A name is none of `allowed`, or there is none.
    pub fn parse(list: &str, allowed: Fields) -> Result<Fields, InvalidFields> {
        if list == "all" {
            return Ok(Fields::ALL);
        }
        let mut set = Fields::NONE;
        for name in list.split(',') {
            match Field::from_key(name) {
                Some(field) if allowed.has(field) => set = set.with(field),
                _ => {
                    return Err(InvalidFields::Unknown {
                        name: name.to_owned(),
                        allowed: allowed.names(),
                    });
                }
            }
        }
        Ok(set)
    }

    /// Whether the field is one of them.
    pub const fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u64) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// These and that.
    #[must_use]
    pub const fn with(self, field: Field) -> Fields {
        Fields(self.0 | (1 << field as u64))
    }

    /// These and those.
    #[must_use]
    pub const fn union(self, others: Fields) -> Fields {
        Fields(self.0 | others.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, others: Fields) -> Fields {
        Fields(self.0 & !others.0)
    }

    /// Whether one of those is among these.
    pub const fn intersects(self, others: Fields) -> bool {
        self.0 & others.0 != 0
    }

    /// In apk's order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::all().filter(move |field| self.has(*field))
    }

    fn names(self) -> String {
        let names: Vec<&str> = self.iter().map(Field::key).collect();
        names.join(", ")
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What reverse dependencies are told as: the part after the colon of `reverse-depends:origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReverseField {
    /// The names of the packages.
    #[default]
    Name,
    /// Name and version.
    Package,
    /// The names of the packages' origins.
    Origin,
}

/// A list of fields can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFields {
    /// A name is no field's, or not one that will do here.
    #[error("`{name}` is no field that can stand here; these can: all, {allowed}")]
    Unknown {
        /// The name.
        name: String,
        /// The fields that will do.
        allowed: String,
    },
    /// The part after the colon.
    #[error(
        "`{name}` is no way to tell reverse dependencies; after the colon stands name, package or origin"
    )]
    Reverse {
        /// The part.
        name: String,
    },
    /// More than one field, or `all`, to summarise.
    #[error("`{list}` are several fields; one can be summarised at a time")]
    Several {
        /// The list.
        list: String,
    },
}

/// Reads `FIELDS[:REVERSE]`, as `--fields` and `--summarize` take it; without a colon, the second
/// part of the result is none.
///
/// # Errors
/// See [`InvalidFields`].
pub fn parse_fields(
    text: &str,
    allowed: Fields,
) -> Result<(Fields, Option<ReverseField>), InvalidFields> {
    let (list, reverse) = match text.split_once(':') {
        None => (text, None),
        Some((list, reverse)) => (list, Some(reverse)),
    };
    let reverse = match reverse {
        None => None,
        Some("name") => Some(ReverseField::Name),
        Some("package") => Some(ReverseField::Package),
        Some("origin") => Some(ReverseField::Origin),
        Some(other) => {
            return Err(InvalidFields::Reverse {
                name: other.to_owned(),
            });
        }
    };
    Ok((Fields::parse(list, allowed)?, reverse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_fields() {
        for (place, (field, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*field as usize, place);
        }
        let set = Fields::parse("version,name", Fields::ALL).unwrap();
        assert_eq!(
            set.iter().map(Field::key).collect::<Vec<_>>(),
            ["name", "version"]
        );
        assert_eq!(Fields::parse("all", Fields::MATCHABLE), Ok(Fields::ALL));
        assert_eq!(Fields::ALL.len(), 35);
    }

    #[test]
    fn what_is_no_list_of_fields() {
        let error = |text| parse_fields(text, Fields::ALL).unwrap_err();
        assert!(
            matches!(error("name,,version"), InvalidFields::Unknown { name, .. } if name.is_empty())
        );
        assert!(matches!(error("Name"), InvalidFields::Unknown { .. }));
        assert!(matches!(
            error("name:version"),
            InvalidFields::Reverse { .. }
        ));
        assert!(Fields::parse("hash", Fields::MATCHABLE).is_err());
        assert_eq!(
            parse_fields("reverse-depends:origin", Fields::SUMMARISABLE),
            Ok((
                Fields::of(&[Field::ReverseDepends]),
                Some(ReverseField::Origin)
            ))
        );
    }
}
