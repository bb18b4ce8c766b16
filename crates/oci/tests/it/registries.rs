//! Debian's registry, skopeo and podman.

use base::{Arch, Digest, Silent};
use oci::copy::{Architectures, CopyError, CopySettings, Origin, Referrers, to_layout};
use oci::registry::{Pushed, Reference, RegistryError, fallback_tag};
use oci::{Descriptor, DocumentContents, Index, Layout, media_type};
use testkit::{Fault, FaultProxy, Program, Registry, Reply, Server};

use crate::bed::{Bed, assert_whole, attach, noise, wait};

fn skopeo(words: &[&str]) -> testkit::Finished {
    Program::new("skopeo")
        .arg("--insecure-policy")
        .args(words)
        .run()
        .success()
}

#[test]
fn other_programs_take_what_was_published() {
    let bed = Bed::new();
    let registry = Registry::start();
    let (layout, index) = bed.layout("layout");
    let name = registry.name("team/app:v1");
    let latest = registry.name("team/app:latest");
    let report = bed.publish(&layout, &[&name, &latest]).unwrap();
    assert_eq!(report.digest, index.digest);
    assert_eq!((report.blobs.sent(), report.manifests.sent()), (4, 3));
    assert_eq!(report.names, [name.clone(), latest]);

    let url = format!("docker://{name}");
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &url]).stdout;
    assert_eq!(Digest::of(raw.as_bytes()), index.digest);
    let copied = bed.path("copied");
    skopeo(&[
        "copy",
        "--all",
        "--src-tls-verify=false",
        &url,
        &format!("oci:{}:v1", copied.display()),
    ]);
    assert_eq!(
        Layout::open(&copied)
            .unwrap()
            .resolve(Some("v1"))
            .unwrap()
            .digest,
        index.digest
    );
    assert_whole(&copied);

    let podman = |words: &[&str]| {
        let mut program = Program::new("podman").args(["--storage-driver", "vfs"]);
        for (option, folder) in [("--root", "podman"), ("--runroot", "podman-run")] {
            program = program.arg(option).arg(bed.path(folder));
        }
        program.args(words).run().success()
    };
    let pulled = podman(&[
        "pull",
        "--quiet",
        "--tls-verify=false",
        "--arch",
        "arm64",
        &name,
    ]);
    let image = layout.image(Some("v1"), Arch::Aarch64).unwrap();
    assert_eq!(pulled.stdout.trim(), image.manifest.config.digest.hex());

    let repository = bed
        .registry()
        .repository(name.parse::<Reference>().unwrap().repository());
    assert_eq!(wait(repository.tags(&Silent)).unwrap(), ["latest", "v1"]);
}

#[test]
fn what_skopeo_pushes_is_copied_byte_by_byte() {
    let bed = Bed::new();
    let registry = Registry::start();
    let (layout, index) = bed.layout("layout");
    let from = format!("oci:{}:v1", layout.root().display());
    let name = registry.name("a/b:x");
    skopeo(&[
        "copy",
        "--all",
        "--dest-tls-verify=false",
        &from,
        &format!("docker://{name}"),
    ]);
    let copy = bed.path("copy");
    let report = bed.pull(&name, &copy).unwrap();
    assert_eq!(report.digest, index.digest);
    assert_whole(&copy);
    let again = bed.pull(&name, &copy).unwrap();
    assert_eq!((again.blobs.sent(), again.manifests.sent()), (0, 0));

    // In Docker's format, too.
    let docker = registry.name("a/b:docker");
    skopeo(&[
        "copy",
        "--format=v2s2",
        "--override-arch=amd64",
        "--dest-tls-verify=false",
        &from,
        &format!("docker://{docker}"),
    ]);
    let raw = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{docker}"),
    ]);
    let copy = bed.path("docker");
    let report = bed.pull(&docker, &copy).unwrap();
    assert_eq!(report.digest, Digest::of(raw.stdout.as_bytes()));
    assert_eq!(report.media_type, media_type::DOCKER_MANIFEST);
    assert_whole(&copy);

    // One architecture alone.
    let alone = bed.path("alone");
    let settings = CopySettings {
        architectures: Architectures::Only(Arch::Aarch64),
        ..CopySettings::default()
    };
    wait(to_layout(
        &bed.origin(&name),
        &alone,
        Some("v1"),
        settings,
        &bed.store,
        &Silent,
    ))
    .unwrap();
    let image = Layout::open(&alone)
        .unwrap()
        .image(None, Arch::Aarch64)
        .unwrap();
    assert_eq!(image.config.architecture, "arm64");
    let settings = CopySettings {
        architectures: Architectures::Only(Arch::Riscv64),
        ..CopySettings::default()
    };
    let refused = wait(to_layout(
        &bed.origin(&name),
        &bed.path("none"),
        None,
        settings,
        &bed.store,
        &Silent,
    ));
    let refused = refused
        .unwrap_err()
        .to_string()
        .replace(registry.address(), "REGISTRY");
    insta::assert_snapshot!(refused, @"REGISTRY/a/b:x is not made for riscv64; it has amd64, arm64");
    assert!(!bed.path("none").exists());

    // An image that lists no architectures says in its configuration what it is made for.
    let copied = |name: &str, to: &str, architectures| {
        let settings = CopySettings {
            architectures,
            ..CopySettings::default()
        };
        let (origin, folder) = (bed.origin(name), bed.path(to));
        let copied = to_layout(&origin, &folder, None, settings, &bed.store, &Silent);
        wait(copied).map_err(|error| error.to_string().replace(registry.address(), "REGISTRY"))
    };
    copied(&docker, "only", Architectures::Only(Arch::X86_64)).unwrap();
    copied(
        &docker,
        "whichever",
        Architectures::OneOfSeveral(Arch::Riscv64),
    )
    .unwrap();
    let refused = copied(&docker, "other", Architectures::Only(Arch::Aarch64)).unwrap_err();
    insta::assert_snapshot!(refused, @"REGISTRY/a/b:docker is not made for aarch64; it has amd64");
    assert!(!bed.path("other").exists());
}

#[test]
fn nothing_is_sent_twice() {
    let bed = Bed::new();
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    let layout = Layout::create(bed.path("layout")).unwrap();
    let (base, app) = (noise(3 << 20, 1), noise(100, 2));
    let image = bed.blobs(&layout, &[base.clone(), app]);
    layout.tag("v1", &image).unwrap();
    let name = proxy.name("app:v1");
    let first = bed.publish(&layout, &[&name]).unwrap();
    assert_eq!(first.sent_bytes, image_bytes(&layout, &image));

    // All is there: the manifest is asked for, and the tag.
    proxy.forget();
    let second = bed.publish(&layout, &[&name]).unwrap();
    assert_eq!((second.sent_bytes, second.manifests.sent()), (0, 0));
    let asked: Vec<String> = proxy
        .seen()
        .into_iter()
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect();
    let digest = image.digest.to_string();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|line| !line.starts_with('P')), "{asked:?}");
    assert_eq!(
        asked.iter().filter(|line| line.contains(&digest)).count(),
        1
    );

    // Another name for it is one manifest more.
    proxy.forget();
    bed.publish(&layout, &[&proxy.name("app:latest")]).unwrap();
    assert_eq!(proxy.count("PUT", "/manifests/latest"), 1);
    assert_eq!(proxy.count("PUT", ""), 1);

    // A changed layer goes alone, with the configuration and the manifest.
    proxy.forget();
    let next = Layout::create(bed.path("next")).unwrap();
    let changed = bed.blobs(&next, &[base.clone(), noise(200, 3)]);
    next.tag("v2", &changed).unwrap();
    let third = bed.publish(&next, &[&proxy.name("app:v2")]).unwrap();
    assert_eq!((third.blobs.sent(), third.blobs.existing), (2, 1));
    assert!(third.sent_bytes < 2000, "{}", third.sent_bytes);

    // In another repository of the same registry the base is taken from this one.
    proxy.forget();
    let reference: Reference = proxy.name("other:v1").parse().unwrap();
    let repository = bed.registry().repository(reference.repository());
    let sibling = name.parse::<Reference>().unwrap().repository().clone();
    let origin = Origin::Layout {
        layout: layout.clone(),
        tag: None,
    };
    let report = wait(oci::copy::to_registry(
        &origin,
        &repository,
        &[reference],
        &[sibling],
        CopySettings::default(),
        &bed.store,
        &Silent,
    ))
    .unwrap();
    assert_eq!((report.blobs.mounted, report.sent_bytes), (3, 0));
    // So it is from repository to repository, and nothing comes here.
    proxy.forget();
    let report = bed
        .send(&bed.origin(&name), &[&proxy.name("third:v1")])
        .unwrap();
    assert_eq!((report.blobs.mounted, report.sent_bytes), (3, 0));
    assert_eq!(proxy.count("GET", "/blobs/"), 0);
}

fn image_bytes(layout: &Layout, image: &Descriptor) -> u64 {
    let manifest = layout.manifest(image).unwrap();
    let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
    manifest.config.size + layers
}

#[test]
fn large_blobs_go_in_pieces_if_asked_for() {
    let mut bed = Bed::new();
    bed.settings.chunk = Some(700_000);
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    let layout = Layout::create(bed.path("layout")).unwrap();
    let image = bed.blobs(&layout, &[noise(3_000_000, 1)]);
    layout.tag("v1", &image).unwrap();
    bed.publish(&layout, &[&proxy.name("app:v1")]).unwrap();
    let pieces: Vec<u64> = proxy
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.sent)
        .collect();
    let mut pieces: Vec<u64> = pieces.into_iter().filter(|size| *size > 10_000).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [200_000, 700_000, 700_000, 700_000, 700_000]);
    let copy = bed.path("copy");
    bed.pull(&registry.name("app:v1"), &copy).unwrap();
    assert_whole(&copy);
}

#[test]
fn what_refers_to_an_image_goes_with_it() {
    let bed = Bed::new();
    let registry = Registry::start();
    let (layout, index) = bed.layout("layout");
    let part = layout.image(Some("v1"), Arch::X86_64).unwrap().descriptor;
    let sbom = attach(&layout, &part, "application/x-sbom");
    let signature = attach(&layout, &index, "application/x-signature");
    let about_sbom = attach(&layout, &sbom, "application/x-signature-of-sbom");
    // What cosign keeps under a tag of its own.
    let cosign = bed.image(&layout, "signature", Arch::X86_64);
    let cosign_tag = format!("{}.sig", fallback_tag(&index.digest));
    layout.tag(&cosign_tag, &cosign).unwrap();

    let name = registry.name("app:v1");
    let origin = Origin::Layout {
        layout: layout.clone(),
        tag: Some("v1".to_owned()),
    };
    let report = bed.send(&origin, &[&name]).unwrap();
    assert_eq!(report.referrers.all, 4);
    let repository = bed
        .registry()
        .repository(name.parse::<Reference>().unwrap().repository());
    // This registry keeps no list, so there are lists under tags.
    let tags = wait(repository.tags(&Silent)).unwrap();
    let mut expected = vec![
        fallback_tag(&index.digest),
        cosign_tag.clone(),
        fallback_tag(&part.digest),
        fallback_tag(&sbom.digest),
        "v1".to_owned(),
    ];
    expected.sort();
    assert_eq!(tags, expected);
    let listed = wait(repository.referrers(&part.digest, &Silent)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest, sbom.digest);
    assert_eq!(
        listed[0].artifact_type.as_deref(),
        Some("application/x-sbom")
    );
    assert_eq!(listed[0].annotations["kind"], "application/x-sbom");

    // All of it comes back, and goes on to another registry.
    let copy = bed.path("copy");
    let report = bed.pull(&name, &copy).unwrap();
    assert_eq!(report.referrers.all, 4);
    assert_whole(&copy);
    let copied = Layout::open(&copy).unwrap();
    assert_eq!(copied.tags().unwrap(), ["copy", &cosign_tag]);
    for (subject, referrer) in [(&part, &sbom), (&index, &signature), (&sbom, &about_sbom)] {
        let found = copied.referrers(&subject.digest).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.digest, referrer.digest);
    }
    // Whoever may write to the repository does not decide how much is brought.
    let within = |limit, to: &str| {
        let settings = CopySettings {
            referrers: Referrers::Within(limit),
            ..CopySettings::default()
        };
        let origin = bed.origin(&name);
        let to = bed.path(to);
        wait(to_layout(
            &origin,
            &to,
            Some("copy"),
            settings,
            &bed.store,
            &Silent,
        ))
    };
    let Err(CopyError::TooLarge { found, .. }) = within(1000, "refused") else {
        panic!("more was brought than was wanted");
    };
    assert!(!bed.path("refused").exists());
    within(found - 1, "refused").unwrap_err();
    assert_eq!(within(found, "brought").unwrap().referrers.all, 4);
    let other = Registry::start();
    let elsewhere = other.name("mirror/app:v1");
    let report = bed.send(&bed.origin(&name), &[&elsewhere]).unwrap();
    assert_eq!(report.referrers.all, 4);
    let mirror = bed
        .registry()
        .repository(elsewhere.parse::<Reference>().unwrap().repository());
    let found = wait(mirror.referrers(&index.digest, &Silent)).unwrap();
    assert_eq!(found[0].digest, signature.digest);

    // Two more at the same image are both listed; one that is deleted is not.
    for kind in ["application/x-one", "application/x-two"] {
        attach(&layout, &index, kind);
    }
    bed.send(&origin, &[&name]).unwrap();
    assert_eq!(
        wait(repository.referrers(&index.digest, &Silent))
            .unwrap()
            .len(),
        3
    );
    wait(repository.delete_document(&signature.digest, &Silent)).unwrap();
    assert_eq!(
        wait(repository.referrers(&index.digest, &Silent))
            .unwrap()
            .len(),
        2
    );
    let gone = wait(repository.delete_document(&signature.digest, &Silent)).unwrap_err();
    assert!(matches!(gone, RegistryError::NotFound(_)), "{gone}");
}

#[test]
fn layouts_of_apko_are_published_as_one_index() {
    let bed = Bed::new();
    let registry = Registry::start();
    let layout = Layout::open(testkit::corpus().join("apko/cli/golden")).unwrap();
    let report = bed
        .publish(&layout, &[&registry.name("golden:v1")])
        .unwrap();
    assert_eq!(report.media_type, media_type::INDEX);
    let raw = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{}", registry.name("golden:v1")),
    ]);
    let index = Index::parse(raw.stdout.as_bytes()).unwrap();
    assert_eq!(index.manifests, layout.index().unwrap().manifests);
}

#[test]
fn blobs_can_be_removed() {
    let bed = Bed::new();
    let registry = Registry::start();
    let repository = bed.registry().repository(
        registry
            .name("app:v1")
            .parse::<Reference>()
            .unwrap()
            .repository(),
    );
    let path = bed.path("blob");
    std::fs::write(&path, b"bytes").unwrap();
    let blob = Descriptor::of("application/x", b"bytes");
    let file = std::sync::Arc::new(std::fs::File::open(&path).unwrap());
    let push = || wait(repository.push_blob(&blob, &file, &[], &Silent)).unwrap();
    assert_eq!(push(), Pushed::Sent);
    assert_eq!(push(), Pushed::Existing);
    wait(repository.delete_blob(&blob.digest, &Silent)).unwrap();
    assert!(!wait(repository.has_blob(&blob, &Silent)).unwrap());
    let gone = wait(repository.delete_blob(&blob.digest, &Silent)).unwrap_err();
    assert!(matches!(gone, RegistryError::NotFound(_)), "{gone}");
}

/// A registry that keeps lists of referrers itself, page by page.
#[test]
fn lists_go_on_from_page_to_page() {
    let bed = Bed::new();
    let server = Server::start();
    let host = server.url("").replace("http://", "");
    let subject = Digest::of(b"subject");
    server
        .on("/v2/", Reply::ok(""))
        .on(
            "/v2/app/tags/list?n=1000",
            Reply::ok(r#"{"tags":["b","a"]}"#)
                .header("Link", r#"</v2/app/tags/list?n=1000&last=b>; rel="next""#),
        )
        .on(
            "/v2/app/tags/list?n=1000&last=b",
            Reply::ok(r#"{"tags":["c"]}"#),
        );
    let page = |name: &str| {
        let entry = Descriptor::of(media_type::MANIFEST, name.as_bytes());
        Reply::ok(Index::new(vec![entry]).to_bytes().unwrap())
    };
    let path = format!("/v2/app/referrers/{subject}");
    server
        .on(
            &path,
            page("one").header("Link", format!("<{path}?page=2>; rel=next")),
        )
        .on(&format!("{path}?page=2"), page("two"));
    let repository = |name: &str| {
        let reference: Reference = format!("{host}/{name}").parse().unwrap();
        bed.registry().repository(reference.repository())
    };
    assert_eq!(
        wait(repository("app").tags(&Silent)).unwrap(),
        ["a", "b", "c"]
    );
    assert_eq!(
        wait(repository("app").referrers(&subject, &Silent))
            .unwrap()
            .len(),
        2
    );

    // One that goes round in circles, one that goes on for ever, and what is no tag.
    server
        .on(
            "/v2/round/tags/list?n=1000",
            Reply::ok(r#"{"tags":["a"]}"#).header("Link", "</v2/round/tags/list?n=1>; rel=next"),
        )
        .on(
            "/v2/round/tags/list?n=1",
            Reply::ok(r#"{"tags":["a"]}"#).header("Link", "</v2/round/tags/list?n=1>; rel=next"),
        )
        .on("/v2/long/tags/list?n=1000", Reply::endless())
        .on(
            "/v2/wrong/tags/list?n=1000",
            Reply::ok(r#"{"tags":["../../x"]}"#),
        );
    let errors: Vec<String> = ["round", "long", "wrong", "none"]
        .into_iter()
        .map(|name| {
            wait(repository(name).tags(&Silent))
                .unwrap_err()
                .to_string()
        })
        .map(|text| text.replace(&host, "REGISTRY"))
        .collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    listing the tags of REGISTRY/round: the registry is not to be trusted here: its list goes round in circles
    listing the tags of REGISTRY/long: it is larger than 4194304 bytes
    listing the tags of REGISTRY/wrong: the registry is not to be trusted here: "../../x" is among its tags and can't be one
    REGISTRY/none is not there
    "#);
}

#[test]
fn documents_keep_their_bytes() {
    let bed = Bed::new();
    let registry = Registry::start();
    let (layout, index) = bed.layout("layout");
    // The same manifest with other white space has another digest, and keeps it.
    let bytes = layout.read(&index, 1 << 20).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    let descriptor = layout.put_blob(media_type::INDEX, &pretty).unwrap();
    layout.tag("pretty", &descriptor).unwrap();
    let name = registry.name("app:pretty");
    let origin = Origin::Layout {
        layout,
        tag: Some("pretty".to_owned()),
    };
    assert_eq!(
        bed.send(&origin, &[&name]).unwrap().digest,
        descriptor.digest
    );
    let reference: Reference = name.parse().unwrap();
    let repository = bed.registry().repository(reference.repository());
    let document = wait(repository.document(&reference, &Silent)).unwrap();
    assert_eq!(document.bytes, pretty);
    assert!(matches!(document.contents, DocumentContents::Index(_)));
}

/// A registry that says that it keeps the list of what refers to an image needs none under a tag.
#[test]
fn who_keeps_a_list_gets_no_other() {
    let bed = Bed::new();
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    let (layout, index) = bed.layout("layout");
    attach(&layout, &index, "application/x-signature");
    let subject = index.digest.to_string();
    proxy.on(
        "PUT",
        "/manifests/",
        1000,
        Fault::Header("OCI-Subject", subject),
    );
    let origin = Origin::Layout {
        layout,
        tag: Some("v1".to_owned()),
    };
    bed.send(&origin, &[&proxy.name("app:v1")]).unwrap();
    let reference: Reference = registry.name("app:v1").parse().unwrap();
    let repository = bed.registry().repository(reference.repository());
    assert_eq!(wait(repository.tags(&Silent)).unwrap(), ["v1"]);
}
