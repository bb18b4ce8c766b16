//! What a package says of itself as values of a payload.

use super::schema::{self, DEPENDENCIES, INFO, TAGS, dependency, info};
use super::{Builder, Tag, Value};
use crate::dependency::{Constraint, Dependency, Identity};
use crate::index::IndexEntry;
use crate::package::PackageInfo;
use crate::version::Operator;

/// The slots of an info object; field 1 comes first.
pub(crate) type InfoFields = [Value; INFO_FIELDS];

const INFO_FIELDS: usize = INFO.fields.len();

/// Numbers that say which versions a dependency means.
mod matching {
    pub(super) const EQUAL: u64 = 1;
    pub(super) const LESS: u64 = 2;
    pub(super) const GREATER: u64 = 4;
    pub(super) const FUZZY: u64 = 8;
    pub(super) const CONFLICT: u64 = 16;
}

/// Puts `value` where the field stands.
pub(crate) fn put(fields: &mut [Value], field: usize, value: Value) {
    if let Some(slot) = field.checked_sub(1).and_then(|place| fields.get_mut(place)) {
        *slot = value;
    }
}

/// The fields that `info` has, written in the order of their numbers, as apk writes what it is given
/// on its command line. Sizes and hashes are left to the caller.
pub(crate) fn info_fields(builder: &mut Builder, info: &PackageInfo) -> InfoFields {
    let mut fields = [Value::NULL; INFO_FIELDS];
    let license = info.license();
    let commit = hex::decode(&info.commit).unwrap_or_default();
    let texts: [(usize, &[u8]); 9] = [
        (info::NAME, info.name.as_bytes()),
        (info::VERSION, info.version.as_bytes()),
        (info::DESCRIPTION, info.description.as_bytes()),
        (info::ARCH, info.arch.as_bytes()),
        (info::LICENSE, license.as_bytes()),
        (info::ORIGIN, info.origin.as_bytes()),
        (info::MAINTAINER, info.maintainer.as_bytes()),
        (info::URL, info.url.as_bytes()),
        (info::REPO_COMMIT, &commit),
    ];
    for (field, text) in texts {
        put(&mut fields, field, builder.blob(text));
    }
    for (field, number) in [
        (info::BUILD_TIME, info.build_time),
        (info::PROVIDER_PRIORITY, info.provider_priority),
    ] {
        if let Some(number) = number {
            put(&mut fields, field, builder.integer(number));
        }
    }
    for (field, terms) in [
        (info::DEPENDS, &info.depends),
        (info::PROVIDES, &info.provides),
        (info::REPLACES, &info.replaces),
        (info::INSTALL_IF, &info.install_if),
        (info::RECOMMENDS, &info.recommends),
    ] {
        put(
            &mut fields,
            field,
            dependencies(builder, terms, Tag::Object),
        );
    }
    if let Some(layer) = info.layer {
        put(&mut fields, info::LAYER, builder.integer(layer));
    }
    let tags = info.tags.iter().map(|tag| builder.blob(tag.as_bytes()));
    let tags = tags.collect();
    put(
        &mut fields,
        info::TAGS,
        builder.array(&TAGS, Tag::Object, tags),
    );
    fields
}

/// The fields of a package as an index of format 2 lists it, written in the order of its lines.
pub(crate) fn entry_fields(builder: &mut Builder, entry: &IndexEntry) -> InfoFields {
    let mut fields = [Value::NULL; INFO_FIELDS];
    let own = &entry.info;
    let hashes: &[u8] = match &entry.identity {
        Identity::Sha1(digest) => digest.as_bytes(),
        Identity::Sha256(digest) => digest.as_bytes(),
    };
    for (field, text) in [
        (info::HASHES, hashes),
        (info::NAME, own.name.as_bytes()),
        (info::VERSION, own.version.as_bytes()),
        (info::ARCH, own.arch.as_bytes()),
    ] {
        put(&mut fields, field, builder.blob(text));
    }
    for (field, number) in [
        (info::FILE_SIZE, entry.size),
        (info::INSTALLED_SIZE, own.installed_size),
    ] {
        put(&mut fields, field, builder.integer(number));
    }
    for (field, text) in [
        (info::DESCRIPTION, &own.description),
        (info::URL, &own.url),
        (info::LICENSE, &own.license()),
        (info::ORIGIN, &own.origin),
        (info::MAINTAINER, &own.maintainer),
    ] {
        put(&mut fields, field, builder.blob(text.as_bytes()));
    }
    if let Some(time) = own.build_time {
        put(&mut fields, info::BUILD_TIME, builder.integer(time));
    }
    // What is no hash has no place here.
    let commit = hex::decode(&own.commit).unwrap_or_default();
    put(&mut fields, info::REPO_COMMIT, builder.blob(&commit));
    for (field, number) in [
        (info::PROVIDER_PRIORITY, own.provider_priority),
        (info::LAYER, own.layer),
    ] {
        if let Some(number) = number {
            put(&mut fields, field, builder.integer(number));
        }
    }
    for (field, terms) in [
        (info::DEPENDS, &own.depends),
        (info::PROVIDES, &own.provides),
        (info::INSTALL_IF, &own.install_if),
        (info::REPLACES, &own.replaces),
        (info::RECOMMENDS, &own.recommends),
    ] {
        put(
            &mut fields,
            field,
            dependencies(builder, terms, Tag::Object),
        );
    }
    let tags = own.tags.iter().map(|tag| builder.blob(tag.as_bytes()));
    let tags = tags.collect();
    put(
        &mut fields,
        info::TAGS,
        builder.array(&TAGS, Tag::Object, tags),
    );
    fields
}

/// The fields of a package as `entry_fields` has them, its values in the order in which its
/// `.PKGINFO` has their lines, as apk's `mkndx` writes them.
pub(crate) fn package_fields(
    builder: &mut Builder,
    pkginfo: &str,
    entry: &IndexEntry,
) -> InfoFields {
    let own = &entry.info;
    for line in pkginfo.split('\n').filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        // Equal values are kept once, so that what is written here is found below.
        match key {
            "pkgname" | "pkgver" | "arch" | "pkgdesc" | "url" | "origin" | "maintainer" => {
                builder.blob(value.as_bytes());
            }
            "license" => drop(builder.blob(own.license().as_bytes())),
            "commit" => drop(builder.blob(&hex::decode(value).unwrap_or_default())),
            "size" | "builddate" | "provider_priority" => {
                value.parse().map(|number| builder.integer(number)).ok();
            }
            "depend" | "provides" | "replaces" => {
                let mut one = PackageInfo::default();
                one.add_terms(key, value);
                for term in one.depends.iter().chain(&one.provides).chain(&one.replaces) {
                    dependency(builder, term);
                }
            }
            "install_if" => drop(dependencies(builder, &own.install_if, Tag::Object)),
            _ => {}
        }
    }
    let lists = [
        (info::DEPENDS, &own.depends),
        (info::PROVIDES, &own.provides),
        (info::REPLACES, &own.replaces),
    ]
    .map(|(field, terms)| (field, dependencies(builder, terms, Tag::Array)));
    builder.integer(entry.size);
    let mut fields = entry_fields(builder, entry);
    for (field, list) in lists {
        put(&mut fields, field, list);
    }
    fields
}

/// An array of dependencies.
pub(crate) fn dependencies(builder: &mut Builder, terms: &[Dependency], tag: Tag) -> Value {
    let items = terms.iter().map(|term| self::dependency(builder, term));
    let items = items.collect();
    builder.array(&DEPENDENCIES, tag, items)
}

/// A dependency.
pub(crate) fn dependency(builder: &mut Builder, term: &Dependency) -> Value {
    use matching::{CONFLICT, EQUAL, FUZZY, GREATER, LESS};

    let mut fields = [Value::NULL; schema::DEPENDENCY.fields.len()];
    put(
        &mut fields,
        dependency::NAME,
        builder.blob(term.name.as_bytes()),
    );
    let (mut matched, version) = match &term.constraint {
        None => (EQUAL | LESS | GREATER, String::new()),
        Some(Constraint::Identity(identity)) => (LESS | GREATER, identity.to_string()),
        Some(Constraint::NoIdentity(text)) => (LESS | GREATER, text.to_string()),
        Some(Constraint::Version(operator, version)) => {
            let matched = match operator {
                Operator::Equal => EQUAL,
                Operator::Less => LESS,
                Operator::LessOrEqual => LESS | EQUAL,
                Operator::Greater => GREATER,
                Operator::GreaterOrEqual => GREATER | EQUAL,
                Operator::Fuzzy => FUZZY | EQUAL,
                Operator::LessOrFuzzy => LESS | FUZZY | EQUAL,
                Operator::GreaterOrFuzzy => GREATER | FUZZY | EQUAL,
            };
            (matched, version.as_str().to_owned())
        }
    };
    if term.conflict {
        matched |= CONFLICT;
    }
    put(
        &mut fields,
        dependency::VERSION,
        builder.blob(version.as_bytes()),
    );
    // A name alone says nothing more, and equal is what is meant if nothing is said.
    let implied = matched == EQUAL || (term.constraint.is_none() && !term.conflict);
    if !implied {
        put(&mut fields, dependency::MATCH, builder.integer(matched));
    }
    builder.object(&fields)
}
