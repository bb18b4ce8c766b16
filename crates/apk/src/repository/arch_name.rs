use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base::Arch;

/// An architecture as packages and repositories name it.
///
/// To apk it is a word that stands in `.PKGINFO`, in `etc/apk/arch` and for the folder of an index,
/// and there are more of them than [`Arch`] has: `mips64`, `loongarch32`, a vendor's own. Where
/// machine code, an image's platform or a triplet matters, [`Arch`] is meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchName(Arc<str>);

/// The name can be no architecture's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` names no architecture: it must be one word that a folder can have for a name, such as x86_64",
    .0.escape_debug()
)]
pub struct InvalidArchName(pub String);

impl ArchName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArchName {
    type Err = InvalidArchName;

    /// Takes any word that stays in its folder.
    fn from_str(name: &str) -> Result<ArchName, InvalidArchName> {
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
        if name.is_empty() || name == "." || name == ".." || !name.chars().all(plain) {
            return Err(InvalidArchName(name.to_owned()));
        }
        Ok(ArchName(name.into()))
    }
}

impl From<Arch> for ArchName {
    fn from(arch: Arch) -> ArchName {
        ArchName(arch.apk().into())
    }
}

impl From<&ArchName> for ArchName {
    fn from(arch: &ArchName) -> ArchName {
        arch.clone()
    }
}

impl fmt::Display for ArchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_that_stays_in_its_folder_is_one() {
        for name in ["x86_64", "mips64", "strange", "arm-eabi.v5+x"] {
            assert_eq!(name.parse::<ArchName>().unwrap().as_str(), name);
        }
        assert_eq!(ArchName::from(Arch::Armv7).to_string(), "armv7");
        for name in ["", ".", "..", "../x86_64", "a/b", "a b", "a\n", "\0"] {
            assert_eq!(
                name.parse::<ArchName>(),
                Err(InvalidArchName(name.to_owned()))
            );
        }
    }
}
