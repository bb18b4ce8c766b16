//! What a package says of itself, out of the values of a payload.

use super::schema::{self, dependency, info};
use super::{AdbError, Object};
use crate::package::{Defect, PackageInfo};

/// An info object.
pub(crate) struct Info {
    /// What [`PackageInfo`] has a place for.
    pub(crate) info: PackageInfo,
    /// The `hashes` field: what that is depends on where the object stands.
    pub(crate) hashes: Vec<u8>,
    /// Bytes of the package file; 0 outside of indexes.
    pub(crate) file_size: u64,
}

/// Reads an info object. Dependencies that follow no grammar become defects, as in text.
pub(crate) fn package_info(object: Object<'_, '_>) -> Result<Info, AdbError> {
    let text = |field| object.text(field).map(str::to_owned);
    let number = |field| match object.value(field) {
        value if value.is_null() => Ok(None),
        _ => object.integer(field).map(Some),
    };
    let license = text(info::LICENSE)?;
    let mut taken = PackageInfo {
        name: text(info::NAME)?,
        version: text(info::VERSION)?,
        arch: text(info::ARCH)?,
        installed_size: object.integer(info::INSTALLED_SIZE)?,
        origin: text(info::ORIGIN)?,
        description: text(info::DESCRIPTION)?,
        url: text(info::URL)?,
        commit: hex::encode(object.blob(info::REPO_COMMIT)?),
        maintainer: text(info::MAINTAINER)?,
        build_time: number(info::BUILD_TIME)?,
        licenses: (!license.is_empty())
            .then_some(license)
            .into_iter()
            .collect(),
        provider_priority: number(info::PROVIDER_PRIORITY)?,
        layer: number(info::LAYER)?,
        tags: object
            .texts(info::TAGS)?
            .into_iter()
            .map(str::to_owned)
            .collect(),
        ..PackageInfo::default()
    };
    for (field, value) in [(info::NAME, &taken.name), (info::VERSION, &taken.version)] {
        if value.is_empty() {
            return Err(object.missing(field));
        }
    }
    for (field, key) in [
        (info::DEPENDS, "depend"),
        (info::PROVIDES, "provides"),
        (info::REPLACES, "replaces"),
        (info::INSTALL_IF, "install_if"),
        (info::RECOMMENDS, "recommends"),
    ] {
        for item in object.objects(field, &schema::DEPENDENCY)? {
            match term(item?)? {
                Ok(term) => taken.add_terms(key, &term),
                Err(reason) => taken.defects.push(Defect {
                    field: key.to_owned(),
                    reason,
                    fatal: key == "depend",
                }),
            }
        }
    }
    Ok(Info {
        info: taken,
        hashes: object.blob(info::HASHES)?.to_vec(),
        file_size: object.integer(info::FILE_SIZE)?,
    })
}

/// A dependency as text, or why it can be none.
fn term(object: Object<'_, '_>) -> Result<Result<String, String>, AdbError> {
    let name = object.text(dependency::NAME)?;
    let version = object.text(dependency::VERSION)?;
    let matched = object.integer(dependency::MATCH)?;
    if name.is_empty() {
        return Err(object.missing(dependency::NAME));
    }
    let conflict = if matched & 16 == 0 { "" } else { "!" };
    let operator = match matched & !16 {
        // A name without a version is any of that name, whatever else is said.
        _ if version.is_empty() => "",
        0 | 1 => "=",
        2 => "<",
        3 => "<=",
        4 => ">",
        5 => ">=",
        6 => "><",
        7 => return Ok(Ok(format!("{conflict}{name}"))),
        8 | 9 => "~",
        11 => "<~",
        13 => ">~",
        _ => {
            let reason = format!("is {matched}, which says nothing of versions");
            return Err(object.wrong(dependency::MATCH, reason));
        }
    };
    let term = format!("{conflict}{name}{operator}{version}");
    let apart = |c: char| c.is_whitespace();
    let compared = |c: char| matches!(c, '<' | '>' | '=' | '~' | '!');
    if term.contains(apart)
        || name.contains(compared)
        || version.contains(compared) && operator != "><"
    {
        return Ok(Err(format!(
            "`{}` has characters that no name or version has",
            term.escape_debug()
        )));
    }
    Ok(Ok(term))
}
