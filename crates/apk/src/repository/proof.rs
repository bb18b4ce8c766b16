//! Packages that may be installed only once others have built them again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::dependency::Identity;
use crate::solver::Candidate;

/// How many builders must have built a package again, and how what they state is read.
#[derive(Clone)]
pub struct ProofRequirement {
    /// How many; each counts once for a package.
    pub builders: u32,
    /// The name of the file beside a repository's index that has their statements.
    pub file: String,
    /// Reads such a file.
    pub read: ReadProofs,
}

/// See [`ProofRequirement::read`].
pub type ReadProofs = Arc<dyn Fn(&[u8]) -> Vouched + Send + Sync>;

/// What a file of statements proves.
#[derive(Clone, Debug, Default)]
pub struct Vouched {
    /// How many of the builders that are trusted vouch for a package, by its identity.
    pub builders: BTreeMap<Identity, u32>,
    /// What else should be known of the file.
    pub notes: Vec<String>,
}

impl fmt::Debug for ProofRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofRequirement")
            .field("builders", &self.builders)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What was found of it for one repository.
#[derive(Clone, Debug)]
pub struct Proof {
    required: u32,
    builders: Arc<BTreeMap<Identity, u32>>,
}

impl Proof {
    /// `required` builders for each package, of which so many vouch for these.
    pub fn new(required: u32, builders: BTreeMap<Identity, u32>) -> Proof {
        let builders = builders.into_iter();
        // An installed database, and so the solver, keeps no more of an identity.
        let builders = builders.map(|(identity, count)| (identity.shortened(), count));
        Proof {
            required,
            builders: Arc::new(builders.collect()),
        }
    }

    /// How many must vouch for each package.
    pub fn required(&self) -> u32 {
        self.required
    }

    /// How many vouch for this one.
    pub fn vouched(&self, identity: &Identity) -> u32 {
        let vouched = self.builders.get(&identity.shortened());
        vouched.copied().unwrap_or(0)
    }

    /// Lets the solver leave out what too few vouch for, and say so.
    pub(super) fn mark(&self, candidate: &mut Candidate) {
        let identity = candidate.identity.as_ref();
        let vouched = identity.map_or(0, |identity| self.vouched(identity));
        candidate.defects.extend(lacking(vouched, self.required));
    }
}

/// Why a package may not be installed for which so many vouch, if it may not.
pub fn lacking(vouched: u32, required: u32) -> Option<String> {
    let by = match vouched {
        0 => "by nobody".to_owned(),
        count => format!("by {count}"),
    };
    (vouched < required)
        .then(|| format!("rebuilt {by} of the builders that are trusted, {required} must have"))
}
