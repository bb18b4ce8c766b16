use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate out of a text in PEM.
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
}

impl Certificate {
    /// The certificate of a text that has exactly one.
    pub(crate) fn only(text: &str) -> Option<Certificate> {
        let (_, rest) = text.split_once(BEGIN)?;
        let (body, after) = rest.split_once(END)?;
        if after.contains(BEGIN) {
            return None;
        }
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        is_sequence(&der).then_some(Certificate { der })
    }

    /// Alone, in lines of 64 characters.
    pub(crate) fn pem(&self) -> String {
        let body = STANDARD.encode(&self.der);
        let mut pem = format!("{BEGIN}\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str(END);
        pem.push('\n');
        pem
    }
}

/// Whether the bytes are one whole sequence in DER, as every certificate is.
fn is_sequence(der: &[u8]) -> bool {
    let length = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    match der {
        [0x30, size @ 0..=0x7f, rest @ ..] => rest.len() == usize::from(*size),
        [0x30, 0x81, size, rest @ ..] => rest.len() == usize::from(*size),
        [0x30, 0x82, a, b, rest @ ..] => rest.len() == length(&[*a, *b]),
        [0x30, 0x83, a, b, c, rest @ ..] => rest.len() == length(&[*a, *b, *c]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_certificate_counts() {
        let body = STANDARD.encode([&[0x30, 100][..], &[7; 100]].concat());
        let one = format!(
            "text\n{BEGIN}\n  {}\r\n{}\n{END}\nmore",
            &body[..10],
            &body[10..]
        );
        let certificate = Certificate::only(&one).unwrap();
        let lines: Vec<usize> = certificate.pem().lines().map(str::len).collect();
        assert_eq!(lines, [BEGIN.len(), 64, 64, 8, END.len()]);
        assert_eq!(
            Certificate::only(&certificate.pem()).unwrap().der,
            certificate.der
        );
        for wrong in [
            String::new(),
            format!("{one}{one}"),
            format!("{BEGIN}\n!!\n{END}\n"),
            format!("{BEGIN}\n{}\n{END}\n", &body[..20]),
            format!("{BEGIN}\n{body}\n"),
        ] {
            assert!(Certificate::only(&wrong).is_none(), "{wrong}");
        }
    }
}
