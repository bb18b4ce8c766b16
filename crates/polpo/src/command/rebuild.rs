use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attest::rebuild::{Rebuilds, Signature};
use attest::trust::Trust;
use base::Arch;
use build::provenance::Voucher;
use build::rebuild::{RebuildError, RebuildOptions, RebuildReport, Verdict, rebuild};
use build::signing::{Purpose, SigningError, SigningProcess};
use key::PublicKey;
use store::{Store, StoreError, WriteError};

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
    let signer = settings::signing_process(&arguments.signing)?;
    let witness = match &arguments.attest_key {
        Some(key) => {
            let user = arguments.signing.signing_user.as_deref();
            Some(settings::start_signer(key, Purpose::Rebuilds, user)?)
        }
        None => None,
    };
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
    if let (Some(file), Some(witness)) = (&arguments.attest, &witness) {
        if let Some(Voucher::Nobody | Voucher::Strangers) = report.provenance {
            return Err(Failure::failed(
                "the rebuild was not attested",
                AttestError::Unvouched,
            ));
        }
        let is_new = attest(&store, &arguments.package, &report, file, witness)
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
    Store(#[from] StoreError),
    #[error(transparent)]
    Sign(#[from] SigningError),
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Adds the statement to the file; false if the key has stated as much there before.
fn attest(
    store: &Store,
    path: &Path,
    report: &RebuildReport,
    file: &Path,
    witness: &SigningProcess,
) -> Result<bool, AttestError> {
    let signature = match report.verdict {
        Verdict::Identical => Signature::Same,
        _ => Signature::Other,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = store
        .path(&report.original)
        .ok_or(StoreError::Missing(report.original))?;
    let line = witness.rebuilt(&kept, report.original, &name, signature)?;
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
    let public = witness.public();
    let known = Rebuilds::read(&lines, &Trust::of_keys(vec![public.clone()]));
    if known.vouches(public, &report.identities) {
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
