use std::process::ExitCode;

use base::Arch;
use image::verify::{Policy, VerifyReport, VerifyRequest, verify};
use oci::Layout;
use oci::copy::{CopySettings, Origin, to_layout};

use super::place::Place;
use super::signatory;
use crate::arguments::Rebuilders;
use crate::arguments::trust::Verify;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &Verify, session: &Session<'_>) -> Result<ExitCode, Failure> {
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
                referrers: true,
                arch: None,
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
        trust,
        repositories: &trusted.repositories,
        access: &trusted.access,
        keyring: &trusted.keyring,
        policy: policy.as_ref().map(|policy| (policy, now)),
        reporter: session.reporter(),
    })
    .await
    .map_err(|error| Failure::failed(what(), error))?;
    Printer::new(arguments.format).print(&report, VerifyReport::to_string)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
