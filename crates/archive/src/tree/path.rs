use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::tar::{UnsafePath, safe_path};

/// A relative path of a [`super::FileTree`]: safe as [`safe_path`] says, without `./` or a trailing `/`.
///
/// Paths order as a depth-first walk with sorted names meets them (Go's `WalkDir`): `/` sorts before
/// every other byte, so `a/b` comes before `a-b`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(Box<str>);

impl TreePath {
    /// Checks `path` and takes its plain form.
    pub fn new(path: &str) -> Result<TreePath, UnsafePath> {
        safe_path(path).map(|path| TreePath(path.into()))
    }

    /// The path: no leading `./` or `/`, no trailing `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it is in; none at the top.
    pub fn parent(&self) -> Option<TreePath> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(TreePath(parent.into()))
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// `self/path`.
    pub fn join(&self, path: &str) -> Result<TreePath, UnsafePath> {
        TreePath::new(&format!("{}/{}", self.0, safe_path(path)?))
    }

    /// The number of components: at least 1.
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count() + 1
    }

    /// Whether it is inside the directory `other` (and not `other` itself).
    pub fn is_beneath(&self, other: &TreePath) -> bool {
        self.0
            .strip_prefix(&*other.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// How many bytes both begin with. Paths that are compared are often equal for long.
fn common_length(left: &[u8], right: &[u8]) -> usize {
    let words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    let whole = 8 * words.take_while(|(left, right)| left == right).count();
    let rest = left[whole..].iter().zip(&right[whole..]);
    whole + rest.take_while(|(left, right)| left == right).count()
}

impl Ord for TreePath {
    fn cmp(&self, other: &TreePath) -> Ordering {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        let rank = |byte: Option<&u8>| match byte {
            None => 0,
            Some(b'/') => 1,
            Some(byte) => u16::from(*byte) + 2,
        };
        let common = common_length(left, right);
        rank(left.get(common)).cmp(&rank(right.get(common)))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &TreePath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl AsRef<str> for TreePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for TreePath {
    type Err = UnsafePath;

    fn from_str(text: &str) -> Result<TreePath, UnsafePath> {
        TreePath::new(text)
    }
}
