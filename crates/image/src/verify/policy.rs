//! What must be said of an image, and by whom, as a file says it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attest::intoto::predicate_type;
use attest::sigstore::{Authorities, Matcher, Signers};
use attest::slsa;
use attest::trust::Trust;
use base::{Age, Digest, Epoch, InvalidAge, Problem, SourceText};
use key::PublicKey;
use yaml::{Decode, Decoder, Fields, Node, Spanned};

use super::{Finding, Stated};
use crate::attach::SIGNATURE;

/// Far more than a policy or a trusted root has.
const MAXIMUM_SIZE: u64 = 4 << 20;

/// A policy, with the keys and authorities that it names.
#[derive(Debug)]
pub struct Policy {
    /// The file's name, for reports.
    pub name: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// All whom it names as signers.
    pub trust: Trust,
    signers: BTreeMap<String, Known>,
    signed_by: Vec<String>,
    statements: Vec<Required>,
    slsa: Option<Level>,
    maximum_age: Option<Age>,
    /// How many must have built each package again, and the keys that count.
    pub rebuilders: Option<(u32, Vec<PathBuf>)>,
}

/// A signer, whose keys or identity were read.
#[derive(Debug)]
enum Known {
    Key(Digest),
    Identity(Signers),
}

/// A statement that must be there.
#[derive(Debug)]
struct Required {
    kind: String,
    /// By one of these; by anyone of the policy if there are none.
    by: Vec<String>,
}

#[derive(Debug)]
struct Level {
    /// Who must have signed the provenance.
    by: Vec<String>,
    minimum: u32,
    builders: BTreeMap<String, u32>,
}

/// The file as written.
struct Written {
    signers: BTreeMap<String, WrittenSigner>,
    trusted_root: Option<Spanned<String>>,
    logs: Option<Spanned<u32>>,
    signed_by: Vec<Spanned<String>>,
    statements: Vec<WrittenStatement>,
    slsa: Option<WrittenLevel>,
    maximum_age: Option<Spanned<String>>,
    rebuilt_by: Option<Spanned<u32>>,
    rebuilders: Vec<String>,
}

struct WrittenSigner {
    key: Option<Spanned<String>>,
    identity: Option<String>,
    identity_regexp: Option<Spanned<String>>,
    issuer: Option<String>,
    issuer_regexp: Option<Spanned<String>>,
    span: std::ops::Range<usize>,
}

struct WrittenStatement {
    kind: Spanned<String>,
    by: Vec<Spanned<String>>,
}

struct WrittenLevel {
    by: Option<Vec<Spanned<String>>>,
    level: u32,
    builders: BTreeMap<String, u32>,
}

impl Decode for Written {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Written> {
        let mut fields = Fields::of(node, "a policy", decoder)?;
        let signers = fields.required("signers", decoder);
        let signed_by = fields.required("signed-by", decoder);
        let written = Some(Written {
            trusted_root: fields.optional("trusted-root", decoder),
            logs: fields.optional("logs", decoder),
            statements: fields.or_default("statements", decoder),
            slsa: fields.optional("slsa", decoder),
            maximum_age: fields.optional("maximum-age", decoder),
            rebuilt_by: fields.optional("rebuilt-by", decoder),
            rebuilders: fields.or_default("rebuilders", decoder),
            signers: signers?,
            signed_by: signed_by?,
        });
        fields.finish(decoder);
        written
    }
}

impl Decode for WrittenSigner {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<WrittenSigner> {
        let mut fields = Fields::of(node, "a signer", decoder)?;
        let signer = WrittenSigner {
            key: fields.optional("key", decoder),
            identity: fields.optional("identity", decoder),
            identity_regexp: fields.optional("identity-regexp", decoder),
            issuer: fields.optional("issuer", decoder),
            issuer_regexp: fields.optional("issuer-regexp", decoder),
            span: node.span.clone(),
        };
        fields.finish(decoder);
        Some(signer)
    }
}

impl Decode for WrittenStatement {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<WrittenStatement> {
        // `- spdxjson` is short for `- type: spdxjson`.
        if node.text().is_some() {
            return Some(WrittenStatement {
                kind: Spanned::decode(node, decoder)?,
                by: Vec::new(),
            });
        }
        let mut fields = Fields::of(node, "a statement", decoder)?;
        let kind = fields.required("type", decoder);
        let by = fields.or_default("by", decoder);
        fields.finish(decoder);
        Some(WrittenStatement { kind: kind?, by })
    }
}

impl Decode for WrittenLevel {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<WrittenLevel> {
        let mut fields = Fields::of(node, "a level of SLSA", decoder)?;
        let by = fields.optional("by", decoder);
        let level = fields.required("level", decoder);
        let builders = fields.required("builders", decoder);
        fields.finish(decoder);
        Some(WrittenLevel {
            by,
            level: level?,
            builders: builders?,
        })
    }
}

impl Policy {
    /// Reads a policy, and the keys and trusted root that it names by paths from its own folder.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn load(path: &Path) -> Result<Policy, Vec<Problem>> {
        let name = path.display().to_string();
        let unreadable = |reason: String| {
            let message = format!("the policy {name} can't be read: {reason}");
            vec![Problem::error("policy", message)]
        };
        let bytes = store::read_bounded(path, MAXIMUM_SIZE)
            .map_err(|error| unreadable(error.to_string()))?;
        let digest = Digest::of(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is no UTF-8".to_owned()))?;
        let source = SourceText::new(name.clone(), text);
        let written: Written = yaml::decode(source.clone())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut reading = Reading {
            folder,
            decoder: Decoder::new(source),
            keys: Vec::new(),
            identities: Vec::new(),
        };
        let policy = reading.policy(name, digest, written);
        let problems = reading.decoder.finish();
        match policy {
            Some(policy) if problems.is_empty() => Ok(policy),
            _ => Err(problems),
        }
    }

    /// Holds what is said of an image to the policy. `now` is the time that ages are told from.
    /// Gives the SLSA level that was reached too, if the policy asks for one.
    pub fn check(&self, stated: &[Stated], now: Epoch) -> (Finding, Option<u32>) {
        let mut parts = Vec::new();
        let signatures = by(stated, SIGNATURE);
        let signed: Vec<&Stated> = self.said_by(&signatures, &self.signed_by);
        let names = self.signed_by.join(", ");
        parts.push(match signed.is_empty() {
            false => Finding::proven(format!("one of {names} has signed the image")),
            true => Finding::failed(format!("none of {names} has signed the image")),
        });
        for required in &self.statements {
            let found = by(stated, &required.kind);
            let (found, who) = match required.by.is_empty() {
                true => (found, "a signer of the policy".to_owned()),
                false => (self.said_by(&found, &required.by), required.by.join(" or ")),
            };
            let kind = &required.kind;
            parts.push(match found.is_empty() {
                false => Finding::proven(format!("{kind} is stated by {who}")),
                true => Finding::failed(format!("{kind} is not stated by {who}")),
            });
        }
        let mut reached = None;
        if let Some(level) = &self.slsa {
            let provenance = self.said_by(&by(stated, slsa::PREDICATE_TYPE), &level.by);
            let (finding, level) = level.check(&provenance);
            parts.push(finding);
            reached = level;
        }
        if let Some(maximum) = self.maximum_age {
            parts.push(age(&signed, maximum, now));
        }
        let title = format!("the policy {}", self.name);
        (Finding::group(title, parts), reached)
    }

    fn said_by<'s>(&self, stated: &[&'s Stated], names: &[String]) -> Vec<&'s Stated> {
        let known: Vec<&Known> = names
            .iter()
            .filter_map(|name| self.signers.get(name))
            .collect();
        let is_one = |stated: &&&Stated| {
            known.iter().any(|known| match known {
                Known::Key(id) => stated.keys.contains(id),
                Known::Identity(signers) => stated
                    .identity
                    .as_ref()
                    .is_some_and(|identity| signers.include(identity)),
            })
        };
        stated.iter().filter(is_one).copied().collect()
    }
}

fn by<'s>(stated: &'s [Stated], kind: &str) -> Vec<&'s Stated> {
    stated.iter().filter(|stated| stated.kind == kind).collect()
}

/// The latest signature whose time is proven must be young enough. A clock or log tells that a
/// signature was there, not that it was new; a certificate lives for minutes and tells both.
fn age(signed: &[&Stated], maximum: Age, now: Epoch) -> Finding {
    let limit = format!("at most {maximum} allowed");
    let certified = signed.iter().filter(|stated| stated.identity.is_some());
    let Some(latest) = certified.filter_map(|stated| stated.time).max() else {
        return Finding::failed(format!(
            "nothing proves how old the signature is ({limit}): only that of an identity can, since a \
             key's may be stamped again at any time"
        ));
    };
    let age = Age(now.0.saturating_sub(latest.0));
    let message = format!("it was signed {age} ago, {limit}");
    match age <= maximum {
        true => Finding::proven(message),
        false => Finding::failed(message),
    }
}

impl Level {
    /// The level is that of the builder whom the provenance names: it stands for what is known of it.
    fn check(&self, provenances: &[&Stated]) -> (Finding, Option<u32>) {
        let mut best: Option<(u32, String)> = None;
        let mut unknown = BTreeSet::new();
        for provenance in provenances {
            let builder = provenance.predicate["runDetails"]["builder"]["id"].as_str();
            let builder = builder.unwrap_or_default().to_owned();
            match self.builders.get(&builder) {
                Some(level) if best.as_ref().is_none_or(|(best, _)| level > best) => {
                    best = Some((*level, builder));
                }
                Some(_) => {}
                None => _ = unknown.insert(builder),
            }
        }
        let minimum = self.minimum;
        let level = best.as_ref().map(|(level, _)| *level);
        let finding = match best {
            Some((level, builder)) if level >= minimum => Finding::proven(format!(
                "it was built by {builder}, which stands for SLSA level {level}"
            )),
            Some((level, builder)) => Finding::failed(format!(
                "it was built by {builder}, which stands for SLSA level {level}, not {minimum}"
            )),
            None if unknown.is_empty() => Finding::failed(format!(
                "no provenance by {} says who built it (SLSA level {minimum})",
                self.by.join(" or ")
            )),
            None => {
                let unknown: Vec<String> = unknown.into_iter().collect();
                Finding::failed(format!(
                    "it was built by {}, of which the policy knows no SLSA level",
                    unknown.join(", ")
                ))
            }
        };
        (finding, level)
    }
}

/// A policy that is being read.
struct Reading<'f> {
    folder: &'f Path,
    decoder: Decoder,
    keys: Vec<PublicKey>,
    identities: Vec<Signers>,
}

impl Reading<'_> {
    fn policy(&mut self, name: String, digest: Digest, written: Written) -> Option<Policy> {
        let mut signers = BTreeMap::new();
        let declared: Vec<String> = written.signers.keys().cloned().collect();
        let nobody = written.signed_by.is_empty();
        for (name, signer) in written.signers {
            if let Some(known) = self.signer(&name, signer) {
                signers.insert(name, known);
            }
        }
        let mut statements = Vec::new();
        let signed_by = self.names(&declared, written.signed_by);
        for statement in written.statements {
            let kind = match predicate_type(&statement.kind) {
                Ok(kind) => kind.to_owned(),
                Err(error) => {
                    self.error(statement.kind.span(), error.to_string());
                    continue;
                }
            };
            let by = self.names(&declared, statement.by);
            statements.push(Required { kind, by });
        }
        let slsa = written.slsa.map(|slsa| Level {
            by: match slsa.by {
                Some(by) => self.names(&declared, by),
                None => signed_by.clone(),
            },
            minimum: slsa.level,
            builders: slsa.builders,
        });
        let authorities = written.trusted_root.and_then(|root| {
            let read = store::read_bounded(&self.folder.join(&*root), MAXIMUM_SIZE)
                .map_err(|error| error.to_string())
                .and_then(|bytes| {
                    Authorities::from_json(&bytes).map_err(|error| error.to_string())
                });
            match read {
                Ok(authorities) => Some(authorities),
                Err(reason) => {
                    let message = format!("the trusted root {} can't be used: {reason}", *root);
                    self.error(root.span(), message);
                    None
                }
            }
        });
        if authorities.is_none() && !self.identities.is_empty() {
            let message = "identities count by the word of authorities: name a `trusted-root`";
            self.decoder.problem(Problem::error("policy", message));
        }
        let logs = match written.logs {
            None => 0,
            Some(count) => {
                if authorities.is_none() {
                    let message = "logs count by the word of authorities: name a `trusted-root`";
                    self.error(count.span(), message.to_owned());
                }
                *count
            }
        };
        if nobody {
            let message = "`signed-by` names nobody, so that nothing could ever hold";
            self.decoder.problem(Problem::error("policy", message));
        }
        let maximum_age = match written.maximum_age {
            None => None,
            Some(text) => match text.parse() {
                Ok(age) => Some(age),
                Err(error) => {
                    let error: InvalidAge = error;
                    self.error(text.span(), error.to_string());
                    None
                }
            },
        };
        let trust = Trust::of_keys(std::mem::take(&mut self.keys));
        let trust = match authorities {
            Some(authorities) => {
                let authorities = authorities.demanding_logs(logs as usize);
                trust.and(authorities, std::mem::take(&mut self.identities))
            }
            None => trust,
        };
        let rebuilders = match (&written.rebuilt_by, written.rebuilders.is_empty()) {
            (None, true) => None,
            (Some(count), false) if **count > 0 => Some(**count),
            _ => {
                let message = "`rebuilt-by`, a number from 1 on, and `rebuilders` go together";
                self.decoder.problem(Problem::error("policy", message));
                None
            }
        };
        let folder = self.folder;
        let paths = written.rebuilders.iter().map(|path| folder.join(path));
        let paths: Vec<PathBuf> = paths.collect();
        Some(Policy {
            name,
            digest,
            trust,
            signers,
            signed_by,
            statements,
            slsa,
            maximum_age,
            rebuilders: rebuilders.map(|count| (count, paths)),
        })
    }

    fn error(&mut self, span: std::ops::Range<usize>, message: String) {
        self.decoder.error("policy", message, span, "");
    }

    /// The names of signers that there are.
    fn names(&mut self, declared: &[String], names: Vec<Spanned<String>>) -> Vec<String> {
        let mut known = Vec::new();
        for name in names {
            if declared.contains(&name) {
                known.push(name.value);
                continue;
            }
            let message = format!(
                "`{}` is none of the signers: {}",
                *name,
                declared.join(", ")
            );
            self.error(name.span(), message);
        }
        known
    }

    fn signer(&mut self, name: &str, written: WrittenSigner) -> Option<Known> {
        let is_identity = written.identity.is_some()
            || written.identity_regexp.is_some()
            || written.issuer.is_some()
            || written.issuer_regexp.is_some();
        if let (Some(path), false) = (&written.key, is_identity) {
            return match key::load_public(&self.folder.join(&**path)) {
                Ok(key) => {
                    let id = key.id();
                    self.keys.push(key);
                    Some(Known::Key(id))
                }
                Err(error) => {
                    self.error(path.span(), error.to_string());
                    None
                }
            };
        }
        let subject = self.matcher(written.identity, written.identity_regexp);
        let issuer = self.matcher(written.issuer, written.issuer_regexp);
        match (written.key, subject?, issuer?) {
            (None, Some(subject), Some(issuer)) => {
                let signers = Signers { subject, issuer };
                self.identities.push(signers.clone());
                Some(Known::Identity(signers))
            }
            _ => {
                let message = format!(
                    "the signer {name} is a `key`, or an `identity` with its `issuer` (or their `-regexp`)"
                );
                self.error(written.span, message);
                None
            }
        }
    }

    /// None if the pattern is wrong, which is told.
    fn matcher(
        &mut self,
        exact: Option<String>,
        pattern: Option<Spanned<String>>,
    ) -> Option<Option<Matcher>> {
        match (exact, pattern) {
            (Some(exact), None) => Some(Some(Matcher::Exact(exact))),
            (None, Some(pattern)) => match Matcher::pattern(&pattern) {
                Ok(matcher) => Some(Some(matcher)),
                Err(error) => {
                    self.error(pattern.span(), error.to_string());
                    None
                }
            },
            (None, None) => Some(None),
            (Some(_), Some(pattern)) => {
                let message = "either the exact text or the pattern, not both".to_owned();
                self.error(pattern.span(), message);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
