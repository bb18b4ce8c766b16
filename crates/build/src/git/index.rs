//! git's index (Documentation/gitformat-index.txt), without what is this machine's.

use base::Sha1;

/// Bytes before the first entry, and those of an entry before its name.
const HEADER: usize = 12;
const FIXED: usize = 62;
const HASH: usize = 20;

/// The kind bits of a submodule's mode.
const SUBMODULE: u32 = 0o160_000;

/// An index is not as git writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index that git wrote is not understood: {0}")]
pub struct IndexError(&'static str);

/// An entry of an index.
pub(super) struct Entry<'i> {
    /// Where the file is, from the root of the work tree.
    pub(super) path: &'i [u8],
    /// Whether it is a submodule.
    pub(super) submodule: bool,
    /// Whether the file is to be there: it is not where only some folders are checked out.
    pub(super) present: bool,
}

/// The index in `bytes` as if every file had been written at `mtime`, with the length that `length`
/// tells. All else that git notes of a file, which would be other for each checkout, becomes zero;
/// with `core.checkStat` = `minimal`, git does not compare it.
pub(super) fn rewritten<E: From<IndexError>>(
    bytes: &[u8],
    mtime: u32,
    mut length: impl FnMut(&Entry<'_>) -> Result<u32, E>,
) -> Result<Vec<u8>, E> {
    let (mut out, count, version) = header(bytes)?;
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    for _ in 0..count {
        let (entry, fixed, total) = entry(rest, version)?;
        let start = out.len();
        out.extend_from_slice(rest.get(..total).unwrap_or_default());
        let keeps = entry.present && !entry.submodule;
        let size = if keeps { length(&entry)? } else { 0 };
        let seconds = if keeps { mtime } else { 0 };
        let mode = read_u32(&fixed[24..]);
        let written = out.get_mut(start..start + 40);
        let written = written.ok_or(IndexError("it ends early"))?;
        written.fill(0);
        written[8..12].copy_from_slice(&seconds.to_be_bytes());
        written[24..28].copy_from_slice(&mode.to_be_bytes());
        written[36..40].copy_from_slice(&size.to_be_bytes());
        rest = rest.get(total..).unwrap_or_default();
    }
    if rest.len() < HASH {
        return Err(IndexError("its hash is missing").into());
    }
    let hash = Sha1::of(&out);
    out.extend_from_slice(hash.as_bytes());
    Ok(out)
}

/// The paths of all submodules.
pub(super) fn submodules(bytes: &[u8]) -> Result<Vec<Vec<u8>>, IndexError> {
    let (_, count, version) = header(bytes)?;
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..count {
        let (entry, _, total) = entry(rest, version)?;
        if entry.submodule {
            found.push(entry.path.to_owned());
        }
        rest = rest.get(total..).unwrap_or_default();
    }
    Ok(found)
}

/// The header's bytes, how many entries follow, and the version of the format.
fn header(bytes: &[u8]) -> Result<(Vec<u8>, u32, u32), IndexError> {
    let header = bytes.get(..HEADER).ok_or(IndexError("it ends early"))?;
    let version = read_u32(&header[4..]);
    if !header.starts_with(b"DIRC") || !matches!(version, 2 | 3) {
        return Err(IndexError("its version is neither 2 nor 3"));
    }
    Ok((header.to_vec(), read_u32(&header[8..]), version))
}

/// The entry that `rest` begins with, its part of fixed length, and how many bytes it takes up.
fn entry(rest: &[u8], version: u32) -> Result<(Entry<'_>, &[u8], usize), IndexError> {
    const EARLY: IndexError = IndexError("it ends early");
    let fixed = rest.get(..FIXED).ok_or(EARLY)?;
    let flags = u16::from_be_bytes([fixed[60], fixed[61]]);
    let mut start = FIXED;
    let mut present = true;
    if version == 3 && flags & 0x4000 != 0 {
        let more = rest.get(FIXED..FIXED + 2).ok_or(EARLY)?;
        // The second of the further flags is skip-worktree.
        present = u16::from_be_bytes([more[0], more[1]]) & 0x4000 == 0;
        start += 2;
    }
    let name = rest.get(start..).ok_or(EARLY)?;
    let length = name.iter().position(|byte| *byte == 0).ok_or(EARLY)?;
    // One to eight zero bytes end an entry at a multiple of eight.
    let total = (start + length + 8) & !7;
    if total > rest.len() {
        return Err(EARLY);
    }
    let entry = Entry {
        path: &name[..length],
        submodule: read_u32(&fixed[24..]) & 0o170_000 == SUBMODULE,
        present,
    };
    Ok((entry, fixed, total))
}

fn read_u32(bytes: &[u8]) -> u32 {
    match bytes {
        [a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(entries: &[(&str, u32)]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(2u32.to_be_bytes());
        bytes.extend((entries.len() as u32).to_be_bytes());
        for (path, mode) in entries {
            let start = bytes.len();
            bytes.extend([7; 24]);
            bytes.extend(mode.to_be_bytes());
            bytes.extend([7; 12]);
            bytes.extend([0xab; 20]);
            bytes.extend((path.len() as u16).to_be_bytes());
            bytes.extend(path.as_bytes());
            let total = (bytes.len() - start + 8) & !7;
            bytes.resize(start + total, 0);
        }
        bytes.extend(b"TREE\0\0\0\x02xx");
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn only_what_every_checkout_shares_is_kept() {
        let bytes = index(&[("a", 0o100_644), ("deep/submodule", 0o160_000)]);
        let mut asked = Vec::new();
        let written = rewritten::<IndexError>(&bytes, 9, |entry| {
            asked.push(String::from_utf8(entry.path.to_vec()).unwrap());
            Ok(5)
        })
        .unwrap();
        assert_eq!(asked, ["a"]);
        assert_eq!(written[12..20], [0; 8]);
        assert_eq!(written[20..24], 9u32.to_be_bytes());
        assert_eq!(written[24..36], [0; 12]);
        assert_eq!(written[36..40], 0o100_644u32.to_be_bytes());
        assert_eq!(written[48..52], 5u32.to_be_bytes());
        assert_eq!(written[52..72], [0xab; 20]);
        assert!(!written.windows(4).any(|window| window == b"TREE"));
        let (body, hash) = written.split_at(written.len() - 20);
        assert_eq!(Sha1::of(body).as_bytes(), hash);
        assert_eq!(submodules(&bytes).unwrap(), [b"deep/submodule"]);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..200usize) {
            let _ = rewritten::<IndexError>(&bytes, 1, |_| Ok(1));
            let _ = submodules(&bytes);
            let good = index(&[("a", 0o100_644), ("b/c", 0o120_000)]);
            let cut = good.get(..cut).unwrap_or(&good);
            prop_assert!(rewritten::<IndexError>(cut, 1, |_| Ok(1)).is_err() || cut.len() >= 12 + 72 * 2);
        }
    }
}
