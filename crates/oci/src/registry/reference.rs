use std::fmt;
use std::str::FromStr;

use base::Digest;
use serde::{Serialize, Serializer};

use crate::is_tag;

/// The longest name of a repository, its registry included (docker's grammar).
const NAME_LIMIT: usize = 255;
const REFERENCE_LIMIT: usize = 1024;
/// The registry of Docker, which goes by several names.
const DOCKER: &str = "docker.io";

/// A repository of a registry: `registry.example:5000/team/app`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryName {
    registry: String,
    path: String,
}

/// The full name of an image in a registry, as docker's grammar has it:
/// `registry.example:5000/team/app:tag@sha256:…`, tag and digest optional.
///
/// What docker would complete in silence, such as `app` to `docker.io/library/app:latest`, is
/// refused: a slip would publish elsewhere than meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    repository: RepositoryName,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is no full name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Docker would take it for something on its own registry.
    #[error("`{text}` names no registry; write it in full: `{proposed}` if Docker's is meant")]
    NoRegistry {
        /// What was given.
        text: String,
        /// What Docker would make of it.
        proposed: String,
    },
    /// Not of the grammar.
    #[error("`{text}` is no image reference: {reason}")]
    Malformed {
        /// What was given; of a long text the beginning.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another algorithm than SHA-256.
    #[error(
        "`{text}` names a digest that is not SHA-256: only `sha256:` and 64 hexadecimal digits are read"
    )]
    Digest {
        /// What was given.
        text: String,
    },
}

impl RepositoryName {
    /// Reads `registry/path`.
    ///
    /// # Errors
    /// See [`InvalidReference`]; a tag or digest is an error too.
    pub fn parse(text: &str) -> Result<RepositoryName, InvalidReference> {
        let reference: Reference = text.parse()?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(malformed(
                text,
                "a repository has neither a tag nor a digest",
            ));
        }
        Ok(reference.repository)
    }

    /// The registry: a host, with its port if it is given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry, such as `team/app`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A tag of this repository.
    ///
    /// # Errors
    /// Not a tag.
    pub fn tagged(&self, tag: &str) -> Result<Reference, InvalidReference> {
        if !is_tag(tag) {
            return Err(malformed(tag, NO_TAG));
        }
        Ok(Reference {
            repository: self.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// A manifest of this repository.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference {
            repository: self.clone(),
            tag: None,
            digest: Some(digest),
        }
    }
}

impl Reference {
    /// Where it is.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Its tag, if one is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Its digest, if one is given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same, with the tag `latest` if it has neither a tag nor a digest.
    #[must_use]
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Reference, InvalidReference> {
        if text.len() > REFERENCE_LIMIT {
            return Err(malformed(text, "it is too long"));
        }
        if text.contains("://") {
            return Err(malformed(
                text,
                "a reference has no scheme such as `https://`",
            ));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((user, place)) if place.contains(['/', '@']) || user.is_empty() => {
                // It may be a password, so it is not quoted.
                let place = place.rsplit('@').next().unwrap_or_default();
                return Err(malformed(
                    place,
                    "a reference names no user; `polpo login` takes users and passwords",
                ));
            }
            Some((rest, digits)) => {
                let unknown = || InvalidReference::Digest {
                    text: text.to_owned(),
                };
                let digest: Digest = digits.parse().map_err(|_| unknown())?;
                if digest.to_string() != digits {
                    return Err(unknown());
                }
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon before a slash is a port's.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(malformed(text, NO_TAG));
        }
        let tag = tag.map(str::to_owned);
        let Some((registry, path)) = split(name) else {
            check_path(name).map_err(|reason| malformed(text, reason))?;
            let library = if name.contains('/') { "" } else { "library/" };
            let mut proposed = format!("{DOCKER}/{library}{rest}");
            if tag.is_none() && digest.is_none() {
                proposed.push_str(":latest");
            }
            if let Some(digest) = &digest {
                proposed.push_str(&format!("@{digest}"));
            }
            return Err(InvalidReference::NoRegistry {
                text: text.to_owned(),
                proposed,
            });
        };
        check_registry(registry).map_err(|reason| malformed(text, reason))?;
        check_path(path).map_err(|reason| malformed(text, reason))?;
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => DOCKER,
            other => other,
        };
        let path = match registry == DOCKER && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if registry.len() + 1 + path.len() > NAME_LIMIT {
            return Err(malformed(text, "its name has more than 255 characters"));
        }
        Ok(Reference {
            repository: RepositoryName {
                registry: registry.to_owned(),
                path,
            },
            tag,
            digest,
        })
    }
}

const NO_TAG: &str =
    "a tag has letters, digits, `_`, `.` and `-`, at most 128, and does not start with `.` or `-`";

fn malformed(text: &str, reason: &'static str) -> InvalidReference {
    InvalidReference::Malformed {
        text: text.chars().take(120).collect(),
        reason,
    }
}

/// Registry and path, if the first component is a registry by docker's rule.
fn split(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    let is_registry = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase());
    is_registry.then_some((first, rest))
}

/// Checks a registry: a name, an IPv4 address or `[IPv6]`, and a port.
pub(crate) fn check_registry(text: &str) -> Result<(), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("`[` is not closed")?;
            let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_address {
                return Err("what stands in `[]` is no IPv6 address");
            }
            match port.strip_prefix(':') {
                Some(port) => ("", Some(port)),
                None if port.is_empty() => ("", None),
                None => return Err("only a port may follow `]`"),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if let Some(port) = port {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || port.parse::<u16>().is_err() {
            return Err("the port of its registry is no number up to 65535");
        }
    }
    if text.starts_with('[') {
        return Ok(());
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match host.split('.').all(is_label) {
        true => Ok(()),
        false => Err("its registry is no host name"),
    }
}

/// Path components: lower-case letters and digits, between them one of `.`, `_`, `__` and any number
/// of `-`.
fn check_path(path: &str) -> Result<(), &'static str> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    for component in path.split('/') {
        if component.is_empty() {
            return Err("a part of its path is empty");
        }
        if component.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("paths of repositories are in lower case");
        }
        let separators =
            component.split(|character: char| u8::try_from(character).is_ok_and(is_letter));
        let edges = component.bytes().next().is_some_and(is_letter)
            && component.bytes().last().is_some_and(is_letter);
        let fine = separators
            .filter(|separator| !separator.is_empty())
            .all(|separator| {
                matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            });
        if !(edges && fine) {
            return Err(
                "parts of its path have lower-case letters and digits, with `.`, `_`, `__` or `-` between them",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Reference>() {
            Ok(reference) => format!(
                "{} | {} | {:?} | {}",
                reference.repository().registry(),
                reference.repository().path(),
                reference.tag(),
                reference.digest().is_some(),
            ),
            Err(invalid) => invalid.to_string(),
        }
    }

    #[test]
    fn full_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            (
                "registry.example/app",
                "registry.example | app | None | false",
            ),
            ("localhost/a/b:v1", "localhost | a/b | Some(\"v1\") | false"),
            (
                "localhost:5000/a:5000",
                "localhost:5000 | a | Some(\"5000\") | false",
            ),
            ("[::1]:5000/a", "[::1]:5000 | a | None | false"),
            ("REG/a", "REG | a | None | false"),
            (
                "docker.io/hello:1",
                "docker.io | library/hello | Some(\"1\") | false",
            ),
            (
                "index.docker.io/me/hello",
                "docker.io | me/hello | None | false",
            ),
            (
                "r.example/a.b_c__d---e:V1.0_x-y",
                "r.example | a.b_c__d---e | Some(\"V1.0_x-y\") | false",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let both = format!("r.example/a:v1@{digest}");
        assert_eq!(shown(&both), "r.example | a | Some(\"v1\") | true");
        assert_eq!(both.parse::<Reference>().unwrap().to_string(), both);
    }

    #[test]
    fn what_docker_would_complete_is_proposed_and_refused() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let proposals: Vec<String> = [
            "hello",
            "hello:v1",
            "me/hello",
            "latest",
            &format!("hello@{digest}"),
        ]
        .into_iter()
        .map(shown)
        .collect();
        insta::assert_snapshot!(proposals.join("\n"), @r"
        `hello` names no registry; write it in full: `docker.io/library/hello:latest` if Docker's is meant
        `hello:v1` names no registry; write it in full: `docker.io/library/hello:v1` if Docker's is meant
        `me/hello` names no registry; write it in full: `docker.io/me/hello:latest` if Docker's is meant
        `latest` names no registry; write it in full: `docker.io/library/latest:latest` if Docker's is meant
        `hello@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` names no registry; write it in full: `docker.io/library/hello@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` if Docker's is meant
        ");
    }

    #[test]
    fn what_is_no_reference() {
        let texts = [
            "",
            "https://r.example/a",
            "r.example/",
            "r.example/A",
            "r.example/a//b",
            "r.example/-a",
            "r.example/a___b",
            "r.example/a:",
            "r.example/a:.v",
            "r.example:99999/a",
            "r.example:x/a",
            "-r.example/a",
            "r..example/a",
            "[::1/a",
            "[zz]/a",
            "r.example/a@sha512:00",
            "r.example/a@sha256:00",
            "r.example/ä",
            "user:secret@r.example/a",
        ];
        let lines: Vec<String> = texts.into_iter().map(shown).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        `` is no image reference: a part of its path is empty
        `https://r.example/a` is no image reference: a reference has no scheme such as `https://`
        `r.example/` is no image reference: a part of its path is empty
        `r.example/A` is no image reference: paths of repositories are in lower case
        `r.example/a//b` is no image reference: a part of its path is empty
        `r.example/-a` is no image reference: parts of its path have lower-case letters and digits, with `.`, `_`, `__` or `-` between them
        `r.example/a___b` is no image reference: parts of its path have lower-case letters and digits, with `.`, `_`, `__` or `-` between them
        `r.example/a:` is no image reference: a tag has letters, digits, `_`, `.` and `-`, at most 128, and does not start with `.` or `-`
        `r.example/a:.v` is no image reference: a tag has letters, digits, `_`, `.` and `-`, at most 128, and does not start with `.` or `-`
        `r.example:99999/a` is no image reference: the port of its registry is no number up to 65535
        `r.example:x/a` is no image reference: the port of its registry is no number up to 65535
        `-r.example/a` is no image reference: its registry is no host name
        `r..example/a` is no image reference: its registry is no host name
        `[::1/a` is no image reference: `[` is not closed
        `[zz]/a` is no image reference: parts of its path have lower-case letters and digits, with `.`, `_`, `__` or `-` between them
        `r.example/a@sha512:00` names a digest that is not SHA-256: only `sha256:` and 64 hexadecimal digits are read
        `r.example/a@sha256:00` names a digest that is not SHA-256: only `sha256:` and 64 hexadecimal digits are read
        `r.example/ä` is no image reference: parts of its path have lower-case letters and digits, with `.`, `_`, `__` or `-` between them
        `r.example/a` is no image reference: a reference names no user; `polpo login` takes users and passwords
        ");
        assert!(
            format!("r.example/{}", "a".repeat(300))
                .parse::<Reference>()
                .is_err()
        );
        assert!(
            "a".repeat(5000)
                .parse::<Reference>()
                .unwrap_err()
                .to_string()
                .len()
                < 300
        );
    }
}
