//! What analysis and linters want to know of the files of a package: each is opened once, on all cores.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};
use base::Digest;
use rayon::prelude::*;

use crate::analyse::Elf;
use crate::lint::is_licence;

/// The bytes at the start of a file that are kept; the kernel looks at no more of a script either.
pub(crate) const START: usize = 80;

/// Copies of smaller files are not worth a link.
const MIN_COPY: u64 = 1024;

/// The regular files of a tree.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    files: BTreeMap<TreePath, Facts>,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What its headers say, if it is an ELF file.
    pub(crate) elf: Option<Elf>,
    /// Its first [`START`] bytes.
    pub(crate) start: Vec<u8>,
    /// SHA-256 of all of it, where another file has its name and size.
    pub(crate) digest: Option<Digest>,
}

/// A file can't be read.
#[derive(Debug)]
pub(crate) struct SurveyError {
    pub(crate) path: TreePath,
    pub(crate) source: io::Error,
}

impl Survey {
    /// Reads the files of `tree`. Memory holds a few hundred bytes of each.
    pub(crate) fn of(tree: &FileTree) -> Result<Survey, SurveyError> {
        let mut alike: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        let mut files: Vec<(&TreePath, &Content, u64)> = Vec::new();
        for (path, node) in tree.iter() {
            if let Node {
                kind: NodeKind::File { content, size },
                ..
            } = node
            {
                files.push((path, content, *size));
                if *size >= MIN_COPY && !is_licence(path.file_name()) {
                    *alike.entry((path.file_name(), *size)).or_default() += 1;
                }
            }
        }
        let read = |(path, content, size): &(&TreePath, &Content, u64)| {
            let copies = alike.get(&(path.file_name(), *size));
            let hashed = copies.is_some_and(|copies| *copies > 1);
            match Facts::read(content, hashed) {
                Ok(facts) => Ok(((*path).clone(), facts)),
                Err(source) => Err(SurveyError {
                    path: (*path).clone(),
                    source,
                }),
            }
        };
        let files = files
            .par_iter()
            .with_min_len(64)
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Survey {
            files: files.into_iter().collect(),
        })
    }

    /// What is known of the regular file at `path`.
    pub(crate) fn get(&self, path: &TreePath) -> Option<&Facts> {
        self.files.get(path)
    }

    /// Every regular file, in the tree's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TreePath, &Facts)> {
        self.files.iter()
    }
}

impl Facts {
    fn read(content: &Content, hashed: bool) -> io::Result<Facts> {
        let here = |bytes: &[u8]| Facts {
            elf: Elf::parse_bytes(bytes),
            start: bytes.iter().take(START).copied().collect(),
            digest: hashed.then(|| Digest::of(bytes)),
        };
        let path = match content {
            Content::Bytes(bytes) => return Ok(here(bytes)),
            Content::Part { .. } => return Ok(here(&content.read()?)),
            Content::Disk(path) => path,
        };
        let mut file = File::open(path)?;
        let mut start = Vec::with_capacity(START);
        Read::by_ref(&mut file)
            .take(START as u64)
            .read_to_end(&mut start)?;
        let digest = match hashed {
            false => None,
            true => {
                file.seek(SeekFrom::Start(0))?;
                Some(Digest::of_all(&mut file)?.0)
            }
        };
        let elf = match Elf::begins(&start) {
            true => Elf::parse_file(file)?,
            false => None,
        };
        Ok(Facts { elf, start, digest })
    }
}
