//! Statements that somebody has built a package again and got the same bytes, as lines of Sigstore
//! bundles: a file that anyone can add to, since each line is signed by itself.

use std::collections::{BTreeMap, BTreeSet};

use base::Digest;
use key::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError, hint};
use crate::intoto::{Statement, StatementError, Subject};
use crate::slsa::Builder;
use crate::trust::Trust;

/// The predicate type of a rebuild.
pub const PREDICATE: &str = "urn:polpo:rebuild:v1";

/// The name of the file of statements, beside the index of a repository.
pub const FILE_NAME: &str = "rebuilds.jsonl";

/// Bytes of a line; a statement has about a thousand.
const MAXIMUM_LINE: usize = 64 << 10;

/// Lines that are looked at: several builders' of every package of a large distribution.
const MAXIMUM_LINES: usize = 1 << 20;

/// A package that was built again. The subject of the statement is the package's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuild {
    /// The package's name.
    pub package: String,
    /// Its full version.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// What indexes may know it by, as they write it (`Q1…`).
    pub identities: Vec<String>,
    /// Whether the signature was made again too, or is the only difference.
    pub signature: Signature,
    /// Who built it.
    pub builder: Builder,
}

/// What became of the package's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// It is the same.
    Same,
    /// It was not compared: the rebuilder has not the package's key.
    Other,
}

impl Rebuild {
    /// States it of the package file of this digest, in a line without its end.
    ///
    /// # Errors
    /// The key can't sign, or is of a kind that Sigstore does not know.
    pub fn sign(
        &self,
        file: &str,
        digest: Digest,
        key: &PrivateKey,
    ) -> Result<Vec<u8>, BundleError> {
        let statement = Statement::new(vec![Subject::new(file, digest)], PREDICATE, self);
        Bundle::sign(&statement, key)?.to_json()
    }
}

/// What the lines of a file prove, to whom some keys are those of builders that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilds {
    /// The ids of the keys that vouch for a package, by its identities.
    pub builders: BTreeMap<String, BTreeSet<Digest>>,
    /// Lines of others, which prove nothing here.
    pub strangers: usize,
    /// Lines that are no such statement, by their number from 1 on, and why.
    pub unreadable: Vec<(usize, String)>,
}

impl Rebuilds {
    /// Reads lines; those that no trusted key has signed are counted, no more.
    pub fn read(lines: &[u8], trusted: &Trust) -> Rebuilds {
        let mut rebuilds = Rebuilds::default();
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if number > MAXIMUM_LINES {
                let reason = format!("only {MAXIMUM_LINES} lines are looked at");
                rebuilds.unreadable.push((number, reason));
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Rebuilds::line(line, trusted) {
                Ok(Some((rebuild, keys))) => {
                    for identity in rebuild.identities {
                        let builders = rebuilds.builders.entry(identity).or_default();
                        builders.extend(keys.iter().copied());
                    }
                }
                Ok(None) => rebuilds.strangers += 1,
                Err(reason) => rebuilds.unreadable.push((number, reason)),
            }
        }
        rebuilds
    }

    fn line(line: &[u8], trusted: &Trust) -> Result<Option<(Rebuild, BTreeSet<Digest>)>, String> {
        if line.len() > MAXIMUM_LINE {
            return Err(format!("it is longer than {MAXIMUM_LINE} bytes"));
        }
        let bundle = Bundle::from_json(line).map_err(|error| error.to_string())?;
        // The hint proves nothing; a line whose hint names a stranger is one at no cost.
        let named = bundle.hint();
        if named.is_some_and(|named| trusted.keys().iter().all(|key| hint(key) != named)) {
            return Ok(None);
        }
        let Ok(verified) = bundle.verify(trusted) else {
            return Ok(None);
        };
        let statement = Statement::<Rebuild>::from_verified(&verified);
        let statement = statement.map_err(|error| error.to_string())?;
        if statement.predicate_type != PREDICATE {
            let error = StatementError::Predicate {
                found: statement.predicate_type,
                wanted: PREDICATE.to_owned(),
            };
            return Err(error.to_string());
        }
        Ok(Some((statement.predicate, verified.keys().clone())))
    }

    /// Whether a key vouches for a package by all of these identities.
    pub fn vouches(&self, key: &PublicKey, identities: &[String]) -> bool {
        let of = |identity: &String| {
            let builders = self.builders.get(identity);
            builders.is_some_and(|builders| builders.contains(&key.id()))
        };
        !identities.is_empty() && identities.iter().all(of)
    }
}

#[cfg(test)]
mod tests {
    use key::Algorithm;

    use super::*;

    fn rebuild(package: &str) -> Rebuild {
        Rebuild {
            package: package.to_owned(),
            version: "1.0-r0".to_owned(),
            arch: "x86_64".to_owned(),
            identities: vec![format!("Q1{package}"), format!("Q2{package}")],
            signature: Signature::Other,
            builder: Builder {
                id: "urn:polpo:builder:local".to_owned(),
                version: BTreeMap::new(),
            },
        }
    }

    fn keys() -> (PrivateKey, PrivateKey) {
        let key = || PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        (key(), key())
    }

    fn line(package: &str, key: &PrivateKey) -> Vec<u8> {
        let digest = Digest::of(package.as_bytes());
        let mut line = rebuild(package)
            .sign(&format!("{package}-1.0-r0.apk"), digest, key)
            .unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn builders_are_counted_once_each() {
        let (first, second) = keys();
        let lines = [
            line("a", &first),
            line("a", &first),
            line("a", &second),
            line("b", &second),
        ]
        .concat();
        let trusted = [first.public().unwrap(), second.public().unwrap()];
        let read = Rebuilds::read(&lines, &Trust::of_keys(trusted.to_vec()));
        let count = |identity: &str| read.builders.get(identity).map_or(0, BTreeSet::len);
        assert_eq!(["Q1a", "Q2a", "Q1b", "Q1c"].map(count), [2, 2, 1, 0]);
        assert_eq!((read.strangers, read.unreadable.len()), (0, 0));
        assert!(read.vouches(&trusted[0], &rebuild("a").identities));
        assert!(!read.vouches(&trusted[0], &rebuild("b").identities));
        assert!(!read.vouches(&trusted[0], &[]));
    }

    #[test]
    fn strangers_and_forgers_prove_nothing() {
        let (first, second) = keys();
        let trusted = [first.public().unwrap()];
        let good = String::from_utf8(line("a", &first)).unwrap();
        // Another payload under the same signature.
        let other = String::from_utf8(line("b", &first)).unwrap();
        let payload = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["dsseEnvelope"]["payload"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let forged = good.replace(&payload(&good), &payload(&other));
        // A statement of another kind, signed by a builder.
        let subject = vec![Subject::new("a", Digest::of(b"a"))];
        let of_other_type = Statement::new(subject, "urn:other", rebuild("c"));
        let of_other_type = Bundle::sign(&of_other_type, &first).unwrap();
        let lines = [
            forged.into_bytes(),
            line("a", &second),
            [of_other_type.to_json().unwrap(), b"\n".to_vec()].concat(),
            b"{}\n\nnonsense\n".to_vec(),
            vec![b'x'; MAXIMUM_LINE + 1],
        ]
        .concat();
        let read = Rebuilds::read(&lines, &Trust::of_keys(trusted.to_vec()));
        assert_eq!(read.builders, BTreeMap::new());
        assert_eq!(read.strangers, 2);
        let numbers: Vec<usize> = read.unreadable.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 6, 7]);
        assert_eq!(
            read.unreadable[0].1,
            "the statement's predicateType is `urn:other`, not `urn:polpo:rebuild:v1`"
        );
    }
}
