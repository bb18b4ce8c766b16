//! An apk index of a real distribution's size, made from the lists of the host's apt: what
//! measurements of indexes, solving and their like are taken on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use apk::dependency::{Constraint, Dependency, Identity};
use apk::index::{FILE_NAME, Index, IndexEntry};
use apk::package::PackageInfo;
use apk::signature::Signer;
use apk::version::{Operator, Version};
use base::{Arch, Epoch, Sha1};
use distro::seed::{self, Relation, agrees, map_version};
use store::Store;
use store::apt::paragraph::{Paragraph, Paragraphs};
use store::apt::{Apt, Lists};

pub(crate) const USAGE: &str = "generate-index FOLDER [--arch ARCH] [--suite SUITE]… \
     [--packages FILE]… [--signing-key KEY]
            write FOLDER/ARCH/APKINDEX.tar.gz, made from apt's lists of the host's
            suites, of those named, or from the text of FILEs in their place";

/// When the index says it was made: its bytes depend on the lists alone.
const EPOCH: Epoch = Epoch(1_700_000_000);

/// Descriptions are one short line in indexes.
const DESCRIPTION: usize = 120;

struct Arguments {
    folder: PathBuf,
    arch: Arch,
    suites: Vec<String>,
    packages: Vec<PathBuf>,
    signer: Option<Signer>,
}

impl Arguments {
    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let mut folder = None;
        let mut arguments = Arguments {
            folder: PathBuf::new(),
            arch: Arch::host(),
            suites: Vec::new(),
            packages: Vec::new(),
            signer: None,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word {
                "--arch" => {
                    arguments.arch = value()?.parse().map_err(|error| format!("{error}"))?;
                }
                "--suite" => arguments.suites.push(value()?.to_owned()),
                "--packages" => arguments.packages.push(value()?.into()),
                "--signing-key" => {
                    let path = Path::new(value()?);
                    let key =
                        key::load_private(path, || None).map_err(|error| error.to_string())?;
                    let signer = Signer::of_file(path, key);
                    arguments.signer = Some(signer.map_err(|error| error.to_string())?);
                }
                word if word.starts_with('-') => return Err(format!("{word} is not known")),
                word if folder.is_none() => folder = Some(PathBuf::from(word)),
                word => return Err(format!("`{word}`: one folder is enough")),
            }
        }
        arguments.folder = folder.ok_or("no folder is named")?;
        Ok(arguments)
    }
}

pub(crate) fn generate(words: &[&str]) -> Result<String, String> {
    let arguments = Arguments::parse(words).map_err(|error| format!("{error}\n{USAGE}"))?;
    let texts = texts(&arguments)?;
    let index = Index {
        description: "made from a distribution's list".to_owned(),
        entries: entries(&texts, arguments.arch),
        ..Index::default()
    };
    let path = arguments.folder.join(arguments.arch.apk()).join(FILE_NAME);
    index
        .write(&path, arguments.signer.as_ref(), EPOCH)
        .map_err(|error| error.to_string())?;
    let (count, text) = (index.entries.len(), index.to_text().len());
    Ok(format!(
        "{}: {count} entries, {text} bytes of text",
        path.display()
    ))
}

fn texts(arguments: &Arguments) -> Result<Vec<String>, String> {
    if !arguments.packages.is_empty() {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        return arguments.packages.iter().map(read).collect();
    }
    let store = Store::default_root()
        .and_then(Store::open)
        .map_err(|error| error.to_string())?;
    let lists = Lists::Packages(arguments.arch);
    Apt::open(&store, lists, &arguments.suites, false)
        .and_then(|apt| apt.list_texts())
        .map_err(|error| error.to_string())
}

/// The packages of the lists: the first of a name, sorted by name.
fn entries(texts: &[String], arch: Arch) -> Vec<IndexEntry> {
    let mut packages: BTreeMap<&str, Paragraph<'_>> = BTreeMap::new();
    for paragraph in texts.iter().flat_map(|text| Paragraphs::of(text)) {
        if let Some(name) = paragraph.get("Package") {
            packages.entry(name).or_insert(paragraph);
        }
    }
    let mut providers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, paragraph) in &packages {
        for provided in relations(paragraph, "Provides") {
            providers.entry(provided.name).or_default().insert(name);
        }
    }
    let list = List {
        packages: &packages,
        providers: &providers,
    };
    let entries = packages.iter().map(|(name, paragraph)| {
        let text = |field| paragraph.get(field).unwrap_or_default();
        let number = |field| text(field).parse::<u64>().unwrap_or(0);
        let origin = text("Source").split(' ').next().unwrap_or_default();
        let info = PackageInfo {
            name: (*name).to_owned(),
            version: list.version(name).unwrap_or_default(),
            arch: arch.apk().to_owned(),
            installed_size: number("Installed-Size") * 1024,
            origin: if origin.is_empty() { name } else { origin }.to_owned(),
            description: first_line(text("Description")),
            url: text("Homepage").to_owned(),
            commit: Sha1::of(text("Filename").as_bytes()).to_string(),
            maintainer: text("Maintainer").to_owned(),
            build_time: Some(EPOCH.0),
            depends: list.depends(name, paragraph),
            provides: list.provides(paragraph),
            install_if: list.install_if(name),
            provider_priority: list.priority(paragraph),
            ..PackageInfo::default()
        };
        IndexEntry {
            identity: Identity::Sha1(Sha1::of(text("SHA256").as_bytes())),
            size: number("Size"),
            info,
        }
    });
    entries.collect()
}

fn first_line(description: &str) -> String {
    let line = description.lines().next().unwrap_or_default();
    line.chars().take(DESCRIPTION).collect()
}

/// The first alternative of each relation of a field.
fn relations(paragraph: &Paragraph<'_>, field: &str) -> Vec<Relation> {
    let groups = Relation::parse(paragraph.get(field).unwrap_or_default());
    let first = |group: Vec<Relation>| group.into_iter().next();
    groups.into_iter().filter_map(first).collect()
}

struct List<'l, 't> {
    packages: &'l BTreeMap<&'t str, Paragraph<'t>>,
    providers: &'l BTreeMap<String, BTreeSet<&'t str>>,
}

impl List<'_, '_> {
    /// A package's version in apk's grammar.
    fn version(&self, name: &str) -> Option<String> {
        let version = self.packages.get(name)?.get("Version")?;
        Some(map_version(version).0)
    }

    fn depends(&self, name: &str, paragraph: &Paragraph<'_>) -> Vec<Dependency> {
        let mut terms: BTreeMap<String, Dependency> = BTreeMap::new();
        for field in ["Pre-Depends", "Depends"] {
            for relation in relations(paragraph, field) {
                if relation.name != name {
                    let term = self.term(relation);
                    terms.insert(term.to_string(), term);
                }
            }
        }
        for relation in relations(paragraph, "Conflicts") {
            // A package gets along with what it provides itself; apk's has no version there.
            let other = self.packages.contains_key(relation.name.as_str());
            let term = self.term(relation);
            if other && term.constraint.is_some() {
                let term = Dependency {
                    conflict: true,
                    ..term
                };
                terms.insert(term.to_string(), term);
            }
        }
        terms.into_values().collect()
    }

    /// With its constraint, if apk orders the versions as the list's distribution does.
    fn term(&self, relation: Relation) -> Dependency {
        let offered = self.packages.get(relation.name.as_str());
        let offered = offered.and_then(|paragraph| paragraph.get("Version"));
        let constraint = relation.constraint.and_then(|(operator, named)| {
            let operator = match operator {
                seed::Operator::Less => Operator::Less,
                seed::Operator::AtMost => Operator::LessOrEqual,
                seed::Operator::Equal => Operator::Equal,
                seed::Operator::AtLeast => Operator::GreaterOrEqual,
                seed::Operator::Greater => Operator::Greater,
            };
            let version = Version::parse(&map_version(&named).0).ok()?;
            agrees(offered?, &named).then_some(Constraint::Version(operator, version))
        });
        Dependency {
            constraint,
            ..Dependency::any(relation.name)
        }
    }

    /// A name that only one package provides is its own; of those that several provide, none is.
    /// Where a package has the name already, apk would not let both be installed.
    fn provides(&self, paragraph: &Paragraph<'_>) -> Vec<Dependency> {
        let mut terms: BTreeMap<String, Dependency> = BTreeMap::new();
        for relation in relations(paragraph, "Provides") {
            let name = relation.name.as_str();
            if self.packages.contains_key(name) {
                continue;
            }
            let several = self.providers.get(name).is_some_and(|all| all.len() > 1);
            let named = relation
                .constraint
                .as_ref()
                .map(|(_, named)| named.as_str());
            let version = named.or(paragraph.get("Version"));
            let version = version.and_then(|version| Version::parse(&map_version(version).0).ok());
            let term = match version.filter(|_| !several) {
                Some(version) => Dependency::exact(name, version),
                None => Dependency::any(name),
            };
            terms.insert(term.to_string(), term);
        }
        terms.into_values().collect()
    }

    /// A package's documentation comes with it where `docs` is wanted.
    fn install_if(&self, name: &str) -> Vec<Dependency> {
        let Some(of) = name.strip_suffix("-doc") else {
            return Vec::new();
        };
        let version = self
            .version(of)
            .filter(|_| self.version(of) == self.version(name));
        let version = version.and_then(|version| Version::parse(&version).ok());
        version.map_or_else(Vec::new, |version| {
            vec![Dependency::exact(of, version), Dependency::any("docs")]
        })
    }

    /// Among the providers of a name, the one that more systems have.
    fn priority(&self, paragraph: &Paragraph<'_>) -> Option<u64> {
        let provides = paragraph.get("Provides").is_some();
        provides.then(|| match paragraph.get("Priority") {
            Some("required") => 50,
            Some("important") => 40,
            Some("standard") => 30,
            Some("optional") => 20,
            _ => 10,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_an_index() {
        let text = "Package: a\nVersion: 1:2.0-3\nInstalled-Size: 5\nMaintainer: A <a@example.org>\n\
            Pre-Depends: c (>= 1.0~rc1)\nDepends: b (>= 1.0-1) | x, v, gone (= 3)\n\
            Conflicts: v, b (<< 0.5)\nSource: src (2.0)\nDescription: first\n second\nSize: 7\n\
            Filename: pool/a.deb\nSHA256: 01\n\n\
            Package: a-doc\nVersion: 1:2.0-3\nSize: 1\nFilename: pool/d.deb\nSHA256: 04\n\n\
            Package: b\nVersion: 1.0-2\nProvides: v, only, w (= 4)\nPriority: standard\nSize: 8\n\
            Filename: pool/b.deb\nSHA256: 02\n\nPackage: b\nVersion: 0.9\n\n\
            Package: c\nVersion: 1:1.0\nProvides: v, b\nSize: 9\nFilename: pool/c.deb\nSHA256: 03\n";
        let index = Index {
            description: String::new(),
            entries: entries(&[text.to_owned()], Arch::X86_64),
            ..Index::default()
        };
        let text = index.to_text();
        let shown = text
            .lines()
            .filter(|line| !line.starts_with(['C', 'c', 't']));
        insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r"
        P:a
        V:2.0_rc-r300000000
        A:x86_64
        S:7
        I:5120
        T:first
        U:
        L:
        o:src
        m:A <a@example.org>
        D:!b<0.5_rc-r0 b>=1.0_rc-r100000000 c gone v

        P:a-doc
        V:2.0_rc-r300000000
        A:x86_64
        S:1
        I:0
        T:
        U:
        L:
        o:a-doc
        i:a=2.0_rc-r300000000 docs

        P:b
        V:1.0_rc-r200000000
        A:x86_64
        S:8
        I:0
        T:
        U:
        L:
        o:b
        k:30
        p:only=1.0_rc-r200000000 v w=4_rc-r0

        P:c
        V:1.0_rc-r0
        A:x86_64
        S:9
        I:0
        T:
        U:
        L:
        o:c
        k:10
        p:v
        ");
        assert_eq!(Index::parse(&text).unwrap(), index.entries);
    }
}
