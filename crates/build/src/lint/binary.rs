use archive::tree::{Node, NodeKind, TreePath};
use base::Arch;

use super::finding::{Details, Foreign, Found, Permission};
use super::{LintError, Subject};

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

pub(super) fn machine(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let known = machines(subject.package.arch);
    let binaries = subject
        .elves()
        .filter(|(_, elf)| !known.contains(&elf.machine))
        .map(|(path, elf)| Foreign {
            path: path.to_string(),
            arch: elf.machine_name(),
        })
        .collect();
    Ok(Found::some(
        "contains binaries of other machines",
        Details::Machines { binaries },
    ))
}

/// Debugging information in packages that aren't there for it.
pub(super) fn stripped(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    if subject.is_called(&["-dbg", "-debug", "-debuginfo"]) {
        return Ok(Vec::new());
    }
    let binaries = subject
        .elves()
        .filter(|(path, elf)| {
            elf.has_debugging_information && !path.as_str().starts_with("usr/lib/debug/")
        })
        .map(|(path, _)| path.to_string())
        .collect();
    Ok(Found::some(
        "contains unstripped binaries",
        Details::Binaries { binaries },
    ))
}

fn regular_files<'s>(
    subject: &Subject<'s>,
    wanted: impl Fn(&Node) -> bool + 's,
) -> impl Iterator<Item = (&'s TreePath, &'s Node)> {
    subject.package.tree.iter().filter(move |(_, node)| {
        matches!(node.kind, NodeKind::File { .. } | NodeKind::HardLink { .. }) && wanted(node)
    })
}

fn permission(path: &TreePath, node: &Node, permissions: &[(u32, &'static str)]) -> Permission {
    let set = permissions.iter().filter(|(bits, _)| node.mode & bits != 0);
    Permission {
        path: path.to_string(),
        mode: format!("{:o}", node.mode),
        permissions: set.map(|(_, name)| *name).collect(),
    }
}

pub(super) fn special_bits(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let bits = [(0o4000, "setuid"), (0o2000, "setgid"), (0o1000, "sticky")];
    let files = regular_files(subject, |node| node.mode & 0o7000 != 0)
        .map(|(path, node)| permission(path, node, &bits))
        .collect();
    Ok(Found::some(
        "contains files with setuid, setgid or sticky bits",
        Details::Permissions { files },
    ))
}

pub(super) fn world_writable(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let bits = [(0o002, "world-writable"), (0o111, "executable")];
    let files = regular_files(subject, |node| node.mode & 0o002 != 0)
        .map(|(path, node)| permission(path, node, &bits))
        .collect();
    Ok(Found::some(
        "contains files that anybody may write",
        Details::Permissions { files },
    ))
}
