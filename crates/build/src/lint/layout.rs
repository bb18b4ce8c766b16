use std::collections::BTreeMap;

use archive::tree::{NodeKind, TreePath};
use base::{Arch, Digest};

use super::finding::{Copies, Details, Foreign, Found, Platform};
use super::{LintError, Subject, extension};

type Findings = Result<Vec<Found>, LintError>;

fn below(path: &TreePath, folders: &[&str]) -> bool {
    folders.iter().any(|folder| {
        path.as_str()
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

fn folder(path: &TreePath) -> &str {
    path.as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
}

/// Findings of everything but directories in `folder`, unless the package's name ends as given.
fn in_folder(subject: &Subject<'_>, name: &str, exempt: &[&str]) -> Findings {
    if subject.is_called(exempt) {
        return Ok(Vec::new());
    }
    let paths = subject.files(|path| below(path, &[name]));
    Ok(Found::at(&format!("installs files in /{name}"), paths))
}

fn by_extension(subject: &Subject<'_>, wanted: &str, what: &str, exempt: &[&str]) -> Findings {
    if subject.is_called(exempt) {
        return Ok(Vec::new());
    }
    let paths = subject.files(|path| extension(path) == wanted);
    Ok(Found::at(&format!("contains {what}"), paths))
}

pub(super) fn dev(subject: &Subject<'_>) -> Findings {
    in_folder(subject, "dev", &[])
}

pub(super) fn var_empty(subject: &Subject<'_>) -> Findings {
    in_folder(subject, "var/empty", &[])
}

pub(super) fn opt(subject: &Subject<'_>) -> Findings {
    in_folder(subject, "opt", &["-compat"])
}

pub(super) fn srv(subject: &Subject<'_>) -> Findings {
    in_folder(subject, "srv", &["-compat"])
}

pub(super) fn usr_local(subject: &Subject<'_>) -> Findings {
    in_folder(subject, "usr/local", &["-compat"])
}

pub(super) fn dll(subject: &Subject<'_>) -> Findings {
    by_extension(subject, ".dll", "libraries for Windows", &["-dev"])
}

pub(super) fn dylib(subject: &Subject<'_>) -> Findings {
    by_extension(subject, ".dylib", "libraries for macOS", &["-dev"])
}

pub(super) fn object(subject: &Subject<'_>) -> Findings {
    by_extension(subject, ".o", "object files", &[])
}

pub(super) fn libtool(subject: &Subject<'_>) -> Findings {
    by_extension(subject, ".la", "libtool archives", &[])
}

pub(super) fn static_library(subject: &Subject<'_>) -> Findings {
    by_extension(subject, ".a", "static libraries", &["-dev", "-static"])
}

pub(super) fn cuda(subject: &Subject<'_>) -> Findings {
    let paths = subject.files(|path| {
        let name = path.file_name();
        let version = ["libcuda.so", "libnvidia-ml.so"]
            .iter()
            .find_map(|library| name.strip_prefix(library));
        folder(path) == "usr/lib" && version.is_some_and(is_version_suffix)
    });
    Ok(Found::at("contains libraries of the CUDA driver", paths))
}

/// Nothing, or `.1`, `.1.2` …
fn is_version_suffix(suffix: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    suffix.is_empty()
        || suffix
            .strip_prefix('.')
            .is_some_and(|rest| rest.split('.').all(digits))
}

pub(super) fn documentation(subject: &Subject<'_>) -> Findings {
    if subject.is_called(&["-doc"]) {
        return Ok(Vec::new());
    }
    let paths = subject.files(|path| {
        let endings = ["README", "READ.ME", "READ", "TODO", "CREDITS"];
        let section = extension(path).strip_prefix('.').is_some_and(|rest| {
            let mut letters = rest.chars();
            letters.next().is_some_and(|letter| letter.is_ascii_digit())
                && letters
                    .next()
                    .is_some_and(|letter| letter.is_ascii_lowercase())
                && letters.next().is_none()
        });
        section
            || endings.iter().any(|ending| path.as_str().ends_with(ending))
            || [".md", ".doc", ".docx", ".rst"].contains(&extension(path))
    });
    Ok(Found::at("contains documentation", paths))
}

pub(super) fn manual(subject: &Subject<'_>) -> Findings {
    if subject.is_called(&["-doc"]) {
        return Ok(Vec::new());
    }
    let folders = [
        "usr/share/man",
        "usr/local/share/man",
        "usr/man",
        "usr/share/info",
        "usr/local/share/info",
    ];
    let paths = subject.files(|path| below(path, &folders));
    Ok(Found::at("contains manual or info pages", paths))
}

pub(super) fn info_index(subject: &Subject<'_>) -> Findings {
    let paths = subject.files(|path| {
        let path = path.as_str();
        path == "usr/share/info/dir" || path.starts_with("usr/share/info/dir/")
    });
    Ok(Found::at("contains the index of info pages", paths))
}

pub(super) fn sbom(subject: &Subject<'_>) -> Findings {
    let paths = subject
        .files(|path| folder(path) == "var/lib/db/sbom" && !path.as_str().ends_with(".spdx.json"));
    Ok(Found::at(
        "installs other files among the SPDX documents",
        paths,
    ))
}

pub(super) fn empty(subject: &Subject<'_>) -> Findings {
    let files = subject.files(|path| !below(path, &["var/lib/db/sbom"]));
    if !files.is_empty() || subject.package.no_provides {
        return Ok(Vec::new());
    }
    Ok(vec![Found {
        message: "contains no files".to_owned(),
        details: Details::None,
    }])
}

pub(super) fn temporary(subject: &Subject<'_>) -> Findings {
    let tree = subject.package.tree;
    let made_at_start = tree
        .iter()
        .any(|(path, _)| below(path, &["usr/lib/tmpfiles.d"]));
    let paths = tree
        .iter()
        .filter(|(path, node)| {
            let file = !node.is_directory();
            below(path, &["tmp", "var/tmp"]) && file
                || below(path, &["var/run"])
                || below(path, &["run"]) && (file || !made_at_start)
        })
        .map(|(path, _)| path.to_string())
        .collect();
    Ok(Found::at("installs to temporary folders", paths))
}

pub(super) fn merged_usr(subject: &Subject<'_>) -> Findings {
    let folders = ["bin", "sbin", "lib", "lib64", "usr/sbin"];
    let paths = subject
        .package
        .tree
        .iter()
        .filter(|(path, node)| {
            let link = matches!(node.kind, NodeKind::Symlink { .. });
            folders.contains(&path.as_str()) && !link || below(path, &folders)
        })
        .map(|(path, _)| path.to_string())
        .collect();
    Ok(Found::at(
        "installs where the system has links into /usr",
        paths,
    ))
}

fn uses(subject: &Subject<'_>, pipelines: &[&str]) -> bool {
    // Without a recipe there is nothing that could have tests.
    subject
        .package
        .tests
        .is_none_or(|tests| tests.iter().any(|test| pipelines.contains(&test.as_str())))
}

pub(super) fn untested_modules(subject: &Subject<'_>) -> Findings {
    if uses(subject, &["test/pkgconf", "test/tw/pkgconf"]) {
        return Ok(Vec::new());
    }
    let paths = subject.files(|path| below(path, &["usr/lib/pkgconfig", "usr/share/pkgconfig"]));
    Ok(Found::at("contains untested pkg-config modules", paths))
}

pub(super) fn untested_libraries(subject: &Subject<'_>) -> Findings {
    if uses(subject, &["test/ldd-check", "test/tw/ldd-check"]) {
        return Ok(Vec::new());
    }
    let paths = subject.files(|path| {
        let name = path.file_name();
        name.rfind(".so")
            .and_then(|at| name.get(at + 3..))
            .is_some_and(is_version_suffix)
    });
    Ok(Found::at("contains untested shared libraries", paths))
}

/// Whether `word` stands in `text`, not within a longer word; digits may follow it.
fn mentions(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let before = text.get(..start).and_then(|text| text.chars().next_back());
        let after = text
            .get(start + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphabetic)
    })
}

pub(super) fn other_systems(subject: &Subject<'_>) -> Findings {
    const NAMES: [(&str, &str); 10] = [
        ("darwin", "macos"),
        ("macos", "macos"),
        ("mac_os", "macos"),
        ("mac-os", "macos"),
        ("osx", "macos"),
        ("os_x", "macos"),
        ("os-x", "macos"),
        ("windows", "windows"),
        ("win32", "windows"),
        ("win64", "windows"),
    ];
    let references = subject
        .files(|_| true)
        .into_iter()
        .filter_map(|path| {
            let lower = path.to_lowercase();
            let (_, platform) = NAMES.iter().find(|(name, _)| mentions(&lower, name))?;
            Some(Platform { path, platform })
        })
        .collect();
    Ok(Found::some(
        "contains files for other operating systems",
        Details::Platforms { references },
    ))
}

/// Names of machines that only few distributions build for, and the architectures they are fine for.
const MACHINES: [(&str, &[Arch]); 19] = [
    ("i386", &[Arch::X86]),
    ("i686", &[Arch::X86]),
    ("x86_32", &[Arch::X86]),
    ("x86-32", &[Arch::X86]),
    ("ppc64", &[Arch::Ppc64le]),
    ("ppc64le", &[Arch::Ppc64le]),
    ("powerpc", &[Arch::Ppc64le]),
    ("s390x", &[Arch::S390x]),
    ("s390", &[Arch::S390x]),
    ("mips", &[]),
    ("mipsel", &[]),
    ("mips64", &[]),
    ("riscv", &[Arch::Riscv64]),
    ("riscv64", &[Arch::Riscv64]),
    ("sparc", &[]),
    ("sparc64", &[]),
    ("ia64", &[]),
    ("m68k", &[]),
    ("loongarch64", &[Arch::Loongarch64]),
];

pub(super) fn other_machines(subject: &Subject<'_>) -> Findings {
    let supported = ["aarch64", "arm64", "amd64", "x86_64", "x86-64"];
    let arch = subject.package.arch;
    let elsewhere = |path: &str| {
        let path = path.to_lowercase();
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let separated = |machine: &str| {
            name.match_indices(machine).any(|(start, _)| {
                let before = name.get(..start).unwrap_or_default();
                let after = name.get(start + machine.len()..).unwrap_or_default();
                before.ends_with(['-', '_', '.'])
                    && (after.is_empty() || after.starts_with(['-', '_', '.']))
            })
        };
        let mut others = MACHINES.iter().filter(|(_, own)| !own.contains(&arch));
        let found = others.find(|(machine, _)| {
            folders.split('/').any(|folder| folder == *machine)
                || separated(machine) && !supported.iter().any(|known| path.contains(known))
        });
        found.map(|(machine, _)| (*machine).to_owned())
    };
    let files = subject
        .files(|_| true)
        .into_iter()
        .filter_map(|path| {
            let arch = elsewhere(&path)?;
            Some(Foreign { path, arch })
        })
        .collect();
    Ok(Found::some(
        "contains files for other machines",
        Details::Architectures { files },
    ))
}

/// Whether a file's name is that of a licence's text.
pub(crate) fn is_licence(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = [
        "license",
        "licence",
        "unlicense",
        "unlicence",
        "copying",
        "copyright",
        "ofl",
        "patents",
    ];
    name.split(['-', '_', '.'])
        .take(2)
        .any(|part| words.contains(&part))
}

pub(super) fn duplicate(subject: &Subject<'_>) -> Findings {
    let mut alike: BTreeMap<(&str, Digest), Vec<String>> = BTreeMap::new();
    // Only files that have a name and a size in common have a digest.
    for (path, facts) in subject.survey.iter() {
        if let Some(digest) = facts.digest {
            let paths = alike.entry((path.file_name(), digest)).or_default();
            paths.push(path.to_string());
        }
    }
    let tree = subject.package.tree;
    let mut sets = Vec::new();
    for ((name, _), paths) in alike {
        let (Some(first), 2..) = (paths.first(), paths.len()) else {
            continue;
        };
        let size = tree.get(first).map_or(0, |node| node.size());
        sets.push(Copies {
            basename: name.to_owned(),
            count: paths.len(),
            size_bytes: size,
            wasted_bytes: size * (paths.len() as u64 - 1),
            paths,
        });
    }
    sets.sort_by(|one: &Copies, other: &Copies| {
        (other.wasted_bytes, &one.paths).cmp(&(one.wasted_bytes, &other.paths))
    });
    Ok(sets
        .into_iter()
        .map(|set| Found {
            message: format!(
                "contains {} copies of `{}`, which waste {} bytes",
                set.count, set.basename, set.wasted_bytes
            ),
            details: Details::Duplicates {
                duplicates: vec![set],
            },
        })
        .collect())
}
