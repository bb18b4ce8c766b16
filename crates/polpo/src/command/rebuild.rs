use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attest::bundle::BundleError;
use attest::rebuild::{Rebuild, Rebuilds, Signature};
use attest::slsa::Builder;
use attest::trust::Trust;
use base::Arch;
use build::provenance::{LOCAL_BUILDER, Voucher};
use build::rebuild::{RebuildError, RebuildOptions, RebuildReport, Verdict, rebuild};
use key::{KeyError, PrivateKey, PublicKey};
use store::WriteError;

use crate::arguments;
use crate::arguments::machine::Folders;
use crate::command::build::executor;
use crate::command::interruptible;
use crate::command::recipes;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

/// Bytes of a file of statements.
const MAXIMUM_LINES: u64 = 256 << 20;

pub(crate) async fn run(
    arguments: &arguments::Rebuild,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let what = || format!("{} was not built again", arguments.package.display());
    let signer = arguments
        .signing_key
        .as_deref()
        .map(settings::signer)
        .transpose()?;
    let arch = Arch::host();
    let (repositories, keyring) = settings::repositories(&arguments.repositories, arch)?;
    let access = settings::access(&arguments.repositories, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let mut trusted: Vec<PublicKey> = keyring.keys().map(|(_, key)| key.clone()).collect();
    for path in &arguments.key {
        let key = key::load_public(path).map_err(|error| Failure::failed(what(), error))?;
        trusted.push(key);
    }
    let store = session.store()?;
    let executor = executor(&store, &Folders::default(), &arguments.runner)?;
    let options = RebuildOptions {
        repositories: &repositories,
        keyring: &keyring,
        access: &access,
        origins: &origins,
        source_folder: arguments.source_dir.as_deref(),
        provenance: arguments.provenance.as_deref(),
        trusted: &trusted,
        signer: signer.as_ref(),
        out: arguments.out_dir.as_deref(),
    };
    let report = interruptible(rebuild(
        &store,
        &executor,
        &arguments.package,
        &options,
        session.reporter(),
    ))
    .await?
    .map_err(|error| match error {
        RebuildError::Recipe { problems, .. } => Failure::Problems(problems),
        error => Failure::failed(what(), error),
    })?;
    Printer::new(arguments.format).print(&report, RebuildReport::to_string)?;
    if !report.is_equal() {
        return Ok(ExitCode::from(1));
    }
    if let (Some(file), Some(key)) = (&arguments.attest, &arguments.attest_key) {
        if let Some(Voucher::Nobody | Voucher::Strangers) = report.provenance {
            return Err(Failure::failed(
                "the rebuild was not attested",
                AttestError::Unvouched,
            ));
        }
        let key = settings::private_key(key)?;
        let is_new = attest(&arguments.package, &report, file, &key)
            .map_err(|error| Failure::failed("the rebuild was not attested", error))?;
        let state = if is_new { "states" } else { "states already" };
        session.notice(&format!("{} {state} the rebuild", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, thiserror::Error)]
enum AttestError {
    #[error(
        "nobody who is trusted signed the provenance that said what to build it with, so that equal \
         bytes prove nothing: name its key by --key, or build without it by moving it away"
    )]
    Unvouched,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Sign(#[from] BundleError),
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Adds the statement to the file; false if the key has stated as much there before.
fn attest(
    path: &Path,
    report: &RebuildReport,
    file: &Path,
    key: &PrivateKey,
) -> Result<bool, AttestError> {
    let rebuild = Rebuild {
        package: report.package.clone(),
        version: report.version.clone(),
        arch: report.arch.clone(),
        identities: report.identities.clone(),
        signature: match report.verdict {
            Verdict::Identical => Signature::Same,
            _ => Signature::Other,
        },
        builder: Builder {
            id: LOCAL_BUILDER.to_owned(),
            version: BTreeMap::from([("polpo".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        },
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let line = rebuild.sign(&name, report.original, key)?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let unreadable = |source| AttestError::Read {
        path: file.to_owned(),
        source,
    };
    // Held while others who attest would read what is about to be replaced.
    let lock = File::open(folder).map_err(unreadable)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| unreadable(error.into()))?;
    let lines = store::find_bounded(file, MAXIMUM_LINES).map_err(unreadable)?;
    let mut lines = lines.unwrap_or_default();
    let public = key.public()?;
    let known = Rebuilds::read(&lines, &Trust::of_keys(vec![public.clone()]));
    if known.vouches(&public, &rebuild.identities) {
        return Ok(false);
    }
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
    lines.extend(line);
    lines.push(b'\n');
    store::write_atomically(file, &lines)?;
    Ok(true)
}
