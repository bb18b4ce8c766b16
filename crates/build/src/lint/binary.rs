use archive::tree::{Node, NodeKind, TreePath};
use base::Arch;

use super::{Finding, LintError, Subject};

/// `e_machine` of the machines every distribution builds for, and of the package's own.
fn machines(arch: Arch) -> Vec<u16> {
    let own = match arch {
        Arch::Aarch64 => 183,
        Arch::Armhf | Arch::Armv7 => 40,
        Arch::Loongarch64 => 258,
        Arch::Ppc64le => 21,
        Arch::Riscv64 => 243,
        Arch::S390x => 22,
        Arch::X86 => 3,
        Arch::X86_64 => 62,
    };
    vec![62, 183, own]
}

pub(super) fn machine(subject: &Subject<'_>) -> Result<Vec<Finding>, LintError> {
    let known = machines(subject.package.arch);
    let paths = subject
        .elves
        .iter()
        .filter(|(_, elf)| !known.contains(&elf.machine))
        .map(|(path, elf)| format!("{path} ({})", elf.machine_name()))
        .collect();
    Ok(Finding::at("contains binaries of other machines", paths))
}

/// Debugging information in packages that aren't there for it.
pub(super) fn stripped(subject: &Subject<'_>) -> Result<Vec<Finding>, LintError> {
    if subject.is_called(&["-dbg", "-debug", "-debuginfo"]) {
        return Ok(Vec::new());
    }
    let paths = subject
        .elves
        .iter()
        .filter(|(path, elf)| {
            elf.has_debugging_information && !path.as_str().starts_with("usr/lib/debug/")
        })
        .map(|(path, _)| path.to_string())
        .collect();
    Ok(Finding::at("contains unstripped binaries", paths))
}

fn regular_files<'s>(
    subject: &Subject<'s>,
    wanted: impl Fn(&Node) -> bool + 's,
) -> impl Iterator<Item = (&'s TreePath, &'s Node)> {
    subject.package.tree.iter().filter(move |(_, node)| {
        matches!(node.kind, NodeKind::File { .. } | NodeKind::HardLink { .. }) && wanted(node)
    })
}

pub(super) fn special_bits(subject: &Subject<'_>) -> Result<Vec<Finding>, LintError> {
    let paths = regular_files(subject, |node| node.mode & 0o7000 != 0)
        .map(|(path, node)| format!("{path} ({:04o})", node.mode))
        .collect();
    Ok(Finding::at(
        "contains files with setuid, setgid or sticky bits",
        paths,
    ))
}

pub(super) fn world_writable(subject: &Subject<'_>) -> Result<Vec<Finding>, LintError> {
    let paths = regular_files(subject, |node| node.mode & 0o002 != 0)
        .map(|(path, node)| format!("{path} ({:04o})", node.mode))
        .collect();
    Ok(Finding::at("contains files that anybody may write", paths))
}
