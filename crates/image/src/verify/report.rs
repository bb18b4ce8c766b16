use std::fmt;

use base::Digest;
use serde::{Deserialize, Serialize};

/// How far something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Checked and true.
    Proven,
    /// Nothing speaks against it, but nothing proves it.
    Unproven,
    /// Checked and false.
    Failed,
}

/// One link of the chain, with the links it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How far it holds: as far as the worst of its parts.
    pub standing: Standing,
    /// What was found, in words, without control characters.
    pub message: String,
    /// What it consists of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Finding>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An image, by the digest of its manifest.
    Image(Digest),
    /// A package, by the SHA-256 of its file.
    Package(Digest),
    /// An index of a repository, by the SHA-256 of its file.
    Index(Digest),
}

/// What is known of an image, a package or an index. `Display` draws it as a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// The SLSA level of the builder, where a policy says what builders stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slsa_level: Option<u32>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// Something checked and true.
    pub fn proven(message: String) -> Finding {
        Finding {
            standing: Standing::Proven,
            message: plain(&message),
            parts: Vec::new(),
        }
    }

    /// Something that nothing proves.
    pub fn unproven(message: String) -> Finding {
        Finding {
            standing: Standing::Unproven,
            ..Finding::proven(message)
        }
    }

    /// Something checked and false.
    pub fn failed(message: String) -> Finding {
        Finding {
            standing: Standing::Failed,
            ..Finding::proven(message)
        }
    }

    /// Something that holds as far as its parts do.
    pub fn group(message: String, parts: Vec<Finding>) -> Finding {
        Finding {
            standing: worst(&parts),
            message: plain(&message),
            parts,
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, before: &str, last: bool) -> fmt::Result {
        let (branch, below) = if last {
            ("└─", "  ")
        } else {
            ("├─", "│ ")
        };
        let mark = match self.standing {
            Standing::Proven => "✓",
            Standing::Unproven => "?",
            Standing::Failed => "✗",
        };
        writeln!(f, "{before}{branch}{mark} {}", plain(&self.message))?;
        let before = format!("{before}{below}");
        for (place, part) in self.parts.iter().enumerate() {
            part.draw(f, &before, place + 1 == self.parts.len())?;
        }
        Ok(())
    }
}

/// The text without what a terminal would obey: names and reasons of foreign images are in it.
pub(crate) fn plain(message: &str) -> String {
    let obeyed = |character: char| {
        character.is_control()
            || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut text = String::with_capacity(message.len());
    for character in message.chars() {
        if obeyed(character) {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

fn worst(findings: &[Finding]) -> Standing {
    findings
        .iter()
        .map(|finding| finding.standing)
        .max()
        .unwrap_or(Standing::Proven)
}

impl VerifyReport {
    /// The worst of all findings.
    pub fn standing(&self) -> Standing {
        worst(&self.findings)
    }

    /// Whether nothing was found to be false.
    pub fn is_good(&self) -> bool {
        self.standing() != Standing::Failed
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Image(digest) => writeln!(f, "image {digest}")?,
            Subject::Package(digest) => writeln!(f, "package {digest}")?,
            Subject::Index(digest) => writeln!(f, "index {digest}")?,
        }
        for (place, finding) in self.findings.iter().enumerate() {
            finding.draw(f, "", place + 1 == self.findings.len())?;
        }
        Ok(())
    }
}
