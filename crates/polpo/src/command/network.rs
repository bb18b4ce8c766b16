//! What the commands on recipes share about the network: what steps have of it, and the lock beside
//! the recipe.

use std::path::{Path, PathBuf};

use base::Arch;
use build::plan::Network;
use build::recording::{RecorderSettings, Recording, SourceLock, lock_path};

use crate::arguments::{NetworkPolicy, StepNetwork};
use crate::output::failure::Failure;
use crate::settings::Session;

/// How recordings are made.
pub(crate) fn recorder(arguments: &StepNetwork) -> RecorderSettings {
    let usual = RecorderSettings::default();
    let limit = arguments.network_limit.unwrap_or(usual.largest_recording);
    RecorderSettings {
        hosts: arguments.network_hosts.clone(),
        rewrites: arguments.network_mirrors.clone(),
        largest_answer: match arguments.network_limit {
            Some(limit) => limit,
            None => usual.largest_answer,
        },
        largest_recording: limit,
    }
}

/// What the user asked for, and what lies beside the recipe.
pub(crate) struct Policy {
    asked: Option<NetworkPolicy>,
    path: PathBuf,
    /// Not read when it does not matter.
    lock: Option<SourceLock>,
}

impl Policy {
    /// That of the recipe at `recipe`.
    pub(crate) fn of(arguments: &StepNetwork, recipe: &Path) -> Result<Policy, Failure> {
        let path = lock_path(recipe);
        let asked = arguments.network;
        let lock = match asked {
            // A lock that can't be read shall not be found out after an hour of building.
            None | Some(NetworkPolicy::Replay | NetworkPolicy::Record) => {
                SourceLock::read(&path)
                    .map_err(|error| Failure::failed("the network can't be replayed", error))?
            }
            Some(NetworkPolicy::Deny | NetworkPolicy::Allow) => None,
        };
        Ok(Policy { asked, path, lock })
    }

    /// Whether a recording is made.
    pub(crate) fn records(&self) -> bool {
        self.asked == Some(NetworkPolicy::Record)
    }

    /// What the build for `arch` has of the network.
    pub(crate) fn build(
        &self,
        arch: Arch,
        session: &Session<'_>,
    ) -> Result<(Network, Recording), Failure> {
        let found = self.lock.as_ref().and_then(|lock| lock.build(arch));
        let network = match (self.asked, found) {
            (None | Some(NetworkPolicy::Replay), Some(recording)) => {
                return Ok((Network::Replayed, recording.clone()));
            }
            (Some(NetworkPolicy::Replay), None) => return Err(self.nothing_recorded(arch)),
            (None, None) => {
                if self.lock.is_some() {
                    session.notice(&format!(
                        "{} has no recording of the build for {arch}: the network stays off",
                        self.path.display()
                    ));
                }
                Network::Denied
            }
            (Some(other), _) => plainly(other),
        };
        Ok((network, Recording::default()))
    }

    /// What the tests for `arch` have of the network.
    pub(crate) fn test(&self, arch: Arch) -> Result<(Network, SourceLock), Failure> {
        let recorded = self.lock.as_ref().and_then(|lock| lock.recorded.get(&arch));
        let any = recorded.is_some_and(|recorded| !recorded.tests.is_empty());
        let network = match self.asked {
            None if any => Network::Replayed,
            None => Network::Denied,
            Some(NetworkPolicy::Replay) if !any => return Err(self.nothing_recorded(arch)),
            Some(other) => plainly(other),
        };
        Ok((network, self.lock.clone().unwrap_or_default()))
    }

    fn nothing_recorded(&self, arch: Arch) -> Failure {
        Failure::Usage(format!(
            "nothing to replay: {} has no recording of this for {arch}; make one with `--network record`",
            self.path.display()
        ))
    }
}

fn plainly(policy: NetworkPolicy) -> Network {
    match policy {
        NetworkPolicy::Deny => Network::Denied,
        NetworkPolicy::Allow => Network::Allowed,
        NetworkPolicy::Record => Network::Recorded,
        NetworkPolicy::Replay => Network::Replayed,
    }
}

/// Puts `recording` into the lock beside the recipe, as `change` does.
pub(crate) fn write_recording(
    policy: &Policy,
    recording: &Recording,
    session: &Session<'_>,
    change: impl FnOnce(&mut SourceLock),
) -> Result<(), Failure> {
    SourceLock::update(&policy.path, change)
        .map_err(|error| Failure::failed("the recording can't be kept", error))?;
    let bytes: u64 = recording.exchanges().iter().map(|one| one.size).sum();
    session.notice(&format!(
        "{} answers of the network ({bytes} bytes) are recorded in {}",
        recording.exchanges().len(),
        policy.path.display()
    ));
    Ok(())
}
