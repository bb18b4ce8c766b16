//! Whether this machine runs programs of another architecture: the kernel hands them to an emulator
//! that is registered for their ELF header (Documentation/admin-guide/binfmt-misc.rst).

use std::fs;
use std::path::Path;

use base::Arch;

use super::ExecuteError;

/// Where emulators are registered.
const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";

/// Sees to it that programs of `arch` run in guests here.
pub(super) fn check(arch: Arch) -> Result<(), ExecuteError> {
    check_on(Arch::host(), arch, Path::new(REGISTRY))
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
    let (machine, big_endian, bits) = elf(arch);
    let mut header = [0_u8; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    (header[4], header[5]) = (bits, if big_endian { 2 } else { 1 });
    let words = |word: u16| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    header[18..].copy_from_slice(&words(machine));
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
        "the emulator that is registered for them is not seen in guests: register one with the flag F, as Debian's `qemu-user-static` does"
    } else {
        "no emulator is registered for them: install `qemu-user-static` and `binfmt-support`; in a container, on its host"
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
        insta::assert_snapshot!(check(Arch::X86_64, Arch::Aarch64).unwrap_err(), @"this machine (x86_64) runs no programs of aarch64: no emulator is registered for them: install `qemu-user-static` and `binfmt-support`; in a container, on its host");
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
}
