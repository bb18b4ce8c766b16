//! What Go's linker records in a program (`debug/buildinfo` of Go 1.18 and later).

/// Older Go wrote pointers instead of the texts; it is not read.
const INLINE_STRINGS: u8 = 2;

/// Whether the build information says that the program opens the system's OpenSSL at run time:
/// built with cgo and one of the toolchains that replace Go's cryptography.
pub(super) fn uses_system_openssl(section: &[u8]) -> bool {
    let Some(settings) = settings(section) else {
        return false;
    };
    let has = |wanted: &str| settings.lines().any(|line| line == wanted);
    let replaced = ["boringcrypto", "systemcrypto", "opensslcrypto"]
        .iter()
        .any(|experiment| has(&format!("build\tGOEXPERIMENT={experiment}")))
        || has("build\tmicrosoft_systemcrypto=1");
    replaced && has("build\tCGO_ENABLED=1")
}

fn settings(section: &[u8]) -> Option<String> {
    if !section.starts_with(b"\xff Go buildinf:") || section.get(15)? & INLINE_STRINGS == 0 {
        return None;
    }
    let (_version, rest) = text(section.get(32..)?)?;
    let (module, _) = text(rest)?;
    Some(String::from_utf8_lossy(module).into_owned())
}

/// A text after its length in base 128, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: u64 = 0;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let rest = bytes.get(position + 1..)?;
            let length = usize::try_from(length).ok()?;
            return Some((rest.get(..length)?, rest.get(length..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(settings: &str) -> Vec<u8> {
        let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
        bytes.resize(32, 0);
        bytes.push(4);
        bytes.extend_from_slice(b"go1.");
        let length = settings.len();
        bytes.push((length & 0x7f) as u8 | 0x80);
        bytes.push((length >> 7) as u8);
        bytes.extend_from_slice(settings.as_bytes());
        bytes
    }

    #[test]
    fn both_cgo_and_a_replaced_cryptography_are_needed() {
        let fips = section("path\tx\nbuild\tCGO_ENABLED=1\nbuild\tGOEXPERIMENT=systemcrypto\n");
        assert!(uses_system_openssl(&fips));
        assert!(uses_system_openssl(&section(
            "build\tmicrosoft_systemcrypto=1\nbuild\tCGO_ENABLED=1"
        )));
        assert!(!uses_system_openssl(&section("build\tCGO_ENABLED=1\n")));
        assert!(!uses_system_openssl(&section(
            "build\tCGO_ENABLED=0\nbuild\tGOEXPERIMENT=boringcrypto\n"
        )));
        for end in 0..fips.len() - 1 {
            assert!(!uses_system_openssl(&fips[..end]));
        }
    }
}
