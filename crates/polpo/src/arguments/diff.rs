//! Arguments of the comparison of images.

use std::path::PathBuf;

use base::Arch;
use clap::Args;
use image::diff::Rule;

use super::registry::Registries;
use super::trust::Certificates;
use crate::output::Format;

/// How differences are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DiffFormat {
    /// For people.
    #[default]
    Text,
    /// For programs; see the reference, "Differences of images".
    Json,
    /// For a pull request.
    Markdown,
}

#[derive(Debug, Args)]
#[command(after_help = rules_help())]
pub(crate) struct ImageDiff {
    /// The image that is known
    #[arg(value_name = "BEFORE")]
    pub(crate) before: String,
    /// The image that is to follow it
    #[arg(value_name = "AFTER")]
    pub(crate) after: String,
    /// Rules the second image is held to, separated by commas; may be repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) fail_on: Vec<Rule>,
    /// How the differences are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: DiffFormat,
    /// List every file and every symbol
    #[arg(long)]
    pub(crate) files: bool,
    /// Compare the images of this architecture alone
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Public key: only signatures by it, or another that is named, count; may be repeated
    #[arg(long, value_name = "KEY.pub")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) certificates: Certificates,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo image files ./build/hello
  polpo image files registry.example/team/hello:1.2 --arch aarch64 --format json
  polpo image files erofs:root.erofs

The image is in any place that `polpo image diff` reads, or an EROFS image on its own. Layers are
seen one over the other, as in a container; nothing is unpacked.")]
pub(crate) struct ImageFiles {
    /// Where the image is
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Architecture of the image, of one that is made for several [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    #[command(flatten)]
    pub(crate) registries: Registries,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// The examples and the table of rules.
fn rules_help() -> String {
    let mut text = String::from(
        "\
Places:
  registry.example/team/hello:1.2    an image of a registry; docker://… means the same
  ./build/hello, oci:DIR[:TAG]       the folder of an OCI layout
  oci-archive:FILE.tar[:TAG]         such a layout as one tar file
  docker-archive:FILE.tar[:NAME]     what `docker save` and `podman save` write
  podman:NAME, docker:NAME           that engine's own images

Examples:
  polpo image diff registry.example/team/hello:1.2 ./build/hello
  polpo image diff registry.example/hello:latest oci:hello --format markdown > comment.md
  polpo image diff old new --fail-on setuid,capability,licence,removed-symbol,downgrade,size:+10%

Exit codes: 0 also where the images differ, unless a rule of --fail-on is broken: then 1. Nothing is
printed where nothing differs. Neither image is trusted: nothing of it is run or unpacked.

Rules, and what breaks each:
",
    );
    for (name, about) in image::diff::RULES {
        text.push_str(&format!("  {name:<18} {about}\n"));
    }
    text
}
