//! Where images are, as the command line has it.

use std::path::{Path, PathBuf};

use oci::registry::Reference;

use crate::output::failure::Failure;

/// Where an image is or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A registry.
    Registry(Reference),
    /// The folder of a layout, and the tag of one of its images.
    Layout(PathBuf, Option<String>),
    /// A layout as a tar file, and the tag of one of its images.
    LayoutArchive(PathBuf, Option<String>),
    /// What `docker load` reads, and the name that the image has there.
    DockerArchive(PathBuf, Option<String>),
    /// An engine's own images, and the name there.
    Engine(Engine, String),
    /// The files alone, as tar.
    RootFilesystem(PathBuf),
    /// The files alone, as cpio.
    Cpio(PathBuf),
    /// The files alone, as an EROFS image.
    Erofs(PathBuf),
}

/// A program that runs images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// podman.
    Podman,
    /// docker.
    Docker,
}

impl Engine {
    /// The program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Engine::Podman => "podman",
            Engine::Docker => "docker",
        }
    }
}

impl Place {
    /// Reads a place. A word without a scheme is a layout if it is written as a path (`./x`, `/x`)
    /// or is the folder of one; else it is a reference.
    pub(crate) fn parse(text: &str) -> Result<Place, Failure> {
        let usage = |message: String| Err(Failure::Usage(message));
        let filled = |rest: &str| -> Result<(), Failure> {
            match rest.is_empty() {
                true => Err(Failure::Usage(format!("`{text}` names no place"))),
                false => Ok(()),
            }
        };
        if let Some(rest) = text.strip_prefix("docker://") {
            return reference(rest).map(Place::Registry);
        }
        if let Some((scheme, rest)) = text.split_once(':') {
            let tagged = || with_tag(rest);
            let place = match scheme {
                "oci" => tagged().map(|(path, tag)| Place::Layout(path, tag)),
                "oci-archive" => tagged().map(|(path, tag)| Place::LayoutArchive(path, tag)),
                "docker-archive" => Some(match rest.split_once(':') {
                    Some((path, name)) => Place::DockerArchive(path.into(), Some(name.to_owned())),
                    None => Place::DockerArchive(rest.into(), None),
                }),
                "podman" => Some(Place::Engine(Engine::Podman, rest.to_owned())),
                "docker" => Some(Place::Engine(Engine::Docker, rest.to_owned())),
                "rootfs" => Some(Place::RootFilesystem(rest.into())),
                "cpio" => Some(Place::Cpio(rest.into())),
                "erofs" => Some(Place::Erofs(rest.into())),
                _ => None,
            };
            if let Some(place) = place {
                filled(rest)?;
                return Ok(place);
            }
            if scheme == "oci" || scheme == "oci-archive" {
                return usage(format!("`{text}` names no place"));
            }
        }
        let is_path = text.starts_with(['/', '.']);
        if is_path || Path::new(text).join("oci-layout").is_file() {
            let path = Path::new(text);
            if path.exists() {
                return Ok(Place::Layout(path.to_owned(), None));
            }
            return match with_tag(text) {
                Some((path, tag)) => Ok(Place::Layout(path, tag)),
                None => usage(format!("`{text}` names no place")),
            };
        }
        reference(text).map(Place::Registry).map_err(|failure| {
            let said = failure.text(false);
            let said = said.trim_start_matches("error: ").trim_end();
            Failure::Usage(format!(
                "{said}; the folder of a layout is written as `./{text}` or `oci:{text}`"
            ))
        })
    }
}

/// A full reference; a wrong one is a wrong command line.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error: oci::registry::InvalidReference| Failure::Usage(error.to_string()))
}

/// A path and the tag behind it.
fn with_tag(text: &str) -> Option<(PathBuf, Option<String>)> {
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (text, None),
    };
    (!path.is_empty()).then(|| (path.into(), tag.filter(|tag| !tag.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Place::parse(text) {
            Ok(place) => format!("{place:?}"),
            Err(failure) => failure.text(false).trim_end().to_owned(),
        }
    }

    #[test]
    fn places() {
        let texts = [
            "oci:dir",
            "oci:dir:v1",
            "oci:a:b/c",
            "oci:",
            "/tmp/none:v1",
            "./none",
            "oci-archive:x.tar:v1",
            "docker-archive:x.tar:localhost:5000/a:v1",
            "podman:a:v1",
            "cpio:x.cpio",
            "erofs:x.erofs",
            "rootfs:x.tar",
            "build/hello",
        ];
        let lines: Vec<String> = texts.into_iter().map(shown).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Layout("dir", None)
        Layout("dir", Some("v1"))
        Layout("a:b/c", None)
        error: `oci:` names no place
        Layout("/tmp/none", Some("v1"))
        Layout("./none", None)
        LayoutArchive("x.tar", Some("v1"))
        DockerArchive("x.tar", Some("localhost:5000/a:v1"))
        Engine(Podman, "a:v1")
        Cpio("x.cpio")
        Erofs("x.erofs")
        RootFilesystem("x.tar")
        error: `build/hello` names no registry; write it in full: `docker.io/build/hello:latest` if Docker's is meant; the folder of a layout is written as `./build/hello` or `oci:build/hello`
        "#);
        for text in ["registry.example/a:v1", "docker://localhost:5000/a"] {
            assert!(
                matches!(Place::parse(text), Ok(Place::Registry(_))),
                "{text}"
            );
        }
    }
}
