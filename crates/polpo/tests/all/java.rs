//! Java's trust store in an image, as Java's own `keytool` reads it.

use std::collections::BTreeMap;
use std::fs;

use apk::dependency::Dependency;
use archive::tree::Node;
use base::Digest;
use testkit::Program;

use crate::image_diff::{Shelf, info, text, tree};

const STORE: &str = "etc/ssl/certs/java/cacerts";

/// keytool in English, wherever it runs.
fn keytool(words: &[&str]) -> Program {
    Program::new("keytool")
        .args(["-J-Duser.language=en", "-J-Duser.timezone=UTC"])
        .args(words)
}

/// A certificate that nobody else has, in PEM.
fn certificate(shelf: &Shelf, name: &str) -> String {
    let path = |suffix: &str| shelf.path(&format!("{name}.{suffix}"));
    Program::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/O=Tests/CN={name}"), "-keyout"])
        .arg(path("key"))
        .arg("-out")
        .arg(path("pem"))
        .run()
        .success();
    fs::read_to_string(path("pem")).unwrap()
}

/// The SHA-256 that keytool prints of a certificate, in its form (`AB:CD:…`).
fn fingerprint(shelf: &Shelf, name: &str) -> String {
    let printed = keytool(&["-printcert", "-file"])
        .arg(shelf.path(&format!("{name}.pem")))
        .run()
        .success()
        .stdout;
    let found = printed.lines().find_map(|line| {
        let line = line.trim().strip_prefix("SHA256: ")?;
        Some(line.to_owned())
    });
    found.unwrap_or_else(|| panic!("no SHA256 in {printed}"))
}

/// What an image calls a certificate: a name, and the SHA-256 of its DER in lower case.
fn alias(name: &str, fingerprint: &str) -> String {
    format!("{name}-{}", fingerprint.replace(':', "").to_lowercase())
}

/// Alias, kind and fingerprint of all that is in a store, after its checksum was found right.
fn listed(shelf: &Shelf, store: &str) -> BTreeMap<String, (String, String)> {
    let printed = keytool(&["-list", "-storepass", "changeit", "-keystore"])
        .arg(shelf.path(store))
        .run()
        .success()
        .stdout;
    assert!(printed.contains("Keystore type: JKS"), "{printed}");
    let mut lines = printed.lines();
    let mut entries = BTreeMap::new();
    while let Some(line) = lines.next() {
        let Some(head) = line.trim_end().strip_suffix("Entry,") else {
            continue;
        };
        let (name, kind) = (head.split(',').next(), head.rsplit(", ").next());
        let (_, sum) = lines.next().unwrap().split_once("(SHA-256): ").unwrap();
        let entry = (kind.unwrap().to_owned(), sum.trim().to_owned());
        entries.insert(name.unwrap().to_owned(), entry);
    }
    let count = format!("Your keystore contains {} entr", entries.len());
    assert!(printed.contains(&count), "{printed}");
    entries
}

#[test]
fn keytool_lists_the_certificates_of_the_image_file_and_of_packages() {
    let shelf = Shelf::new();
    let names = ["own", "second", "brought", "there"];
    let [own, second, brought, _] = names.map(|name| certificate(&shelf, name));
    let sums = names.map(|name| fingerprint(&shelf, name));
    // As the package of a Java brings it: a certificate, and the key of one.
    keytool(&[
        "-importcert",
        "-noprompt",
        "-alias",
        "There",
        "-storetype",
        "JKS",
    ])
    .args(["-storepass", "changeit", "-file"])
    .arg(shelf.path("there.pem"))
    .arg("-keystore")
    .arg(shelf.path("brought-store"))
    .run()
    .success();
    keytool(&[
        "-genkeypair",
        "-alias",
        "key",
        "-keyalg",
        "EC",
        "-dname",
        "CN=key",
    ])
    .args([
        "-storetype",
        "JKS",
        "-storepass",
        "changeit",
        "-keypass",
        "changeit",
    ])
    .arg("-keystore")
    .arg(shelf.path("brought-store"))
    .run()
    .success();
    let before = listed(&shelf, "brought-store");
    let store = Node::file(fs::read(shelf.path("brought-store")).unwrap());
    let mut provider = info("authorities", "1-r0", "MIT");
    provider.provides = Dependency::parse_list("our-authorities=1").unwrap();
    let accounts = vec![
        ("etc/passwd", text("root:x:0:0:root:/root:/bin/sh\n")),
        ("etc/group", text("root:x:0:\n")),
        (STORE, store),
    ];
    let certificates = vec![(
        "usr/local/share/ca-certificates/brought.crt",
        text(&brought),
    )];
    shelf.repository(
        "packages",
        vec![
            (info("java", "1-r0", "MIT"), tree(accounts)),
            (provider, tree(certificates)),
        ],
    );
    let indented = |pem: &str| pem.trim_end().replace('\n', "\n        ");
    let yaml = format!(
        "contents: {{packages: [java, authorities]}}\n\
         certificates:\n  providers: [our-authorities=1]\n  additional:\n    \
         - name: Own\n      content: |\n        {}\n    \
         - name: second.one\n      content: |\n        {}\n",
        indented(&own),
        indented(&second)
    );
    shelf.image("image", "packages", &yaml);
    shelf
        .polpo(&["image", "copy", "./image", "rootfs:root.tar"])
        .args(["--arch", "x86_64"])
        .run()
        .success();
    Program::new("tar")
        .args([
            "-xf",
            "root.tar",
            STORE,
            "etc/ssl/certs/java/.cacerts.sha256",
        ])
        .folder(&shelf.path(""))
        .run()
        .success();

    let mut expected = before;
    // Of packages, none has a name but that of where it comes from.
    for (name, sum) in [
        ("own", &sums[0]),
        ("second.one", &sums[1]),
        ("pkg", &sums[2]),
    ] {
        let entry = ("trustedCert".to_owned(), sum.clone());
        expected.insert(alias(name, sum), entry);
    }
    let found = listed(&shelf, STORE);
    assert_eq!(found, expected);
    assert_eq!(found.len(), 5);
    assert_eq!(found["there"].1, sums[3]);
    let written = Digest::of(&fs::read(shelf.path(STORE)).unwrap());
    assert_eq!(
        fs::read_to_string(shelf.path("etc/ssl/certs/java/.cacerts.sha256")).unwrap(),
        format!("{}  cacerts\n", written.hex())
    );

    // keytool goes on with what polpo wrote, and the key is still one.
    let exported = keytool(&["-exportcert", "-rfc", "-storepass", "changeit", "-alias"])
        .arg(alias("own", &sums[0]))
        .arg("-keystore")
        .arg(shelf.path(STORE))
        .run()
        .success()
        .stdout;
    let lines = |pem: &str| pem.lines().map(str::trim).collect::<String>();
    assert_eq!(lines(&exported), lines(&own));
    keytool(&["-keypasswd", "-alias", "key", "-storepass", "changeit"])
        .args(["-keypass", "changeit", "-new", "another", "-keystore"])
        .arg(shelf.path(STORE))
        .run()
        .success();
}
