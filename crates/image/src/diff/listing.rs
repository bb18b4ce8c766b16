//! The files of one image, as a container would see them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use archive::{Limits, erofs};
use base::{Digest, Epoch};
use oci::{Layout, ResolvedImage};
use serde::Serialize;

use super::layers::{Kind, Layers, Tree};
use super::model::FileFacts;
use super::packages::Packages;
use super::text::plain_name;
use super::{DiffError, Side, files};

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedFile {
    /// Its path, without a slash before it; `.` is the image's root.
    pub path: String,
    /// When it was changed, in seconds since 1970.
    pub mtime: u64,
    /// What it is.
    #[serde(flatten)]
    pub facts: FileFacts,
}

/// The files of an image, by path.
///
/// # Errors
/// The image can't be read; see [`DiffError`].
pub fn list(layout: &Layout, image: &ResolvedImage) -> Result<Vec<ListedFile>, DiffError> {
    let tree = Layers::default().tree(layout, image)?;
    let packages = Packages::read(&tree, Side::Before)?;
    Ok(listed(&tree, &packages))
}

/// The files of an EROFS image on its own.
///
/// # Errors
/// The image can't be read.
pub fn list_erofs(path: &Path) -> Result<Vec<ListedFile>, DiffError> {
    let failed = |source| DiffError::Image {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let (name, _) = Digest::of_all(&file).map_err(failed)?;
    let content = erofs::as_tar(file, Limits::default()).map_err(failed)?;
    let tree = Layers::default().alone(name, content)?;
    let packages = Packages::read(&tree, Side::Before)?;
    Ok(listed(&tree, &packages))
}

fn listed(tree: &Tree, packages: &Packages) -> Vec<ListedFile> {
    let files = tree.files.iter();
    files
        .map(|(path, placed)| ListedFile {
            path: path.clone(),
            mtime: placed.facts.mtime,
            facts: files::told(placed, packages.owner(path)),
        })
        .collect()
}

/// The list as `tar -tv` has it: type and mode, owner, size, time, path.
pub fn listing(files: &[ListedFile]) -> String {
    let sizes: BTreeMap<&str, String> =
        files.iter().map(|file| (&*file.path, size(file))).collect();
    let owner = |file: &ListedFile| format!("{}/{}", file.facts.uid, file.facts.gid);
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or(0);
    let owners = widest(&mut files.iter().map(|file| owner(file).len()));
    let widths = widest(&mut sizes.values().map(String::len));
    let mut out = String::new();
    for file in files {
        let facts = &file.facts;
        let time = Epoch(file.mtime).rfc3339();
        let (day, hour) = time.split_once('T').unwrap_or((&time, ""));
        let led = match (&facts.target, &facts.hard_link) {
            (Some(target), _) => format!(" -> {}", plain_name(target)),
            (None, Some(target)) => format!(" link to {}", plain_name(target)),
            (None, None) => String::new(),
        };
        let capabilities = facts.capabilities.as_ref();
        let capabilities = capabilities
            .map(|words| format!(" [{words}]"))
            .unwrap_or_default();
        let size = sizes.get(&*file.path).map_or("", String::as_str);
        out.push_str(&format!(
            "{} {:<owners$} {size:>widths$} {day} {} {}{led}{capabilities}\n",
            mode(facts),
            owner(file),
            hour.get(..5).unwrap_or_default(),
            plain_name(&file.path),
        ));
    }
    out
}

fn size(file: &ListedFile) -> String {
    match (&file.facts.device, file.facts.size) {
        (Some(device), _) => device.replace(':', ","),
        (None, size) => size.unwrap_or(0).to_string(),
    }
}

/// `-rwsr-xr-x`.
fn mode(facts: &FileFacts) -> String {
    let bits = u32::from_str_radix(&facts.mode, 8).unwrap_or(0);
    let kind = match facts.kind {
        kind if kind == Kind::Directory.words() => 'd',
        "symbolic link" => 'l',
        "character device" => 'c',
        "block device" => 'b',
        "named pipe" => 'p',
        _ if facts.hard_link.is_some() => 'h',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let has = |bit: u32| bits >> shift & bit != 0;
        text.push(if has(4) { 'r' } else { '-' });
        text.push(if has(2) { 'w' } else { '-' });
        text.push(match (bits & special != 0, has(1)) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
