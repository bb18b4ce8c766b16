use std::str::FromStr;

/// Which nodes a rule of a style is about: `.` is the top, `.a.b[]` the items of `b` below `a`, `*` any
/// key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    parts: Vec<Pattern>,
}

/// A text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path; write `.` for the top, `.key.key[]` for what is below")]
pub struct InvalidPath(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Key(String),
    AnyKey,
    Index(usize),
    AnyIndex,
}

/// A step from a collection to what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'p> {
    Key(&'p str),
    Index(usize),
}

impl PathPattern {
    /// Whether `path` leads to such a node.
    pub(crate) fn matches(&self, path: &[Part<'_>]) -> bool {
        self.parts.len() == path.len()
            && self
                .parts
                .iter()
                .zip(path)
                .all(|(pattern, part)| match (pattern, part) {
                    (Pattern::Key(key), Part::Key(name)) => key == name,
                    (Pattern::Index(index), Part::Index(number)) => index == number,
                    (Pattern::AnyKey, Part::Key(_)) | (Pattern::AnyIndex, Part::Index(_)) => true,
                    _ => false,
                })
    }
}

impl FromStr for PathPattern {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<PathPattern, InvalidPath> {
        let invalid = || InvalidPath(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = match text {
            "." => "",
            // A list at the top.
            _ if text.starts_with(".[") => &text[1..],
            _ if text.starts_with('.') => text,
            _ => return Err(invalid()),
        };
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('.') {
                let end = behind.find(['.', '[']).unwrap_or(behind.len());
                let (key, next) = behind.split_at(end);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                parts.push(match key {
                    "*" => Pattern::AnyKey,
                    _ if !key.is_empty() && key.bytes().all(plain) => Pattern::Key(key.to_owned()),
                    _ => return Err(invalid()),
                });
                rest = next;
            } else if let Some((index, next)) = rest
                .strip_prefix('[')
                .and_then(|behind| behind.split_once(']'))
            {
                parts.push(match index {
                    "" => Pattern::AnyIndex,
                    _ => Pattern::Index(index.parse().map_err(|_| invalid())?),
                });
                rest = next;
            } else {
                return Err(invalid());
            }
        }
        Ok(PathPattern { parts })
    }
}
