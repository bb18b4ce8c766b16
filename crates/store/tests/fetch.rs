use std::time::Duration;

use base::{Digest, Silent};
use store::{
    Expected, FetchError, Fetched, Mirror, Network, NetworkSettings, Origin, Origins, Source,
    Store, fetch,
};
use testkit::{Reply, Server};

struct Case {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        Case {
            _folder: folder,
            store,
        }
    }

    fn fetch(&self, source: &Source, origins: &Origins) -> Result<Fetched, FetchError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(fetch(&self.store, source, origins, &Silent))
    }
}

fn hasty() -> Network {
    Network::new(NetworkSettings {
        first_pause: Duration::from_millis(1),
        ..NetworkSettings::default()
    })
}

fn source(url: &str) -> Source {
    Source {
        name: "octopus-1.tar.gz".to_owned(),
        url: url.to_owned(),
        expected: Expected::Sha256(Digest::of(b"octopus")),
    }
}

fn octopus() -> Server {
    let server = Server::start();
    server.on("/octopus", Reply::ok("octopus"));
    server
}

fn mirrors(list: &[&str]) -> Origins {
    Origins {
        mirrors: list.iter().map(|text| text.parse().unwrap()).collect(),
        network: hasty(),
        ..Origins::default()
    }
}

#[test]
fn a_folder_mirror_in_each_of_its_layouts() {
    let hex = Digest::of(b"octopus").hex();
    for name in [
        format!("sha256/{hex}"),
        hex.clone(),
        format!("sha256:{hex}"),
    ] {
        let case = Case::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sha256")).unwrap();
        std::fs::write(folder.path().join(&name), b"octopus").unwrap();
        let mirror = folder.path().to_str().unwrap();
        // A folder is no network.
        let origins = Origins {
            network: Network::offline(),
            ..mirrors(&[mirror])
        };
        let fetched = case.fetch(&source(""), &origins).unwrap();
        assert_eq!(fetched.origin, Origin::Mirror(mirror.to_owned()));
        assert_eq!(std::fs::read(&fetched.path).unwrap(), b"octopus");
        let recorded: Option<Origin> = case.store.record_get("origin", &fetched.digest).unwrap();
        assert_eq!(recorded, Some(fetched.origin));
        let again = case.fetch(&source(""), &Origins::default()).unwrap();
        assert_eq!((again.origin, again.size), (Origin::Store, 7));
    }
}

#[test]
fn mirrors_are_asked_first_and_a_wrong_one_is_passed_over() {
    let case = Case::new();
    let hex = Digest::of(b"octopus").hex();
    let (wrong, right, upstream) = (Server::start(), Server::start(), octopus());
    wrong.on(&format!("/sha256/{hex}"), Reply::ok("squid"));
    right.on(&format!("/{hex}"), Reply::ok("octopus"));
    let fetched = case
        .fetch(
            &source(&upstream.url("/octopus")),
            &mirrors(&[&wrong.url(""), &right.url("")]),
        )
        .unwrap();
    assert_eq!(fetched.origin, Origin::Mirror(right.url("")));
    assert_eq!(right.paths(), [format!("/sha256/{hex}"), format!("/{hex}")]);
    assert!(upstream.asked().is_empty());
    assert!(!case.store.contains(&Digest::of(b"squid")));
}

#[test]
fn servers_that_falter_are_asked_again() {
    let case = Case::new();
    let upstream = Server::start();
    for reply in [Reply::status(503), Reply::status(429), Reply::ok("octopus")] {
        upstream.on("/octopus", reply);
    }
    let url = upstream.url("/octopus");
    let fetched = case.fetch(&source(&url), &mirrors(&[])).unwrap();
    assert_eq!(fetched.origin, Origin::Upstream(url));
    assert_eq!(upstream.asked().len(), 3);
}

#[test]
fn every_refusal_is_told() {
    let case = Case::new();
    let (upstream, forbidden) = (Server::start(), Server::start());
    upstream.on("/octopus", Reply::ok("squid"));
    let path = format!("/sha256/{}", Digest::of(b"octopus").hex());
    forbidden.on(&path, Reply::status(403));
    let folder = tempfile::tempdir().unwrap();
    let mirror = folder.path().to_str().unwrap();
    let error = case
        .fetch(
            &source(&upstream.url("/octopus")),
            &mirrors(&[mirror, &forbidden.url("")]),
        )
        .unwrap_err();
    let text = error
        .to_string()
        .replace(mirror, "DIR")
        .replace(&upstream.url(""), "UPSTREAM")
        .replace(&forbidden.url(""), "MIRROR");
    insta::assert_snapshot!(text, @r"
    can't fetch octopus-1.tar.gz (sha256:5633c9b8af6d089859afcbec42fdc03f8c407aaba9668218b433bd4959911465):
      DIR: it is not there
      MIRROR: the server answered 403
      UPSTREAM/octopus: wrong contents: expected sha256:5633c9b8af6d089859afcbec42fdc03f8c407aaba9668218b433bd4959911465, got sha256:1d48f84aa257b116c0a7407b64135d007bcb898799e99331ec9a9349002fca4e (5 bytes)
      (if upstream has replaced the file on purpose, update the recipe's hash)
    ");
    // Wrong bytes do not become right by asking again.
    assert_eq!(upstream.asked().len(), 1);
}

#[test]
fn offline_says_what_is_missing() {
    let case = Case::new();
    let origins = Origins {
        mirrors: vec![Mirror::Http("https://mirror.example".to_owned())],
        network: Network::offline(),
        ..Origins::default()
    };
    let error = case
        .fetch(
            &source("https://upstream.example/octopus-1.tar.gz"),
            &origins,
        )
        .unwrap_err();
    insta::assert_snapshot!(error, @r"
    can't fetch octopus-1.tar.gz (sha256:5633c9b8af6d089859afcbec42fdc03f8c407aaba9668218b433bd4959911465):
      https://mirror.example: not asked: the network is not to be used (offline)
      https://upstream.example/octopus-1.tar.gz: not asked: the network is not to be used (offline)
    ");
    let error = case.fetch(&source(""), &Origins::default()).unwrap_err();
    insta::assert_snapshot!(error, @"can't fetch octopus-1.tar.gz (sha256:5633c9b8af6d089859afcbec42fdc03f8c407aaba9668218b433bd4959911465): it has no URL and there are no mirrors; add a mirror");
}

#[test]
fn sha512_names_find_their_blob() {
    let case = Case::new();
    let expected: Expected = "sha512:cf3d0f08d997923dbedbd7ceeee58518d0f410437772c1783d1e5dc1b45a992d2aeefef00b705b8b3cbe02066d6ee7628c0f13b9ef2012761dcc73a8e31b401b"
        .parse()
        .unwrap();
    let upstream = octopus();
    let wanted = Source {
        expected,
        ..source(&upstream.url("/octopus"))
    };
    let first = case.fetch(&wanted, &Origins::default()).unwrap();
    assert_eq!(first.digest, Digest::of(b"octopus"));
    let again = case.fetch(&wanted, &Origins::default()).unwrap();
    assert_eq!(again.origin, Origin::Store);
    assert_eq!(upstream.asked().len(), 1);
}

#[test]
fn expected_texts() {
    let hex = Digest::of(b"octopus").hex();
    for text in [hex.clone(), format!("sha256:{hex}")] {
        let parsed: Expected = text.parse().unwrap();
        assert_eq!(parsed.to_string(), format!("sha256:{hex}"));
    }
    assert!(format!("sha512:{hex}").parse::<Expected>().is_err());
    assert!(hex[1..].parse::<Expected>().is_err());
}
