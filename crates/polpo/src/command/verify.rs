use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use apk::verify::{Kind, kind_of};
use attest::slsa::{Builder, ResourceDescriptor, VerificationSummary};
use attest::trust::Trust;
use base::{Arch, Epoch};
use image::verify::{
    ATTACHED_LIMIT, Grounds, Policy, VerifyReport, VerifyRequest, verify, verify_index,
    verify_package,
};
use oci::Layout;
use oci::copy::{Architectures, CopySettings, Origin, Referrers, to_layout};

use super::place::Place;
use super::signatory;
use crate::arguments::Rebuilders;
use crate::arguments::trust::Verify;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::{self, Session, Trusted};

/// Who verifies on whatever machine polpo is called on.
const VERIFIER: &str = "urn:polpo:verifier:local";

pub(crate) async fn run(arguments: &Verify, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let path = Path::new(&arguments.image);
    if path.is_file() {
        return file(path, arguments, session).await;
    }
    let is_named_as_file = [".apk", ".tar.gz", ".adb"]
        .iter()
        .any(|ending| arguments.image.ends_with(ending));
    if is_named_as_file && !path.exists() {
        return Err(Failure::Usage(format!(
            "{} does not exist",
            arguments.image
        )));
    }
    if !names_signers(arguments) && arguments.policy.is_none() {
        return Err(Failure::Usage(
            "to verify an image, say who must have signed it: --key, --trusted-root or --policy"
                .to_owned(),
        ));
    }
    let what = || format!("{} can't be verified", arguments.image);
    let arch = arguments.arch.unwrap_or(Arch::host());
    let policy = arguments.policy.as_deref().map(Policy::load).transpose()?;
    let own;
    let trust = match &policy {
        Some(policy) => &policy.trust,
        None => {
            own = signatory::trust(&arguments.key, &arguments.certificates, &what)?;
            &own
        }
    };
    // Gone at the end, with what was fetched into it.
    let folder = tempfile::tempdir().map_err(|error| Failure::failed(what(), error))?;
    let (layout, tag) = match Place::parse(&arguments.image)? {
        Place::Layout(path, tag) => {
            let layout = Layout::open(&path).map_err(|error| Failure::failed(what(), error))?;
            (layout, arguments.tag.clone().or(tag))
        }
        Place::Registry(reference) => {
            let reference = reference.or_latest();
            let registry = session.registry(&arguments.registries);
            let origin = Origin::Registry {
                repository: registry.repository(reference.repository()),
                reference,
            };
            let root = folder.path().join("layout");
            let tag = "verified".to_owned();
            let settings = CopySettings {
                referrers: Referrers::Within(ATTACHED_LIMIT),
                architectures: Architectures::All,
                parallel: arguments.registries.parallel,
            };
            let store = session.store()?;
            let reporter = session.reporter();
            to_layout(&origin, &root, Some(&tag), settings, &store, reporter)
                .await
                .map_err(|error| Failure::failed(what(), error))?;
            let layout = Layout::open(root).map_err(|error| Failure::failed(what(), error))?;
            (layout, Some(tag))
        }
        _ => {
            return Err(Failure::Usage(format!(
                "`{}` can't be verified: name the folder of a layout, or a reference",
                arguments.image
            )));
        }
    };
    let mut repositories = arguments.repositories.clone();
    if let Some((count, keys)) = policy.as_ref().and_then(|policy| policy.rebuilders.clone()) {
        repositories.rebuilders = Rebuilders {
            rebuilt_by: Some(count),
            rebuilder: keys,
        };
    }
    let trusted = settings::trusted(&repositories, arch, session).await?;
    let now = settings::now();
    let report = verify(&VerifyRequest {
        layout: &layout,
        tag: tag.as_deref(),
        arch,
        grounds: grounds(&trusted, trust, session),
        policy: policy.as_ref().map(|policy| (policy, now)),
    })
    .await
    .map_err(|error| Failure::failed(what(), error))?;
    Printer::new(arguments.format).print(&report, VerifyReport::to_string)?;
    if let (Some(file), Some(policy)) = (&arguments.summary, &policy) {
        let summary = summary(&arguments.image, policy, &report, now);
        let json = serde_json::to_vec_pretty(&summary)
            .map_err(|error| Failure::failed("the summary can't be written", error))?;
        store::write_atomically(file, &json)
            .map_err(|error| Failure::failed("the summary can't be written", error))?;
    }
    Ok(code(&report))
}

fn names_signers(arguments: &Verify) -> bool {
    !arguments.key.is_empty() || arguments.certificates.trusted_root.is_some()
}

/// Verifies a file: a package or an index, by what it is.
async fn file(path: &Path, arguments: &Verify, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let what = || format!("{} can't be verified", path.display());
    if arguments.policy.is_some() {
        return Err(Failure::Usage(
            "a policy is about images; a package or an index is verified by --keyring".to_owned(),
        ));
    }
    let kind = kind_of(path).map_err(|error| Failure::failed(what(), error))?;
    let arch = arguments.arch.unwrap_or(Arch::host());
    let trust = match names_signers(arguments) {
        true => signatory::trust(&arguments.key, &arguments.certificates, &what)?,
        // The keyring says who may have signed packages.
        false => Trust::default(),
    };
    let trusted = settings::trusted(&arguments.repositories, arch, session).await?;
    let grounds = grounds(&trusted, &trust, session);
    let report = match kind {
        Kind::Package => verify_package(path, grounds).await,
        Kind::Index => {
            let freshness = settings::freshness(&arguments.repositories.freshness);
            verify_index(path, arch, freshness, grounds)
        }
    };
    let report = report.map_err(|error| Failure::failed(what(), error))?;
    Printer::new(arguments.format).print(&report, VerifyReport::to_string)?;
    Ok(code(&report))
}

fn grounds<'a>(trusted: &'a Trusted, trust: &'a Trust, session: &'a Session<'_>) -> Grounds<'a> {
    Grounds {
        trust,
        repositories: &trusted.repositories,
        access: &trusted.access,
        keyring: &trusted.keyring,
        reporter: session.reporter(),
    }
}

fn code(report: &VerifyReport) -> ExitCode {
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

fn summary(image: &str, policy: &Policy, report: &VerifyReport, now: Epoch) -> VerificationSummary {
    let good = report.is_good();
    let level = match (good, report.slsa_level) {
        (false, _) => "FAILED".to_owned(),
        (true, Some(level)) => format!("SLSA_BUILD_LEVEL_{level}"),
        (true, None) => "SLSA_BUILD_LEVEL_UNEVALUATED".to_owned(),
    };
    VerificationSummary {
        verifier: Builder {
            id: VERIFIER.to_owned(),
            version: BTreeMap::from([("polpo".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        },
        time_verified: now.rfc3339(),
        resource_uri: image.to_owned(),
        policy: ResourceDescriptor {
            uri: policy.name.clone(),
            name: String::new(),
            digest: BTreeMap::from([("sha256".to_owned(), policy.digest.hex())]),
            annotations: BTreeMap::new(),
        },
        verification_result: if good { "PASSED" } else { "FAILED" }.to_owned(),
        verified_levels: vec![level],
        slsa_version: "1.1".to_owned(),
    }
}
