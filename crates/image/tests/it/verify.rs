use std::io::{Read as _, Write as _};

use archive::tar::{EntryKind, Header, Reader, Writer};
use attest::bundle::Bundle;
use attest::intoto::{Statement, Subject};
use attest::trust::Trust;
use base::{Digest, Silent};
use image::verify::{
    Grounds, Standing, VerifyError, VerifyReport, VerifyRequest, verify, verify_package,
};
use image::{Attaching, BuiltImage, Form, SIGNATURE, Signer};
use key::{Algorithm, PrivateKey};
use oci::{Companion, Descriptor, Layout, Manifest, media_type};

use crate::bed::{ARCH, Bed, EPOCH, access, info, text, tree, wait};

const HELLO: &str = "
contents: {packages: [hello]}
accounts:
  run-as: nonroot
  users: [{username: nonroot, uid: 65532}]
paths:
  - {path: /srv, type: directory, permissions: 0o755}
  - {path: /usr/bin/ciao, type: symlink, source: hello}
";

fn signed(bed: &Bed, key: &PrivateKey) -> (BuiltImage, Layout) {
    let (image, layout) = bed.layout(HELLO);
    wait(attaching(&layout, &image.descriptor, key).all("", &image.sbom, None)).unwrap();
    (image, layout)
}

fn attaching<'a>(layout: &'a Layout, image: &'a Descriptor, key: &'a PrivateKey) -> Attaching<'a> {
    Attaching {
        layout,
        image,
        signer: Signer::Key(key),
        form: Form::Bundle,
        epoch: EPOCH,
    }
}

/// What anybody can do: a bundle of any statement that refers to the image.
fn attach<P: serde::Serialize>(
    layout: &Layout,
    image: &Descriptor,
    statement: &Statement<P>,
    key: &PrivateKey,
) -> Descriptor {
    let bundle = Bundle::sign(statement, key).unwrap().to_json().unwrap();
    let blob = layout
        .put_blob(attest::bundle::MEDIA_TYPE, &bundle)
        .unwrap();
    let artifact = Manifest::artifact(attest::bundle::MEDIA_TYPE, vec![blob], image);
    layout.attach(&artifact).unwrap()
}

fn report(bed: &Bed, layout: &Layout, key: &PrivateKey) -> VerifyReport {
    verified(bed, layout, key).unwrap()
}

fn verified(bed: &Bed, layout: &Layout, key: &PrivateKey) -> Result<VerifyReport, VerifyError> {
    on_grounds(bed, key, async |grounds| {
        verify(&VerifyRequest {
            policy: None,
            layout,
            tag: Some("latest"),
            arch: ARCH,
            grounds,
        })
        .await
    })
}

/// What is verified with the bed's repository and this key.
fn on_grounds<T>(bed: &Bed, key: &PrivateKey, work: impl AsyncFnOnce(Grounds<'_>) -> T) -> T {
    let trust = Trust::of_keys(vec![key.public().unwrap()]);
    let store = bed.store();
    wait(work(Grounds {
        trust: &trust,
        repositories: &bed.repositories(),
        access: &access(&store),
        keyring: &bed.keyring(),
        reporter: &Silent,
    }))
}

fn key() -> PrivateKey {
    PrivateKey::generate(Algorithm::EcdsaP256).unwrap()
}

/// The tree without digests.
fn drawn(report: &VerifyReport) -> String {
    let mut text = String::new();
    for word in report.to_string().split_inclusive([' ', '\n']) {
        let end = word.len() - word.trim_end().len();
        let (core, space) = word.split_at(word.len() - end);
        if let Some(at) = core.find("sha256:") {
            text.push_str(&core[..at]);
            text.push_str("sha256:…");
        } else if core.starts_with("Q1") {
            text.push_str("Q1…");
        } else {
            text.push_str(core);
        }
        text.push_str(space);
    }
    text
}

#[test]
fn an_honest_image() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    let report = report(&bed, &layout, &key);
    insta::assert_snapshot!(drawn(&report), @"
    image sha256:…
    ├─✓ the layer, the configuration and the manifest have the digests that name them
    ├─? what is said about the image
    │ ├─✓ the image is signed, by a trusted key and about this digest
    │ ├─✓ an SBOM (SPDX) is attached, by a trusted key and about this digest
    │ └─? nobody who is trusted says: its provenance (SLSA 1) is attached
    ├─? 2 packages are installed
    │ ├─? base 1.0-r0
    │ │ ├─✓ a signed index lists it as Q1…
    │ │ ├─✓ the index names the file sha256:… whose data has the hashes it names
    │ │ ├─✓ its file is signed by test.rsa.pub
    │ │ ├─? no provenance lies beside it: nobody says how it was built
    │ │ └─? it names no sources: to this check it is an opaque binary
    │ └─? hello 1.0-r0
    │   ├─✓ a signed index lists it as Q1…
    │   ├─✓ the index names the file sha256:… whose data has the hashes it names
    │   ├─✓ its file is signed by test.rsa.pub
    │   ├─? no provenance lies beside it: nobody says how it was built
    │   └─✓ its SBOM names what it was built from
    │     └─✓ https://example.org/hello-1.0.tar.gz sha256:…
    ├─? the files of the layers
    │ ├─✓ 8 files are as their packages have them
    │ ├─? /etc/passwd of base 1.0-r0 was changed by the image file
    │ ├─✓ 14 files and devices are those that every image has
    │ └─? 5 entries are made by the image file
    │   ├─? /etc/apko.json is what the image file says of itself
    │   ├─? /etc/shadow is a table of accounts
    │   ├─? /home/nonroot is a directory of mode 700, owned by 65532:65532
    │   ├─? /root is a directory of mode 700, owned by 0:0
    │   └─? /usr/bin/ciao is a symbolic link to hello
    ├─✓ apk in the image trusts only the repositories' keys
    └─✓ the SBOM lists the installed packages, all of them and nothing else
    ");
    assert!(report.is_good());
    assert_eq!(report.standing(), Standing::Unproven);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["standing"], "proven");
}

#[test]
fn nobodys_statements_do_not_count() {
    let bed = Bed::with_hello();
    let (mine, stranger) = (key(), key());
    let (_, layout) = signed(&bed, &stranger);
    let found = report(&bed, &layout, &mine);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ nobody who is trusted says: the image is signed"),
        "{text}"
    );
    assert!(text.contains("✗ no trusted SBOM"), "{text}");
}

#[test]
fn an_sbom_alone_is_no_signature_and_other_subjects_do_not_count() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = bed.layout(HELLO);
    let other = Statement::new(
        vec![Subject::new("", Digest::of(b"another image"))],
        SIGNATURE,
        serde_json::Map::new(),
    );
    attach(&layout, &image.descriptor, &other, &key);
    let sbom = Statement::new(
        vec![Subject::new("", image.descriptor.digest)],
        attest::intoto::SPDX_PREDICATE,
        &image.sbom,
    );
    attach(&layout, &image.descriptor, &sbom, &key);
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ nobody who is trusted says: the image is signed"),
        "{text}"
    );
    assert!(text.contains("does not speak of"), "{text}");
}

/// Puts layers on top of the image, signed by the same key: what somebody who holds the key, but
/// not the repository's, can do.
fn stacked(bed: &Bed, key: &PrivateKey, layers: &[Vec<u8>]) -> Layout {
    let (image, layout) = bed.layout(HELLO);
    let (mut config, mut manifest) = (image.config.clone(), image.manifest.clone());
    for tar in layers {
        let blob = archive::gzip::compress(tar);
        config.rootfs.diff_ids.push(Digest::of(tar));
        manifest
            .layers
            .push(layout.put_blob(media_type::LAYER_TAR_GZIP, &blob).unwrap());
    }
    manifest.config = layout
        .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
        .unwrap();
    let descriptor: Descriptor = layout.put_manifest(&manifest).unwrap();
    layout.tag("latest", &descriptor).unwrap();
    wait(attaching(&layout, &descriptor, key).all("", &image.sbom, None)).unwrap();
    layout
}

fn tar_of(entries: &[(Header, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, content) in entries {
        writer.append(header, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn file<'a>(path: &str, content: &'a str, mode: u32) -> (Header, &'a str) {
    let mut header = Header::file(path, content.len() as u64);
    header.mode = mode;
    (header, content)
}

fn other(path: &str, kind: EntryKind, mode: u32) -> (Header, &'static str) {
    let mut header = Header::new(path, kind);
    header.mode = mode;
    (header, "")
}

/// What is found false in an image with these layers on top, or why it can't be read.
fn caught(layers: &[Vec<u8>]) -> String {
    let bed = Bed::with_hello();
    let key = key();
    let layout = stacked(&bed, &key, layers);
    match verified(&bed, &layout, &key) {
        Ok(report) => drawn(&report)
            .lines()
            .filter(|line| line.contains('✗'))
            .filter_map(|line| line.split_once("✗ ").map(|(_, rest)| format!("{rest}\n")))
            .collect(),
        Err(error) => {
            let text = error.to_string();
            match text.split_once("sha256:") {
                Some((before, after)) => format!("{before}…{}", after.get(64..).unwrap()),
                None => text,
            }
        }
    }
}

fn altered(bed: &Bed, key: &PrivateKey, files: &[(&str, &str, u32)]) -> Layout {
    let entries: Vec<_> = files
        .iter()
        .map(|(path, content, mode)| file(path, content, *mode))
        .collect();
    stacked(bed, key, &[tar_of(&entries)])
}

#[test]
fn changed_and_smuggled_files_are_found() {
    let bed = Bed::with_hello();
    let key = key();
    let layout = altered(
        &bed,
        &key,
        &[
            ("usr/bin/hello", "#!/bin/evil!\n", 0o755),
            ("usr/bin/evil", "evil", 0o755),
        ],
    );
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ /usr/bin/hello of hello 1.0-r0 has other contents than in its package"),
        "{text}"
    );
    assert!(text.contains("✗ /usr/bin/evil is no package's"), "{text}");
}

#[test]
fn an_unlisted_package_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    // The repository goes on with another build of the same version.
    let mut other = Bed::new();
    other.package(
        info("base"),
        tree([("etc/passwd", text("root:x:0:0:root:/:/bin/sh\n"))]),
    );
    let found = report(&other, &layout, &key);
    let text = drawn(&found);
    assert!(!found.is_good());
    assert!(
        text.contains("✗ the signed index has another package of this name and version"),
        "{text}"
    );
    assert!(text.contains("✗ no signed index lists it"), "{text}");
}

#[test]
fn a_damaged_package_file_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    let path = bed.path("packages/x86_64/hello-1.0-r0.apk");
    let bytes = std::fs::read(&path).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&bytes[..bytes.len() - 1]).unwrap();
    file.write_all(&[bytes[bytes.len() - 1] ^ 1]).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good(), "{found}");
}

/// Changes the last byte of a file.
fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_remembered_hides_nothing() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = signed(&bed, &key);
    let first = report(&bed, &layout, &key);
    assert!(first.is_good(), "{first}");
    assert_eq!(
        report(&bed, &layout, &key),
        first,
        "the same is found again"
    );

    // A package's file that was whole when it was looked at before: the image was made of what it was,
    // and by itself it is no good any more. Cut off, it is not even what the index lists.
    let path = bed.path("packages/x86_64/hello-1.0-r0.apk");
    let package = || {
        on_grounds(&bed, &key, async |grounds| {
            verify_package(&path, grounds).await
        })
    };
    assert!(package().unwrap().is_good());
    let whole = std::fs::read(&path).unwrap();
    damage(&path);
    assert_eq!(report(&bed, &layout, &key), first);
    let refused = package().unwrap_err().to_string();
    assert!(refused.contains("datahash"), "{refused}");
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good(), "{found}");
    std::fs::write(&path, whole).unwrap();
    assert_eq!(report(&bed, &layout, &key), first);

    // The same of a layer.
    let resolved = layout.image(Some("latest"), ARCH).unwrap();
    assert_eq!(resolved.descriptor.digest, image.descriptor.digest);
    let layer = &resolved.manifest.layers[0];
    damage(&layout.root().join("blobs/sha256").join(layer.digest.hex()));
    let refused = verified(&bed, &layout, &key);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains(&layer.digest.to_string()), "{message}");
}

#[test]
fn an_sbom_of_other_packages_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = bed.layout(HELLO);
    let mut sbom = image.sbom.clone();
    for package in &mut sbom.packages {
        if package.name == "base" {
            package.version_info = Some("2.0-r0".to_owned());
        }
    }
    wait(attaching(&layout, &image.descriptor, &key).all("", &sbom, None)).unwrap();
    let text = drawn(&report(&bed, &layout, &key));
    assert!(
        text.contains("✗ the SBOM does not list base 1.0-r0, which is installed"),
        "{text}"
    );
    assert!(
        text.contains("✗ the SBOM lists base 2.0-r0, which is not installed"),
        "{text}"
    );
}

const EVIL: &str = "#!/bin/evil!\n";
const HELLO_TEXT: &str = "#!/bin/hello\n";

fn link(target: &str) -> EntryKind {
    EntryKind::HardLink {
        target: target.to_owned(),
    }
}

fn symlink(target: &str) -> EntryKind {
    EntryKind::Symlink {
        target: target.to_owned(),
    }
}

#[test]
fn a_hard_link_is_what_it_named_then() {
    // In one layer a path stands once.
    let twice = tar_of(&[
        file("sv/a/run", EVIL, 0o755),
        other("usr/bin/hello", link("sv/a/run"), 0o755),
        file("sv/a/run", HELLO_TEXT, 0o755),
    ]);
    insta::assert_snapshot!(caught(&[twice]), @"layer … has /sv/a/run twice; make it again");
    let first = tar_of(&[
        file("sv/a/run", EVIL, 0o755),
        other("usr/bin/hello", link("sv/a/run"), 0o755),
        other("usr/bin/other", link("sv/a/run"), 0o755),
    ]);
    let second = tar_of(&[file("sv/a/run", HELLO_TEXT, 0o755)]);
    insta::assert_snapshot!(caught(&[first, second]), @"
    the files of the layers
    /usr/bin/hello of hello 1.0-r0 has other contents than in its package
    /usr/bin/hello is another name of an earlier /sv/a/run, which was replaced
    /usr/bin/hi is another name of an earlier /usr/bin/hello, which was replaced
    /usr/bin/other is another name of an earlier /sv/a/run, which was replaced
    ");
    // Docker would give the file the link's mode.
    let mode = tar_of(&[other("usr/bin/x", link("usr/share/hello/words"), 0o666)]);
    insta::assert_snapshot!(caught(&[mode]), @"
    the files of the layers
    /usr/bin/x is another name of /usr/share/hello/words, but with another mode or owner
    ");
}

#[test]
fn names_that_readers_see_differently_are_refused() {
    // A file `opt/x/` whose content looks like a header to whoever thinks it a directory.
    let mut forged = tar_of(&[file("opt/xy", EVIL, 0o644)]);
    forged[5] = b'/';
    let sum: u32 = forged[..148]
        .iter()
        .chain(&[b' '; 8])
        .chain(&forged[156..512])
        .map(|byte| u32::from(*byte))
        .sum();
    forged[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    insta::assert_snapshot!(caught(&[forged.clone()]), @"layer …: entry `opt/x/` is a file whose name ends in `/`, which is not supported; make the archive without it");
    forged[156] = b'g';
    let sum: u32 = sum - u32::from(b'0') + u32::from(b'g');
    forged[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    insta::assert_snapshot!(caught(&[forged]), @"layer …: entry `opt/x/` is a global extended header, which is not supported; make the archive without it");
}

#[test]
fn a_replaced_directory_takes_its_files_with_it() {
    let layer = tar_of(&[
        file("sv/x/run", EVIL, 0o755),
        other("usr/bin", symlink("../sv/x"), 0o777),
    ]);
    insta::assert_snapshot!(caught(&[layer]), @"
    the files of the layers
    /usr/bin/hello of hello 1.0-r0 is missing
    /usr/bin/hi of hello 1.0-r0 is missing
    /usr/bin/salve of hello 1.0-r0 is missing
    /usr/bin, a directory of a package, is a symbolic link to ../sv/x
    ");
    let beneath = tar_of(&[
        other("usr/bin", symlink("../sv"), 0o777),
        file("usr/bin/hello", HELLO_TEXT, 0o755),
    ]);
    insta::assert_snapshot!(caught(&[beneath]), @"layer … has /usr/bin/hello, but /usr/bin is a symbolic link; make the image again");
    // The database that was there counts no more.
    let database = tar_of(&[other("usr/lib/apk/db/installed", symlink("x"), 0o777)]);
    assert!(caught(&[database]).contains("/usr/bin/hello is no package's"));
}

#[test]
fn only_what_polpo_makes_is_let_through() {
    let layer = tar_of(&[
        other(
            "dev/zero",
            EntryKind::BlockDevice { major: 8, minor: 0 },
            0o666,
        ),
        other(
            "dev/null",
            EntryKind::CharDevice { major: 1, minor: 1 },
            0o666,
        ),
        other(
            "dev/sda",
            EntryKind::BlockDevice { major: 8, minor: 0 },
            0o666,
        ),
        other("lib/apk", symlink("/sv/db"), 0o777),
        file("etc/apk/x.so", EVIL, 0o755),
        file("etc/apk/keys/a/b.pub", EVIL, 0o644),
        file("sv/evil", EVIL, 0o755),
        file("sv/good/run", EVIL, 0o755),
        file("sv/evil2/run", EVIL, 0o4755),
        file("sv/a/b/run", EVIL, 0o755),
        file("usr/lib/apk/db/lock", EVIL, 0o600),
        file("usr/lib/apk/db/evil", EVIL, 0o600),
        file("tmp/empty", "", 0o2644),
        other("usr", EntryKind::Directory, 0o777),
        other("srv", EntryKind::Directory, 0o6777),
    ]);
    insta::assert_snapshot!(caught(&[layer]), @"
    the files of the layers
    /dev/null is a character device 1:1, not what every image has there
    /dev/sda is a block device 8:0: it is no package's, and no image file makes such
    /dev/zero is a block device 8:0, not what every image has there
    /etc/apk/keys/a/b.pub is no package's, and polpo makes no such file
    /etc/apk/x.so is no package's, and polpo makes no such file
    /lib/apk is a symbolic link to /sv/db, not what every image has there
    /srv is a directory of mode 6777, owned by 0:0, which gives more rights than the 755 it should have
    /sv/a/b/run is no package's, and polpo makes no such file
    /sv/evil is no package's, and polpo makes no such file
    /sv/evil2/run is no package's and runs as its owner or group: its mode is 4755
    /tmp/empty is no package's and runs as its owner or group: its mode is 2644
    /usr is a directory of mode 777, owned by 0:0, which gives more rights than the 755 it should have
    /usr/lib/apk/db/evil is no package's, and polpo makes no such file
    /usr/lib/apk/db/lock is a file, not what every image has there
    ");
    // What an image file may have made is said.
    let bed = Bed::with_hello();
    let key = key();
    let mut owned = other("usr", EntryKind::Directory, 0o755);
    owned.0.uid = 65532;
    let layer = tar_of(&[
        owned,
        other("home/nonroot", EntryKind::Directory, 0o700),
        file("sv/good/run", EVIL, 0o755),
    ]);
    let report = report(&bed, &stacked(&bed, &key, &[layer]), &key);
    let text = drawn(&report);
    assert!(report.is_good(), "{text}");
    assert!(
        text.contains("? /usr is a directory of mode 755, owned by 65532:0"),
        "{text}"
    );
    assert!(text.contains("? /sv/good/run is a service"), "{text}");
    assert!(
        text.contains("? /home/nonroot is a directory of mode 700"),
        "{text}"
    );
}

#[test]
fn more_rights_are_found() {
    for mode in [0o4755, 0o2755, 0o775, 0o757] {
        let layer = tar_of(&[file(
            "usr/share/hello/words",
            &"hello ".repeat(10_000),
            mode,
        )]);
        let text = caught(&[layer]);
        let wanted =
            format!("/usr/share/hello/words of hello 1.0-r0 has mode {mode:o} instead of 644\n");
        assert!(text.contains(&wanted), "{text}");
    }
    let mut capable = file("usr/share/hello/words", "", 0o600);
    let words = "hello ".repeat(10_000);
    capable.0.kind = EntryKind::File {
        size: words.len() as u64,
    };
    capable.1 = &words;
    let capability = vec![
        1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    capable
        .0
        .xattrs
        .insert("security.capability".to_owned(), capability);
    insta::assert_snapshot!(caught(&[tar_of(&[capable])]), @"
    the files of the layers
    /usr/share/hello/words of hello 1.0-r0 has other extended attributes than in its package
    ");
    // Accounts may be added to a table, but not rights.
    let layer = tar_of(&[file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o666)]);
    insta::assert_snapshot!(caught(&[layer]), @"
    the files of the layers
    /etc/passwd of base 1.0-r0 has mode 666 instead of 644
    ");
}

/// The image's installed database.
fn database(bed: &Bed) -> String {
    let (image, layout) = bed.layout(HELLO);
    let blob = layout.open_blob(&image.manifest.layers[0]).unwrap();
    let tar = archive::decompress::open(std::io::BufReader::new(blob), archive::Limits::default());
    let mut reader = Reader::new(tar.unwrap(), archive::Limits::default());
    while let Some(mut entry) = reader.next().unwrap() {
        if entry.header().path == "usr/lib/apk/db/installed" {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return text;
        }
    }
    panic!("the image has a database");
}

#[test]
fn a_database_that_says_something_else_is_found() {
    let text = database(&Bed::with_hello());
    let changed = text
        .replace("P:hello\nV:1.0-r0", "P:hello\nV:99.0-r0")
        .replace("D:base", "D:base evil")
        .replace("P:base\n", "P:base\np:so:evil=1\n");
    assert_ne!(text, changed);
    let layer = tar_of(&[file("usr/lib/apk/db/installed", &changed, 0o644)]);
    insta::assert_snapshot!(caught(&[layer]), @"
    2 packages are installed
    base 1.0-r0
    the installed database has the provides `so:evil=1`, the signed index ``
    hello 1.0-r0
    the installed database has the version `99.0-r0`, the signed index `1.0-r0`
    the installed database has the dependencies `base evil`, the signed index `base`
    ");
}

#[test]
fn statements_of_others_are_listed_and_cannot_draw() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = signed(&bed, &key);
    let predicate = "https://example.org/x\n├─✓ all is well\u{1b}[2K\u{202e}";
    let subject = || vec![Subject::new("", image.descriptor.digest)];
    let odd = Statement::new(subject(), predicate, serde_json::Map::new());
    attach(&layout, &image.descriptor, &odd, &key);
    // A second SBOM is as trusted as the first.
    let mut sbom = image.sbom.clone();
    for package in &mut sbom.packages {
        if package.name == "base" {
            package.version_info = Some("2.0-r0".to_owned());
        }
    }
    let second = Statement::new(subject(), attest::intoto::SPDX_PREDICATE, &sbom);
    attach(&layout, &image.descriptor, &second, &key);
    let third = Statement::new(subject(), attest::intoto::SPDX_PREDICATE, &image.sbom);
    attach(&layout, &image.descriptor, &third, &key);
    // One that is lost or malformed says nothing.
    let lost = Statement::new(subject(), "lost", serde_json::Map::new());
    let lost = attach(&layout, &image.descriptor, &lost, &key);
    std::fs::remove_file(layout.blob_path(&lost.digest)).unwrap();

    let found = report(&bed, &layout, &key);
    let text = found.to_string();
    assert!(
        text.contains(
            "? a trusted key also makes a statement that is not checked here: \
             https://example.org/x\\n├─✓ all is well\\u{1b}[2K\\u{202e}\n"
        ),
        "{text}"
    );
    let json = serde_json::to_string(&found).unwrap();
    assert!(!json.contains("\\u001b"), "{json}");
    assert!(text.contains("✗ the SBOM lists base 2.0-r0"), "{text}");
    assert!(text.contains("✓ the SBOM lists the installed"), "{text}");
    assert!(
        text.contains(&format!("? the artefact {} is passed over", lost.digest)),
        "{text}"
    );
}

#[test]
fn the_older_form_is_verified_and_added_to() {
    let bed = Bed::with_hello();
    let (key, other) = (self::key(), self::key());
    let (image, layout) = bed.layout(HELLO);
    let legacy = |key| Attaching {
        form: Form::Legacy,
        ..attaching(&layout, &image.descriptor, key)
    };
    wait(legacy(&other).sign("registry.example/hello")).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(text.contains("no trusted key signed it"), "{text}");

    wait(legacy(&key).all("registry.example/hello", &image.sbom, None)).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(found.is_good(), "{found}");
    // The image is still found without a tag, and both signatures are there.
    assert_eq!(
        layout.resolve(None).unwrap().digest,
        image.descriptor.digest
    );
    let tag = Companion::Signatures.tag(&image.descriptor.digest);
    let signatures = layout.resolve(Some(&tag)).unwrap();
    assert_eq!(layout.manifest(&signatures).unwrap().layers.len(), 2);

    // Another image's signature, and an SBOM in a signature's place, are none.
    let mut forged = image.descriptor.clone();
    forged.digest = Digest::of(b"another image");
    let bed = Bed::with_hello();
    let (image, layout) = bed.layout(HELLO);
    let of_another = Attaching {
        form: Form::Legacy,
        ..attaching(&layout, &forged, &key)
    };
    let manifest = wait(of_another.sign("")).unwrap();
    layout
        .tag(
            &Companion::Signatures.tag(&image.descriptor.digest),
            &manifest,
        )
        .unwrap();
    let only_sbom = Attaching {
        form: Form::Legacy,
        ..attaching(&layout, &image.descriptor, &key)
    };
    wait(only_sbom.attest(attest::intoto::SPDX_PREDICATE, &image.sbom)).unwrap();
    let found = report(&bed, &layout, &key);
    let text = drawn(&found);
    assert!(
        text.contains("✗ nobody who is trusted says: the image is signed"),
        "{text}"
    );
    assert!(text.contains("it signs sha256:…"), "{text}");
}
