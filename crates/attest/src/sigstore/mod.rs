//! Signatures by identities instead of keys, as Sigstore makes them: an identity's token buys a
//! certificate for a key that lives for one signing, and a public log or a clock's signature proves
//! that the signature was made while the certificate was good.
//!
//! * [`Authorities`]: the trusted root, against which bundles are verified without any network.
//! * [`Signers`]: whose certificates count.
//! * [`IdentityToken`], [`Services`] and [`Signer`]: how such bundles are made.
//! * [`mirror`]: how a trusted root is come by and kept fresh.
//!
//! What is verified, and how, is the `sigstore-verify` crate's; the forms are those of Sigstore's
//! protobuf specifications.

mod authorities;
mod hashed;
mod identity;
mod legacy;
mod logs;
pub mod mirror;
mod services;
mod signer;
mod token;

pub use authorities::{Authorities, AuthoritiesError, EvidenceError};
pub use hashed::UnloggableError;
pub use identity::{Identity, IdentityError, Matcher, Signers};
pub use legacy::{Annotations, LegacyError, SignedBy};
pub use logs::EntryError;
pub use services::{Log, RekorVersion, Services, ServicesError};
pub use signer::{Signer, SignerError};
pub use token::{IdentityToken, TokenError, TokenSource};
