//! Keys and signatures against the openssl program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use polpo_key::{
    Algorithm, FileError, KeyError, Password, PrivateKey, PublicKey, Scheme, load_private,
    load_public, public_path, save_pair,
};

/// Runs openssl in a folder; what it prints.
fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("the openssl program is installed");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The error of a parse that must fail; `PrivateKey` can't be compared.
fn private_error(pem: &str) -> KeyError {
    PrivateKey::from_pem(pem, || None).expect_err("no private key")
}

#[test]
fn every_form_that_openssl_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| String::from_utf8(openssl(folder.path(), arguments)).unwrap();
    for (make, traditional, kind) in [
        (
            "genrsa -out k 2048",
            "rsa -in k -traditional",
            Scheme::RsaSha256,
        ),
        (
            "ecparam -genkey -name prime256v1 -out k",
            "ec -in k",
            Scheme::EcdsaSha256,
        ),
        (
            "ecparam -genkey -name secp384r1 -out k",
            "ec -in k",
            Scheme::EcdsaSha512,
        ),
        (
            "ecparam -genkey -name secp521r1 -out k",
            "ec -in k",
            Scheme::EcdsaSha512,
        ),
        (
            "genpkey -algorithm ed25519 -out k",
            "pkey -in k",
            Scheme::Ed25519,
        ),
    ] {
        run(make);
        let public = PublicKey::from_pem(&run("pkey -in k -pubout")).unwrap();
        assert_eq!(public.scheme(), kind);
        for form in [
            // `ecparam` writes an EC PARAMETERS block before the key.
            fs::read_to_string(folder.path().join("k")).unwrap(),
            run("pkcs8 -topk8 -nocrypt -in k"),
            run(traditional),
            // With text before it.
            run("pkey -in k -text"),
        ] {
            let private = PrivateKey::from_pem(&form, || None).unwrap();
            assert_eq!(private.public().unwrap(), public, "{form}");
            let again = PrivateKey::from_pem(&private.to_pem(None).unwrap(), || None).unwrap();
            assert_eq!(again.public().unwrap(), public);
        }
        assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
        let der = openssl(folder.path(), "pkey -in k -pubout -outform DER");
        assert_eq!(public.id(), base::Digest::of(&der));

        for how in ["", " -v2prf hmacWithSHA512 -iter 5000", " -scrypt"] {
            let encrypted = run(&format!("pkcs8 -topk8 -in k -passout pass:x{how}"));
            assert_eq!(private_error(&encrypted), KeyError::Encrypted);
            let open =
                |password: &str| PrivateKey::from_pem(&encrypted, || Some(Password::new(password)));
            assert_eq!(open("x").unwrap().public().unwrap(), public);
            assert_eq!(open("y").unwrap_err(), KeyError::WrongPassword);
        }
        assert_eq!(
            private_error(&public.to_pem()).to_string(),
            "this is a public key, a private key belongs here"
        );
        assert!(matches!(
            PublicKey::from_pem(&run("pkey -in k")),
            Err(KeyError::WrongHalf { .. })
        ));
    }
    run("genrsa -out k 2048");
    let pkcs1 = run("rsa -in k -RSAPublicKey_out");
    let spki = run("rsa -in k -pubout");
    assert!(pkcs1.contains("BEGIN RSA PUBLIC KEY"));
    assert_eq!(
        PublicKey::from_pem(&pkcs1).unwrap(),
        PublicKey::from_pem(&spki).unwrap()
    );
    let traditional = run("rsa -in k -traditional -aes128 -passout pass:x");
    assert!(matches!(
        private_error(&traditional),
        KeyError::BadPem { .. }
    ));
    for other in ["x25519", "ed448"] {
        run(&format!("genpkey -algorithm {other} -out k"));
        assert!(matches!(
            private_error(&run("pkey -in k")),
            KeyError::Rejected { .. }
        ));
        assert!(matches!(
            PublicKey::from_pem(&run("pkey -in k -pubout")),
            Err(KeyError::Rejected { .. })
        ));
    }
    run("ecparam -genkey -noout -name secp256k1 -out k");
    assert!(matches!(
        private_error(&run("pkey -in k")),
        KeyError::Rejected { .. }
    ));
}

#[test]
fn sha512_suits_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| String::from_utf8(openssl(folder.path(), arguments)).unwrap();
    fs::write(folder.path().join("message"), "what is signed").unwrap();
    for make in [
        "genrsa -out k 2048",
        "ecparam -genkey -noout -name prime256v1 -out k",
        "ecparam -genkey -noout -name secp384r1 -out k",
        "ecparam -genkey -noout -name secp521r1 -out k",
    ] {
        run(make);
        let private = PrivateKey::from_pem(&run("pkey -in k"), || None).unwrap();
        let public = private.public().unwrap();
        let scheme = public.sha512_scheme();
        let ours = private.sign_with(scheme, b"what is signed").unwrap();
        public.verify(scheme, b"what is signed", &ours).unwrap();
        assert_eq!(
            public.verify(scheme, b"what is singed", &ours),
            Err(KeyError::BadSignature),
            "{make}"
        );
        fs::write(folder.path().join("ours"), &ours).unwrap();
        run("pkey -in k -pubout -out k.pub");
        run("dgst -sha512 -verify k.pub -signature ours message");
        let theirs = openssl(folder.path(), "dgst -sha512 -sign k message");
        public.verify(scheme, b"what is signed", &theirs).unwrap();
        for wrong in [Scheme::RsaSha1, Scheme::EcdsaSha256, Scheme::RsaSha256] {
            let result = private.sign_with(wrong, b"");
            assert!(
                wrong == public.scheme() || result == Err(KeyError::WrongScheme { scheme: wrong }),
                "{make}"
            );
        }
    }
}

#[test]
fn short_ids_are_those_of_what_the_key_info_wraps() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| String::from_utf8(openssl(folder.path(), arguments)).unwrap();
    run("genrsa -out k 2048");
    run("rsa -in k -RSAPublicKey_out -outform DER -out der");
    let public = PublicKey::from_pem(&run("pkey -in k -pubout")).unwrap();
    let digest = run("dgst -sha512 -r der");
    let hex: String = public
        .short_id()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest.get(..32), Some(hex.as_str()));
}

#[test]
fn openssl_and_we_verify_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("message"), b"what is signed").unwrap();
    for algorithm in [Algorithm::Rsa4096, Algorithm::EcdsaP256, Algorithm::Ed25519] {
        // Ed25519 takes the message itself.
        let (verify, sign) = match algorithm {
            Algorithm::Ed25519 => (
                "pkeyutl -verify -rawin -pubin -inkey k.pub -sigfile signature -in message",
                "pkeyutl -sign -rawin -inkey k -in message",
            ),
            _ => (
                "dgst -sha256 -verify k.pub -signature signature message",
                "dgst -sha256 -sign k message",
            ),
        };
        let private = PrivateKey::generate(algorithm).unwrap();
        let public = private.public().unwrap();
        let signature = private.sign(b"what is signed").unwrap();
        fs::write(path("k"), private.to_pem(None).unwrap().as_bytes()).unwrap();
        fs::write(path("k.pub"), public.to_pem()).unwrap();
        fs::write(path("signature"), &signature).unwrap();
        openssl(folder.path(), verify);
        public
            .verify(public.scheme(), b"what is signed", &signature)
            .unwrap();
        assert_eq!(
            public.verify(public.scheme(), b"what is singed", &signature),
            Err(KeyError::BadSignature)
        );
        for place in [0, signature.len() / 2, signature.len() - 1] {
            let mut wrong = signature.clone();
            wrong[place] ^= 1;
            assert_eq!(
                public.verify(public.scheme(), b"what is signed", &wrong),
                Err(KeyError::BadSignature)
            );
        }
        let theirs = openssl(folder.path(), sign);
        public
            .verify(public.scheme(), b"what is signed", &theirs)
            .unwrap();
        assert_eq!(
            matches!(private, PrivateKey::Ecdsa(..)),
            theirs != signature,
            "only ECDSA's signatures differ from time to time"
        );
    }
}

#[test]
fn rsa_keys_have_a_size() {
    let folder = tempfile::tempdir().unwrap();
    for bits in [2048, 3072, 4096] {
        openssl(folder.path(), &format!("genrsa -out k {bits}"));
        let key = load_private(&folder.path().join("k"), || None).unwrap();
        assert_eq!(key.public().unwrap().rsa_bits(), Some(bits));
    }
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        assert_eq!(key.public().unwrap().rsa_bits(), None);
    }
}

#[test]
fn schemes_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("message"), b"m").unwrap();
    openssl(folder.path(), "genrsa -out k 2048");
    let private = load_private(&folder.path().join("k"), || None).unwrap();
    let public = private.public().unwrap();
    for (hash, scheme) in [
        ("sha1", Scheme::RsaSha1),
        ("sha256", Scheme::RsaSha256),
        ("sha512", Scheme::RsaSha512),
    ] {
        let signature = openssl(folder.path(), &format!("dgst -{hash} -sign k message"));
        for other in [Scheme::RsaSha1, Scheme::RsaSha256, Scheme::RsaSha512] {
            assert_eq!(
                public.verify(other, b"m", &signature).is_ok(),
                other == scheme
            );
        }
        assert_eq!(
            public.verify(Scheme::EcdsaSha256, b"m", &signature),
            Err(KeyError::WrongScheme {
                scheme: Scheme::EcdsaSha256
            })
        );
    }
}

#[test]
fn a_saved_pair_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("builder.rsa");
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    save_pair(&key, &path, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&public_path(&path)), 0o644);
    let public = load_public(&public_path(&path)).unwrap();
    assert_eq!(
        load_private(&path, || None).unwrap().public().unwrap(),
        public
    );

    let other = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    assert!(matches!(
        save_pair(&other, &path, None),
        Err(FileError::Exists { .. })
    ));
    fs::remove_file(public_path(&path)).unwrap();
    assert!(matches!(
        save_pair(&other, &path, None),
        Err(FileError::Exists { .. })
    ));
    assert_eq!(
        load_private(&path, || None).unwrap().public().unwrap(),
        public
    );
    // Nothing is left beside.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn secrets_do_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey::Ecdsa(P256, ..)");
    let path = folder.path().join("k");
    let damaged = key
        .to_pem(None)
        .unwrap()
        .replace("-----END", "!SECRET!\n-----END");
    fs::write(&path, damaged).unwrap();
    let error = load_private(&path, || None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "key file {}: the PEM block `PRIVATE KEY` is damaged: its body is not base64",
            path.display()
        )
    );
    fs::write(&path, vec![b'x'; 70_000]).unwrap();
    assert!(matches!(
        load_private(&path, || None),
        Err(FileError::TooLarge { .. })
    ));
    fs::write(&path, "no key at all").unwrap();
    let error = load_public(&path).unwrap_err().to_string();
    assert!(error.contains("-----BEGIN PUBLIC KEY-----"), "{error}");
}

/// Made by cosign 3, with the password `a password`.
const COSIGN_KEY: &str = "\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJoRUxuM1hZRFkwMXZCNmhnenF1bWN3TjdxN1hubXkv
bzNpSnRtWlgyYmRjPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiI4UlJlVmp0NDk4VDhqRFovSkFJSXFuTkh1REM1SnpPYyJ9LCJj
aXBoZXJ0ZXh0IjoiSFR6TjdYYk1obVRIVmhPQ29SYnpXUmlUNXUzeGpZRmpGdEFF
eE9Rc1l5U2pUd056bFQyZDFyNWdQd3o5L09FejZGVkMrSGM0Mk5pelVlNVV4NmVt
bnAzdWtYZCtzcXA1bW01bm1FQUFVMDZHSlVkMDlzTWVEQzhsaTB1dTZEc1U1bU9q
V2N4c3A3YkN3U1ZDQ3ZWUjR2MWZaaitJTnlBVmR0OW40THBJMEljRzk1aUw0ZWJ1
L3llTXBmVHRNRUtJM3RqMlNQcGhaNVVqM0E9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
";

const COSIGN_PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEi3gZSEOxhCMA9p3slewP06oYFgit
v3Be1hR+0KOIevmNCt29aXLgs9yyx/0W4OzOkK4dSU2altc9dSL9chT4Zg==
-----END PUBLIC KEY-----
";

#[test]
fn keys_of_cosign_are_read_and_written() {
    let open =
        |text: &str, password: &str| PrivateKey::from_pem(text, || Some(Password::new(password)));
    let public = PublicKey::from_pem(COSIGN_PUBLIC_KEY).unwrap();
    for label in ["SIGSTORE", "COSIGN"] {
        let text = COSIGN_KEY.replace("SIGSTORE", label);
        assert_eq!(open(&text, "a password").unwrap().public().unwrap(), public);
        assert_eq!(open(&text, "another").unwrap_err(), KeyError::WrongPassword);
        assert_eq!(private_error(&text), KeyError::Encrypted);
    }
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let text = key.to_pem(Some(&Password::new(""))).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let again = open(&text, "").unwrap();
        assert_eq!(again.public().unwrap(), key.public().unwrap());
    }
}

#[test]
fn encrypted_keys_of_strangers_are_refused_early() {
    let body = |json: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(json);
        let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let good = r#"{"kdf":{"name":"scrypt","params":{"N":65536,"r":8,"p":1},"salt":"AAAA"},
        "cipher":{"name":"nacl/secretbox","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},"ciphertext":"AAAA"}"#;
    let error = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let text = body(&good.replace(from, to));
        PrivateKey::from_pem(&text, || Some(Password::new("x")))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(error("AAAA", "AAAA"), KeyError::WrongPassword.to_string());
    for (from, to, reason) in [
        ("65536", "1099511627776", "asks for more work"),
        ("65536", "18446744073709551615", "parameters of scrypt"),
        ("65536", "65537", "parameters of scrypt"),
        ("\"r\":8", "\"r\":4294967295", "asks for more work"),
        ("\"r\":8", "\"r\":0", "parameters of scrypt"),
        ("\"p\":1", "\"p\":4294967295", "asks for more work"),
        ("scrypt", "md5", "scrypt and nacl/secretbox"),
        ("\"salt\":\"AAAA\"", "\"salt\":\"A\"", "not base64"),
        ("nonce\":\"AAAA", "nonce\":\"", "24 bytes"),
        ("\"kdf\"", "\"\"", "not the JSON of a key"),
    ] {
        let error = error(from, to);
        assert!(error.contains(reason), "{from} → {to}: {error}");
    }
}
