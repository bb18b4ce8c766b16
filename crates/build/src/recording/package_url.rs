//! Which package of which ecosystem a URL is the archive of.

use url::Url;

/// The kind, the path, and the version of a package, as its package URL has them: `cargo`, `["itoa"]`,
/// `1.0.11`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPackage {
    /// The type of the package URL.
    pub kind: &'static str,
    /// Namespace and name.
    pub path: Vec<String>,
    /// The version.
    pub version: String,
}

impl RecordedPackage {
    /// The name, without a namespace.
    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// The package that `url` is the archive of, by the form of the URL: those of the public registries
/// of Rust, Go, npm, PyPI and Maven, and of what stands in for them. Metadata are no package.
pub fn package_of(url: &str) -> Option<RecordedPackage> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let decoded = |text: &str| percent_decoded(text);
    let parts: Vec<String> = url.path_segments()?.map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    crates(&parts)
        .or_else(|| go(&parts))
        .or_else(|| npm(&parts))
        .or_else(|| python(&parts))
        .or_else(|| maven(host, &parts))
}

fn found(kind: &'static str, path: &[&str], version: &str) -> Option<RecordedPackage> {
    let named = path.iter().all(|part| !part.is_empty()) && !version.is_empty();
    named.then(|| RecordedPackage {
        kind,
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        version: version.to_owned(),
    })
}

/// `…/crates/NAME/VERSION/download` and `…/crates/NAME/NAME-VERSION.crate`.
fn crates(parts: &[&str]) -> Option<RecordedPackage> {
    match parts {
        [.., "crates", name, version, "download"] => found("cargo", &[name], version),
        [.., "crates", name, file] => {
            let rest = file.strip_suffix(".crate")?.strip_prefix(name)?;
            found("cargo", &[name], rest.strip_prefix('-')?)
        }
        _ => None,
    }
}

/// `MODULE/@v/VERSION.zip`, capital letters as `!` and the small one (go.dev/ref/mod, "Module proxies").
fn go(parts: &[&str]) -> Option<RecordedPackage> {
    let (file, rest) = parts.split_last()?;
    let ("@v", module) = rest.split_last().map(|(last, module)| (*last, module))? else {
        return None;
    };
    let version = file.strip_suffix(".zip")?;
    // A proxy may lie below a path of its own: a module begins with a host's name.
    let start = module.iter().position(|part| part.contains('.'))?;
    let path: Vec<String> = module[start..].iter().map(|part| unescaped(part)).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    found("golang", &path, &unescaped(version))
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '!' => plain.extend(letters.next().map(|next| next.to_ascii_uppercase())),
            other => plain.push(other),
        }
    }
    plain
}

/// `NAME/-/NAME-VERSION.tgz` and `@SCOPE/NAME/-/NAME-VERSION.tgz`.
fn npm(parts: &[&str]) -> Option<RecordedPackage> {
    let [before @ .., name, "-", file] = parts else {
        return None;
    };
    let rest = file.strip_suffix(".tgz")?.strip_prefix(name)?;
    let version = rest.strip_prefix('-')?;
    match before.last() {
        Some(scope) if scope.starts_with('@') => found("npm", &[scope, name], version),
        _ => found("npm", &[name], version),
    }
}

/// `NAME-VERSION-…​.whl` and `NAME-VERSION.tar.gz` below `packages/`.
fn python(parts: &[&str]) -> Option<RecordedPackage> {
    let file = parts.last().filter(|_| parts.contains(&"packages"))?;
    let normal = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    if let Some(wheel) = file.strip_suffix(".whl") {
        let mut fields = wheel.split('-');
        let (name, version) = (fields.next()?, fields.next()?);
        return found("pypi", &[&normal(name)], version);
    }
    let stem = [".tar.gz", ".zip", ".tar.bz2"]
        .iter()
        .find_map(|suffix| file.strip_suffix(suffix))?;
    let (name, version) = stem.rsplit_once('-')?;
    version
        .starts_with(|first: char| first.is_ascii_digit())
        .then(|| found("pypi", &[&normal(name)], version))?
}

/// `…/GROUP/ARTIFACT/VERSION/ARTIFACT-VERSION….jar` below `maven2/`, or on a host whose name says
/// Maven.
fn maven(host: &str, parts: &[&str]) -> Option<RecordedPackage> {
    let parts = match parts.iter().position(|part| *part == "maven2") {
        Some(at) => &parts[at + 1..],
        None if host.contains("maven") => parts,
        None => return None,
    };
    let [group @ .., artifact, version, file] = parts else {
        return None;
    };
    let archive = [".jar", ".aar", ".war"]
        .iter()
        .any(|suffix| file.ends_with(suffix));
    let belongs = file.starts_with(&format!("{artifact}-{version}"));
    if !archive || !belongs || group.is_empty() {
        return None;
    }
    found("maven", &[&group.join("."), artifact], version)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| hex::decode(digits).ok());
        match code {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_of_every_registry_are_known_by_their_urls() {
        let shown = |url: &str| {
            package_of(url)
                .map(|found| format!("{}/{}@{}", found.kind, found.path.join("/"), found.version))
        };
        for (url, expected) in [
            (
                "https://static.crates.example/crates/itoa/itoa-1.0.11.crate",
                "cargo/itoa@1.0.11",
            ),
            (
                "https://static.crates.example/crates/itoa/1.0.11/download",
                "cargo/itoa@1.0.11",
            ),
            (
                "https://modules.example/github.com/!burnt!sushi/toml/@v/v1.3.2.zip",
                "golang/github.com/BurntSushi/toml@v1.3.2",
            ),
            (
                "https://npm.example/is-number/-/is-number-7.0.0.tgz",
                "npm/is-number@7.0.0",
            ),
            (
                "https://npm.example/@types/node/-/node-20.1.0.tgz",
                "npm/@types/node@20.1.0",
            ),
            (
                "https://files.python.example/packages/d9/5a/e7c3/six-1.16.0-py2.py3-none-any.whl",
                "pypi/six@1.16.0",
            ),
            (
                "https://files.python.example/packages/71/39/x/zope.interface-6.0.tar.gz",
                "pypi/zope-interface@6.0",
            ),
            (
                "https://maven.example/maven2/org/apache/maven/maven-core/3.9.0/maven-core-3.9.0.jar",
                "maven/org.apache.maven/maven-core@3.9.0",
            ),
        ] {
            assert_eq!(shown(url).as_deref(), Some(expected), "{url}");
        }
        for url in [
            "https://index.crates.example/it/oa/itoa",
            "https://modules.example/github.com/google/uuid/@v/v1.6.0.info",
            "https://npm.example/is-number",
            "https://python.example/simple/six/",
            "https://maven.example/maven2/junit/junit/4.13.2/junit-4.13.2.pom",
            "https://maven.example/maven2/junit/junit/4.13.2/junit-4.13.2.jar.sha1",
            "https://example.org/hello-1.0.tar.gz",
            "https://example.org/",
            "nonsense",
        ] {
            assert_eq!(shown(url), None, "{url}");
        }
    }
}
