//! Who is told what: passwords, tokens, certificates, and servers that would like to know.

use base::{Digest, Silent};
use oci::registry::{Keychain, Reference, RegistryError, Secret};
use oci::{Descriptor, Manifest, media_type};
use testkit::{Fault, FaultProxy, Registry, RegistryOptions, Reply, Server, TokenServer};

use crate::bed::{Bed, assert_whole, wait};

const USER: (&str, &str) = ("ann", "s3cr:et");
/// `ann:s3cr:et`.
const BASIC: &str = "Basic YW5uOnMzY3I6ZXQ=";

fn keychain(bed: &Bed, registry: &str, user: &str, password: &str) -> Keychain {
    let keychain = Keychain::of(vec![bed.path("config.json")]);
    wait(keychain.store(registry, user, &Secret::new(password))).unwrap();
    keychain
}

fn shown(error: impl std::fmt::Display, registry: &str) -> String {
    error.to_string().replace(registry, "REGISTRY")
}

#[test]
fn a_registry_with_passwords() {
    let mut bed = Bed::new();
    let registry = Registry::with(&RegistryOptions {
        user: Some(USER),
        ..RegistryOptions::default()
    });
    let (layout, _) = bed.layout("layout");
    let name = registry.name("app:v1");
    let nobody = bed.publish(&layout, &[&name]).unwrap_err();
    bed.keychain = keychain(&bed, registry.address(), "ann", "wrong");
    let wrong = bed.publish(&layout, &[&name]).unwrap_err();
    let lines = [
        shown(nobody, registry.address()),
        shown(wrong, registry.address()),
    ];
    insta::assert_snapshot!(lines.join("\n"), @"
    looking for REGISTRY/app@sha256:5d1528cc4a5f24dd980be5c6860d8418fbb25c63020cbe0446ad1f5c3796bf32: REGISTRY wants to know who asks, and no credentials are known for it; give some with `polpo login REGISTRY`
    looking for REGISTRY/app@sha256:5d1528cc4a5f24dd980be5c6860d8418fbb25c63020cbe0446ad1f5c3796bf32: REGISTRY refuses this to the user `ann` (401); ask for the right to do it, or `polpo login REGISTRY` as somebody else
    ");
    bed.keychain = keychain(&bed, registry.address(), USER.0, USER.1);
    bed.publish(&layout, &[&name]).unwrap();
    bed.pull(&name, &bed.path("copy")).unwrap();
    assert_whole(&bed.path("copy"));

    let login = |user: &str, password: &str| {
        let client = bed.registry();
        let password = Secret::new(password);
        wait(client.check_login(registry.address(), user, &password, &Silent))
    };
    login(USER.0, USER.1).unwrap();
    let refused = login("ann", "wrong").unwrap_err();
    assert!(
        matches!(refused, RegistryError::Denied { status: 401, .. }),
        "{refused}"
    );
}

#[test]
fn a_registry_with_tokens() {
    let mut bed = Bed::new();
    bed.parallel = 1;
    let tokens = TokenServer::start(BASIC);
    let registry = Registry::with(&RegistryOptions {
        tokens: Some(&tokens),
        ..RegistryOptions::default()
    });
    let (layout, _) = bed.layout("layout");
    let name = registry.name("public/app:v1");
    let refused = bed.publish(&layout, &[&name]).unwrap_err();
    insta::assert_snapshot!(shown(refused, registry.address()), @"sending REGISTRY/public/app@sha256:1406e70f9b3d4265d6c2f1b6e2d87b41b819e9638ed58eeae9f7dfbd84a2779a: REGISTRY wants to know who asks, and no credentials are known for it; give some with `polpo login REGISTRY`");

    bed.keychain = keychain(&bed, registry.address(), "ann", "wrong");
    let refused = bed.publish(&layout, &[&name]).unwrap_err();
    insta::assert_snapshot!(shown(refused, registry.address()), @"looking for REGISTRY/public/app@sha256:5d1528cc4a5f24dd980be5c6860d8418fbb25c63020cbe0446ad1f5c3796bf32: getting a token: REGISTRY refuses this to the user `ann` (401); ask for the right to do it, or `polpo login REGISTRY` as somebody else");

    bed.keychain = keychain(&bed, registry.address(), USER.0, USER.1);
    let before = tokens.asked().len();
    bed.publish(&layout, &[&name]).unwrap();
    let asked = tokens.asked().split_off(before);
    assert_eq!(
        asked,
        [
            "repository:public/app:pull",
            "repository:public/app:pull,push"
        ],
        "each is asked for once"
    );
    // From one repository to the next, both have to be named.
    let next = registry.name("team/app:v1");
    let report = bed.send(&bed.origin(&name), &[&next]).unwrap();
    assert_eq!(report.sent_bytes, 0, "{report:?}");
    let both = "repository:team/app:pull,push repository:public/app:pull";
    assert!(
        tokens.asked().contains(&both.to_owned()),
        "{:?}",
        tokens.asked()
    );

    // What is public needs no user.
    bed.keychain = Keychain::empty();
    bed.pull(&name, &bed.path("copy")).unwrap();
    assert_whole(&bed.path("copy"));
    let refused = bed.pull(&next, &bed.path("none")).unwrap_err();
    assert!(refused.to_string().contains("polpo login"), "{refused}");
    assert!(!bed.path("none").exists());

    let client = bed.registry();
    let login = |password: &str| {
        let password = Secret::new(password);
        wait(client.check_login(registry.address(), "ann", &password, &Silent))
    };
    login(USER.1).unwrap();
    assert!(login("wrong").is_err());
}

#[test]
fn a_token_that_ends_meanwhile_is_got_anew() {
    let mut bed = Bed::new();
    let tokens = TokenServer::start(BASIC);
    let registry = Registry::with(&RegistryOptions {
        tokens: Some(&tokens),
        ..RegistryOptions::default()
    });
    let proxy = FaultProxy::before(registry.address());
    bed.keychain = keychain(&bed, proxy.address(), USER.0, USER.1);
    let (layout, _) = bed.layout("layout");
    let realm = tokens.realm();
    let challenge: &'static str = Box::leak(
        format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"tests\"").into_boxed_str(),
    );
    for (method, path) in [
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
        ("GET", "/blobs/"),
    ] {
        proxy.on(method, path, 1, Fault::Status(401, challenge));
    }
    let name = proxy.name("app:v1");
    bed.publish(&layout, &[&name]).unwrap();
    bed.pull(&name, &bed.path("copy")).unwrap();
    assert_whole(&bed.path("copy"));
    let faults = proxy.seen().into_iter().filter(|seen| seen.fault.is_some());
    assert_eq!(faults.count(), 3);
}

#[test]
fn a_certificate_of_ones_own_has_to_be_named() {
    let mut bed = Bed::new();
    let registry = Registry::with(&RegistryOptions {
        tls: true,
        user: Some(USER),
        ..RegistryOptions::default()
    });
    bed.keychain = keychain(&bed, registry.address(), USER.0, USER.1);
    let (layout, _) = bed.layout("layout");
    let name = registry.name("app:v1");
    let refused = bed.publish(&layout, &[&name]).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    bed.network.authorities = vec![registry.certificate()];
    bed.publish(&layout, &[&name]).unwrap();
    bed.pull(&name, &bed.path("copy")).unwrap();
    assert_whole(&bed.path("copy"));

    // A file that is no certificate is named.
    bed.network.authorities = vec![bed.path("none.pem")];
    let refused = bed.publish(&layout, &[&name]).unwrap_err().to_string();
    assert!(refused.contains("none.pem"), "{refused}");
    // Asked to speak plainly, polpo does not speak TLS behind one's back.
    bed.network.authorities = vec![registry.certificate()];
    bed.settings.plain_http = true;
    assert!(bed.publish(&layout, &[&name]).is_err());
}

/// A registry that sends elsewhere for its blobs, as many do.
#[test]
fn no_other_server_is_told() {
    let mut bed = Bed::new();
    let (registry, storage) = (Server::start(), Server::start());
    let host = registry.url("").replace("http://", "");
    bed.keychain = keychain(&bed, &host, USER.0, USER.1);
    let layer = Descriptor::of(media_type::LAYER_TAR, b"layer");
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let manifest = Manifest::image(config.clone(), vec![layer.clone()])
        .to_bytes()
        .unwrap();
    let digest = Digest::of(&manifest);
    registry
        .on(
            "/v2/",
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        )
        .on(
            "/v2/app/manifests/v1",
            Reply::ok(manifest)
                .header("Content-Type", media_type::MANIFEST)
                .only_for(BASIC),
        );
    for (blob, bytes) in [(&layer, "layer"), (&config, "{}")] {
        let path = format!("/{}", blob.digest);
        let redirect = Reply::redirect(storage.url(&path)).only_for(BASIC);
        registry.on(&format!("/v2/app/blobs/{}", blob.digest), redirect);
        storage.on(&path, Reply::ok(bytes));
    }
    let report = bed
        .pull(&format!("{host}/app:v1"), &bed.path("copy"))
        .unwrap();
    assert_eq!(report.digest, digest);
    assert_whole(&bed.path("copy"));
    assert_eq!(storage.asked().len(), 2);
    for asked in storage.asked() {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
}

/// Where a registry says that tokens, or uploads, are to be had elsewhere.
#[test]
fn passwords_go_only_where_nobody_listens() {
    let mut bed = Bed::new();
    let registry = Server::start();
    let host = registry.url("").replace("http://", "");
    bed.keychain = keychain(&bed, &host, USER.0, USER.1);
    registry.on(
        "/v2/",
        Reply::status(401).header(
            "WWW-Authenticate",
            "Bearer realm=\"http://tokens.example/\"",
        ),
    );
    let refused = bed
        .pull(&format!("{host}/app:v1"), &bed.path("copy"))
        .unwrap_err();
    insta::assert_snapshot!(shown(refused, &host), @"reading REGISTRY/app:v1: the registry is not to be trusted here: the place that is to give out tokens is not encrypted");

    // The place that gives out tokens may be another; where it sends on, nothing is told.
    let (tokens, thief) = (Server::start(), Server::start());
    registry.forget("/v2/");
    registry.on(
        "/v2/",
        Reply::status(401).header(
            "WWW-Authenticate",
            format!("Bearer realm=\"{}\"", tokens.url("/t")),
        ),
    );
    let query = "/t?scope=repository%3Aapp%3Apull&account=ann";
    tokens.on(query, Reply::redirect(thief.url("/t")));
    thief.on("/t", Reply::ok(r#"{"token": "stolen"}"#));
    let refused = bed
        .pull(&format!("{host}/app:v1"), &bed.path("copy"))
        .unwrap_err();
    assert!(refused.to_string().contains("not there"), "{refused}");
    assert_eq!(tokens.asked()[0].headers["authorization"], BASIC);
    assert_eq!(thief.paths(), ["/t"]);
    assert!(!thief.asked()[0].headers.contains_key("authorization"));
}

/// Nothing of what is secret is in what a person or a log sees.
#[test]
fn secrets_are_never_shown() {
    let mut bed = Bed::new();
    let registry = Server::start();
    let host = registry.url("").replace("http://", "");
    bed.keychain = keychain(&bed, &host, USER.0, USER.1);
    registry
        .on(
            "/v2/",
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        )
        .on("/v2/app/manifests/v1", Reply::status(403));
    let client = bed.registry();
    let reference: Reference = format!("{host}/app:v1").parse().unwrap();
    let repository = client.repository(reference.repository());
    let refused = wait(repository.document(&reference, &Silent)).unwrap_err();
    for text in [
        format!("{refused}"),
        format!("{refused:?}"),
        format!("{client:?}"),
        format!("{repository:?}"),
        format!("{:?}", Secret::new("s3cr:et")),
        format!(
            "{:?}",
            wait(bed.keychain.find(reference.repository())).unwrap()
        ),
    ] {
        assert!(!text.contains("s3cr"), "{text}");
        assert!(!text.contains("YW5u"), "{text}");
    }
    assert_eq!(
        registry.asked().last().unwrap().headers["authorization"],
        BASIC
    );
}

#[test]
fn offline_nobody_is_asked() {
    let mut bed = Bed::new();
    bed.network.offline = true;
    let server = Server::start();
    let host = server.url("").replace("http://", "");
    let refused = bed
        .pull(&format!("{host}/app:v1"), &bed.path("copy"))
        .unwrap_err();
    assert!(refused.to_string().contains("offline"), "{refused}");
    assert!(server.asked().is_empty());
}
