//! The authorities: who issues certificates (Fulcio) with the log of them, and who tells the time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};

use super::signing::{Key, element, first_inside, pem, sha256};

/// The object identifiers of Fulcio's extensions for who vouches for the subject: a bare string, and
/// a `UTF8String`.
const ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
const ISSUER_V2: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// The list of signed certificate timestamps (RFC 6962, 3.3).
const TIMESTAMPS: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
/// `SEQUENCE { id-kp-timeStamping }`.
const TIME_STAMPING: [u8; 12] = [
    0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08,
];

/// How long a certificate of Fulcio's is good for.
const VALIDITY: u64 = 600;

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut names = DistinguishedName::new();
    names.push(DnType::OrganizationName, "tests");
    names.push(DnType::CommonName, name);
    parameters.distinguished_name = names;
    parameters
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A certificate authority with its own key.
struct Root {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new(name: &str) -> Root {
        let mut parameters = named(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Root {
            certificate: parameters.self_signed(&key).expect("a certificate"),
            issuer: Issuer::new(parameters, key),
        }
    }
}

/// A P-256 public key that somebody else has the other half of.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Issues certificates for identities, each with the timestamp of a log.
pub(super) struct Fulcio {
    root: Root,
    pub(super) log: Key,
}

impl Fulcio {
    pub(super) fn new() -> Fulcio {
        Fulcio {
            root: Root::new("fulcio"),
            log: Key::new(),
        }
    }

    pub(super) fn root(&self) -> Vec<u8> {
        self.root.certificate.der().to_vec()
    }

    /// A certificate for the key with this SubjectPublicKeyInfo; `start` in seconds since 1970.
    pub(super) fn issue(&self, spki: &[u8], subject: &str, issuer: &str, start: u64) -> Vec<u8> {
        // The last 65 bytes are the point itself.
        let point = Point(spki[spki.len() - 65..].to_vec());
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.not_before = rcgen::date_time_ymd(1970, 1, 1) + at(start);
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + at(start + VALIDITY);
        let mut serial = sha256(&[spki, &start.to_be_bytes()].concat());
        serial[0] &= 0x7f;
        parameters.serial_number = Some(SerialNumber::from_slice(&serial[..16]));
        let name = subject.try_into().expect("a subject in ASCII");
        parameters.subject_alt_names = vec![match subject.contains("://") {
            true => SanType::URI(name),
            false => SanType::Rfc822Name(name),
        }];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        parameters.use_authority_key_identifier_extension = true;
        let text = issuer.as_bytes().to_vec();
        parameters.custom_extensions = vec![
            CustomExtension::from_oid_content(&ISSUER, text.clone()),
            CustomExtension::from_oid_content(&ISSUER_V2, element(0x0c, &text)),
        ];
        let sign = |parameters: &CertificateParams| {
            let certificate = parameters.signed_by(&point, &self.root.issuer);
            certificate.expect("a certificate").der().to_vec()
        };
        let without = sign(&parameters);
        let timestamps = self.timestamps(first_inside(&without), start);
        let timestamps = CustomExtension::from_oid_content(&TIMESTAMPS, timestamps);
        parameters.custom_extensions.push(timestamps);
        sign(&parameters)
    }

    /// The log's promise for a certificate that has no such promise in it yet (RFC 6962, 3.2).
    fn timestamps(&self, to_be_signed: &[u8], start: u64) -> Vec<u8> {
        let time = (start * 1000).to_be_bytes();
        let issuer = sha256(&self.root.issuer.key().subject_public_key_info());
        let length = u32::try_from(to_be_signed.len()).expect("a short certificate");
        let signed = [
            &[0, 0][..],
            &time,
            &[0, 1],
            &issuer,
            &length.to_be_bytes()[1..],
            to_be_signed,
            &[0, 0],
        ];
        let signature = self.log.sign(&signed.concat());
        let short = |length: usize| (length as u16).to_be_bytes();
        let promise = [
            &[0][..],
            &sha256(&self.log.spki()),
            &time,
            &[0, 0],
            // SHA-256 and ECDSA (RFC 5246, 7.4.1.4.1).
            &[4, 3],
            &short(signature.len()),
            &signature,
        ]
        .concat();
        let list = [&short(promise.len())[..], &promise].concat();
        element(0x04, &[&short(list.len())[..], &list].concat())
    }
}

/// Tells the time (RFC 3161): openssl's own.
pub(super) struct Clock {
    root: Vec<u8>,
    leaf: Vec<u8>,
    turn: Mutex<u64>,
}

impl Clock {
    pub(super) fn new(folder: &Path) -> Clock {
        let root = Root::new("clock root");
        let mut parameters = named("clock");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut usage =
            CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, TIME_STAMPING.to_vec());
        usage.set_criticality(true);
        parameters.custom_extensions = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let leaf = parameters.signed_by(&key, &root.issuer).expect("a leaf");
        let write = |name: &str, contents: &str| {
            fs::write(folder.join(name), contents).expect("a file");
        };
        write("clock.pem", &pem("CERTIFICATE", leaf.der()));
        write("clock.key", &key.serialize_pem());
        write("root.pem", &pem("CERTIFICATE", root.certificate.der()));
        write("serial", "01\n");
        write(
            "clock.conf",
            "[clock]\nserial = serial\ncrypto_device = builtin\nsigner_cert = clock.pem\n\
             certs = root.pem\nsigner_key = clock.key\nsigner_digest = sha256\n\
             default_policy = 1.3.6.1.4.1.57264.2\ndigests = sha256, sha384, sha512\n\
             accuracy = secs:1\nordering = no\ntsa_name = no\ness_cert_id_chain = no\n\
             ess_cert_id_alg = sha256\n",
        );
        Clock {
            root: root.certificate.der().to_vec(),
            leaf: leaf.der().to_vec(),
            turn: Mutex::new(0),
        }
    }

    /// Leaf first.
    pub(super) fn chain(&self) -> [&[u8]; 2] {
        [&self.leaf, &self.root]
    }

    /// The answer to a question, both in DER.
    pub(super) fn answer(&self, folder: &Path, question: &[u8]) -> Option<Vec<u8>> {
        // openssl counts in a file.
        let mut turn = self.turn.lock().ok()?;
        *turn += 1;
        let (asked, answered) = (folder.join("question"), folder.join("answer"));
        fs::write(&asked, question).ok()?;
        let status = Command::new("openssl")
            .args(["ts", "-reply", "-config", "clock.conf", "-section", "clock"])
            .args(["-queryfile", "question", "-out", "answer"])
            .current_dir(folder)
            .output()
            .ok()?
            .status;
        status.success().then(|| fs::read(answered).ok())?
    }
}
