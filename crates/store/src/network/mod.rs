//! Fetching by URL.

/// Whether URLs of this scheme can be fetched.
pub fn can_fetch(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "s3" | "gs" | "az")
}
