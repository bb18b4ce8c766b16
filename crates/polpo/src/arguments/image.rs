//! Arguments of the commands that make images of image files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use image::Compression;
use image::configuration::LayerFormat;

use super::Repositories;
use crate::output::Format;

/// How an image's layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    /// Taken by every program
    #[default]
    Gzip,
    /// Smaller, and unpacked faster; for containerd from 1.5, docker from 23, podman
    Zstd,
    /// The smallest, by zstd; slower to make
    Best,
    /// By zstd, file by file: podman and CRI-O fetch only the files that they don't have
    #[value(name = "zstd:chunked")]
    ZstdChunked,
    /// By gzip, file by file: containerd's stargz snapshotter starts before all is there
    Estargz,
}

impl From<Compress> for Compression {
    fn from(compress: Compress) -> Compression {
        match compress {
            Compress::Gzip => Compression::Gzip,
            Compress::Zstd => Compression::Zstd,
            Compress::Best => Compression::Best,
            Compress::ZstdChunked => Compression::ZstdChunked,
            Compress::Estargz => Compression::Estargz,
        }
    }
}

/// What layers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LayerForm {
    /// Compressed tars, which every program takes.
    Tar,
    /// One EROFS image, not compressed, which engines that know it mount as it is.
    Erofs,
}

impl From<LayerForm> for LayerFormat {
    fn from(form: LayerForm) -> LayerFormat {
        match form {
            LayerForm::Tar => LayerFormat::Tar,
            LayerForm::Erofs => LayerFormat::Erofs,
        }
    }
}

/// An image file, and what is added to it.
#[derive(Debug, Args)]
pub(crate) struct ImageFile {
    /// Image file
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Another folder for included files and base images; may be repeated
    #[arg(long = "include-paths", value_name = "DIR", value_delimiter = ',')]
    pub(crate) include_paths: Vec<PathBuf>,
    /// Architecture, in apk's or OCI's name, `host` or `all`; may be repeated [default: those of the
    /// image file, else this machine's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub(crate) arch: Vec<String>,
    /// Package that is wanted too; may be repeated
    #[arg(
        long = "package-append",
        short = 'p',
        value_name = "PACKAGE",
        value_delimiter = ','
    )]
    pub(crate) packages: Vec<String>,
    /// Repository to build from that the image itself doesn't name; may be repeated
    #[arg(
        long = "build-repository-append",
        short = 'b',
        value_name = "REPOSITORY",
        value_delimiter = ','
    )]
    pub(crate) build_repositories: Vec<String>,
    #[command(flatten)]
    pub(crate) repositories: Repositories,
    /// Make apko's image, its defects included: the same files, tar headers and configuration
    #[arg(long)]
    pub(crate) parity: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo image build os/images/hello.yaml hello:latest build/hello -r build/packages -r build/seed -k ~/.config/polpo/keys
  polpo image build hello.yaml hello:latest build/hello --lockfile hello.lock.json --offline
  polpo image build hello.yaml hello:latest build/hello --arch x86_64,aarch64

Repositories and keys of the image file are used beside those of the command line. With a lock no
index is read: the packages are those of the lock, every byte of them held to it.")]
pub(crate) struct ImageBuild {
    #[command(flatten)]
    pub(crate) file: ImageFile,
    /// Name and tag, such as hello:latest
    #[arg(value_name = "TAG")]
    pub(crate) tag: String,
    /// Folder of the OCI layout; made, or the image of this tag in it replaced
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// Lock that says which packages are installed; what has to be rebuilt is checked where it is made
    #[arg(long, value_name = "FILE", conflicts_with = "rebuilt_by")]
    pub(crate) lockfile: Option<PathBuf>,
    /// The time that the image carries, in seconds since 1970 [default: when the newest package was
    /// built]
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(crate) source_date_epoch: Option<u64>,
    /// Annotation to add, KEY:VALUE; may be repeated
    #[arg(long, value_name = "KEY:VALUE", value_delimiter = ',')]
    pub(crate) annotations: Vec<String>,
    /// How the layers are compressed
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub(crate) compress: Compress,
    /// What the layers are [default: what the image file says, else tar]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<LayerForm>,
    /// Also write the SBOMs (SPDX) into this folder: sbom-ARCH.spdx.json
    #[arg(long, value_name = "DIR")]
    pub(crate) sbom_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo image lock hello.yaml                    # writes hello.lock.json
  polpo image lock hello.yaml --output - | jq '.contents.packages[].name'

All architectures are solved together: a package has one version on all of them. The format is
apko's; a last key holds a checksum, by which a lock that was edited by hand is refused.")]
pub(crate) struct ImageLock {
    #[command(flatten)]
    pub(crate) file: ImageFile,
    /// The lock; `-` prints it [default: CONFIG with .lock.json in place of its extension]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Formats:
  name-version, name=version, name-(version), packagelock, each also with -source; or a text with
  {{ .Name }}, {{ .Version }} and {{ .Source }}; or json

Example:
  polpo image packages hello.yaml --format packagelock")]
pub(crate) struct ImagePackages {
    #[command(flatten)]
    pub(crate) file: ImageFile,
    /// How a package is printed
    #[arg(long, value_name = "FORMAT", default_value = "name-version")]
    pub(crate) format: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  polpo image dot hello.yaml | dot -Tsvg > hello.svg")]
pub(crate) struct ImageGraph {
    #[command(flatten)]
    pub(crate) file: ImageFile,
    /// Draw to each package but the first line that leads to it
    #[arg(long, short = 'S')]
    pub(crate) spanning_tree: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  polpo image minirootfs hello.yaml root.tar && tar -C /srv/root -xf root.tar")]
pub(crate) struct ImageRootfs {
    #[command(flatten)]
    pub(crate) file: ImageFile,
    /// The tar, not compressed
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// The time that the image carries, in seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(crate) source_date_epoch: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Everything in the store can be had again: fetched, or made. The store is left alone while another
polpo uses it.")]
pub(crate) struct Clean {
    /// Only say how much there is
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
