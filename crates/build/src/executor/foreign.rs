//! How this machine runs programs of another architecture: the kernel hands them to an emulator
//! that is registered for their ELF header (Documentation/admin-guide/binfmt-misc.rst). If none is that
//! guests can use, one is registered for the sandbox alone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use base::Arch;

use super::ExecuteError;
use crate::sandbox::{Emulator, Runner};

/// Where emulators are registered.
const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";

/// Sees to it that programs of `arch` run in guests here: with the emulator that the sandbox has to
/// register, if that is what it takes.
pub(super) fn emulator(arch: Arch, runner: &Runner) -> Result<Option<Emulator>, ExecuteError> {
    let missing = match check_on(Arch::host(), arch, Path::new(REGISTRY)) {
        Ok(()) => return Ok(None),
        Err(missing) => missing,
    };
    if !runner.makes_user_namespaces() {
        return Err(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let program = find_in(arch, &folders).ok_or(missing)?;
    Ok(Some(Emulator {
        registration: registration(arch, &program),
    }))
}

/// An emulator that needs no libraries, which the guest would not have.
fn find_in(arch: Arch, folders: &[PathBuf]) -> Option<PathBuf> {
    let name = qemu_name(arch);
    let names = [format!("{name}-static"), name];
    let candidates = names.iter().flat_map(|name| {
        let folders = folders.iter().filter(|folder| folder.is_absolute());
        folders.map(move |folder| folder.join(name))
    });
    candidates
        .filter(|program| !program.to_string_lossy().contains(':'))
        .find(|program| crate::sandbox::is_static(program))
}

/// The name that QEMU has for an emulator of `arch`.
fn qemu_name(arch: Arch) -> String {
    let name = match arch {
        Arch::Armhf | Arch::Armv7 => "arm",
        Arch::X86 => "i386",
        other => other.apk(),
    };
    format!("qemu-{name}")
}

/// The line that registers `program` for programs of `arch`.
fn registration(arch: Arch, program: &Path) -> String {
    let header = header(arch);
    // Any ABI, and programs as well as libraries that can be run.
    let mut mask = [0xff_u8; 20];
    mask[7] = 0;
    let (_, big_endian, _) = elf(arch);
    mask[if big_endian { 17 } else { 16 }] = 0xfe;
    let bytes = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\x{byte:02x}");
            text
        })
    };
    // P: it is told by what name a program was called. F: it is opened here and now, not in the guest.
    format!(
        ":polpo-{}:M:0:{}:{}:{}:PF",
        arch.apk(),
        bytes(&header),
        bytes(&mask),
        program.display()
    )
}

/// What the files begin with that are programs of `arch`.
fn header(arch: Arch) -> [u8; 20] {
    const EXECUTABLE: u16 = 2;
    let (machine, big_endian, bits) = elf(arch);
    let mut header = [0_u8; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    (header[4], header[5], header[6]) = (bits, if big_endian { 2 } else { 1 }, 1);
    let words = |word: u16| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    header[16..18].copy_from_slice(&words(EXECUTABLE));
    header[18..].copy_from_slice(&words(machine));
    header
}

fn check_on(host: Arch, arch: Arch, registry: &Path) -> Result<(), ExecuteError> {
    let native = match host {
        Arch::X86_64 => arch == Arch::X86,
        Arch::Armv7 => arch == Arch::Armhf,
        _ => false,
    };
    if native || arch == host {
        return Ok(());
    }
    let foreign = |missing| {
        Err(ExecuteError::Foreign {
            arch,
            host,
            missing,
        })
    };
    if fs::read_to_string(registry.join("status")).is_ok_and(|text| text.trim() == "disabled") {
        return foreign("emulators are switched off: `echo 1 > /proc/sys/fs/binfmt_misc/status`");
    }
    let header = header(arch);
    let mut hidden = false;
    for entry in fs::read_dir(registry).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let mut lines = text.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let magic = field("magic").and_then(|magic| hex::decode(magic).ok());
        let takes = magic.is_some_and(|magic| {
            magic.len() == header.len() && magic[..6] == header[..6] && magic[18..] == header[18..]
        });
        if !takes || !text.starts_with("enabled") || field("offset") != Some("0") {
            continue;
        }
        // Opened when it was registered: guests don't have it.
        if field("flags:").is_some_and(|flags| flags.contains('F')) {
            return Ok(());
        }
        hidden = true;
    }
    foreign(if hidden {
        "the emulator that is registered for them is not seen in guests: register one with the flag F, as Debian's `qemu-user-static` does; or have a static one in PATH, which bubblewrap's sandbox takes along"
    } else {
        "no emulator is registered for them, and PATH has no static one: install `qemu-user-static`; for other runners than bubblewrap with `binfmt-support`, in a container on its host"
    })
}

/// What an architecture's programs say in their ELF header: machine, byte order (whether the largest
/// byte comes first) and class.
fn elf(arch: Arch) -> (u16, bool, u8) {
    const BITS_32: u8 = 1;
    const BITS_64: u8 = 2;
    match arch {
        Arch::Aarch64 => (183, false, BITS_64),
        Arch::Armhf | Arch::Armv7 => (40, false, BITS_32),
        Arch::Loongarch64 => (258, false, BITS_64),
        Arch::Ppc64le => (21, false, BITS_64),
        Arch::Riscv64 => (243, false, BITS_64),
        Arch::S390x => (22, true, BITS_64),
        Arch::X86 => (3, false, BITS_32),
        Arch::X86_64 => (62, false, BITS_64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_a_foreign_architecture_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let check =
            |host, arch| check_on(host, arch, folder.path()).map_err(|error| error.to_string());
        assert_eq!(check(Arch::X86_64, Arch::X86_64), Ok(()));
        assert_eq!(check(Arch::X86_64, Arch::X86), Ok(()));
        insta::assert_snapshot!(check(Arch::X86_64, Arch::Aarch64).unwrap_err(), @"this machine (x86_64) runs no programs of aarch64: no emulator is registered for them, and PATH has no static one: install `qemu-user-static`; for other runners than bubblewrap with `binfmt-support`, in a container on its host");
        let register = |name: &str, flags: &str, magic: &str| {
            let text = format!(
                "enabled\ninterpreter /usr/libexec/qemu-binfmt/x\nflags: {flags}\noffset 0\nmagic {magic}\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
            );
            fs::write(folder.path().join(name), text).unwrap();
        };
        let aarch64 = "7f454c460201010000000000000000000200b700";
        register("qemu-aarch64", "POC", aarch64);
        let hidden = check(Arch::X86_64, Arch::Aarch64).unwrap_err();
        assert!(hidden.contains("with the flag F"), "{hidden}");
        register("qemu-aarch64", "POCF", aarch64);
        assert_eq!(check(Arch::X86_64, Arch::Aarch64), Ok(()));
        register(
            "qemu-s390x",
            "F",
            "7f454c4602020100000000000000000000020016",
        );
        assert_eq!(check(Arch::X86_64, Arch::S390x), Ok(()));
        check(Arch::X86_64, Arch::Riscv64).unwrap_err();
        fs::write(folder.path().join("status"), "disabled\n").unwrap();
        let off = check(Arch::X86_64, Arch::Aarch64).unwrap_err();
        assert!(off.contains("switched off"), "{off}");
    }

    #[test]
    fn an_emulator_is_registered_for_its_programs_alone() {
        // What Debian registers, but for flags and names.
        insta::assert_snapshot!(registration(Arch::Aarch64, Path::new("/usr/bin/qemu-aarch64-static")), @r":polpo-aarch64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:PF");
        let largest_first = registration(Arch::S390x, Path::new("/q"));
        assert!(
            largest_first.contains(r"\x00\x02\x00\x16:"),
            "{largest_first}"
        );
        assert!(
            largest_first.ends_with(r"\xff\xfe\xff\xff:/q:PF"),
            "{largest_first}"
        );
        // One with libraries would not find them.
        let folder = tempfile::tempdir().unwrap();
        fs::copy("/bin/ls", folder.path().join("qemu-riscv64-static")).unwrap();
        let folders = [folder.path().to_owned()];
        assert_eq!(find_in(Arch::Riscv64, &folders), None);
        fs::copy("/bin/busybox", folder.path().join("qemu-riscv64")).unwrap();
        let found = find_in(Arch::Riscv64, &folders);
        assert_eq!(found, Some(folder.path().join("qemu-riscv64")));
    }
}
