use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A machine architecture, by apk's name for it.
///
/// The set and the aliases are apko's (`pkg/build/types/architecture.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// `aarch64`, OCI `arm64`.
    Aarch64,
    /// `armhf`, OCI `arm` variant `v6`.
    Armhf,
    /// `armv7`, OCI `arm` variant `v7`.
    Armv7,
    /// `loongarch64`, OCI `loong64`.
    Loongarch64,
    /// `ppc64le`.
    Ppc64le,
    /// `riscv64`.
    Riscv64,
    /// `s390x`.
    S390x,
    /// `x86`, OCI `386`.
    X86,
    /// `x86_64`, OCI `amd64`.
    X86_64,
}

/// The name given is no architecture that polpo knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{0}`; known are {known}", known = Arch::ALL.map(Arch::apk).join(", "))]
pub struct UnknownArch(pub String);

impl Arch {
    /// Every architecture, in the order of apk's names.
    pub const ALL: [Arch; 9] = [
        Arch::Aarch64,
        Arch::Armhf,
        Arch::Armv7,
        Arch::Loongarch64,
        Arch::Ppc64le,
        Arch::Riscv64,
        Arch::S390x,
        Arch::X86,
        Arch::X86_64,
    ];

    /// The architecture this program was compiled for.
    pub fn host() -> Arch {
        match std::env::consts::ARCH {
            "aarch64" => Arch::Aarch64,
            "arm" => Arch::Armv7,
            "loongarch64" => Arch::Loongarch64,
            "powerpc64" => Arch::Ppc64le,
            "riscv64" => Arch::Riscv64,
            "s390x" => Arch::S390x,
            "x86" => Arch::X86,
            _ => Arch::X86_64,
        }
    }

    /// apk's name, as in `/etc/apk/arch`, .PKGINFO and repository folders.
    pub fn apk(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64",
            Arch::Armhf => "armhf",
            Arch::Armv7 => "armv7",
            Arch::Loongarch64 => "loongarch64",
            Arch::Ppc64le => "ppc64le",
            Arch::Riscv64 => "riscv64",
            Arch::S390x => "s390x",
            Arch::X86 => "x86",
            Arch::X86_64 => "x86_64",
        }
    }

    /// OCI's `architecture` (Go's GOARCH) and `variant`.
    pub fn oci(self) -> (&'static str, Option<&'static str>) {
        match self {
            Arch::Aarch64 => ("arm64", None),
            Arch::Armhf => ("arm", Some("v6")),
            Arch::Armv7 => ("arm", Some("v7")),
            Arch::Loongarch64 => ("loong64", None),
            Arch::Ppc64le => ("ppc64le", None),
            Arch::Riscv64 => ("riscv64", None),
            Arch::S390x => ("s390x", None),
            Arch::X86 => ("386", None),
            Arch::X86_64 => ("amd64", None),
        }
    }

    /// The GNU triplet that autoconf's `--host` and `--build` take, vendor `pc` on x86 and
    /// `unknown` elsewhere, as in melange's `${{host.triplet.gnu}}`.
    pub fn gnu_triplet(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64-unknown-linux-gnu",
            Arch::Armhf => "arm-unknown-linux-gnueabihf",
            Arch::Armv7 => "arm-unknown-linux-gnueabihf",
            Arch::Loongarch64 => "loongarch64-unknown-linux-gnu",
            Arch::Ppc64le => "powerpc64le-unknown-linux-gnu",
            Arch::Riscv64 => "riscv64-unknown-linux-gnu",
            Arch::S390x => "s390x-unknown-linux-gnu",
            Arch::X86 => "i686-pc-linux-gnu",
            Arch::X86_64 => "x86_64-pc-linux-gnu",
        }
    }

    /// The Rust target triple for glibc, `${{host.triplet.rust}}`.
    pub fn rust_triplet(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64-unknown-linux-gnu",
            Arch::Armhf => "arm-unknown-linux-gnueabihf",
            Arch::Armv7 => "armv7-unknown-linux-gnueabihf",
            Arch::Loongarch64 => "loongarch64-unknown-linux-gnu",
            Arch::Ppc64le => "powerpc64le-unknown-linux-gnu",
            Arch::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Arch::S390x => "s390x-unknown-linux-gnu",
            Arch::X86 => "i686-unknown-linux-gnu",
            Arch::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Debian's name, for reading .deb packages.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Aarch64 => "arm64",
            Arch::Armhf => "armel",
            Arch::Armv7 => "armhf",
            Arch::Loongarch64 => "loong64",
            Arch::Ppc64le => "ppc64el",
            Arch::Riscv64 => "riscv64",
            Arch::S390x => "s390x",
            Arch::X86 => "i386",
            Arch::X86_64 => "amd64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.apk())
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Arch, UnknownArch> {
        Ok(match name {
            "aarch64" | "arm64" => Arch::Aarch64,
            "armhf" | "arm/v6" | "armv6" => Arch::Armhf,
            "armv7" | "arm/v7" | "arm" => Arch::Armv7,
            "loongarch64" | "loong64" => Arch::Loongarch64,
            "ppc64le" | "ppc64el" => Arch::Ppc64le,
            "riscv64" => Arch::Riscv64,
            "s390x" => Arch::S390x,
            "x86" | "386" | "i386" => Arch::X86,
            "x86_64" | "amd64" => Arch::X86_64,
            _ => return Err(UnknownArch(name.to_owned())),
        })
    }
}

impl Serialize for Arch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.apk())
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arch, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        for arch in Arch::ALL {
            assert_eq!(arch.apk().parse(), Ok(arch));
            let (name, variant) = arch.oci();
            let oci = variant.map_or(name.to_owned(), |variant| format!("{name}/{variant}"));
            assert_eq!(oci.parse(), Ok(arch));
        }
        assert!(
            "pdp11"
                .parse::<Arch>()
                .unwrap_err()
                .to_string()
                .contains("x86_64")
        );
    }
}
