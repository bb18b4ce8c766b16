//! What cosign keeps beside an image under tags made of the image's digest.

use base::Digest;

/// A kind of such a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// `.sig`: its layers are signatures.
    Signatures,
    /// `.att`: its layers are signed statements.
    Attestations,
    /// `.sbom`: a list of contents that nobody signed.
    Sbom,
}

impl Companion {
    /// Every kind.
    pub const ALL: [Companion; 3] = [
        Companion::Signatures,
        Companion::Attestations,
        Companion::Sbom,
    ];

    fn suffix(self) -> &'static str {
        match self {
            Companion::Signatures => "sig",
            Companion::Attestations => "att",
            Companion::Sbom => "sbom",
        }
    }

    /// The tag of that kind for the manifest `subject`.
    pub fn tag(self, subject: &Digest) -> String {
        format!("sha256-{}.{}", subject.hex(), self.suffix())
    }

    /// Whether `tag` is one of these, of any manifest.
    pub fn is_tag(tag: &str) -> bool {
        let digest = |rest: &str| {
            let (hex, suffix) = rest.split_once('.')?;
            Companion::ALL
                .iter()
                .any(|kind| kind.suffix() == suffix)
                .then_some(hex)?
                .parse::<Digest>()
                .ok()
        };
        tag.strip_prefix("sha256-").and_then(digest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let digest = Digest::of(b"");
        for kind in Companion::ALL {
            assert!(Companion::is_tag(&kind.tag(&digest)));
        }
        assert_eq!(
            Companion::Attestations.tag(&digest),
            "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.att"
        );
        for other in ["latest", "sha256-e3b0.sig", "sha256-.sig", "sha256.sig"] {
            assert!(!Companion::is_tag(other), "{other}");
        }
    }
}
