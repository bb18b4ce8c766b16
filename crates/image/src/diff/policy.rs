//! What the second image is held to: the rules of `--fail-on`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::model::{
    Aspect, Differences, FileFate, ImageDifferences, PackageFate, Pair, Right, Sizes,
};

/// More reasons than this are counted only.
const REASONS: usize = 100;

/// A rule, such as `setuid` or `size:+10%`. Its name is one of [`RULES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    check: &'static Check,
    limit: Option<Limit>,
}

/// A rule that an image breaks, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The rule as it was given.
    #[serde(serialize_with = "as_text")]
    pub rule: Rule,
    /// The machine whose image breaks it; none where it is about all.
    pub platform: Option<String>,
    /// Why, each in words.
    pub reasons: Vec<String>,
    /// How many more reasons there are.
    pub omitted: usize,
}

/// How large something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// So many hundredths of a percent more than before.
    Percent(u64),
    /// So many bytes more than before.
    More(u64),
    /// So many bytes.
    Bytes(u64),
}

#[derive(Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    about: &'static str,
    find: Find,
}

#[derive(Clone, Copy, Debug)]
enum Find {
    Image(fn(&ImageDifferences) -> Vec<String>),
    Size(&'static str, fn(&Sizes) -> Pair<u64>),
    Whole(fn(&Differences) -> Vec<String>),
}

impl PartialEq for Find {
    fn eq(&self, _: &Find) -> bool {
        // Names tell rules apart.
        true
    }
}

impl Eq for Find {}

/// Not a rule.
#[derive(Debug, thiserror::Error)]
pub enum UnknownRule {
    /// No rule has that name.
    #[error("`{name}` is no rule{}; the rules are {}", base::did_you_mean(name, names()).map(|known| format!(" (is `{known}` meant?)")).unwrap_or_default(), names().collect::<Vec<_>>().join(", "))]
    Name {
        /// What was given.
        name: String,
    },
    /// A limit that can't be read, or none where one is needed.
    #[error(
        "`{rule}` needs a limit: `{name}:+10%` or `{name}:+5MiB` more than before, `{name}:100MiB` in all"
    )]
    Limit {
        /// What was given.
        rule: String,
        /// The rule.
        name: &'static str,
    },
    /// A limit for what has no size.
    #[error("`{rule}`: {name} takes no limit")]
    NoLimit {
        /// What was given.
        rule: String,
        /// The rule.
        name: &'static str,
    },
}

/// The names of all rules and what each is broken by.
pub const RULES: &[(&str, &str)] = &{
    let mut rules = [("", ""); CHECKS.len()];
    let mut place = 0;
    while place < CHECKS.len() {
        rules[place] = (CHECKS[place].name, CHECKS[place].about);
        place += 1;
    }
    rules
};

fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name)
}

const CHECKS: [Check; 26] = [
    Check {
        name: "setuid",
        about: "a file is setuid or setgid that was not, or as somebody else",
        find: Find::Image(|image| rights(image, &[Right::Setuid, Right::Setgid])),
    },
    Check {
        name: "capability",
        about: "a file has capabilities that it had not",
        find: Find::Image(|image| rights(image, &[Right::Capability])),
    },
    Check {
        name: "world-writable",
        about: "everybody may write to a file, or to a folder that is not sticky, and might not before",
        find: Find::Image(|image| rights(image, &[Right::WorldWritable])),
    },
    Check {
        name: "mode",
        about: "a file that both have has another mode",
        find: Find::Image(|image| aspects(image, Aspect::Mode)),
    },
    Check {
        name: "owner",
        about: "a file that both have has another user or group",
        find: Find::Image(|image| aspects(image, Aspect::Owner)),
    },
    Check {
        name: "licence",
        about: "a package changed its licence, or brings one that no package had",
        find: Find::Image(licences),
    },
    Check {
        name: "removed-symbol",
        about: "a shared library, or a symbol that one exported, is gone",
        find: Find::Image(symbols),
    },
    Check {
        name: "new-package",
        about: "a package is added",
        find: Find::Image(|image| packages(image, &[PackageFate::Added])),
    },
    Check {
        name: "removed-package",
        about: "a package is gone",
        find: Find::Image(|image| packages(image, &[PackageFate::Removed])),
    },
    Check {
        name: "upgrade",
        about: "a package has a higher version",
        find: Find::Image(|image| packages(image, &[PackageFate::Upgraded])),
    },
    Check {
        name: "downgrade",
        about: "a package has a lower version",
        find: Find::Image(|image| packages(image, &[PackageFate::Downgraded])),
    },
    Check {
        name: "rebuild",
        about: "a package of the same version is another one",
        find: Find::Image(|image| packages(image, &[PackageFate::Rebuilt])),
    },
    Check {
        name: "new-file",
        about: "a file is added",
        find: Find::Image(|image| files(image, FileFate::Added)),
    },
    Check {
        name: "removed-file",
        about: "a file is gone",
        find: Find::Image(|image| files(image, FileFate::Removed)),
    },
    Check {
        name: "size",
        about: "all layers as they are sent are larger than the limit: size:+10%, size:+5MiB, size:100MiB",
        find: Find::Size("the layers as they are sent", |size| size.compressed),
    },
    Check {
        name: "unpacked-size",
        about: "all layers when unpacked are larger than the limit",
        find: Find::Size("the layers when unpacked", |size| size.unpacked),
    },
    Check {
        name: "config",
        about: "what is run, as whom or how differs: entrypoint, cmd, user, env, volumes, ports …",
        find: Find::Image(configuration),
    },
    Check {
        name: "label",
        about: "a label differs",
        find: Find::Image(|image| settings(image, "label ")),
    },
    Check {
        name: "annotation",
        about: "an annotation differs",
        find: Find::Image(|image| settings(image, "annotation ")),
    },
    Check {
        name: "root",
        about: "it runs as root and did not before",
        find: Find::Image(root),
    },
    Check {
        name: "sbom",
        about: "its SBOM is gone, or does not list a package that is installed",
        find: Find::Image(sbom),
    },
    Check {
        name: "unsigned",
        about: "nothing that refers to it, or to its index, is a signature (with --key or --trusted-root: a good one)",
        find: Find::Image(unsigned),
    },
    Check {
        name: "attestation",
        about: "a kind of attestation that referred to the first does not refer to the second",
        find: Find::Image(attestations),
    },
    Check {
        name: "platform",
        about: "a machine that the first is made for is missing",
        find: Find::Whole(|all| {
            let gone = all.platforms.removed.iter();
            gone.map(|platform| format!("{platform} is gone")).collect()
        }),
    },
    Check {
        name: "layer-count",
        about: "it has more layers than before",
        find: Find::Image(layer_count),
    },
    Check {
        name: "any",
        about: "anything differs that is compared",
        find: Find::Whole(|all| match all.equal {
            true => Vec::new(),
            false => vec!["the images differ".to_owned()],
        }),
    },
];

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Rule, UnknownRule> {
        let (name, limit) = match text.split_once(':') {
            Some((name, limit)) => (name, Some(limit)),
            None => (text, None),
        };
        // As others spell them.
        let name = match name {
            "license" => "licence",
            "setgid" => "setuid",
            "capabilities" => "capability",
            "symbols" | "symbol" => "removed-symbol",
            "removed-library" => "removed-symbol",
            "added-package" => "new-package",
            "added-file" => "new-file",
            other => other,
        };
        static ALL: [Check; CHECKS.len()] = CHECKS;
        let check = ALL.iter().find(|check| check.name == name);
        let check = check.ok_or_else(|| UnknownRule::Name {
            name: name.to_owned(),
        })?;
        let limit = match (check.find, limit) {
            (Find::Size(..), limit) => {
                let read = limit.and_then(Limit::parse);
                Some(read.ok_or(UnknownRule::Limit {
                    rule: text.to_owned(),
                    name: check.name,
                })?)
            }
            (_, None) => None,
            (_, Some(_)) => {
                return Err(UnknownRule::NoLimit {
                    rule: text.to_owned(),
                    name: check.name,
                });
            }
        };
        Ok(Rule { check, limit })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.check.name)?;
        match self.limit {
            None => Ok(()),
            Some(Limit::Percent(hundredths)) if hundredths % 100 == 0 => {
                write!(f, ":+{}%", hundredths / 100)
            }
            Some(Limit::Percent(hundredths)) => {
                write!(f, ":+{}.{:02}%", hundredths / 100, hundredths % 100)
            }
            Some(Limit::More(bytes)) => write!(f, ":+{bytes}"),
            Some(Limit::Bytes(bytes)) => write!(f, ":{bytes}"),
        }
    }
}

fn as_text<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rule)
}

impl Limit {
    fn parse(text: &str) -> Option<Limit> {
        if let Some(percent) = text.strip_suffix('%') {
            let (whole, part) = percent
                .strip_prefix('+')?
                .split_once('.')
                .unwrap_or((percent.strip_prefix('+')?, ""));
            let digits: String = part.chars().chain("00".chars()).take(2).collect();
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if whole.is_empty() || !is_number(whole) || !is_number(part) {
                return None;
            }
            let whole: u64 = whole.parse().ok()?;
            let hundredths: u64 = digits.parse().ok()?;
            return Some(Limit::Percent(
                whole.checked_mul(100)?.checked_add(hundredths)?,
            ));
        }
        match text.strip_prefix('+') {
            Some(more) => bytes(more).map(Limit::More),
            None => bytes(text).map(Limit::Bytes),
        }
    }

    /// The most that is allowed.
    fn most(self, before: u64) -> u64 {
        match self {
            Limit::Percent(hundredths) => {
                let more = u128::from(before) * u128::from(hundredths) / 10_000;
                u64::try_from(u128::from(before) + more).unwrap_or(u64::MAX)
            }
            Limit::More(more) => before.saturating_add(more),
            Limit::Bytes(bytes) => bytes,
        }
    }
}

/// `5MiB`, `5M`, `5MB`, `5000`: K, M and G are of 1024, as is usual for images; KB, MB and GB of 1000.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "K" | "KiB" | "k" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The rules that are broken.
pub(super) fn broken(rules: &[Rule], differences: &Differences) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut tell = |rule: &Rule, platform: Option<&String>, mut reasons: Vec<String>| {
        if reasons.is_empty() {
            return;
        }
        let omitted = reasons.len().saturating_sub(REASONS);
        reasons.truncate(REASONS);
        broken.push(Broken {
            rule: *rule,
            platform: platform.cloned(),
            reasons,
            omitted,
        });
    };
    for rule in rules {
        if let Find::Whole(find) = rule.check.find {
            tell(rule, None, find(differences));
            continue;
        }
        for image in &differences.images {
            let reasons = match (rule.check.find, rule.limit) {
                (Find::Image(find), _) => find(image),
                (Find::Size(what, size), Some(limit)) => {
                    let Pair { before, after } = size(&image.size);
                    let most = limit.most(before);
                    match after > most {
                        true => vec![format!(
                            "{what} have {after} bytes (before: {before}), and at most {most} are allowed"
                        )],
                        false => Vec::new(),
                    }
                }
                _ => Vec::new(),
            };
            tell(rule, Some(&image.platform), reasons);
        }
    }
    broken
}

fn rights(image: &ImageDifferences, kinds: &[Right]) -> Vec<String> {
    let gained = image.privileges.iter();
    gained
        .filter(|privilege| privilege.gained && kinds.contains(&privilege.right))
        .map(super::text::privilege)
        .collect()
}

fn aspects(image: &ImageDifferences, aspect: Aspect) -> Vec<String> {
    let changes = image.files.changes.iter();
    let mut reasons: Vec<String> = changes
        .filter(|change| change.aspects.contains(&aspect))
        .map(|change| super::text::aspect(change, aspect))
        .collect();
    if image.files.omitted > 0 {
        reasons.push(format!(
            "{} files that differ were not looked at: there are too many",
            image.files.omitted
        ));
    }
    reasons
}

fn files(image: &ImageDifferences, fate: FileFate) -> Vec<String> {
    let changes = image.files.changes.iter();
    changes
        .filter(|change| change.change == fate)
        .map(|change| change.path.clone())
        .collect()
}

fn licences(image: &ImageDifferences) -> Vec<String> {
    let changed = image.licences.changed.iter().map(|change| {
        format!(
            "{}: {}, before {}",
            change.package,
            super::text::or_none(&change.after),
            super::text::or_none(&change.before)
        )
    });
    let new = image
        .licences
        .new
        .iter()
        .map(|(licence, packages)| format!("{licence} is new, of {}", packages.join(", ")));
    changed.chain(new).collect()
}

fn symbols(image: &ImageDifferences) -> Vec<String> {
    let libraries = image.libraries.iter();
    libraries
        .filter(|library| library.may_break())
        .map(super::text::library)
        .collect()
}

fn packages(image: &ImageDifferences, fates: &[PackageFate]) -> Vec<String> {
    let changes = image.packages.iter();
    changes
        .filter(|change| fates.contains(&change.change))
        .map(super::text::package)
        .collect()
}

/// What is told of an image, not how it is run.
const DESCRIPTIVE: [&str; 5] = ["annotation ", "label ", "author", "created", "history"];

fn configuration(image: &ImageDifferences) -> Vec<String> {
    let settings = image.settings.iter();
    settings
        .filter(|setting| {
            !DESCRIPTIVE
                .iter()
                .any(|start| setting.key.starts_with(start))
        })
        .map(super::text::setting)
        .collect()
}

fn settings(image: &ImageDifferences, start: &str) -> Vec<String> {
    let settings = image.settings.iter();
    settings
        .filter(|setting| setting.key.starts_with(start))
        .map(super::text::setting)
        .collect()
}

fn root(image: &ImageDifferences) -> Vec<String> {
    let is_root = |user: &Option<String>| {
        let name = user.as_deref().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        ["", "0", "root"].contains(&name)
    };
    let users = image.settings.iter().find(|setting| setting.key == "user");
    match users {
        Some(user) if is_root(&user.after) && !is_root(&user.before) => {
            vec![super::text::setting(user)]
        }
        _ => Vec::new(),
    }
}

fn sbom(image: &ImageDifferences) -> Vec<String> {
    let documents = image.sbom.documents;
    let mut reasons = Vec::new();
    if documents.before > 0 && documents.after == 0 {
        reasons.push("it has no SBOM any more".to_owned());
    }
    let unlisted = image.sbom.unlisted.iter();
    reasons.extend(unlisted.map(|package| format!("no SBOM beside it lists {package}")));
    reasons
}

fn unsigned(image: &ImageDifferences) -> Vec<String> {
    match image.statements.signed.after {
        true => Vec::new(),
        false => vec![format!("{} is not signed", image.manifest.after)],
    }
}

fn attestations(image: &ImageDifferences) -> Vec<String> {
    let gone = image.statements.kinds().removed.into_iter();
    gone.filter(|kind| kind.starts_with("attestation"))
        .map(|kind| format!("it has no {kind} any more"))
        .collect()
}

fn layer_count(image: &ImageDifferences) -> Vec<String> {
    let layers = &image.size.layers;
    let count = |own: usize| image.size.shared_layers + own;
    let (before, after) = (count(layers.removed.len()), count(layers.added.len()));
    match after > before {
        true => vec![format!("it has {after} layers, before {before}")],
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_strangers_refused() {
        let shown = |text: &str| match text.parse::<Rule>() {
            Ok(rule) => rule.to_string(),
            Err(error) => error.to_string(),
        };
        let texts = [
            "setuid",
            "license",
            "size:+10%",
            "size:+2.5%",
            "size:+5MiB",
            "unpacked-size:1GB",
            "size",
            "size:10%",
            "size:+1.x%",
            "size:+5 MiB",
            "setuid:+1",
            "seduid",
            "",
        ];
        let lines: Vec<String> = texts.into_iter().map(shown).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        setuid
        licence
        size:+10%
        size:+2.50%
        size:+5242880
        unpacked-size:1000000000
        `size` needs a limit: `size:+10%` or `size:+5MiB` more than before, `size:100MiB` in all
        `size:10%` needs a limit: `size:+10%` or `size:+5MiB` more than before, `size:100MiB` in all
        `size:+1.x%` needs a limit: `size:+10%` or `size:+5MiB` more than before, `size:100MiB` in all
        `size:+5 MiB` needs a limit: `size:+10%` or `size:+5MiB` more than before, `size:100MiB` in all
        `setuid:+1`: setuid takes no limit
        `seduid` is no rule (is `setuid` meant?); the rules are setuid, capability, world-writable, mode, owner, licence, removed-symbol, new-package, removed-package, upgrade, downgrade, rebuild, new-file, removed-file, size, unpacked-size, config, label, annotation, root, sbom, unsigned, attestation, platform, layer-count, any
        `` is no rule; the rules are setuid, capability, world-writable, mode, owner, licence, removed-symbol, new-package, removed-package, upgrade, downgrade, rebuild, new-file, removed-file, size, unpacked-size, config, label, annotation, root, sbom, unsigned, attestation, platform, layer-count, any
        ");
    }

    #[test]
    fn limits_are_exact() {
        let most = |text: &str, before| Limit::parse(text).unwrap().most(before);
        assert_eq!(most("+10%", 1000), 1100);
        assert_eq!(most("+0.01%", 10_000), 10_001);
        assert_eq!(most("+1K", 1000), 2024);
        assert_eq!(most("1K", 5000), 1024);
        assert_eq!(most("+18446744073709551615", 5), u64::MAX);
        assert_eq!(Limit::parse("+99999999999999999999%"), None);
    }
}
