//! Places that have files by their digest.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::network::without_credentials;

/// A place asked for a source before its own URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// A folder with `sha256/<hex>`, `<hex>` or `sha256:<hex>` (melange's cache) in it; the same
    /// with `sha512`.
    Folder(PathBuf),
    /// A server with `URL/sha256/<hex>` or `URL/<hex>`; the same with `sha512`. No slash at the end.
    Http(String),
    /// The Debian archive that the host's apt knows: source files by their SHA-256.
    Apt {
        /// The suites to look in, in order; empty stands for the host's own.
        suites: Vec<String>,
    },
}

/// The text names no mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mirror; write `apt`, `apt:SUITE[,SUITE]`, an http:// or https:// URL, or the path of a folder"
)]
pub struct InvalidMirror(pub String);

impl FromStr for Mirror {
    type Err = InvalidMirror;

    /// `apt`, `apt:trixie`, `apt:bookworm,trixie`, `https://…`, or the path of a folder.
    fn from_str(text: &str) -> Result<Mirror, InvalidMirror> {
        let invalid = || InvalidMirror(text.to_owned());
        if text == "apt" {
            return Ok(Mirror::Apt { suites: Vec::new() });
        }
        if let Some(list) = text.strip_prefix("apt:") {
            let suites: Vec<String> = list.split(',').map(str::to_owned).collect();
            let named = suites.iter().all(|suite| crate::apt::is_suite(suite));
            return named.then_some(Mirror::Apt { suites }).ok_or_else(invalid);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            url::Url::parse(text).map_err(|_| invalid())?;
            return Ok(Mirror::Http(text.trim_end_matches('/').to_owned()));
        }
        if text.is_empty() || text.contains("://") {
            return Err(invalid());
        }
        Ok(Mirror::Folder(PathBuf::from(text)))
    }
}

impl fmt::Display for Mirror {
    /// As it is read, but for credentials, which are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mirror::Folder(path) => path.display().fmt(f),
            Mirror::Http(url) => f.write_str(&without_credentials(url)),
            Mirror::Apt { suites } if suites.is_empty() => f.write_str("apt"),
            Mirror::Apt { suites } => write!(f, "apt:{}", suites.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let shown = |text: &str| text.parse::<Mirror>().map(|mirror| mirror.to_string());
        for text in [
            "apt",
            "apt:bookworm,trixie",
            "https://example.org/by",
            "../sources",
        ] {
            assert_eq!(shown(text).as_deref(), Ok(text));
        }
        assert_eq!(
            shown("http://example.org/").as_deref(),
            Ok("http://example.org")
        );
        for text in [
            "",
            "apt:",
            "apt:a,,b",
            "apt:../x",
            "ftp://example.org",
            "http://",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
