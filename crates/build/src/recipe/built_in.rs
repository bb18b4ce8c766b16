//! The pipelines that come with polpo.

/// Names and the text of each definition.
macro_rules! definitions {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../pipelines/", $name, ".yaml")))),*]
    };
}

/// Name and definition of every pipeline built in, sorted by name.
pub(super) const BUILT_IN: &[(&str, &str)] = definitions![
    "R/build",
    "autoconf/configure",
    "autoconf/make",
    "autoconf/make-install",
    "cargo/build",
    "cmake/build",
    "cmake/configure",
    "cmake/install",
    "fetch",
    "git-am",
    "git-checkout",
    "go/build",
    "go/build/v2",
    "go/bump",
    "go/covdata",
    "go/install",
    "llvm/covreport",
    "maven/configure-mirror",
    "maven/pombump",
    "meson/compile",
    "meson/configure",
    "meson/install",
    "npm/install",
    "patch",
    "pecl/install",
    "pecl/phpize",
    "perl/cleanup",
    "perl/make",
    "python/build",
    "python/build-wheel",
    "python/import",
    "python/install",
    "python/test",
    "ruby/build",
    "ruby/clean",
    "ruby/install",
    "split/alldocs",
    "split/bin",
    "split/debug",
    "split/dev",
    "split/infodir",
    "split/lib",
    "split/locales",
    "split/manpages",
    "split/static",
    "strip",
    "xcover/ensure",
    "xcover/profile",
    "xcover/status",
    "xcover/stop",
    "xcover/wait",
];

/// What polpo does itself instead of running a pipeline's steps in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    /// Fetching a source by its hash.
    Fetch,
    /// Checking a repository out by its commit.
    GitCheckout,
}

impl Native {
    /// What takes the place of the steps of the built-in pipeline `name`.
    pub(super) fn of(name: &str) -> Option<Native> {
        match name {
            "fetch" => Some(Native::Fetch),
            "git-checkout" => Some(Native::GitCheckout),
            _ => None,
        }
    }
}
