//! What servers do, and what becomes of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use base::{Digest, Event, Reporter, Silent};
use store::{
    Arrived, CredentialSource, Credentials, Expected, Network, NetworkSettings, Refusal, Store,
    Validators, Wanted,
};
use testkit::{ObjectStore, Reply, Server};
use url::Url;

struct Case {
    folder: tempfile::TempDir,
    store: Store,
    settings: NetworkSettings,
}

/// Which file is wanted; nothing is known of it.
fn wanted(url: &Url) -> Wanted<'_> {
    Wanted {
        name: "file",
        url,
        limit: 1 << 20,
        size: None,
        expected: None,
        only_https: false,
    }
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let settings = NetworkSettings {
            first_pause: Duration::from_millis(1),
            ..NetworkSettings::default()
        };
        Case {
            folder,
            store,
            settings,
        }
    }

    fn network(&self) -> Network {
        Network::new(self.settings.clone())
    }

    fn fetch(&self, wanted: &Wanted<'_>) -> Result<Arrived, Refusal> {
        wait(self.network().fetch(&self.store, wanted, &Silent))
    }

    fn bytes(&self, wanted: &Wanted<'_>) -> Result<Vec<u8>, Refusal> {
        let arrived = self.fetch(wanted)?;
        let bytes = std::fs::read(arrived.path()).unwrap();
        assert_eq!(arrived.digest(), Digest::of(&bytes));
        assert_eq!(arrived.size(), bytes.len() as u64);
        Ok(bytes)
    }

    /// The names of what is kept of transfers that broke off.
    fn partial(&self) -> Vec<String> {
        let folder = self.folder.path().join("store/partial");
        let entries = std::fs::read_dir(folder).unwrap();
        let extension = |path: std::path::PathBuf| path.extension().unwrap().to_owned();
        let mut names: Vec<String> = entries
            .map(|entry| extension(entry.unwrap().path()).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A body whose every part is told from every other.
fn body(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(length).collect()
}

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let (case, server) = (Case::new(), Server::start());
    let body = body(300_000);
    server
        .on(
            "/f",
            Reply::ok(body.clone()).etag("1").breaks_after(100_000),
        )
        .on("/f", Reply::ok(body.clone()).etag("1").breaks_after(50_000))
        .on("/f", Reply::ok(body.clone()).etag("1"));
    assert!(case.bytes(&wanted(&url(&server.url("/f")))).unwrap() == body);
    let asked = server.asked();
    let header = |at: usize, name: &str| asked[at].headers.get(name).cloned().unwrap_or_default();
    assert_eq!(header(0, "range"), "");
    assert_eq!(header(1, "range"), "bytes=100000-");
    assert_eq!(header(2, "range"), "bytes=150000-");
    assert_eq!(header(2, "if-range"), "\"1\"");
    assert_eq!(case.partial(), [""; 0]);
}

#[test]
fn another_process_goes_on_too() {
    let (mut case, server) = (Case::new(), Server::start());
    let body = body(300_000);
    let url = url(&server.url_for("u:p", "/f"));
    server.on(
        "/f",
        Reply::ok(body.clone()).etag("1").breaks_after(100_000),
    );
    case.settings.attempts = 1;
    let refusal = case.bytes(&wanted(&url)).unwrap_err();
    assert!(matches!(refusal, Refusal::Transport(_)), "{refusal}");
    assert_eq!(case.partial(), ["json", "part"]);

    server.forget("/f");
    server.on("/f", Reply::ok(body.clone()).etag("1"));
    let store = Store::open(case.folder.path().join("store")).unwrap();
    let again = Case { store, ..case };
    assert!(again.bytes(&wanted(&url)).unwrap() == body);
    assert_eq!(server.asked()[1].headers["range"], "bytes=100000-");
    let arrived = again.fetch(&wanted(&url)).unwrap();
    let kept = arrived.keep(&again.store).unwrap();
    assert!(std::fs::metadata(&kept).unwrap().permissions().readonly());
    assert_eq!(again.partial(), [""; 0]);
}

#[test]
fn the_rest_of_a_changed_file_is_not_put_behind_the_old_beginning() {
    let (case, server) = (Case::new(), Server::start());
    let (old, new) = (body(300_000), vec![7; 300_000]);
    server
        .on("/f", Reply::ok(old.clone()).etag("1").breaks_after(100_000))
        .on("/f", Reply::ok(new.clone()).etag("2"));
    assert!(case.bytes(&wanted(&url(&server.url("/f")))).unwrap() == new);

    // A server that takes no notice of `If-Range` and sends the rest all the same.
    let rest = Reply::status(206)
        .header("Content-Range", "bytes 100000-299999/300000")
        .header("ETag", "\"2\"");
    let mut sly = rest.clone();
    sly = sly.announces(200_000);
    server
        .on("/g", Reply::ok(old.clone()).etag("1").breaks_after(100_000))
        .on("/g", sly)
        .on("/g", Reply::ok(new.clone()).etag("2"));
    assert!(case.bytes(&wanted(&url(&server.url("/g")))).unwrap() == new);
}

#[test]
fn without_a_tag_only_the_digest_can_join_the_parts() {
    let (case, server) = (Case::new(), Server::start());
    let (old, new) = (body(300_000), vec![7; 300_000]);
    let place = url(&server.url("/f"));
    let expecting = |bytes: &[u8]| Wanted {
        expected: Some(Expected::Sha256(Digest::of(bytes))),
        ..wanted(&place)
    };
    // The same file: its parts are joined.
    server
        .on("/f", Reply::ok(new.clone()).breaks_after(100_000))
        .on("/f", Reply::ok(new.clone()));
    assert!(case.bytes(&expecting(&new)).unwrap() == new);
    assert_eq!(server.asked()[1].headers["range"], "bytes=100000-");

    // Another beginning: the digest finds it out, and the whole is fetched once more.
    server.forget("/f");
    server
        .on("/f", Reply::ok(old.clone()).breaks_after(100_000))
        .on("/f", Reply::ok(new.clone()));
    assert!(case.bytes(&expecting(&new)).unwrap() == new);
    assert_eq!(server.asked().len(), 5);

    // Without a digest to go by, nothing is joined.
    server.forget("/f");
    server
        .on("/f", Reply::ok(old).breaks_after(100_000))
        .on("/f", Reply::ok(new.clone()));
    assert!(case.bytes(&wanted(&place)).unwrap() == new);
    assert!(!server.asked()[6].headers.contains_key("range"));
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let (case, server) = (Case::new(), Server::start());
    let body = body(200_000);
    server
        .on("/f", Reply::ok(body.clone()).etag("1").breaks_after(9_000))
        .on("/f", Reply::ok(body.clone()).etag("1").without_ranges());
    assert!(case.bytes(&wanted(&url(&server.url("/f")))).unwrap() == body);
}

#[test]
fn sizes_that_are_not_as_promised() {
    let (mut case, server) = (Case::new(), Server::start());
    case.settings.attempts = 2;
    server
        .on("/short", Reply::ok("12345").announces(9))
        .on("/other", Reply::ok("12345"))
        .on("/cut", Reply::ok("12345").of_unknown_size())
        .on("/endless", Reply::endless())
        .on("/large", Reply::ok("x").announces(1 << 40));
    let refused = |path: &str, size: Option<u64>| {
        let place = url(&server.url(path));
        let refusal = case
            .fetch(&Wanted {
                size,
                ..wanted(&place)
            })
            .unwrap_err();
        assert_eq!(case.partial(), [""; 0], "{path}");
        refusal.to_string()
    };
    insta::assert_snapshot!(refused("/short", None), @"error decoding response body: request or response body error: error reading a body from connection: end of file before message length reached");
    insta::assert_snapshot!(refused("/other", Some(9)), @"wrong contents: expected 9 bytes, the server has 5");
    insta::assert_snapshot!(refused("/cut", Some(9)), @"the connection ended after 5 of 9 bytes");
    insta::assert_snapshot!(refused("/endless", None), @"it is larger than 1048576 bytes");
    insta::assert_snapshot!(refused("/endless", Some(9)), @"it is larger than 9 bytes");
    insta::assert_snapshot!(refused("/large", None), @"it is larger than 1048576 bytes");
}

#[test]
fn patience_and_its_end() {
    let (mut case, server) = (Case::new(), Server::start());
    server.on("/f", Reply::status(500));
    let refusal = case.bytes(&wanted(&url(&server.url("/f")))).unwrap_err();
    assert!(matches!(refusal, Refusal::Status(500)), "{refusal}");
    assert_eq!(server.asked().len(), 4);

    server
        .on("/later", Reply::status(429).header("Retry-After", "1"))
        .on("/later", Reply::ok("x"));
    let before = Instant::now();
    assert_eq!(
        case.bytes(&wanted(&url(&server.url("/later")))).unwrap(),
        b"x"
    );
    assert!(before.elapsed() >= Duration::from_secs(1));

    server.on(
        "/much-later",
        Reply::status(503).header("Retry-After", "3600"),
    );
    let refusal = case
        .bytes(&wanted(&url(&server.url("/much-later"))))
        .unwrap_err();
    insta::assert_snapshot!(refusal, @"the server answered 503 and asks to be left alone for 3600 seconds; try again then");

    // What will not get better is not asked for again.
    for (path, status) in [
        ("/no", 404),
        ("/gone", 410),
        ("/never", 403),
        ("/teapot", 418),
    ] {
        let before = server.asked().len();
        server.on(path, Reply::status(status));
        assert!(case.bytes(&wanted(&url(&server.url(path)))).is_err());
        assert_eq!(server.asked().len(), before + 1, "{path}");
    }

    case.settings.read_timeout = Duration::from_millis(50);
    case.settings.attempts = 2;
    server.on("/slow", Reply::ok("x").slow(Duration::from_secs(2)));
    let before = server.asked().len();
    let refusal = case.bytes(&wanted(&url(&server.url("/slow")))).unwrap_err();
    assert!(refusal.to_string().contains("timed out"), "{refusal}");
    assert_eq!(server.asked().len(), before + 2);
}

#[test]
fn a_file_that_did_not_change_is_not_sent_again() {
    let (case, server) = (Case::new(), Server::start());
    let place = url(&server.url_for("user:secret", "/f"));
    let network = case.network();
    let ask = |validators: &Validators| {
        wait(network.fetch_changed(&case.store, &wanted(&place), validators, &Silent)).unwrap()
    };
    server.on(
        "/f",
        Reply::ok("one")
            .etag("1")
            .header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    assert_eq!(network.known(&case.store, &place).unwrap(), None);
    let first = ask(&Validators::default()).unwrap();
    let (digest, validators) = (first.digest(), first.validators().clone());
    first.keep(&case.store).unwrap();
    network
        .remember(&case.store, &place, digest, &validators)
        .unwrap();

    let known = network.known(&case.store, &place).unwrap().unwrap();
    assert_eq!(
        (known.digest, &known.validators),
        (Digest::of(b"one"), &validators)
    );
    assert!(ask(&known.validators).is_none());
    let asked = server.asked();
    assert_eq!(asked[1].headers["if-none-match"], "\"1\"");
    assert_eq!(
        asked[1].headers["if-modified-since"],
        "Sun, 06 Nov 1994 08:49:37 GMT"
    );

    server.on("/f", Reply::ok("two").etag("2"));
    server.on("/f", Reply::ok("two").etag("2"));
    assert!(ask(&known.validators).is_none());
    assert_eq!(ask(&known.validators).unwrap().digest(), Digest::of(b"two"));

    // A damaged file is not known any more. Whose password it took is written nowhere.
    let path = known.path;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "eno").unwrap();
    assert_eq!(network.known(&case.store, &place).unwrap(), None);
    assert!(!path.exists());
    assert!(!grep(case.folder.path(), b"secret"));
}

fn grep(folder: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return grep(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn credentials_of_every_source() {
    let (mut case, server) = (Case::new(), Server::start());
    server.on("/f", Reply::ok("x").only_for("Basic dTpw"));
    let place = url(&server.url("/f"));
    let refusal = case.bytes(&wanted(&place)).unwrap_err();
    insta::assert_snapshot!(refusal, @"the server answered 401; give a user and password in the URL, in ~/.netrc or in HTTP_AUTH");

    assert!(
        case.bytes(&wanted(&url(&server.url_for("u:p", "/f"))))
            .is_ok()
    );

    let netrc = case.folder.path().join("netrc");
    std::fs::write(&netrc, "machine 127.0.0.1 login u password p").unwrap();
    let mut credentials = Credentials::default();
    credentials.add_netrc(&netrc).unwrap();
    case.settings.credentials = CredentialSource::Given(credentials);
    assert!(case.bytes(&wanted(&place)).is_ok());

    for auth in ["basic:127.0.0.1:u:p", "basic:*:u:p", "basic:test:u:p"] {
        let mut credentials = Credentials::default();
        credentials.set_http_auth(auth).unwrap();
        case.settings.credentials = CredentialSource::Given(credentials);
        assert!(case.bytes(&wanted(&place)).is_ok(), "{auth}");
    }
    let mut credentials = Credentials::default();
    credentials
        .set_http_auth("basic:elsewhere.example:u:p")
        .unwrap();
    case.settings.credentials = CredentialSource::Given(credentials);
    assert!(case.bytes(&wanted(&place)).is_err());
    assert!(
        !server
            .asked()
            .last()
            .unwrap()
            .headers
            .contains_key("authorization")
    );
}

#[test]
fn redirects_do_not_take_credentials_along() {
    let (mut case, server, other) = (Case::new(), Server::start(), Server::start());
    // Another port is another server; it asks for credentials, and is given none.
    server
        .on("/away", Reply::redirect(other.url("/f")))
        .on("/around", Reply::redirect("/f"))
        .on("/forged", Reply::redirect(other.url_for("eve:x", "/open")))
        .on("/f", Reply::ok("mine").only_for("Basic dTpw"));
    other
        .on("/f", Reply::ok("theirs").only_for("Basic dTpw"))
        .on("/open", Reply::ok("open"));
    let get = |case: &Case, path: &str| case.bytes(&wanted(&url(&server.url_for("u:p", path))));
    assert_eq!(get(&case, "/around").unwrap(), b"mine");
    assert!(matches!(
        get(&case, "/away"),
        Err(Refusal::Unauthorised { status: 401 })
    ));
    let mut credentials = Credentials::default();
    credentials.set_http_auth("basic:*:u:p").unwrap();
    case.settings.credentials = CredentialSource::Given(credentials);
    assert!(matches!(
        get(&case, "/away"),
        Err(Refusal::Unauthorised { status: 401 })
    ));
    assert_eq!(get(&case, "/forged").unwrap(), b"open");
    for asked in other.asked() {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
    // A way back does not make it ours again.
    assert_eq!(server.asked()[1].headers["authorization"], "Basic dTpw");
}

#[test]
fn redirects_that_are_not_followed() {
    let (case, server) = (Case::new(), Server::start());
    server
        .on("/round", Reply::redirect("/round"))
        .on("/file", Reply::redirect("file:///etc/passwd"))
        .on("/nowhere", Reply::status(302))
        .on("/bad", Reply::redirect("http://u:secret@[x?token=secret"));
    let refused = |path: &str| {
        let refusal = case.fetch(&wanted(&url(&server.url(path)))).unwrap_err();
        refusal.to_string().replace(&server.url(""), "SERVER")
    };
    insta::assert_snapshot!(refused("/round"), @"the server sends to SERVER/round: it has sent us on too often");
    insta::assert_snapshot!(refused("/file"), @"the server sends to file:///etc/passwd: only web servers are asked");
    insta::assert_snapshot!(refused("/nowhere"), @"the server's answer makes no sense: a redirect that does not say where to");
    insta::assert_snapshot!(refused("/bad"), @"the server sends to http://[x: that is no URL");
    assert_eq!(server.asked().len(), 14);
}

#[test]
fn offline_asks_nobody() {
    let (case, server) = (Case::new(), Server::start());
    let refusal =
        wait(Network::offline().fetch(&case.store, &wanted(&url(&server.url("/f"))), &Silent))
            .unwrap_err();
    assert!(matches!(refusal, Refusal::Offline));
    assert!(server.asked().is_empty());
}

#[test]
fn two_who_want_the_same_at_once_both_get_it() {
    let (case, server) = (Case::new(), Server::start());
    let body = body(500_000);
    server.on(
        "/f",
        Reply::ok(body.clone())
            .etag("1")
            .slow(Duration::from_millis(50)),
    );
    let place = url(&server.url("/f"));
    let network = case.network();
    let wanted = wanted(&place);
    let one = || network.fetch(&case.store, &wanted, &Silent);
    let (first, second) = wait(async { tokio::join!(one(), one()) });
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.path(), second.path());
    let (first, second) = (first.keep(&case.store), second.keep(&case.store));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(case.partial(), [""; 0]);
}

#[derive(Default)]
struct Counted(Mutex<(u64, Vec<String>)>);

impl Reporter for Counted {
    fn report(&self, event: Event<'_>) {
        let mut counted = self.0.lock().unwrap();
        match event {
            Event::Advanced { by, .. } => counted.0 += by,
            Event::Notice { message } => counted.1.push(message.to_owned()),
            _ => {}
        }
    }
}

#[test]
fn progress_counts_each_byte_once() {
    let (case, server) = (Case::new(), Server::start());
    let body = body(300_000);
    server
        .on("/f", Reply::ok(body.clone()).breaks_after(100_000))
        .on("/f", Reply::ok(body.clone()));
    let counted = Counted::default();
    let place = url(&server.url_for("user:secret", "/f"));
    wait(case.network().fetch(&case.store, &wanted(&place), &counted)).unwrap();
    let (bytes, notices) = counted.0.into_inner().unwrap();
    assert_eq!((bytes, notices.len()), (300_000, 1));
    assert!(!notices[0].contains("secret"), "{notices:?}");
}

/// Settings for the object store, as the environment would give them.
fn signed(secret: &str, endpoint: &str) -> Credentials {
    let mut credentials = Credentials::default();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", ObjectStore::ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_UNHEARD_OF", "x"),
    ] {
        credentials.set_object_option(name, value);
    }
    credentials
}

#[test]
fn objects_of_a_real_store() {
    let mut case = Case::new();
    let root = case.folder.path().join("objects");
    let body = body(300_000);
    std::fs::create_dir_all(root.join("bucket/os/x86_64")).unwrap();
    std::fs::write(root.join("bucket/os/x86_64/a+b~1.apk"), &body).unwrap();
    let objects = ObjectStore::of(&root);
    case.settings.credentials =
        CredentialSource::Given(signed(ObjectStore::SECRET_KEY, objects.url()));
    let place = url("s3://bucket/os/x86_64/a+b~1.apk");
    assert!(case.bytes(&wanted(&place)).unwrap() == body);
    let size = |size: u64| Wanted {
        size: Some(size),
        ..wanted(&place)
    };
    assert!(case.bytes(&size(300_000)).is_ok());
    let refusal = case.bytes(&size(299_999)).unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::WrongSize {
                actual: 300_000,
                ..
            }
        ),
        "{refusal}"
    );
    for missing in ["s3://bucket/os/none", "s3://other/os/x86_64/a+b~1.apk"] {
        let refusal = case.bytes(&wanted(&url(missing))).unwrap_err();
        assert!(matches!(refusal, Refusal::NotThere), "{refusal}");
    }
    case.settings.credentials = CredentialSource::Given(signed("wrong", objects.url()));
    let refusal = case.bytes(&wanted(&place)).unwrap_err().to_string();
    assert!(
        !refusal.contains("wrong") && !refusal.contains(ObjectStore::ACCESS_KEY),
        "{refusal}"
    );
    assert!(!grep(
        &case.folder.path().join("store"),
        ObjectStore::SECRET_KEY.as_bytes()
    ));
}

#[test]
fn objects_of_a_store_that_falters() {
    let (mut case, server) = (Case::new(), Server::start());
    case.settings.credentials = CredentialSource::Given(signed("x", &server.url("")));
    let body = body(300_000);
    let dated = |reply: Reply| reply.header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let object = || dated(Reply::ok(body.clone()).etag("1"));
    server
        .on("/bucket/f", Reply::status(503))
        .on("/bucket/f", object().breaks_after(100_000))
        .on("/bucket/f", object());
    let place = url("s3://bucket/f");
    assert!(case.bytes(&wanted(&place)).unwrap() == body);
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2].headers["range"], "bytes=100000-");
    assert_eq!(asked[2].headers["if-match"], "\"1\"");

    let known = Validators {
        etag: Some("\"1\"".to_owned()),
        last_modified: None,
    };
    let network = case.network();
    let wanted_file = wanted(&place);
    let again = network.fetch_changed(&case.store, &wanted_file, &known, &Silent);
    assert!(wait(again).unwrap().is_none());

    // Another file behind the old beginning: the store says so, and all is fetched anew.
    server.forget("/bucket/f");
    let new = vec![7; 300_000];
    server
        .on("/bucket/f", object().breaks_after(100_000))
        .on("/bucket/f", Reply::status(412))
        .on("/bucket/f", dated(Reply::ok(new.clone()).etag("2")));
    assert!(case.bytes(&wanted(&place)).unwrap() == new);
}

#[test]
fn other_object_stores_are_asked_their_own_way() {
    let (mut case, server) = (Case::new(), Server::start());
    let mut credentials = Credentials::default();
    for (name, value) in [
        ("GOOGLE_BASE_URL", server.url("")),
        ("GOOGLE_SKIP_SIGNATURE", "true".to_owned()),
        ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
        ("AZURE_ENDPOINT", server.url("/azure")),
        ("AZURE_SKIP_SIGNATURE", "true".to_owned()),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ("ALLOW_HTTP", "true".to_owned()),
    ] {
        credentials.set_object_option(name, value);
    }
    case.settings.credentials = CredentialSource::Given(credentials);
    case.settings.attempts = 1;
    let reply = Reply::ok("x")
        .etag("1")
        .header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    server
        .on("/bucket/os%2Ff", reply.clone())
        .on("/azure/bucket/os/f", reply);
    assert_eq!(case.bytes(&wanted(&url("gs://bucket/os/f"))).unwrap(), b"x");
    assert_eq!(case.bytes(&wanted(&url("az://bucket/os/f"))).unwrap(), b"x");
}
