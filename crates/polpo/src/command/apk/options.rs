//! Options that several of apk's commands share, under apk's names.

use std::path::{Path, PathBuf};

use apk::adb::Compression;
use apk::index::{self, Index, IndexError, Stamping};
use clap::{ArgAction, Args, ValueEnum};

use super::making;
use crate::arguments::{Freshness, Rebuilders};
use crate::output::Format;
use crate::output::failure::Failure;
use crate::settings;

/// A switch that is `yes` or `no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    Yes,
    No,
}

impl Switch {
    /// Whether it is on.
    pub(crate) fn on(self) -> bool {
        self == Switch::Yes
    }
}

/// A switch that may also find out for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decision {
    Yes,
    No,
    #[default]
    Auto,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Manage the system in this folder
    #[arg(
        long,
        short = 'p',
        global = true,
        value_name = "ROOT",
        default_value = "/"
    )]
    pub(crate) root: PathBuf,
    /// Architectures, the first the system's own; saved with --root when a database is made
    #[arg(long, global = true, value_name = "ARCH")]
    pub(crate) arch: Vec<String>,
    /// One more repository: a URL, or a folder relative to where apk is called; may be repeated
    #[arg(long, short = 'X', global = true, value_name = "REPOSITORY")]
    pub(crate) repository: Vec<String>,
    /// One more line of a repositories file; may be repeated
    #[arg(long, global = true, value_name = "LINE")]
    pub(crate) repository_config: Vec<String>,
    /// Repositories file to read instead of the system's, relative to where apk is called
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) repositories_file: Option<PathBuf>,
    /// Folder of trusted keys instead of the system's, relative to ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) keys_dir: Option<PathBuf>,
    /// Take packages and indexes that no trusted key has signed
    #[arg(long, global = true)]
    pub(crate) allow_untrusted: bool,
    /// Folder of the package cache instead of etc/apk/cache, relative to ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Minutes after which an index is asked for again; 0: always
    #[arg(long, global = true, value_name = "MINUTES")]
    pub(crate) cache_max_age: Option<u64>,
    /// Ask for indexes again: --cache-max-age 0
    #[arg(long, short = 'U', global = true)]
    pub(crate) update_cache: bool,
    /// Use local caches
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) cache: Switch,
    /// Keep a copy of each package that is installed in the cache
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    pub(crate) cache_packages: Option<Switch>,
    /// Bring all packages into the cache before anything is changed
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    pub(crate) cache_predownload: Switch,
    /// Use the network; without it, what is in the cache
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) network: Switch,
    /// Check the certificates of HTTPS servers
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) check_certificate: Switch,
    /// Seconds without progress after which a connection is given up
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) freshness: Freshness,
    #[command(flatten)]
    pub(crate) rebuilders: Rebuilders,
    /// Do not use anything cached, here or in a proxy
    #[arg(long, global = true)]
    pub(crate) force_refresh: bool,
    /// Enable the --force options that make sense for the command
    #[arg(long, short = 'f', global = true)]
    pub(crate) force: bool,
    /// Print binary data even to a terminal
    #[arg(long, global = true)]
    pub(crate) force_binary_stdout: bool,
    /// Leave out what was asked for before as far as it can't be had
    #[arg(long, global = true)]
    pub(crate) force_broken_world: bool,
    /// Go on without the indexes that can't be had
    #[arg(long, global = true)]
    pub(crate) force_missing_repositories: bool,
    /// Run scripts outside a chroot: they may change this machine
    #[arg(long, global = true)]
    pub(crate) force_no_chroot: bool,
    /// Install what no repository has on a system that lives in memory
    #[arg(long, global = true)]
    pub(crate) force_non_repository: bool,
    /// Pass over what a later apk wrote into the database; it is lost when that is changed
    #[arg(long, global = true)]
    pub(crate) force_old_apk: bool,
    /// Overwrite files of other packages
    #[arg(long, global = true)]
    pub(crate) force_overwrite: bool,
    /// Also remove configuration files that were changed, and packages from the cache
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    pub(crate) purge: Switch,
    /// Ask before anything is changed
    #[arg(long, short = 'i', global = true, value_name = "AUTO", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    pub(crate) interactive: Option<Decision>,
    /// Write var/log/apk.log
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) logfile: Switch,
    /// Pass the environment on to scripts
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    pub(crate) preserve_env: Switch,
    /// Print `info` as apk always did, or as `query` does
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) legacy_info: Switch,
    /// Print for people
    #[arg(long, global = true, value_name = "AUTO", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "auto")]
    pub(crate) pretty_print: Decision,
    /// Packages that `upgrade` renews before all others
    #[arg(long, global = true, value_name = "DEPENDENCIES")]
    pub(crate) preupgrade_depends: Vec<String>,
    /// Whether ROOT is held in memory
    #[arg(long, global = true, value_name = "AUTO", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "auto")]
    pub(crate) root_tmpfs: Decision,
    /// Make sure that all is on disk before the command ends
    #[arg(long, global = true, value_name = "AUTO", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "auto")]
    pub(crate) sync: Decision,
    /// Seconds to wait for another apk to end
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
    /// Show progress
    #[arg(long, global = true, value_name = "AUTO", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "auto")]
    pub(crate) progress: Decision,
    /// Write progress to this file descriptor
    #[arg(long, global = true, value_name = "FD")]
    pub(crate) progress_fd: Option<u32>,
    /// Print less: repeated, it takes back --verbose
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Print more; twice: even more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print the version
    #[arg(long, short = 'V', global = true)]
    pub(crate) version: bool,
    /// Print this program's own architecture
    #[arg(long, global = true)]
    pub(crate) print_arch: bool,
    /// Folder of the content-addressed store [default: $XDG_CACHE_HOME/polpo, else ~/.cache/polpo]
    #[arg(long, global = true, value_name = "DIR", env = "POLPO_STORE")]
    pub(crate) store: Option<PathBuf>,
}

impl Global {
    /// 1 is usual; `-q` takes one off, `-v` adds one.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbose.saturating_add(1).saturating_sub(self.quiet)
    }
}

/// Options of commands that change a system.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of commands that change a system")]
pub(crate) struct Commit {
    /// Say what would be done and do nothing
    #[arg(long, short, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    pub(crate) simulate: Switch,
    /// Leave configuration that was changed alone, and make no .apk-new files beside it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    pub(crate) clean_protected: Switch,
    /// Run the hooks in etc/apk/commit_hooks.d
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) commit_hooks: Switch,
    /// Run the scripts of packages
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    pub(crate) scripts: Switch,
    /// Make the system anew at boot: force what can be forced, and run no hooks
    #[arg(long)]
    pub(crate) initramfs_diskless_boot: bool,
    /// Read the list of overlay files from stdin
    #[arg(long)]
    pub(crate) overlay_from_stdin: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Options of commands that write files of format 3.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of commands that write format 3")]
pub(crate) struct Generation {
    /// none, deflate[:1-9] or zstd[:1-22]
    #[arg(long, short, value_name = "ALGORITHM[:LEVEL]")]
    pub(crate) compression: Option<Compression>,
    /// Private key to sign with; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) sign_key: Vec<PathBuf>,
}

/// How an index is numbered and dated.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stamp {
    /// Begin to number and date the index, so that nobody can pass an older one off as new. Where the
    /// one before is numbered, this goes on in any case
    #[arg(long)]
    stamp: bool,
}

impl Stamp {
    /// The description of an index that takes the place of the `formers`, as far as they are there.
    /// Its time is `SOURCE_DATE_EPOCH`, or else the present.
    pub(crate) fn describe(
        &self,
        description: &str,
        formers: [Option<&Path>; 2],
    ) -> Result<String, Failure> {
        let mut former: Option<String> = None;
        for path in formers.into_iter().flatten().filter(|path| path.is_file()) {
            match Index::read_unverified(path) {
                Ok(index)
                    if former.as_deref().and_then(index::Stamp::of)
                        < index::Stamp::of(&index.description) =>
                {
                    former = Some(index.description);
                }
                Ok(_) => {}
                Err(error @ IndexError::Read { .. }) => {
                    return Err(Failure::failed("the index can't be numbered", error));
                }
                // What is no index had no number.
                Err(_) => {}
            }
        }
        let stamping = Stamping {
            begin: self.stamp,
            now: making::source_date_epoch()?.unwrap_or_else(settings::now),
        };
        Ok(stamping.describe(description, former.as_deref()))
    }
}
