//! Whose word counts.

use key::PublicKey;

use crate::sigstore::{Authorities, Identity, Signers};

/// Whom to believe: keys, and identities by the word of authorities.
#[derive(Debug, Default)]
pub struct Trust {
    keys: Vec<PublicKey>,
    authorities: Option<Authorities>,
    signers: Vec<Signers>,
}

impl Trust {
    /// Believes these keys.
    pub fn of_keys(keys: Vec<PublicKey>) -> Trust {
        Trust {
            keys,
            ..Trust::default()
        }
    }

    /// Believes what these authorities prove, too: of the `signers` what their certificates signed,
    /// and of everybody that the logs and clocks in a bundle are genuine.
    #[must_use]
    pub fn and(mut self, authorities: Authorities, signers: Vec<Signers>) -> Trust {
        self.authorities = Some(authorities);
        self.signers = signers;
        self
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    pub(crate) fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    /// Whether any identity is believed.
    pub fn believes_identities(&self) -> bool {
        self.authorities.is_some() && !self.signers.is_empty()
    }

    /// Whether this identity is believed.
    pub fn believes(&self, identity: &Identity) -> bool {
        self.authorities.is_some() && self.signers.iter().any(|signers| signers.include(identity))
    }
}
