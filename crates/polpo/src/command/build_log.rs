//! What a build leaves besides packages, for scripts that want it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use apk::index::IndexEntry;
use apk::package::Package;
use base::Arch;
use build::build_recipe::BuiltPackage;
use serde::Serialize;

use crate::output::failure::Failure;

/// The file that names what was built, in the folder polpo was called in.
const FILE_NAME: &str = "packages.log";

/// Appends a line for each package to [`FILE_NAME`].
pub(crate) fn append(
    arch: Arch,
    main: &str,
    packages: &[BuiltPackage],
    strip_origin_name: bool,
) -> Result<(), Failure> {
    let mut lines = String::new();
    for BuiltPackage { name, version, .. } in packages {
        let origin = if strip_origin_name { "" } else { main };
        lines += &format!("{arch}|{origin}|{name}|{version}\n", arch = arch.apk());
    }
    File::options()
        .append(true)
        .create(true)
        .open(FILE_NAME)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| Failure::failed(format!("`{FILE_NAME}` can't be written"), error))
}

/// What a package says of others.
#[derive(Serialize)]
struct Relations {
    depends: Vec<String>,
    provides: Vec<String>,
    replaces: Vec<String>,
}

/// Writes what `packages`, files, need and provide to `path` with the architecture behind it.
pub(crate) fn write_dependencies(
    path: &Path,
    arch: Arch,
    packages: &[PathBuf],
) -> Result<(), Failure> {
    let mut path = path.as_os_str().to_owned();
    path.push(format!(".{}", arch.apk()));
    let path = PathBuf::from(path);
    let mut relations = BTreeMap::new();
    for file in packages {
        let what = || format!("the package {} can't be read", file.display());
        let package = Package::open(file).map_err(|error| Failure::failed(what(), error))?;
        let info = IndexEntry::of(&package).info;
        let texts =
            |list: &[apk::dependency::Dependency]| list.iter().map(ToString::to_string).collect();
        relations.insert(
            info.name.clone(),
            Relations {
                depends: texts(&info.depends),
                provides: texts(&info.provides),
                replaces: texts(&info.replaces),
            },
        );
    }
    let what = || {
        format!(
            "the log of dependencies {} can't be written",
            path.display()
        )
    };
    let mut json =
        serde_json::to_vec_pretty(&relations).map_err(|error| Failure::failed(what(), error))?;
    json.push(b'\n');
    store::write_atomically(&path, &json).map_err(|error| Failure::failed(what(), error))
}
