use std::fmt;

use regex::Regex;

/// Whom a certificate was issued to, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// An address of e-mail, or a URI, such as that of a workflow.
    pub subject: String,
    /// The URL of who vouched for it: an issuer of OpenID Connect.
    pub issuer: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (vouched for by {})", self.subject, self.issuer)
    }
}

/// A pattern of identities can't be used.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is no pattern of identities: {source}")]
pub struct IdentityError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: Box<regex::Error>,
}

/// Which texts are meant.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This one.
    Exact(String),
    /// Those that the pattern matches from their first to their last character.
    Pattern(Regex),
    /// All.
    Anything,
}

impl Matcher {
    /// A pattern (the `regex` crate's syntax) that the whole text has to match.
    ///
    /// # Errors
    /// It is no such pattern.
    pub fn pattern(pattern: &str) -> Result<Matcher, IdentityError> {
        // On its own first: a pattern may not close the group that anchors it.
        Regex::new(pattern)
            .and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z")))
            .map(Matcher::Pattern)
            .map_err(|source| IdentityError {
                pattern: pattern.to_owned(),
                source: Box::new(source),
            })
    }

    /// Whether `text` is meant.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Matcher::Exact(wanted) => wanted == text,
            Matcher::Pattern(pattern) => pattern.is_match(text),
            Matcher::Anything => true,
        }
    }
}

/// Whose certificates count: both have to match.
#[derive(Clone, Debug)]
pub struct Signers {
    /// Who they are issued to.
    pub subject: Matcher,
    /// Who vouched for that.
    pub issuer: Matcher,
}

impl Signers {
    /// Everybody whom the authorities vouch for: for who has just signed and looks at the result.
    pub fn anybody() -> Signers {
        Signers {
            subject: Matcher::Anything,
            issuer: Matcher::Anything,
        }
    }

    /// Whether `identity` is one of them.
    pub fn include(&self, identity: &Identity) -> bool {
        self.subject.matches(&identity.subject) && self.issuer.matches(&identity.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_text() {
        let pattern = Matcher::pattern("https://example.com/(a|b)/.*|c").unwrap();
        for text in ["https://example.com/a/x", "https://example.com/b/", "c"] {
            assert!(pattern.matches(text), "{text}");
        }
        for text in [
            "https://evil.example/?https://example.com/a/x",
            "cc",
            "https://example.com/a/x\nevil",
            "",
        ] {
            assert!(!pattern.matches(text), "{text}");
        }
        // It can't get out of its anchors.
        assert!(Matcher::pattern("a)|(.*").is_err());
        assert!(Matcher::pattern("(").is_err());
    }

    #[test]
    fn both_have_to_match() {
        let signers = Signers {
            subject: Matcher::Exact("a@example.com".to_owned()),
            issuer: Matcher::pattern("https://.*").unwrap(),
        };
        let identity = |subject: &str, issuer: &str| Identity {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
        };
        assert!(signers.include(&identity("a@example.com", "https://x")));
        assert!(!signers.include(&identity("b@example.com", "https://x")));
        assert!(!signers.include(&identity("a@example.com", "http://x")));
    }
}
