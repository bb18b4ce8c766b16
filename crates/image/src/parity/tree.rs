//! A tree of files with the rules of apko's own in memory (`pkg/tarfs`): paths are followed through
//! links at every step, hard links share a node, and a directory's mode is its first maker's.

use std::collections::BTreeMap;

use apk::dependency::Identity;
use archive::tar::{EntryKind, Header};
use archive::tree::Content;

use super::ParityError;

/// As many links as apko follows in one path.
const LINK_LIMIT: usize = 40;

pub(super) type Id = usize;

pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Names under which a package made this a hard link, and what they name.
    pub(super) links: BTreeMap<String, String>,
    /// The package that brought it.
    pub(super) owner: Option<usize>,
    pub(super) checksum: Option<Identity>,
}

pub(super) enum Kind {
    Directory(BTreeMap<String, Id>),
    File { content: Content, size: u64 },
    Symlink(String),
    Device { major: u32, minor: u32 },
}

impl Node {
    pub(super) fn new(kind: Kind, mode: u32) -> Node {
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
            links: BTreeMap::new(),
            owner: None,
            checksum: None,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }
}

pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// One path of a walk.
pub(super) struct Walked {
    pub(super) header: Header,
    pub(super) content: Option<Content>,
    pub(super) owner: Option<usize>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            nodes: vec![Node::new(Kind::Directory(BTreeMap::new()), 0o755)],
        }
    }

    fn at(&self, id: Id) -> &Node {
        // Every id was handed out by this tree, which drops nothing.
        &self.nodes[id]
    }

    pub(super) fn node(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id]
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        self.at(id)
    }

    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn child(&self, parent: Id, name: &str) -> Option<Id> {
        match &self.at(parent).kind {
            Kind::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    fn insert(&mut self, parent: Id, name: &str, child: Id) {
        if let Kind::Directory(children) = &mut self.nodes[parent].kind {
            children.insert(name.to_owned(), child);
        }
    }

    /// What `path` leads to, its last part followed too.
    pub(super) fn lookup(&self, path: &str) -> Result<Id, ParityError> {
        self.follow(path, 0)
    }

    fn follow(&self, path: &str, links: usize) -> Result<Id, ParityError> {
        let missing = || ParityError::Missing(path.to_owned());
        let mut here = 0;
        let mut walked: Vec<&str> = Vec::new();
        for part in path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            let child = self.child(here, part).ok_or_else(missing)?;
            here = match &self.at(child).kind {
                Kind::Symlink(target) => {
                    if links >= LINK_LIMIT {
                        return Err(ParityError::Loop(path.to_owned()));
                    }
                    self.follow(&joined(&walked.join("/"), target), links + 1)?
                }
                _ => child,
            };
            walked.push(part);
        }
        Ok(here)
    }

    pub(super) fn exists(&self, path: &str) -> Result<bool, ParityError> {
        match self.lookup(path) {
            Ok(_) => Ok(true),
            Err(ParityError::Missing(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The directory that `path` lies in, and what is there itself.
    fn place<'p>(&self, path: &'p str) -> Result<(Id, &'p str, Option<Id>), ParityError> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let parent = self.lookup(parent)?;
        if !self.at(parent).is_directory() {
            return Err(ParityError::NotADirectory(path.to_owned()));
        }
        Ok((parent, name, self.child(parent, name)))
    }

    /// What is at `path` itself.
    pub(super) fn entry(&self, path: &str) -> Result<Option<Id>, ParityError> {
        Ok(self.place(path)?.2)
    }

    pub(super) fn link_target(&self, path: &str) -> Option<&str> {
        match &self.at(self.entry(path).ok()??).kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }

    /// Puts a new node at `path`, in place of what is there.
    pub(super) fn replace(&mut self, path: &str, node: Node) -> Result<Id, ParityError> {
        let (parent, name, _) = self.place(path)?;
        let id = self.add(node);
        self.insert(parent, name, id);
        Ok(id)
    }

    fn create(&mut self, path: &str, node: Node) -> Result<Id, ParityError> {
        match self.place(path)? {
            (_, _, Some(_)) => Err(ParityError::Exists(path.to_owned())),
            _ => self.replace(path, node),
        }
    }

    pub(super) fn make_directory(&mut self, path: &str, mode: u32) -> Result<(), ParityError> {
        self.create(path, Node::new(Kind::Directory(BTreeMap::new()), mode))?;
        Ok(())
    }

    pub(super) fn make_directories(&mut self, path: &str, mode: u32) -> Result<(), ParityError> {
        let mut here = 0;
        let mut walked: Vec<&str> = Vec::new();
        for part in path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            let child = match self.child(here, part) {
                Some(child) => child,
                None => {
                    let id = self.add(Node::new(Kind::Directory(BTreeMap::new()), mode));
                    self.insert(here, part, id);
                    id
                }
            };
            here = match &self.at(child).kind {
                Kind::Symlink(target) => self.lookup(&joined(&walked.join("/"), target))?,
                _ => child,
            };
            if !self.at(here).is_directory() {
                return Err(ParityError::NotADirectory(path.to_owned()));
            }
            walked.push(part);
        }
        Ok(())
    }

    /// The file that `path` leads to; it is made, with `mode`, where it is missing.
    fn open(&mut self, path: &str, mode: u32) -> Result<Id, ParityError> {
        let mut path = path.to_owned();
        for _ in 0..LINK_LIMIT {
            let (_, _, there) = self.place(&path)?;
            let Some(id) = there else {
                let empty = Kind::File {
                    content: Content::Bytes([].into()),
                    size: 0,
                };
                return self.replace(&path, Node::new(empty, mode));
            };
            match &self.at(id).kind {
                Kind::Symlink(target) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    path = joined(parent, target);
                }
                Kind::Directory(_) => return Err(ParityError::IsADirectory(path)),
                _ => return Ok(id),
            }
        }
        Err(ParityError::Loop(path))
    }

    /// Writes a file anew. Nothing written to a package's file leaves its bytes as they are, and no
    /// write changes a time.
    pub(super) fn write(
        &mut self,
        path: &str,
        bytes: Vec<u8>,
        mode: u32,
    ) -> Result<(), ParityError> {
        let id = self.open(path, mode)?;
        let node = self.node(id);
        if bytes.is_empty() && node.owner.is_some() {
            return Ok(());
        }
        node.kind = Kind::File {
            size: bytes.len() as u64,
            content: Content::Bytes(bytes.into()),
        };
        Ok(())
    }

    /// The bytes of the file that `path` leads to.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ParityError> {
        let id = match self.lookup(path) {
            Ok(id) => id,
            Err(ParityError::Missing(_)) => return Ok(None),
            Err(other) => return Err(other),
        };
        match &self.at(id).kind {
            Kind::File { content, .. } => {
                content
                    .read()
                    .map(Some)
                    .map_err(|source| ParityError::Read {
                        path: path.to_owned(),
                        source,
                    })
            }
            _ => Ok(None),
        }
    }

    pub(super) fn symlink(&mut self, target: &str, path: &str) -> Result<(), ParityError> {
        let (parent, _, _) = self.place(path)?;
        let mut node = Node::new(Kind::Symlink(target.to_owned()), 0o777);
        node.mtime = self.at(parent).mtime;
        self.create(path, node)?;
        Ok(())
    }

    /// Another name of the node that `old` leads to; `recorded` if a package says so.
    pub(super) fn link(
        &mut self,
        old: &str,
        path: &str,
        recorded: bool,
    ) -> Result<(), ParityError> {
        let (parent, name, there) = self.place(path)?;
        let id = self.lookup(old)?;
        if there.is_some() {
            return Err(ParityError::Exists(path.to_owned()));
        }
        self.insert(parent, name, id);
        if recorded {
            self.node(id).links.insert(path.to_owned(), old.to_owned());
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<(), ParityError> {
        let (parent, name, _) = self.place(path)?;
        if let Kind::Directory(children) = &mut self.nodes[parent].kind {
            children.remove(name);
        }
        Ok(())
    }

    pub(super) fn device(
        &mut self,
        path: &str,
        numbers: (u32, u32),
        mode: u32,
    ) -> Result<(), ParityError> {
        let (parent, _, _) = self.place(path)?;
        let (major, minor) = numbers;
        let mut node = Node::new(Kind::Device { major, minor }, mode);
        node.mtime = self.at(parent).mtime;
        self.create(path, node)?;
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), ParityError> {
        let id = self.lookup(path)?;
        change(self.node(id));
        Ok(())
    }

    /// The names in a directory, in order.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, ParityError> {
        Ok(match &self.at(self.lookup(path)?).kind {
            Kind::Directory(children) => children.keys().cloned().collect(),
            _ => Vec::new(),
        })
    }

    /// Every path beneath `path` and itself, links not followed, each directory before what it has.
    pub(super) fn beneath(&self, path: &str) -> Result<Vec<String>, ParityError> {
        let mut found = Vec::new();
        if let Some(id) = self.entry(path)? {
            self.gather(id, path.trim_end_matches('/').to_owned(), &mut found);
        }
        Ok(found.into_iter().map(|(path, _)| path).collect())
    }

    fn gather(&self, id: Id, path: String, found: &mut Vec<(String, Id)>) {
        let children = match &self.at(id).kind {
            Kind::Directory(children) => children.clone(),
            _ => BTreeMap::new(),
        };
        let before = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        if !path.is_empty() {
            found.push((path, id));
        }
        for (name, child) in children {
            self.gather(child, format!("{before}{name}"), found);
        }
    }

    /// Every path with what its tar header says.
    pub(super) fn walk(
        &self,
        users: &BTreeMap<u64, String>,
        groups: &BTreeMap<u64, String>,
    ) -> Vec<Walked> {
        let mut found = Vec::new();
        self.gather(0, String::new(), &mut found);
        found
            .into_iter()
            .map(|(path, id)| {
                let node = self.at(id);
                let (kind, content) = match &node.kind {
                    Kind::Directory(_) => (EntryKind::Directory, None),
                    Kind::Symlink(target) => (
                        EntryKind::Symlink {
                            target: target.clone(),
                        },
                        None,
                    ),
                    Kind::Device { major, minor } => (
                        EntryKind::CharDevice {
                            major: *major,
                            minor: *minor,
                        },
                        None,
                    ),
                    Kind::File { content, size } => match node.links.get(&path) {
                        Some(target) => (
                            EntryKind::HardLink {
                                target: target.clone(),
                            },
                            None,
                        ),
                        None => (EntryKind::File { size: *size }, Some(content.clone())),
                    },
                };
                let mut header = Header::new(path, kind);
                header.mode = node.mode;
                header.uid = node.uid;
                header.gid = node.gid;
                header.mtime = node.mtime;
                header.user = users.get(&node.uid).cloned().unwrap_or_default();
                header.group = groups.get(&node.gid).cloned().unwrap_or_default();
                if matches!(header.kind, EntryKind::Directory | EntryKind::File { .. }) {
                    header.xattrs.clone_from(&node.xattrs);
                }
                Walked {
                    header,
                    content,
                    owner: node.owner,
                }
            })
            .collect()
    }
}

/// `target` as seen from the directory `from`, cleaned as text.
fn joined(from: &str, target: &str) -> String {
    let whole = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{from}/{target}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
