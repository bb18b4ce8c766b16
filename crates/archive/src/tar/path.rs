/// A name that must not become a path on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// Nothing is named.
    #[error("the name is empty")]
    Empty,
    /// It starts with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// A component is `..`.
    #[error("the name leads out of the archive by `..`")]
    Parent,
    /// A component is `.` or empty, other than a leading `./` or a trailing `/`.
    #[error("the name has an empty component or `.` inside")]
    Component,
    /// A NUL or another control character.
    #[error("the name has a control character")]
    Control,
    /// It is not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// A component is longer than 255 bytes or the whole longer than 4095, the limits of Linux.
    #[error("the name is longer than Linux allows")]
    TooLong,
}

/// The name without leading `./` and trailing `/`, if it can be a path beneath a folder and in every
/// text format that lists paths; else why not.
///
/// Refused: empty and absolute names, `..`, `.` and empty components, control characters, names
/// longer than Linux allows. The rules are those of apk.
pub fn safe_path(name: &str) -> Result<&str, UnsafePath> {
    if name.starts_with('/') {
        return Err(UnsafePath::Absolute);
    }
    if name.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(UnsafePath::Control);
    }
    let name = normalise(name);
    if name.is_empty() || name == "." {
        return Err(UnsafePath::Empty);
    }
    if name.len() > 4095 {
        return Err(UnsafePath::TooLong);
    }
    for component in name.split('/') {
        match component {
            ".." => return Err(UnsafePath::Parent),
            "" | "." => return Err(UnsafePath::Component),
            _ if component.len() > 255 => return Err(UnsafePath::TooLong),
            _ => {}
        }
    }
    Ok(name)
}

/// Cuts leading `./` and trailing `/`; the root becomes `.`.
fn normalise(name: &str) -> &str {
    // The cuts are at ASCII bytes, so what is left is UTF-8 still.
    std::str::from_utf8(normalise_bytes(name.as_bytes())).unwrap_or(name)
}

/// [`normalise`] for names that may not be UTF-8.
pub(crate) fn normalise_bytes(name: &[u8]) -> &[u8] {
    if name.first() == Some(&b'/') {
        return name;
    }
    let mut rest = name;
    while let Some(mut cut) = rest.strip_prefix(b"./") {
        while let Some(shorter) = cut.strip_prefix(b"/") {
            cut = shorter;
        }
        rest = cut;
    }
    while let Some(shorter) = rest.strip_suffix(b"/") {
        rest = shorter;
    }
    if rest.is_empty() && !name.is_empty() {
        b"."
    } else {
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_names_are_cut_to_their_plain_form() {
        for (name, plain) in [
            ("a", "a"),
            ("./a/b", "a/b"),
            ("a/b/", "a/b"),
            (".//./a", "a"),
            ("..a/b..", "..a/b.."),
            ("...", "..."),
            ("grün", "grün"),
        ] {
            assert_eq!(safe_path(name), Ok(plain), "{name:?}");
        }
    }

    #[test]
    fn unsafe_names_say_why() {
        let long = "x".repeat(256);
        let deep = format!("{}xx", "x/".repeat(2047));
        for (name, why) in [
            ("", UnsafePath::Empty),
            (".", UnsafePath::Empty),
            ("./", UnsafePath::Empty),
            ("/", UnsafePath::Absolute),
            ("/etc/passwd", UnsafePath::Absolute),
            ("..", UnsafePath::Parent),
            ("./../a", UnsafePath::Parent),
            ("a/../b", UnsafePath::Parent),
            ("a/..", UnsafePath::Parent),
            ("a//b", UnsafePath::Component),
            ("a/./b", UnsafePath::Component),
            ("a/.", UnsafePath::Component),
            ("a\0b", UnsafePath::Control),
            ("a\nb", UnsafePath::Control),
            ("a\u{7f}", UnsafePath::Control),
            (&long, UnsafePath::TooLong),
            (&deep, UnsafePath::TooLong),
        ] {
            assert_eq!(safe_path(name), Err(why), "{name:?}");
        }
    }
}
