use key::Algorithm;
use serde_json::json;

use super::*;
use crate::intoto::Subject;

/// Made by cosign 3 of an image, with the key that [`COSIGN_KEY`] is the public half of.
const COSIGN: &str = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"pyb1T+5L9GSeNBmYtXy+3Dqe5zlm41SxL+CXGX6NQBI="}},"dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiNjJjNDg2NTJjY2FmNWNjMzU2YjY1ODVmY2JiNzEyMmM0OTY3NzY3YTc4NTdkMTY5NjY5MzA2NzgxMGY3YjJiMCJ9LCJhbm5vdGF0aW9ucyI6e319XSwicHJlZGljYXRlVHlwZSI6Imh0dHBzOi8vc2lnc3RvcmUuZGV2L2Nvc2lnbi9zaWduL3YxIiwicHJlZGljYXRlIjp7fX0=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEUCIGA9H0bFj0SSkRaUyMTlp5ylSXAP3Jw5vYisuxxF/HBRAiEAlEc+2ls6iBVePnC6y5Qyk8Oxa6L4L+i0FOG3FOYCEPA="}]}}"#;

const COSIGN_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEi3gZSEOxhCMA9p3slewP06oYFgit
v3Be1hR+0KOIevmNCt29aXLgs9yyx/0W4OzOkK4dSU2altc9dSL9chT4Zg==
-----END PUBLIC KEY-----
";

type Change<'a> = &'a dyn Fn(&mut Value);

fn statement() -> Statement<Value> {
    let digest = Digest::of(b"an image");
    Statement::new(
        vec![Subject::new("", digest)],
        "https://example.com/said",
        json!({"a": 1}),
    )
}

#[test]
fn cosigns_bundles_verify() {
    let key = PublicKey::from_pem(COSIGN_KEY).unwrap();
    let bundle = Bundle::from_json(COSIGN.as_bytes()).unwrap();
    let verified = bundle.verify(&Trust::of_keys(vec![key.clone()])).unwrap();
    let statement = Statement::<Value>::from_verified(&verified).unwrap();
    let digest = "sha256:62c48652ccaf5cc356b6585fcbb7122c4967767a7857d1696693067810f7b2b0";
    statement
        .expect(
            "https://sigstore.dev/cosign/sign/v1",
            &digest.parse().unwrap(),
        )
        .unwrap();
    // What cosign wrote comes out again, byte for byte.
    assert!(bundle.signer == Signer::Key(hint(&key)));
    assert_eq!(bundle.to_json().unwrap(), COSIGN.as_bytes());
    let other = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    assert!(
        bundle
            .verify(&Trust::of_keys(vec![other.public().unwrap()]))
            .is_err()
    );
}

#[test]
fn what_is_signed_comes_back() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let public = key.public().unwrap();
        let bundle = Bundle::sign(&statement(), &key).unwrap();
        let again = Bundle::from_json(&bundle.to_json().unwrap()).unwrap();
        assert!(again == bundle);
        let verified = again.verify(&Trust::of_keys(vec![public])).unwrap();
        assert_eq!(
            Statement::<Value>::from_verified(&verified).unwrap(),
            statement()
        );
    }
}

#[test]
fn forgeries_and_nonsense_are_refused() {
    let key = PublicKey::from_pem(COSIGN_KEY).unwrap();
    let good: Value = serde_json::from_str(COSIGN).unwrap();
    let changed = |change: Change<'_>| {
        let mut bundle = good.clone();
        change(&mut bundle);
        Bundle::from_json(&serde_json::to_vec(&bundle).unwrap())
            .and_then(|bundle| bundle.verify(&Trust::of_keys(vec![key.clone()])).map(drop))
            .map_err(|error| error.to_string())
    };
    assert_eq!(changed(&|_| ()), Ok(()));
    // Nobody signs a hint.
    let without_hint = |bundle: &mut Value| {
        bundle["verificationMaterial"]["publicKey"] = json!({});
    };
    assert_eq!(changed(&without_hint), Ok(()));
    let refused: [(Change<'_>, &str); 10] = [
        (
            &|bundle| {
                let payload = STANDARD.encode(r#"{"_type":"x"}"#);
                bundle["dsseEnvelope"]["payload"] = payload.into();
            },
            "not signed as trusted",
        ),
        (
            &|bundle| bundle["dsseEnvelope"]["payloadType"] = "text/plain".into(),
            "not signed as trusted",
        ),
        (
            &|bundle| bundle["dsseEnvelope"]["signatures"] = json!([]),
            "bears 0 signatures",
        ),
        (
            &|bundle| {
                let signature = bundle["dsseEnvelope"]["signatures"][0].clone();
                bundle["dsseEnvelope"]["signatures"] = json!([signature, signature]);
            },
            "bears 2 signatures",
        ),
        (
            &|bundle| bundle["mediaType"] = "application/json".into(),
            "media type",
        ),
        (
            &|bundle| bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}}),
            "with a certificate",
        ),
        (
            &|bundle| {
                bundle["verificationMaterial"]["certificate"] = json!({"rawBytes": "AA=="});
            },
            "more than one signer",
        ),
        (
            &|bundle| bundle["verificationMaterial"] = json!({}),
            "no public key",
        ),
        (
            &|bundle| {
                bundle.as_object_mut().unwrap().remove("dsseEnvelope");
            },
            "no DSSE envelope",
        ),
        (&|bundle| *bundle = json!([]), "no Sigstore bundle"),
    ];
    for (change, reason) in refused {
        let error = changed(change).unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let doubled = COSIGN.replacen("\"payload\"", "\"payload\":\"\",\"payload\"", 1);
    let error = Bundle::from_json(doubled.as_bytes()).err().unwrap();
    assert!(error.to_string().contains("stands twice"), "{error}");
}
