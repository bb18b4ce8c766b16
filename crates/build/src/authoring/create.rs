use std::fmt::Write as _;

use base::Digest;

use crate::licences::LicenceFile;

/// How upstream builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `./configure`, `make`.
    Autotools,
    /// CMake.
    Cmake,
    /// Meson.
    Meson,
    /// A Python package.
    Python,
    /// A Go program.
    Go,
    /// A Rust program.
    Rust,
    /// A Perl module.
    Perl,
    /// Something else.
    Other,
}

/// What is known of a package that has no recipe yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecipe {
    /// How it is built.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression; what `licences` hold, and else a placeholder, when unknown.
    pub license: Option<String>,
    /// The files of licences in its archive.
    pub licences: Vec<LicenceFile>,
    /// Where its source archive is.
    pub uri: String,
    /// What that archive is.
    pub digest: Digest,
}

/// The name and the version that a source archive's URI tells: of a forge's archives the repository's
/// name and the tag, else `NAME-VERSION` of the file.
pub fn guess(uri: &str) -> Option<(String, String)> {
    let path = uri.split(['?', '#']).next()?;
    let parts: Vec<&str> = path.split('/').collect();
    let file = parts.last()?;
    let stem = [
        ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar.lz", ".zip", ".crate",
    ]
    .iter()
    .find_map(|suffix| file.strip_suffix(suffix))?;
    let of_tag = |tag: &str| {
        let start = tag.find(|first: char| first.is_ascii_digit())?;
        let version = &tag[start..];
        apk::version::is_valid(version).then(|| version.to_owned())
    };
    if let Some(place) = parts.iter().position(|part| *part == "archive")
        && let Some(name) = parts.get(place.checked_sub(1)?)
        && let Some(version) = of_tag(stem)
    {
        return Some((name.to_ascii_lowercase(), version));
    }
    // The version begins at the first dash with a digit behind.
    let (at, _) = stem.match_indices(['-', '_']).find(|(at, _)| {
        stem[at + 1..]
            .trim_start_matches('v')
            .starts_with(|c: char| c.is_ascii_digit())
    })?;
    let version = of_tag(&stem[at + 1..])?;
    Some((stem[..at].to_ascii_lowercase(), version))
}

const LICENSE_NOTE: &str = "what the licence file says, as an SPDX expression";

/// What the texts that were found come to, and where they are.
fn guess_licence(files: &[LicenceFile]) -> (String, String) {
    let mut licences: Vec<&str> = Vec::new();
    let mut paths: Vec<&str> = Vec::new();
    for file in files {
        for licence in &file.licences {
            if !licences.contains(&licence.as_str()) {
                licences.push(licence);
                paths.push(&file.path);
            }
        }
    }
    paths.dedup();
    if licences.is_empty() {
        return (LICENSE_NOTE.to_owned(), "custom".to_owned());
    }
    let mut note = format!("found in {}", paths.join(", "));
    if licences.len() > 1 {
        note += "; OR instead of AND if it may be chosen";
    }
    if licences.iter().any(|licence| licence.ends_with("-only")) {
        note += "; -or-later if the sources' headers say so";
    }
    (note, licences.join(" AND "))
}

/// A recipe to start from, with comments on what to look at; it breaks no rule.
pub fn text(new: &NewRecipe) -> String {
    let NewRecipe {
        name,
        version,
        license,
        licences,
        uri,
        digest,
        ..
    } = new;
    let version_text = if version.parse::<f64>().is_ok() {
        format!("\"{version}\"")
    } else {
        version.clone()
    };
    let (license_note, license_text) = match license {
        Some(license) => (LICENSE_NOTE.to_owned(), license.clone()),
        None => guess_licence(licences),
    };
    let uri = uri.replace(version.as_str(), "${{package.version}}");
    let prefix = if new.kind == Kind::Python { "py3-" } else { "" };
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    let name = format!("{prefix}{bare}");
    let (tools, steps): (&[&str], Vec<String>) = match new.kind {
        Kind::Autotools => (&["build-base", "busybox"], plain(&["autoconf/configure", "autoconf/make", "autoconf/make-install"])),
        Kind::Cmake => (&["build-base", "busybox"], plain(&["cmake/configure", "cmake/build", "cmake/install"])),
        Kind::Meson => (&["build-base", "busybox"], plain(&["meson/configure", "meson/compile", "meson/install"])),
        Kind::Python => (&["busybox"], plain(&["python/build-wheel"])),
        Kind::Go => (&["busybox"], vec![format!(
            "  - uses: go/build\n    with:\n      # the folder of the main package\n      packages: .\n      output: {bare}\n"
        )]),
        Kind::Rust => (&["busybox"], vec![format!(
            "  - uses: cargo/build\n    with:\n      output: {bare}\n"
        )]),
        Kind::Perl => (&["build-base", "busybox", "perl-dev"], plain(&["perl/make", "autoconf/make", "autoconf/make-install", "perl/cleanup"])),
        Kind::Other => (&["build-base", "busybox"], vec![
            "  # what upstream's documentation says, with DESTDIR\n  - runs: |\n      make\n      make install DESTDIR=\"${{targets.destdir}}\" PREFIX=/usr\n".to_owned(),
        ]),
    };
    let mut out = format!(
        "package:\n  name: {name}\n  version: {version_text}\n  epoch: 0\n  # one line, without the name\n  description: {bare}\n  copyright:\n    # {license_note}\n    - license: {license_text}\n\nenvironment:\n  contents:\n    # what the build needs beside its pipelines' own needs\n    packages:\n"
    );
    for tool in tools {
        let _ = writeln!(out, "      - {tool}");
    }
    let _ = write!(
        out,
        "\npipeline:\n  - uses: fetch\n    with:\n      uri: {uri}\n      expected-sha256: {}\n\n",
        digest.hex()
    );
    out.push_str(&steps.join("\n"));
    let is_library = matches!(new.kind, Kind::Autotools | Kind::Cmake | Kind::Meson);
    if !matches!(new.kind, Kind::Go | Kind::Rust | Kind::Python) {
        out.push_str("\n  - uses: strip\n");
    }
    if is_library {
        out.push_str("\nsubpackages:\n  - name: ${{package.name}}-dev\n    description: headers of ${{package.name}}\n    pipeline:\n      - uses: split/dev\n    dependencies:\n      runtime:\n        - ${{package.name}}\n");
    }
    out.push_str(
        "\nupdate:\n  enabled: false\n  exclude-reason: not set up yet\n\ntest:\n  pipeline:\n",
    );
    let test = match new.kind {
        Kind::Python => format!(
            "    - uses: python/import\n      with:\n        imports: import {}\n",
            bare.replace('-', "_")
        ),
        _ => format!(
            "    # something that only works when the package does\n    - runs: {bare} --version\n"
        ),
    };
    out.push_str(&test);
    out
}

fn plain(uses: &[&str]) -> Vec<String> {
    uses.iter()
        .map(|uses| format!("  - uses: {uses}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use base::SourceText;

    use super::*;
    use crate::authoring::lint::{LintOptions, RecipeFile, lint};
    use crate::authoring::style;

    #[test]
    fn a_uri_tells_name_and_version() {
        for (uri, name, version) in [
            ("https://zlib.net/zlib-1.3.1.tar.gz", "zlib", "1.3.1"),
            (
                "https://github.com/madler/zlib/archive/refs/tags/v1.3.1.tar.gz",
                "zlib",
                "1.3.1",
            ),
            (
                "https://x.org/apr-util-1.6.3.tar.bz2?download=1",
                "apr-util",
                "1.6.3",
            ),
            ("https://x.org/Foo_v2.0.zip", "foo", "2.0"),
        ] {
            assert_eq!(
                guess(uri),
                Some((name.to_owned(), version.to_owned())),
                "{uri}"
            );
        }
        for uri in [
            "https://x.org/",
            "https://x.org/foo.tar.gz",
            "https://x.org/foo-1.0.exe",
        ] {
            assert_eq!(guess(uri), None, "{uri}");
        }
    }

    #[test]
    fn new_recipes_break_no_rule() {
        for kind in [
            Kind::Autotools,
            Kind::Cmake,
            Kind::Meson,
            Kind::Python,
            Kind::Go,
            Kind::Rust,
            Kind::Perl,
            Kind::Other,
        ] {
            for license in [None, Some("MIT".to_owned())] {
                let text = text(&NewRecipe {
                    kind,
                    name: "my-hello".to_owned(),
                    version: "1.10".to_owned(),
                    license,
                    licences: Vec::new(),
                    uri: "https://example.org/my-hello-1.10.tar.gz".to_owned(),
                    digest: Digest::of(b""),
                });
                let file = RecipeFile {
                    source: SourceText::new("new.yaml", text.as_str()),
                    style: style::usual(),
                };
                let problems = lint(&[file], &LintOptions::default());
                assert_eq!(problems, [], "{text}");
                assert!(text.contains("hello-${{package.version}}.tar.gz"));
            }
        }
    }
    #[test]
    fn licences_are_those_of_the_texts_found() {
        let file = |path: &str, licences: &[&str]| LicenceFile {
            path: path.to_owned(),
            licences: licences.iter().map(|name| (*name).to_owned()).collect(),
        };
        let guess = |files: &[LicenceFile]| {
            let (note, license) = guess_licence(files);
            format!("{license} # {note}")
        };
        assert_eq!(
            guess(&[
                file("x-1/NOTES", &[]),
                file("x-1/COPYING", &["GPL-3.0-only"])
            ]),
            "GPL-3.0-only # found in x-1/COPYING; -or-later if the sources' headers say so"
        );
        assert_eq!(
            guess(&[
                file("LICENSE-APACHE", &["Apache-2.0"]),
                file("LICENSE-MIT", &["MIT"]),
                file("sub/LICENSE", &["MIT"]),
            ]),
            "Apache-2.0 AND MIT # found in LICENSE-APACHE, LICENSE-MIT; OR instead of AND if it may be chosen"
        );
        assert_eq!(guess(&[]), format!("custom # {LICENSE_NOTE}"));
    }
}
