//! `scripts.tar`: the scripts of installed packages, as apk writes and reads it (apk-tools'
//! `apk_db_scriptdb_write`, `apk_tar_write_entry`).
//!
//! Each is named `name-version.X1<identity in hex>.<script>`: base64 would have slashes.

use std::io::Read;

use archive::Limits;
use archive::tar::{self, End};

use super::{DatabaseError, InstalledPackage, MAXIMUM_FILE, ReadFile, short, sorted};
use crate::dependency::Identity;
use crate::package::{MAXIMUM_SCRIPT, Script};

/// In the order that apk keeps them in.
const ORDER: [Script; 7] = [
    Script::PreInstall,
    Script::PostInstall,
    Script::PreDeinstall,
    Script::PostDeinstall,
    Script::PreUpgrade,
    Script::PostUpgrade,
    Script::Trigger,
];

const BLOCK: usize = 512;

/// The archive. Its headers are GNU tar's of old, root's by name, at the time of the package's
/// build.
pub(crate) fn to_archive(packages: &[InstalledPackage]) -> Vec<u8> {
    let mut out = Vec::new();
    for package in sorted(packages) {
        let info = &package.entry.info;
        let identity = match short(package.entry.identity) {
            Identity::Sha1(hash) => format!("X1{}", hash.hex()),
            Identity::Sha256(hash) => format!("X2{}", hash.hex()),
        };
        for script in ORDER {
            let Some(bytes) = package.scripts.get(&script) else {
                continue;
            };
            let name = format!("{}-{}.{identity}.{script}", info.name, info.version);
            let time = info.build_time.unwrap_or(0);
            if name.len() >= 100 {
                out.extend(header("././@LongLink", b'L', name.len() as u64, time));
                out.extend(name.as_bytes());
                out.push(0);
                pad(&mut out);
            }
            out.extend(header(&name, b'0', bytes.len() as u64, time));
            out.extend(bytes);
            pad(&mut out);
        }
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn header(name: &str, kind: u8, size: u64, time: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |start: usize, bytes: &[u8]| {
        block[start..start + bytes.len()].copy_from_slice(bytes);
    };
    // A field holds the last digits of what is too large for it, as with apk.
    let octal = |digits: usize, number: u64| {
        let text = format!("{number:0digits$o}");
        text.as_bytes()[text.len() - digits..].to_vec()
    };
    put(0, &name.as_bytes()[..name.len().min(99)]);
    put(100, &octal(7, 0o755));
    put(108, &octal(7, 0));
    put(116, &octal(7, 0));
    put(124, &octal(12, size));
    put(136, &octal(12, time));
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar  ");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0");
    block[148..148 + sum.len()].copy_from_slice(sum.as_bytes());
    block
}

/// A script, and the identity of the package that it is of.
pub(crate) type StoredScript = (Identity, Script, Vec<u8>);

/// The file that holds the scripts: apk looks for the first, then for the other.
pub(crate) const FILES: [&str; 2] = ["scripts.tar", "scripts.tar.gz"];

/// The scripts of the database in `folder`.
pub(crate) fn read(folder: &str, read: &ReadFile<'_>) -> Result<Vec<StoredScript>, DatabaseError> {
    let limits = Limits {
        bytes: MAXIMUM_FILE,
        ..Limits::default()
    };
    for name in FILES {
        let file = format!("{folder}/{name}");
        let Some(bytes) = read(&file)? else {
            continue;
        };
        let failed = |source| DatabaseError::Scripts {
            file: file.clone(),
            source,
        };
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut members = archive::gzip::Members::new(bytes.as_slice(), limits);
            return match members.next() {
                Ok(Some(member)) => read_archive(member, limits).map_err(failed),
                Ok(None) => Ok(Vec::new()),
                Err(error) => Err(failed(tar::ReadError::Io(error.into()))),
            };
        }
        return read_archive(bytes.as_slice(), limits).map_err(failed);
    }
    Ok(Vec::new())
}

fn read_archive(archive: impl Read, limits: Limits) -> Result<Vec<StoredScript>, tar::ReadError> {
    let mut tar = tar::Reader::new(archive, limits).ending(End::Lenient);
    let mut scripts = Vec::new();
    while let Some(mut entry) = tar.next()? {
        let header = entry.header();
        if header.kind.size() > MAXIMUM_SCRIPT {
            continue;
        }
        // `name-version.<identity>.<script>`, where a version has dots of its own.
        let mut parts = header.path.rsplitn(3, '.');
        let script = parts.next().and_then(Script::from_name);
        let identity = parts.next().and_then(|identity| identity.parse().ok());
        if let (Some(script), Some(identity)) = (script, identity) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(tar::ReadError::Io)?;
            scripts.push((identity, script, bytes));
        }
    }
    Ok(scripts)
}
