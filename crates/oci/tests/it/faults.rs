//! What goes wrong between a client and a registry, and what becomes of it.

use std::time::Duration;

use base::Digest;
use oci::{Layout, media_type};
use testkit::{Fault, FaultProxy, Registry};

use crate::bed::{Bed, assert_whole, noise};

/// One layer that goes at once, one that goes as a stream.
fn layout(bed: &Bed) -> Layout {
    let layout = Layout::create(bed.path("layout")).unwrap();
    let image = bed.blobs(&layout, &[noise(3 << 20, 7), noise(5000, 8)]);
    layout.tag("v1", &image).unwrap();
    layout
}

/// Faults that pass: whatever they meet, all arrives.
#[test]
fn what_fails_for_a_while_is_tried_again() {
    let registry = Registry::start();
    let faults: Vec<(&str, &str, usize, Fault)> = vec![
        ("GET", "/v2/", 2, Fault::Drop),
        ("GET", "/v2/", 1, Fault::Status(503, "Retry-After: 0")),
        ("HEAD", "/blobs/", 2, Fault::Drop),
        (
            "HEAD",
            "/manifests/",
            2,
            Fault::Status(429, "Retry-After: 0"),
        ),
        ("POST", "/uploads/", 2, Fault::Drop),
        ("POST", "/uploads/", 2, Fault::Status(500, "")),
        ("POST", "/uploads/", 1, Fault::LoseAnswer),
        ("PATCH", "", 1, Fault::Drop),
        ("PATCH", "", 1, Fault::DropAfter(1_000_000)),
        ("PATCH", "", 3, Fault::DropAfter(1_000_000)),
        ("PATCH", "", 1, Fault::LoseAnswer),
        ("PATCH", "", 1, Fault::Status(429, "Retry-After: 0")),
        ("PATCH", "", 1, Fault::Status(502, "")),
        ("PATCH", "", 2, Fault::Status(404, "")),
        ("PATCH", "", 1, Fault::Status(413, "")),
        ("PUT", "/uploads/", 2, Fault::Drop),
        ("PUT", "/uploads/", 1, Fault::DropAfter(100)),
        ("PUT", "/uploads/", 2, Fault::LoseAnswer),
        ("PUT", "/uploads/", 1, Fault::Status(504, "")),
        ("PUT", "/uploads/", 1, Fault::Status(404, "")),
        ("PUT", "/manifests/", 2, Fault::Drop),
        ("PUT", "/manifests/", 1, Fault::LoseAnswer),
        (
            "PUT",
            "/manifests/",
            2,
            Fault::Status(503, "Retry-After: 0"),
        ),
        ("GET", "/blobs/uploads/", 1, Fault::Drop),
    ];
    let bed = Bed::new();
    let layout = layout(&bed);
    for (number, (method, path, count, fault)) in faults.into_iter().enumerate() {
        let case = format!("{method} {path} {count} {fault:?}");
        let proxy = FaultProxy::before(registry.address());
        proxy.on(method, path, count, fault);
        if path == "/blobs/uploads/" {
            proxy.on("PATCH", "", 1, Fault::DropAfter(1_000_000));
        }
        let name = format!("app{number}:v1");
        let report = bed
            .publish(&layout, &[&proxy.name(&name)])
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(report.blobs.all, 3, "{case}");
        let met = proxy
            .seen()
            .iter()
            .filter(|seen| seen.fault.is_some())
            .count();
        assert!(met >= count, "{case}: met {met}");
        // All is there, as whoever reads it without the proxy finds it.
        let reader = Bed::new();
        let copy = reader.path("copy");
        let pulled = reader
            .pull(&registry.name(&name), &copy)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(pulled.digest, report.digest, "{case}");
        assert_whole(&copy);
    }
}

/// What a registry has already is not sent again: it says how far it is, asked or not.
#[test]
fn a_broken_upload_is_gone_on_with() {
    let registry = Registry::start();
    let mut bed = Bed::new();
    let layout = layout(&bed);
    let sent = |proxy: &FaultProxy| -> u64 {
        let seen = proxy.seen().into_iter();
        seen.filter(|seen| seen.method == "PATCH")
            .map(|seen| seen.sent)
            .sum()
    };
    let proxy = FaultProxy::before(registry.address());
    proxy.on("PATCH", "", 1, Fault::TakeOnly(2_000_000));
    bed.publish(&layout, &[&proxy.name("short:v1")]).unwrap();
    assert_eq!(proxy.count("PATCH", ""), 2);
    assert_eq!(sent(&proxy), 3 << 20);

    bed.settings.chunk = Some(1_000_000);
    bed.parallel = 1;
    let proxy = FaultProxy::before(registry.address());
    // The small blobs go in pieces too, one each; the order is that of their digests.
    for drops in 0..3 {
        proxy.on("PATCH", "", drops, Fault::Late(Duration::ZERO));
        proxy.on("PATCH", "", 1, Fault::Drop);
    }
    bed.publish(&layout, &[&proxy.name("pieces:v1")]).unwrap();
    let image = layout.resolve(None).unwrap();
    let manifest = layout.manifest(&image).unwrap();
    let small = manifest.config.size + manifest.layers[1].size;
    assert_eq!(sent(&proxy), (3 << 20) + small);
    let asked = proxy.seen().into_iter();
    let asked = asked.filter(|seen| seen.method == "GET" && seen.path.contains("/uploads/"));
    assert_eq!(asked.count(), 3, "the registry is asked how far it is");
    let copy = bed.path("copy");
    bed.pull(&registry.name("pieces:v1"), &copy).unwrap();
    assert_whole(&copy);
}

#[test]
fn downloads_that_break_go_on() {
    let registry = Registry::start();
    let bed = Bed::new();
    let layout = layout(&bed);
    bed.publish(&layout, &[&registry.name("app:v1")]).unwrap();
    for (method, path, count, fault) in [
        ("GET", "/manifests/", 2, Fault::Drop),
        ("GET", "/manifests/", 1, Fault::Truncate(50)),
        (
            "GET",
            "/manifests/",
            2,
            Fault::Status(429, "Retry-After: 0"),
        ),
        ("GET", "/blobs/", 3, Fault::Drop),
        ("GET", "/blobs/", 3, Fault::Truncate(1_000_000)),
        ("GET", "/blobs/", 2, Fault::Status(500, "")),
        ("GET", "/blobs/", 1, Fault::Status(503, "Retry-After: 0")),
        ("GET", "/blobs/", 1, Fault::Late(Duration::from_millis(300))),
    ] {
        let case = format!("{method} {path} {count} {fault:?}");
        let proxy = FaultProxy::before(registry.address());
        let broken = matches!(fault, Fault::Truncate(1_000_000));
        proxy.on(method, path, count, fault);
        let reader = Bed::new();
        let copy = reader.path("copy");
        reader
            .pull(&proxy.name("app:v1"), &copy)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_whole(&copy);
        let seen = proxy.seen();
        assert!(
            seen.iter().filter(|seen| seen.fault.is_some()).count() >= count,
            "{case}"
        );
        if broken {
            let rest = seen
                .iter()
                .any(|seen| seen.head.to_lowercase().contains("\r\nrange: bytes="));
            assert!(rest, "the rest is asked for, not the whole");
        }
    }
}

#[test]
fn a_download_that_fails_half_way_leaves_an_older_layout_as_it_was() {
    let registry = Registry::start();
    let mut bed = Bed::new();
    bed.network.attempts = 2;
    bed.parallel = 1;
    let layout = layout(&bed);
    bed.publish(&layout, &[&registry.name("app:v1")]).unwrap();
    let manifest = layout.manifest(&layout.resolve(None).unwrap()).unwrap();
    let older = bed.layout("older").0.root().to_owned();
    let files = || {
        let index = std::fs::read(older.join("index.json")).unwrap();
        let blobs = std::fs::read_dir(older.join("blobs/sha256")).unwrap();
        let mut names: Vec<_> = blobs.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (index, names)
    };
    let before = files();
    let mut others = 0;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let proxy = FaultProxy::before(registry.address());
        let path = format!("/blobs/{}", blob.digest);
        proxy.on("GET", &path, 1000, Fault::Corrupt);
        // What was brought before comes from the registry again.
        let mut reader = Bed::new();
        reader.parallel = 1;
        reader.network.attempts = 2;
        reader.pull(&proxy.name("app:v1"), &older).unwrap_err();
        assert_eq!(files(), before, "{}", blob.media_type);
        others += proxy.count("GET", "/blobs/") - proxy.count("GET", &path);
    }
    assert!(others > 0, "something was brought before that");
    bed.pull(&registry.name("app:v1"), &older).unwrap();
    assert_whole(&older);
}

/// Faults that stay: an error that says what and where, and nothing half-made.
#[test]
fn what_stays_broken_is_told() {
    let registry = Registry::start();
    let mut bed = Bed::new();
    bed.network.read_timeout = Duration::from_millis(200);
    let layout = layout(&bed);
    bed.publish(&layout, &[&registry.name("app:v1")]).unwrap();
    let image = layout.resolve(None).unwrap();
    let manifest = layout.manifest(&image).unwrap();
    let large = &manifest.layers[0].digest;
    let other = Digest::of(b"other");
    let mut lines = Vec::new();
    let lie = |name, value: &str| Fault::Header(name, value.to_owned());
    let pulls: Vec<(&str, &str, Fault)> = vec![
        ("GET", "/manifests/", Fault::Drop),
        (
            "GET",
            "/manifests/",
            Fault::Status(429, "Retry-After: 3600"),
        ),
        ("GET", "/manifests/", Fault::Status(418, "")),
        ("GET", "/manifests/", Fault::Corrupt),
        (
            "GET",
            "/manifests/",
            lie("Docker-Content-Digest", &other.to_string()),
        ),
        ("GET", "/manifests/", lie("Content-Type", media_type::INDEX)),
        ("GET", "/manifests/", lie("Content-Type", "text/html")),
        ("GET", "/manifests/", lie("Content-Length", "99999999")),
        ("GET", "/blobs/", Fault::Corrupt),
        ("GET", "/blobs/", Fault::Status(404, "")),
        ("GET", "/blobs/", lie("Content-Length", "17")),
        ("GET", "/blobs/", Fault::Drip(Duration::from_millis(20))),
    ];
    for (method, path, fault) in pulls {
        let proxy = FaultProxy::before(registry.address());
        let shown = format!("{method} {path} {fault:?}").replace(&other.to_string(), "OTHER");
        proxy.on(method, path, 1000, fault);
        let mut reader = Bed::new();
        reader.network.read_timeout = Duration::from_millis(200);
        reader.network.attempts = 2;
        reader.parallel = 1;
        let copy = reader.path("copy");
        let error = reader.pull(&proxy.name("app:v1"), &copy).unwrap_err();
        assert!(!copy.exists(), "{shown} leaves something");
        lines.push(format!("{shown}\n  {error}").replace(proxy.address(), "REGISTRY"));
    }
    let pushes: Vec<(&str, &str, Fault)> = vec![
        ("HEAD", "/blobs/", lie("Content-Length", "17")),
        (
            "HEAD",
            "/manifests/",
            lie("Docker-Content-Digest", &other.to_string()),
        ),
        ("POST", "/uploads/", Fault::Status(405, "")),
        (
            "POST",
            "/uploads/",
            lie("Location", "ftp://elsewhere.example/"),
        ),
        ("POST", "/uploads/", Fault::Drop),
        ("PATCH", "", Fault::Status(404, "")),
        ("PATCH", "", Fault::Status(413, "")),
        ("PATCH", "", lie("Range", "0-99999999")),
        ("PUT", "/uploads/", Fault::Status(400, "")),
        (
            "PUT",
            "/uploads/",
            lie("Docker-Content-Digest", &other.to_string()),
        ),
        ("PUT", "/manifests/", Fault::Status(400, "")),
        (
            "PUT",
            "/manifests/",
            lie("Docker-Content-Digest", &other.to_string()),
        ),
    ];
    let writer = {
        let mut writer = Bed::new();
        writer.network.attempts = 2;
        writer.settings.attempts = 2;
        writer.parallel = 1;
        writer
    };
    for (number, (method, path, fault)) in pushes.into_iter().enumerate() {
        let proxy = FaultProxy::before(registry.address());
        let shown = format!("{method} {path} {fault:?}").replace(&other.to_string(), "OTHER");
        // Its blobs may be there from before in the first case alone.
        let repository = match number {
            0 | 1 => "app".to_owned(),
            _ => format!("broken{number}"),
        };
        proxy.on(method, path, 1000, fault);
        if number == 0 {
            proxy.on("HEAD", "/manifests/", 1000, Fault::Status(404, ""));
        }
        let name = proxy.name(&format!("{repository}:v2"));
        let error = writer.publish(&layout, &[&name]).unwrap_err();
        proxy.heal();
        let reference: oci::registry::Reference = name.parse().unwrap();
        let there = crate::bed::wait(
            writer
                .registry()
                .repository(reference.repository())
                .digest(&reference, &base::Silent),
        );
        let is_named = matches!(&there, Ok(Some(_)));
        // The last is a lie about something that went well.
        assert!(
            !is_named || number == 11,
            "{shown}: the name is given all the same"
        );
        let line = format!("{shown}\n  {error}").replace(proxy.address(), "REGISTRY");
        lines.push(line);
    }
    let mut text = lines.join("\n");
    for (digest, name) in [
        (large.to_string(), "LARGE"),
        (manifest.layers[1].digest.to_string(), "SMALL"),
        (manifest.config.digest.to_string(), "CONFIG"),
        (image.digest.to_string(), "IMAGE"),
        (other.to_string(), "OTHER"),
    ] {
        text = text.replace(&digest, name);
    }
    insta::assert_snapshot!(text, @r#"
    GET /manifests/ Drop
      reading REGISTRY/app:v1: error sending request: client error (SendRequest): connection closed before message completed
    GET /manifests/ Status(429, "Retry-After: 3600")
      reading REGISTRY/app:v1: the registry answered 429, and asks to be left alone for 3600 seconds; try again then
    GET /manifests/ Status(418, "")
      reading REGISTRY/app:v1: the registry answered 418
    GET /manifests/ Corrupt
      reading REGISTRY/app:v1: the registry is not to be trusted here: it should have given IMAGE and gave sha256:2e131298d86d8db94126a7d7b49f83fb470748aca5aa0739a2fb33962a6fd815
    GET /manifests/ Header("Docker-Content-Digest", "OTHER")
      reading REGISTRY/app:v1: the registry is not to be trusted here: it should have given OTHER and gave IMAGE
    GET /manifests/ Header("Content-Type", "application/vnd.oci.image.index.v1+json")
      REGISTRY/app:v1 is no usable manifest: it is said to be a `application/vnd.oci.image.index.v1+json`, but calls itself `application/vnd.oci.image.manifest.v1+json`
    GET /manifests/ Header("Content-Type", "text/html")
      REGISTRY/app:v1 is no usable manifest: it is said to be a `text/html`, but calls itself `application/vnd.oci.image.manifest.v1+json`
    GET /manifests/ Header("Content-Length", "99999999")
      reading REGISTRY/app:v1: error decoding response body: error reading a body from connection: end of file before message length reached
    GET /blobs/ Corrupt
      fetching REGISTRY/app@SMALL: the registry is not to be trusted here: it should have given SMALL and gave sha256:170708d7daf6d6d9af81d9ced85af344b62d568bbb8ab6ab4998874dd16a161a (5000 bytes)
    GET /blobs/ Status(404, "")
      REGISTRY/app@SMALL is not there
    GET /blobs/ Header("Content-Length", "17")
      fetching REGISTRY/app@SMALL: the registry is not to be trusted here: the blob has 5000 bytes and it says 17
    GET /blobs/ Drip(20ms)
      fetching REGISTRY/app@SMALL: the server has let hardly anything through for 0.2 seconds
    HEAD /blobs/ Header("Content-Length", "17")
      looking for REGISTRY/app@SMALL: the registry is not to be trusted here: SMALL has 5000 bytes and it says 17
    HEAD /manifests/ Header("Docker-Content-Digest", "OTHER")
      looking for REGISTRY/app@IMAGE: the registry is not to be trusted here: it was asked for IMAGE and says that it has OTHER
    POST /uploads/ Status(405, "")
      sending REGISTRY/broken2@SMALL: the registry answered 405
    POST /uploads/ Header("Location", "ftp://elsewhere.example/")
      sending REGISTRY/broken3@SMALL: the registry is not to be trusted here: it sends to something that is no web server
    POST /uploads/ Drop
      sending REGISTRY/broken4@SMALL: error sending request: client error (SendRequest): connection closed before message completed
    PATCH  Status(404, "")
      sending REGISTRY/broken5@LARGE: the registry answered 404
    PATCH  Status(413, "")
      sending REGISTRY/broken6@LARGE: the registry answered 413
    PATCH  Header("Range", "0-99999999")
      sending REGISTRY/broken7@LARGE: the registry is not to be trusted here: it was sent the bytes from 0 to 3145728 and says that it has 100000000
    PUT /uploads/ Status(400, "")
      sending REGISTRY/broken8@SMALL: the registry answered 400
    PUT /uploads/ Header("Docker-Content-Digest", "OTHER")
      sending REGISTRY/broken9@SMALL: the registry is not to be trusted here: it was given SMALL and says that it stored OTHER
    PUT /manifests/ Status(400, "")
      writing REGISTRY/broken10@IMAGE: the registry answered 400
    PUT /manifests/ Header("Docker-Content-Digest", "OTHER")
      writing REGISTRY/broken11@IMAGE: the registry is not to be trusted here: it was given IMAGE and says that it stored OTHER
    "#);
}
