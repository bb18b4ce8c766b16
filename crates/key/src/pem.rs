use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use zeroize::Zeroizing;

use crate::KeyError;

/// One block of a PEM file (RFC 7468).
pub(crate) struct Block {
    pub(crate) label: String,
    /// It may be a secret.
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// Whether a block of this label holds a key of any kind.
pub(crate) fn is_key(label: &str) -> bool {
    label.ends_with("PUBLIC KEY") || label.ends_with("PRIVATE KEY")
}

/// The first block whose label `wanted` accepts. Other blocks, such as `EC PARAMETERS` before an
/// OpenSSL key, and text around the blocks are passed over.
pub(crate) fn find(
    text: &str,
    expected: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Block, KeyError> {
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
        else {
            continue;
        };
        if !wanted(label) {
            continue;
        }
        let damaged = |reason| KeyError::BadPem {
            label: label.to_owned(),
            reason,
        };
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(damaged("its END line is missing"))?;
            if let Some(end) = line.strip_prefix("-----END ") {
                if end.strip_suffix("-----") != Some(label) {
                    return Err(damaged("its END line names another label"));
                }
                break;
            }
            if line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") {
                return Err(damaged(
                    "it is encrypted in openssl's old way; write it anew with `openssl pkey -aes256`",
                ));
            }
            body.push_str(line);
        }
        let der = STANDARD
            .decode(body.as_bytes())
            .map_err(|_| damaged("its body is not base64"))?;
        return Ok(Block {
            label: label.to_owned(),
            der: Zeroizing::new(der),
        });
    }
    Err(KeyError::NoPem { expected })
}

/// A block in PEM, 64 characters to a line. It may be a secret: no copy of it is left behind.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // With room for all of it: growing would leave copies.
    let room = body.len() + body.len() / 64 + 2 * label.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(room));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_copies_are_left_behind() {
        for length in [0, 1, 47, 48, 49, 96, 2400] {
            let text = encode("PRIVATE KEY", &vec![7; length]);
            let body = STANDARD.encode(vec![7; length]).len();
            // It has not grown.
            assert_eq!(text.capacity(), body + body / 64 + 2 * 11 + 64, "{length}");
            let block = find(&text, "PRIVATE KEY", is_key).unwrap();
            assert_eq!(*block.der, vec![7; length]);
        }
    }
}
