//! Arguments of the commands that speak with registries.

use std::ffi::OsString;
use std::path::PathBuf;

use base::Arch;
use clap::Args;

use crate::output::Format;

/// How registries are spoken to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct Registries {
    /// Speak plain HTTP; with a registry on this machine it is tried without being asked for
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// File of certificates (PEM) whose owners may vouch for registries, besides the system's; may
    /// be repeated
    #[arg(
        long = "ca-file",
        value_name = "FILE",
        env = "POLPO_CA_FILES",
        value_delimiter = ':'
    )]
    pub(crate) ca_files: Vec<PathBuf>,
    /// How many blobs are on their way at a time
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub(crate) parallel: usize,
    /// Send large blobs in pieces of this many bytes [default: in one that can be gone on with]
    #[arg(long, value_name = "BYTES")]
    pub(crate) chunk_size: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo image publish build/hello registry.example/team/hello:1.2 registry.example/team/hello:latest
  polpo image publish build/hello registry.example/team/hello:1.2 --format json
  polpo image publish hello.yaml registry.example/team/hello:1.2 -- -r build/packages -k keys

References are written in full: `hello` or `team/hello` is refused, so that nothing goes to Docker's
registry by a slip. A tag is set once all that it leads to is there; what the registry has already
is not sent again. Credentials are those of `polpo login`, `docker login` and `podman login`.")]
pub(crate) struct Publish {
    /// Folder or tar file of an OCI layout, or an image file (.yaml), which is built first
    #[arg(value_name = "LAYOUT")]
    pub(crate) layout: PathBuf,
    /// Where to: REGISTRY/REPOSITORY:TAG; without a tag, `latest`
    #[arg(required = true, value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
    /// Tag of the image, in a layout of several
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Publish the image of this architecture alone
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Repository of the same registry that may have some of the blobs already; may be repeated
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) mount_from: Vec<String>,
    /// Leave out what refers to the image: signatures, SBOMs, provenance
    #[arg(long)]
    pub(crate) without_referrers: bool,
    /// How an image file is built: options of `polpo image build`
    #[arg(last = true, value_name = "BUILD OPTION")]
    pub(crate) build_options: Vec<OsString>,
    /// Also write REPOSITORY@DIGEST to this file, a line for each architecture, then for all
    #[arg(long, value_name = "FILE")]
    pub(crate) image_refs: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registries: Registries,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Places:
  registry.example/team/hello:1.2    an image of a registry; docker://… means the same
  ./build/hello, oci:DIR[:TAG]       the folder of an OCI layout; of a source, one of its images
  oci-archive:FILE.tar[:TAG]         such a layout as one tar file
  docker-archive:FILE.tar[:NAME]     what `docker load` reads and `docker save` writes
  podman:NAME, docker:NAME           that engine's own images
Only as a destination:
  rootfs:FILE.tar, cpio:FILE.cpio    the files alone, all layers made one
  erofs:FILE.erofs                   the same as an EROFS image, which Linux mounts

Examples:
  polpo image copy registry.example/team/hello:1.2 mirror.example/hello:1.2
  polpo image copy registry.example/team/hello:1.2 oci:hello:1.2
  polpo image copy ./build/hello podman:localhost/hello:dev
  polpo image copy ./build/hello cpio:initramfs.cpio --arch x86_64

What refers to the image (signatures, SBOMs, provenance; also cosign's tags) is copied too. Bytes
and digests stay what they are.")]
pub(crate) struct Copy {
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Where it is to be
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: String,
    /// Copy the image of this architecture alone
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Leave out what refers to the image: signatures, SBOMs, provenance
    #[arg(long)]
    pub(crate) without_referrers: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Tags {
    /// REGISTRY/REPOSITORY
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: String,
    #[command(flatten)]
    pub(crate) registries: Registries,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo login registry.example -u ann --password-stdin < password
  polpo login registry.example          # asks at the terminal

They are kept where docker has them: with the credential helper that ~/.docker/config.json names,
else in that file (mode 0600). DOCKER_CONFIG names another folder, REGISTRY_AUTH_FILE another file.
A password is never taken from the command line, where everybody on the machine could read it.")]
pub(crate) struct Login {
    /// The registry, such as registry.example or localhost:5000
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
    /// The user [default: asked for at the terminal]
    #[arg(long, short, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password, or a token, from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, such as registry.example or localhost:5000
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
}
