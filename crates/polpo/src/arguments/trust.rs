//! Arguments of the commands that sign and verify.

use std::path::PathBuf;

use base::Arch;
use clap::{Args, Subcommand};

use super::Repositories;
use super::registry::Registries;
use crate::output::Format;

/// Who signs packages, in a process of its own.
#[derive(Debug, Args)]
pub(crate) struct PackageSigning {
    /// Private RSA key that signs packages, index and statements; its public part is KEY.pub. What
    /// builds never has it: another process opens it, before the first step runs
    #[arg(long, value_name = "KEY", env = "POLPO_SIGNING_KEY")]
    pub(crate) signing_key: Option<PathBuf>,
    /// User that the signer runs as, by name or as UID or UID:GID; the key is its own, and root calls
    #[arg(long, value_name = "USER", env = "POLPO_SIGNING_USER")]
    pub(crate) signing_user: Option<String>,
}

/// The image, who signs, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// Folder of an OCI layout, or REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Private key; the password of an encrypted one is POLPO_KEY_PASSWORD, COSIGN_PASSWORD or typed
    #[arg(
        long,
        value_name = "KEY",
        required_unless_present_any = ["keyless", "identity_token_file"],
        conflicts_with_all = ["keyless", "identity_token_file", "fulcio_url"]
    )]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) identity: Identity,
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

/// Signing by an identity instead of a key, and the services of a Sigstore deployment, whose log and
/// clock may confirm a key's signatures, too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing by an identity, with logs and clocks")]
pub(crate) struct Identity {
    /// Sign by the identity that this job or machine has: a token in SIGSTORE_ID_TOKEN (GitLab), of
    /// GitHub's runner, or of Google's metadata
    #[arg(long)]
    pub(crate) keyless: bool,
    /// Sign by the identity that the token in this file vouches for
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_token_file: Option<PathBuf>,
    /// Which services to use: Sigstore's signing configuration, version 0.2
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fulcio_url", "rekor_url", "timestamp_url"])]
    pub(crate) signing_config: Option<PathBuf>,
    /// Trusted root that the result must verify against before it is attached
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// The certificate authority (Fulcio), where there is no signing configuration
    #[arg(long, value_name = "URL", requires = "rekor_url")]
    pub(crate) fulcio_url: Option<String>,
    /// The log (Rekor)
    #[arg(long, value_name = "URL")]
    pub(crate) rekor_url: Option<String>,
    /// The version of the log
    #[arg(
        long,
        value_name = "VERSION",
        value_parser = clap::value_parser!(u8).range(1..=2),
        default_value_t = 2
    )]
    pub(crate) rekor_version: u8,
    /// The clock (RFC 3161); an identity needs one beside a log of version 2
    #[arg(long, value_name = "URL")]
    pub(crate) timestamp_url: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo sign build/hello --key ~/.config/polpo/image/polpo.pem
  polpo sign registry.example/team/hello:1.2 --key cosign.key --legacy
  polpo sign registry.example/team/hello:1.2 --keyless --signing-config trust/signing_config.json

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
    /// What kind of statement it is: spdxjson, cyclonedx, slsaprovenance1, slsaprovenance02, vsa, openvex,
    /// vuln, apko, or a URI
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: String,
}

/// Whose certificates count, and by whose word.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images signed by an identity")]
pub(crate) struct Certificates {
    /// Trusted root of a Sigstore deployment: who issues certificates, keeps logs and tells the time.
    /// With keys alone, the logs and clocks in their bundles have to be these
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// How many different logs of the trusted root must have entered each signature, a key's too
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "trusted_root",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) logs: usize,
    /// Who the certificate must be issued to: an address of e-mail, or a URI
    #[arg(long, value_name = "IDENTITY", requires = "trusted_root")]
    pub(crate) certificate_identity: Option<String>,
    /// The same as a pattern, which has to match the whole identity
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "trusted_root",
        conflicts_with = "certificate_identity"
    )]
    pub(crate) certificate_identity_regexp: Option<String>,
    /// Who must have vouched for the identity: the URL of an issuer of OpenID Connect
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// The same as a pattern, which has to match the whole URL
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "trusted_root",
        conflicts_with = "certificate_oidc_issuer"
    )]
    pub(crate) certificate_oidc_issuer_regexp: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo verify build/hello --key ~/.config/polpo/image/polpo.pem.pub -r build/packages -r build/seed -k ~/.config/polpo/keys
  polpo verify registry.example/team/hello:1.2 --key cosign.pub -r https://packages.example/os -k keys

  polpo verify registry.example/team/hello:1.2 --trusted-root trust/trusted_root.json \\
    --certificate-identity https://github.com/team/hello/.github/workflows/release.yaml@refs/heads/main \\
    --certificate-oidc-issuer https://token.actions.githubusercontent.com -r https://packages.example/os -k keys

  polpo verify registry.example/team/hello:1.2 --policy policy.yaml -r https://packages.example/os -k keys

  polpo verify packages/x86_64/hello-2.10-r0.apk -r packages -r build/seed -k keys   # back to the seed
  polpo verify packages/x86_64/APKINDEX.tar.gz -k keys --index-max-age 7d

Nobody is asked but the registry and the repositories that are named. An SBOM that is signed is no
signature of the image.")]
pub(crate) struct Verify {
    /// Folder of an OCI layout, REGISTRY/REPOSITORY:TAG, or the file of a package or an index
    #[arg(value_name = "WHAT")]
    pub(crate) image: String,
    /// Public key that statements about the image or package must be signed by; needed for images,
    /// unless --trusted-root or --policy is there
    #[arg(long, value_name = "KEY.pub")]
    pub(crate) key: Vec<PathBuf>,
    /// File that says who may sign, what must be stated, how old a signature may be, and how many
    /// must have built the packages again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "trusted_root", "logs", "rebuilt_by"])]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) certificates: Certificates,
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
    /// File for a summary of the verification (VSA), which `polpo attest --type vsa --predicate FILE`
    /// signs and attaches
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) summary: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What it takes to sign and verify by identities.
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Bring a trusted root and a signing configuration in, and keep them fresh
    Fetch(TrustFetch),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo trust fetch trust --mirror https://tuf.example --root root.json   # the first time
  polpo trust fetch trust --mirror https://tuf.example                    # from then on

The folder gets trusted_root.json and signing_config.json, and metadata/, which keeps anything older
from being taken later. The first root has to be come by in another way: who has it has the rest.")]
pub(crate) struct TrustFetch {
    /// Folder that they are kept in
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Repository of The Update Framework (TUF)
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: url::Url,
    /// The first root that is believed [default: the one that the folder has]
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
}
