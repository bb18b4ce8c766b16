//! Where the host's apt says Debian's archive is.

use std::path::{Path, PathBuf};

use super::paragraph::Paragraphs;

/// A Debian archive: where it is and what signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its URI, without a slash at the end.
    pub uri: String,
    /// The keyring, or the key itself, that its Release file must be signed with.
    pub signed_by: String,
}

/// Where Debian keeps its own keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Whether `name` may be a suite: `bookworm`, `trixie-backports`, `sid`.
pub fn is_suite(name: &str) -> bool {
    !name.is_empty()
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte))
        && !name.contains("..")
}

/// One source of the host, in either format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// A `.list` file: `deb [option=value …] URI SUITE COMPONENT…` (sources.list(5)).
fn one_line(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(mut rest) = line
            .strip_prefix("deb-src")
            .or_else(|| line.strip_prefix("deb"))
            .filter(|rest| rest.starts_with([' ', '\t']))
            .map(str::trim_start)
        else {
            continue;
        };
        let mut signed_by = None;
        if let Some((options, after)) = rest
            .strip_prefix('[')
            .and_then(|inside| inside.split_once(']'))
        {
            signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(|keyring| keyring.trim_matches('"').to_owned());
            rest = after;
        }
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            entries.push(Entry {
                uris: vec![uri],
                suites: vec![suite],
                components: words.collect(),
                signed_by,
            });
        }
    }
    entries
}

/// A `.sources` file: deb822 paragraphs.
fn deb822(text: &str) -> Vec<Entry> {
    let words = |value: Option<&str>| -> Vec<String> {
        value
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    Paragraphs::of(text)
        .filter(|paragraph| {
            !matches!(
                paragraph
                    .get("Enabled")
                    .map(str::to_ascii_lowercase)
                    .as_deref(),
                Some("no" | "false" | "off" | "0" | "without" | "disable")
            )
        })
        .map(|paragraph| Entry {
            uris: words(paragraph.get("URIs")),
            suites: words(paragraph.get("Suites")),
            components: words(paragraph.get("Components")),
            signed_by: paragraph.get("Signed-By").map(str::to_owned),
        })
        .collect()
}

/// The archives among `files` (name, contents) that carry Debian's own `codename`: component
/// `main`, signed by Debian's keyring. Others (security updates, third parties) are left out.
pub(super) fn archives(files: &[(PathBuf, String)], codename: &str) -> Vec<Archive> {
    let mut found: Vec<Archive> = Vec::new();
    for (path, text) in files {
        let entries = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => deb822(text),
            _ if text.trim_start().starts_with("Types:") => deb822(text),
            _ => one_line(text),
        };
        for entry in entries {
            if let Some(signed_by) = trusted(&entry, codename) {
                for uri in entry.uris {
                    let uri = uri.trim_end_matches('/').to_owned();
                    if !found.iter().any(|archive| archive.uri == uri) {
                        found.push(Archive {
                            uri,
                            signed_by: signed_by.clone(),
                        });
                    }
                }
            }
        }
    }
    found
}

/// The keyring for an entry that is Debian's main archive.
fn trusted(entry: &Entry, codename: &str) -> Option<String> {
    let is_main = entry.components.iter().any(|component| component == "main");
    let is_base = entry.suites.iter().any(|suite| {
        suite == codename
            || ["stable", "oldstable", "testing", "unstable", "sid"].contains(&suite.as_str())
    });
    if !is_main || !is_base {
        return None;
    }
    let Some(signed_by) = &entry.signed_by else {
        return Some(KEYRING.to_owned());
    };
    let is_debians = Path::new(signed_by)
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("debian-archive-"));
    is_debians.then(|| signed_by.clone())
}

/// The files of the host that name its sources, in apt's order. What can't be read is skipped:
/// apt would not read it either.
pub(super) fn host_files(etc: &Path) -> Vec<(PathBuf, String)> {
    let mut paths = vec![etc.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "list" || extension == "sources")
            })
            .collect();
        parts.sort();
        paths.extend(parts);
    }
    paths
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            Some((path, text))
        })
        .collect()
}

/// `VERSION_CODENAME` of an os-release file.
pub(super) fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|value| value.trim().trim_matches(['"', '\'']))
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_and_no_third_parties() {
        let files = [
            (
                PathBuf::from("/etc/apt/sources.list"),
                "# old\ndeb http://mirror.example/debian/ bookworm main contrib # note\n\
                 deb-src http://mirror.example/debian bookworm main\n\
                 deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://second.example/debian bookworm main\n\
                 deb http://mirror.example/debian-security bookworm-security main\n\
                 debris http://x bookworm main\n"
                    .to_owned(),
            ),
            (
                PathBuf::from("/etc/apt/sources.list.d/debian.sources"),
                "Types: deb\nURIs: http://third.example/debian\n http://fourth.example/debian\n\
                 Suites: bookworm bookworm-updates\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-bookworm-stable.gpg\n\n\
                 Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n"
                    .to_owned(),
            ),
            (
                PathBuf::from("/etc/apt/sources.list.d/vendor.sources"),
                "Types: deb\nURIs: http://vendor.example/apt\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/vendor.gpg\n"
                    .to_owned(),
            ),
            (
                PathBuf::from("/etc/apt/sources.list.d/other.list"),
                "deb http://vendor.example/other bookworm stable\n".to_owned(),
            ),
        ];
        let found: Vec<String> = archives(&files, "bookworm")
            .into_iter()
            .map(|archive| format!("{} {}", archive.uri, archive.signed_by))
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        http://mirror.example/debian /usr/share/keyrings/debian-archive-keyring.gpg
        http://second.example/debian /usr/share/keyrings/debian-archive-keyring.gpg
        http://third.example/debian /usr/share/keyrings/debian-archive-bookworm-stable.gpg
        http://fourth.example/debian /usr/share/keyrings/debian-archive-bookworm-stable.gpg
        ");
        assert!(archives(&files, "noble").is_empty());
    }

    #[test]
    fn codenames() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=\"trixie\"\n"),
            Some("trixie")
        );
        assert_eq!(codename("ID=arch\n"), None);
    }
}
