//! What apko writes of an image: world, `/etc/apko.json`, configuration, annotations.

use std::collections::{BTreeMap, BTreeSet};

use base::Epoch;
use oci::ImageConfig;

use super::ParityError;
use crate::build::{BuildError, CERTIFICATES, PATH, words};
use crate::configuration::{EntrypointKind, ImageConfiguration, PackageTerm, redacted};
use crate::layer::Layer;
use crate::plan::ImagePlan;

/// Every package with its version takes the place of what was asked for, and lists that name
/// repositories and keys are sorted.
pub(super) fn pin(plan: &mut ImagePlan) {
    let tags: BTreeMap<String, String> = plan
        .configuration
        .contents
        .packages
        .iter()
        .filter_map(|package| Some((package.term.name.clone(), package.term.tag.clone()?)))
        .collect();
    let mut written: Vec<String> = plan
        .packages
        .iter()
        .map(|package| {
            let info = &package.entry.info;
            let tag = tags
                .get(&info.name)
                .map(|tag| format!("@{tag}"))
                .unwrap_or_default();
            format!("{}={}{tag}", info.name, info.version)
        })
        .collect();
    if !plan.is_locked {
        written.sort();
    }
    let configuration = &mut plan.configuration;
    if configuration.entrypoint.kind == EntrypointKind::ServiceBundle {
        configuration.entrypoint.command = "/bin/s6-svscan /sv".to_owned();
        written.push("s6".to_owned());
    }
    let contents = &mut configuration.contents;
    contents.packages = written
        .into_iter()
        .map(|written| PackageTerm {
            term: apk::dependency::Dependency::any(written.as_str()),
            written,
            place: None,
        })
        .collect();
    for list in [&mut contents.repositories, &mut contents.build_repositories] {
        list.sort_by_key(ToString::to_string);
        list.dedup();
    }
    contents.keyring.sort();
    contents.keyring.dedup();
    configuration.archs = vec![plan.arch];
    configuration.vcs_url = String::new();
}

pub(super) fn world(plan: &ImagePlan) -> Vec<u8> {
    let mut lines: BTreeSet<String> = plan
        .configuration
        .contents
        .packages
        .iter()
        .map(|package| package.written.clone())
        .collect();
    let below = plan.base.iter().flat_map(|base| &base.records);
    lines.extend(below.map(|record| {
        let value = |letter: &str| {
            let found = record.lines().find_map(|line| line.strip_prefix(letter));
            found.unwrap_or_default()
        };
        format!("{}={}", value("P:"), value("V:"))
    }));
    let lines: Vec<String> = lines.into_iter().collect();
    format!("{}\n", lines.join("\n")).into_bytes()
}

pub(super) fn repositories(configuration: &ImageConfiguration) -> Result<Vec<u8>, ParityError> {
    let contents = &configuration.contents;
    let lines: BTreeSet<String> = contents
        .repositories
        .iter()
        .chain(&contents.runtime_repositories)
        .map(redacted)
        .collect();
    if lines.is_empty() {
        return Err(ParityError::NoRepository);
    }
    let lines: Vec<String> = lines.into_iter().collect();
    Ok(format!("{}\n", lines.join("\n")).into_bytes())
}

pub(super) fn apko_json(plan: &ImagePlan) -> Result<Vec<u8>, ParityError> {
    let mut bytes = oci::json::to_vec(&plan.configuration)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn annotations(
    configuration: &ImageConfiguration,
    epoch: Epoch,
) -> BTreeMap<String, String> {
    let mut annotations = configuration.annotations.clone();
    if let Some((url, revision)) = configuration.vcs_url.split_once('@') {
        annotations.insert("org.opencontainers.image.source".to_owned(), url.to_owned());
        annotations.insert(
            "org.opencontainers.image.revision".to_owned(),
            revision.to_owned(),
        );
    }
    annotations.insert(
        "org.opencontainers.image.created".to_owned(),
        epoch.rfc3339(),
    );
    annotations
}

/// The annotations of an index of several architectures.
pub(crate) fn index_annotations(
    configuration: &ImageConfiguration,
    epoch: Epoch,
) -> BTreeMap<String, String> {
    annotations(configuration, epoch)
}

pub(super) fn config(
    plan: &ImagePlan,
    epoch: Epoch,
    layers: &[Layer],
) -> Result<ImageConfig, BuildError> {
    let configuration = &plan.configuration;
    let annotations = annotations(configuration, epoch);
    let label = |key: &str| {
        configuration
            .annotations
            .get(&format!("org.opencontainers.image.{key}"))
    };
    let comment = match (label("title"), label("vendor")) {
        (Some(title), Some(vendor)) => Some(format!("{title} by {vendor}")),
        _ if layers.len() > 1 => None,
        _ => Some("This is an apko single-layer image".to_owned()),
    };
    let created = epoch.rfc3339();
    let mut config = plan
        .base
        .as_ref()
        .map(|base| base.config.clone())
        .unwrap_or_default();
    config.history.extend(layers.iter().map(|_| oci::History {
        author: Some("apko".to_owned()),
        created: Some(created.clone()),
        created_by: Some("apko".to_owned()),
        comment: comment.clone(),
        empty_layer: false,
    }));
    config
        .rootfs
        .diff_ids
        .extend(layers.iter().map(|layer| layer.diff_id));
    let (architecture, variant) = plan.arch.oci();
    config.architecture = architecture.to_owned();
    config.variant = variant.map(str::to_owned);
    config.author = Some("github.com/chainguard-dev/apko".to_owned());
    config.created = Some(created);
    config.os = "linux".to_owned();
    let run = &mut config.config;
    run.labels = annotations;
    let entrypoint = &configuration.entrypoint;
    if !entrypoint.shell_fragment.is_empty() {
        run.entrypoint = vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            entrypoint.shell_fragment.clone(),
        ];
    } else if !entrypoint.command.is_empty() {
        run.entrypoint = words(&entrypoint.command)?;
    }
    if !configuration.cmd.is_empty() {
        run.cmd = words(&configuration.cmd)?;
    }
    if !configuration.work_dir.is_empty() {
        run.working_dir.clone_from(&configuration.work_dir);
    }
    if !configuration.volumes.is_empty() {
        let volumes = configuration.volumes.iter();
        run.volumes = volumes
            .map(|volume| (volume.clone(), BTreeMap::new()))
            .collect();
    }
    let mut environment = configuration.environment.clone();
    for (name, value) in [("PATH", PATH), ("SSL_CERT_FILE", CERTIFICATES)] {
        environment
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    let mut lines: Vec<String> = environment
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.sort();
    run.env = lines;
    if !configuration.accounts.run_as.is_empty() {
        run.user.clone_from(&configuration.accounts.run_as);
    }
    if !configuration.stop_signal.is_empty() {
        run.stop_signal.clone_from(&configuration.stop_signal);
    }
    Ok(config)
}
