//! The few DER shapes that turn a bare PKCS#1 public key into a SubjectPublicKeyInfo, and back.

/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }` (RFC 3279, 2.3.1).
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// Wraps `RSAPublicKey` (RFC 8017, A.1.1) as a SubjectPublicKeyInfo (RFC 5280, 4.1).
pub(crate) fn subject_public_key_info(rsa_public_key: &[u8]) -> Vec<u8> {
    let mut bits = vec![0]; // no unused bits
    bits.extend_from_slice(rsa_public_key);
    let mut body = RSA_ENCRYPTION.to_vec();
    body.extend(element(0x03, &bits));
    element(0x30, &body)
}

/// `RSAPublicKey` (RFC 8017, A.1.1) of two numbers in big-endian bytes.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut body = integer(modulus);
    body.extend(integer(exponent));
    element(0x30, &body)
}

/// A SubjectPublicKeyInfo (RFC 5480, 2) of a curve, as a DER object identifier, and a point of it, bare
/// or in an OCTET STRING as PKCS#11 has it.
pub(crate) fn elliptic_public_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    /// `OBJECT IDENTIFIER id-ecPublicKey`.
    const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    // A bare point begins with 4 too, but what follows is not its own length.
    let point = match contents(0x04, point) {
        Some((point, [])) => point,
        _ => point,
    };
    let algorithm = element(0x30, &[&EC_PUBLIC_KEY, curve].concat());
    let bits = element(0x03, &[&[0], point].concat());
    element(0x30, &[algorithm, bits].concat())
}

/// Two numbers in big-endian bytes as a SEQUENCE: an ECDSA signature (RFC 3279, 2.2.3).
pub(crate) fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
    element(0x30, &[integer(first), integer(second)].concat())
}

/// A number that is not negative: a leading bit that is set would say so.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut contents = vec![0];
    contents.extend_from_slice(&bytes[zeros..]);
    if contents.get(1).is_some_and(|first| first & 0x80 == 0) {
        contents.remove(0);
    }
    element(0x02, &contents)
}

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(contents);
    out
}

/// What a SubjectPublicKeyInfo wraps: the contents of its BIT STRING.
pub(crate) fn subject_public_key(spki: &[u8]) -> Option<&[u8]> {
    let (body, _) = contents(0x30, spki)?;
    let (_, rest) = contents(0x30, body)?;
    let (bits, _) = contents(0x03, rest)?;
    match bits.split_first()? {
        (0, key) => Some(key),
        _ => None,
    }
}

/// The modulus in an `RSAPublicKey`, without leading zeros.
pub(crate) fn rsa_modulus(rsa_public_key: &[u8]) -> Option<&[u8]> {
    let (numbers, _) = contents(0x30, rsa_public_key)?;
    let (modulus, _) = contents(0x02, numbers)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    modulus.get(zeros..)
}

/// The contents of the element that `bytes` begin with, and what follows it.
fn contents(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        short @ ..=0x7f => (usize::from(*short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
