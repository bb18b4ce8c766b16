//! Arguments of the commands that sign and verify.

use std::path::PathBuf;

use base::Arch;
use clap::Args;

use super::Repositories;
use super::registry::Registries;
use crate::output::Format;

/// The image, who signs, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// Folder of an OCI layout, or REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Private key; the password of an encrypted one is POLPO_KEY_PASSWORD, COSIGN_PASSWORD or typed
    #[arg(long, value_name = "KEY")]
    pub(crate) key: PathBuf,
    /// Write tags made of the digest (`sha256-….sig`, `.att`), as cosign did before version 3, instead
    /// of bundles that refer to the image
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Tag of the image, in a layout of several
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Architecture of the image in a layout of several [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// The time that statements carry, in seconds since 1970 [default: the image's, or 0]
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(crate) source_date_epoch: Option<u64>,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo sign build/hello --key ~/.config/polpo/image/polpo.pem
  polpo sign registry.example/team/hello:1.2 --key cosign.key --legacy

An image that `polpo image build` made with this store also gets its SBOM (SPDX) and its provenance
(SLSA) as signed statements; any other is signed alone. cosign verifies it:
  cosign verify --key polpo.pem.pub --insecure-ignore-tlog registry.example/team/hello:1.2")]
pub(crate) struct Sign {
    #[command(flatten)]
    pub(crate) signing: Signing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo attest registry.example/team/hello:1.2 --key cosign.key --type openvex --predicate hello.vex.json
  polpo attest build/hello --key polpo.pem --type https://example.com/tested/v1 --predicate tested.json")]
pub(crate) struct Attest {
    #[command(flatten)]
    pub(crate) signing: Signing,
    /// What the statement says: a file of JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: PathBuf,
    /// What kind of statement it is: spdxjson, cyclonedx, slsaprovenance1, slsaprovenance02, openvex,
    /// vuln, apko, or a URI
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo verify build/hello --key ~/.config/polpo/image/polpo.pem.pub -r build/packages -r build/seed -k ~/.config/polpo/keys
  polpo verify registry.example/team/hello:1.2 --key cosign.pub -r https://packages.example/os -k keys

Nobody is asked but the registry and the repositories that are named. An SBOM that is signed is no
signature of the image.")]
pub(crate) struct Verify {
    /// Folder of an OCI layout, or REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Public key that the image's statements must be signed by
    #[arg(long, required = true, value_name = "KEY.pub")]
    pub(crate) key: Vec<PathBuf>,
    /// Tag of the image, in a layout of several
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Architecture of the image in a layout of several [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    #[command(flatten)]
    pub(crate) repositories: Repositories,
    #[command(flatten)]
    pub(crate) registries: Registries,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
