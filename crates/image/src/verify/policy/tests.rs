use attest::sigstore::Identity;
use key::{Algorithm, PrivateKey};
use serde_json::{Value, json};

use super::*;

/// A folder with a key of the team's.
fn folder() -> (tempfile::TempDir, Digest) {
    let folder = tempfile::tempdir().unwrap();
    let public = PrivateKey::generate(Algorithm::EcdsaP256)
        .unwrap()
        .public()
        .unwrap();
    std::fs::write(folder.path().join("team.pub"), public.to_pem()).unwrap();
    (folder, public.id())
}

fn load(folder: &Path, text: &str) -> Result<Policy, String> {
    let path = folder.join("policy.yaml");
    std::fs::write(&path, text).unwrap();
    Policy::load(&path).map_err(|problems| {
        let lines = problems.iter().map(|problem| {
            let place = problem.location().map_or(String::new(), |place| {
                format!("{}:{}: ", place.line, place.column)
            });
            format!("{place}{}", problem.message)
        });
        let text: Vec<String> = lines.collect();
        text.join("\n")
            .replace(&folder.display().to_string(), "FOLDER")
    })
}

fn stated(kind: &str, key: Digest, predicate: Value, time: Option<u64>) -> Stated {
    Stated {
        kind: kind.to_owned(),
        predicate,
        keys: BTreeSet::from([key]),
        identity: None,
        time: time.map(Epoch),
    }
}

#[test]
fn what_is_said_is_held_to_the_policy() {
    let (folder, team) = folder();
    let policy = load(
        folder.path(),
        "signers:\n  team: {key: team.pub}\nsigned-by: [team]\nstatements:\n  - spdxjson\n  \
         - {type: 'https://example.com/tested/v1', by: [team]}\nslsa:\n  level: 2\n  \
         builders: {'urn:big': 3, 'urn:small': 1}\nmaximum-age: 30d\n",
    )
    .unwrap();
    let day = 86_400;
    let now = Epoch(1000 * day);
    let other = Digest::of(b"somebody else");
    let built = |by: &str| json!({"runDetails": {"builder": {"id": by}}});
    let good = || {
        vec![
            Stated {
                identity: Some(Identity {
                    subject: "a@example.com".to_owned(),
                    issuer: "https://example.com".to_owned(),
                }),
                ..stated(SIGNATURE, team, json!({}), Some(990 * day))
            },
            stated("https://spdx.dev/Document", team, json!({}), None),
            stated("https://example.com/tested/v1", team, json!({}), None),
            stated(slsa::PREDICATE_TYPE, team, built("urn:big"), None),
        ]
    };
    let shown = |stated: &[Stated]| {
        let (finding, _) = policy.check(stated, now);
        let parts: Vec<String> = finding
            .parts
            .iter()
            .map(|part| format!("{:?}: {}", part.standing, part.message))
            .collect();
        parts.join("\n")
    };
    insta::assert_snapshot!(shown(&good()), @"
    Proven: one of team has signed the image
    Proven: https://spdx.dev/Document is stated by a signer of the policy
    Proven: https://example.com/tested/v1 is stated by team
    Proven: it was built by urn:big, which stands for SLSA level 3
    Proven: it was signed 10 days ago, at most 30 days allowed
    ");
    let mut bad = good();
    bad[0] = stated(SIGNATURE, other, json!({}), Some(990 * day));
    bad.remove(1);
    bad[1].keys = BTreeSet::from([other]);
    bad[2] = stated(slsa::PREDICATE_TYPE, team, built("urn:small"), None);
    insta::assert_snapshot!(shown(&bad), @"
    Failed: none of team has signed the image
    Failed: https://spdx.dev/Document is not stated by a signer of the policy
    Failed: https://example.com/tested/v1 is not stated by team
    Failed: it was built by urn:small, which stands for SLSA level 1, not 2
    Failed: nothing proves how old the signature is (at most 30 days allowed): only that of an identity can, since a key's may be stamped again at any time
    ");
    // A clock's word about a key's signature says nothing of its age.
    let mut stamped = good();
    stamped[0].identity = None;
    insta::assert_snapshot!(shown(&stamped), @"
    Proven: one of team has signed the image
    Proven: https://spdx.dev/Document is stated by a signer of the policy
    Proven: https://example.com/tested/v1 is stated by team
    Proven: it was built by urn:big, which stands for SLSA level 3
    Failed: nothing proves how old the signature is (at most 30 days allowed): only that of an identity can, since a key's may be stamped again at any time
    ");
    let mut old = good();
    old[0].time = Some(Epoch(969 * day));
    old[3] = stated(slsa::PREDICATE_TYPE, team, built("urn:unknown"), None);
    insta::assert_snapshot!(shown(&old), @"
    Proven: one of team has signed the image
    Proven: https://spdx.dev/Document is stated by a signer of the policy
    Proven: https://example.com/tested/v1 is stated by team
    Failed: it was built by urn:unknown, of which the policy knows no SLSA level
    Failed: it was signed 31 days ago, at most 30 days allowed
    ");
}

#[test]
fn all_that_is_wrong_with_a_policy_is_told() {
    let (folder, _) = folder();
    let wrong = load(
        folder.path(),
        "signers:\n  team: {key: nowhere.pub}\n  mixed: {key: team.pub, issuer: 'https://a'}\n  \
         open: {identity-regexp: '(', issuer: 'https://a'}\n  who: {identity: a, issuer: 'https://a'}\n\
         signed-by: [team, nobody]\nstatements: [sbom]\nmaximum-age: soon\n",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    identities count by the word of authorities: name a `trusted-root`
    2:15: can't read key file FOLDER/nowhere.pub: No such file or directory (os error 2)
    3:10: the signer mixed is a `key`, or an `identity` with its `issuer` (or their `-regexp`)
    4:27: `(` is no pattern of identities: regex parse error:
        (
        ^
    error: unclosed group
    6:19: `nobody` is none of the signers: mixed, open, team, who
    7:14: `sbom` is no type of statements that is known (spdxjson, spdx, cyclonedx, slsaprovenance1, slsaprovenance02, vsa, openvex, vuln, apko); any other is written as a URI
    8:14: `soon` is no age such as 30d, 12h or 90m
    ");
    let wrong = load(
        folder.path(),
        "signers: {}\nsigned-by: []\ncolour: red\nslsa: 2\n",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    3:1: unknown key `colour` in a policy
    4:7: expected a mapping for a level of SLSA, found `2`
    ");
    let wrong = load(
        folder.path(),
        "signers:\n  a: {key: team.pub, identity-regexp: a, issuer-regexp: b}\nsigned-by: [a]\n\
         trusted-root: team.pub\nrebuilders: [team.pub]\n",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    `rebuilt-by`, a number from 1 on, and `rebuilders` go together
    2:6: the signer a is a `key`, or an `identity` with its `issuer` (or their `-regexp`)
    4:15: the trusted root team.pub can't be used: this is no trusted root of Sigstore: invalid number at line 1 column 2
    ");
    let wrong = load(folder.path(), "signers: {}\nsigned-by: []\nrebuilt-by: 0\n");
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    `signed-by` names nobody, so that nothing could ever hold
    `rebuilt-by`, a number from 1 on, and `rebuilders` go together
    ");
}
