//! Statements about artefacts and their signatures.
//!
//! * [`spdx`]: SPDX 2.3 documents of packages and images.
//! * [`licence`]: SPDX licence expressions, checked and joined.
//! * [`intoto`] and [`slsa`]: in-toto statements and SLSA provenance.
//! * [`dsse`]: the envelope that statements are signed in; [`bundle`]: what Sigstore's programs put
//!   around it; [`sigstore`]: signatures by identities, with their certificates and logs; [`trust`]:
//!   whose word counts.
//! * [`rebuild`]: that somebody built a package again and got the same bytes.
//!
//! Nothing that is made here depends on a clock or on the order of a map: the same facts give the same
//! bytes. What an identity signs is different every time, for its key is.

pub mod bundle;
pub mod cyclonedx;
pub mod dsse;
pub mod intoto;
mod json;
pub mod licence;
pub mod rebuild;
pub mod sigstore;
pub mod simple_signing;
pub mod slsa;
pub mod spdx;
pub mod trust;
