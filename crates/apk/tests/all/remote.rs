//! Repositories of servers that serve well, badly and with ill intent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::{Arch, Event, Reporter, Silent};
use key::{Algorithm, PrivateKey};
use polpo_apk::index::{FILE_NAME, Index, IndexEntry};
use polpo_apk::install::CacheFolder;
use polpo_apk::package::{PackageContents, PackageInfo, write};
use polpo_apk::repository::{
    Access, AccessSettings, IndexState, LoadedRepository, Opened, PlaceError, Refresh, Repository,
    RepositoryError,
};
use polpo_apk::signature::{Keyring, Signer};
use store::{Network, NetworkSettings, Store};
use tempfile::TempDir;
use testkit::{Reply, Server};

use crate::sample::{EPOCH, contents, signer, tree};

/// A folder with a repository of signed packages in `packages`, and a server of it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
}

pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

impl World {
    pub(crate) fn new(names: &[&str]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("packages");
        fs::create_dir_all(packages.join("x86_64")).unwrap();
        let server = Server::of(packages);
        let world = World { folder, server };
        world.publish(names, signer());
        world
    }

    fn publish(&self, names: &[&str], signer: &Signer) {
        let mut index = Index::default();
        index.merge(names.iter().map(|name| self.package(name, "1-r0")));
        index
            .write(&self.at(FILE_NAME), Some(signer), EPOCH)
            .unwrap();
    }

    /// Writes a package beside the index; what its entry is.
    fn package(&self, name: &str, version: &str) -> IndexEntry {
        let info = PackageInfo {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "x86_64".to_owned(),
            build_time: Some(EPOCH.0),
            ..PackageInfo::default()
        };
        let tree = tree();
        let contents = PackageContents {
            info,
            ..contents(&tree)
        };
        let path = self.at(&format!("{name}-{version}.apk"));
        IndexEntry::written(&write(&path, &contents, Some(signer()), EPOCH).unwrap())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("packages/x86_64").join(name)
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::parse(&self.server.url("")).unwrap()
    }

    fn access(&self) -> Access {
        self.access_with(AccessSettings::default(), NetworkSettings::default())
    }

    pub(crate) fn access_with(&self, settings: AccessSettings, network: NetworkSettings) -> Access {
        let store = Store::open(self.folder.path().join("store")).unwrap();
        let network = Network::new(NetworkSettings {
            first_pause: Duration::from_millis(1),
            ..network
        });
        Access::new(store, network, settings)
    }

    fn offline(&self) -> Access {
        let network = NetworkSettings {
            offline: true,
            ..NetworkSettings::default()
        };
        self.access_with(AccessSettings::default(), network)
    }

    fn open(&self, access: &Access) -> Result<Opened, RepositoryError> {
        open(access, &self.repository())
    }

    pub(crate) fn shown(&self, text: impl ToString) -> String {
        text.to_string()
            .replace(&self.server.url(""), "SERVER")
            .replace(&self.folder.path().display().to_string(), "DIR")
    }
}

pub(crate) fn open(access: &Access, repository: &Repository) -> Result<Opened, RepositoryError> {
    let keyring = signer().keyring();
    wait(access.open(repository, Arch::X86_64, Some(&keyring), &Silent))
}

fn entries(repository: &LoadedRepository) -> Vec<IndexEntry> {
    let entries: Result<_, _> = repository.catalogue.entries().collect();
    entries.unwrap()
}

fn bring(access: &Access, repository: &LoadedRepository) -> Result<Vec<PathBuf>, RepositoryError> {
    let entries = entries(repository);
    let wanted = entries.iter().map(|entry| (repository, entry));
    wait(access.packages(wanted, &Silent))
}

fn names(repository: &LoadedRepository) -> Vec<String> {
    let entries = entries(repository).into_iter();
    entries.map(|entry| entry.info.name).collect()
}

#[test]
fn an_index_and_packages_come_once() {
    let world = World::new(&["a", "b", "c"]);
    let access = world.access();
    let opened = world.open(&access).unwrap();
    assert!(matches!(opened.state, IndexState::Fetched));
    assert_eq!(opened.repository.name, world.server.url("/"));
    let paths = bring(&access, &opened.repository).unwrap();
    for (path, name) in paths.iter().zip(["a", "b", "c"]) {
        let original = world.at(&format!("{name}-1-r0.apk"));
        assert!(fs::read(path).unwrap() == fs::read(original).unwrap());
    }
    assert_eq!(bring(&access, &opened.repository).unwrap(), paths);
    let mut asked = world.server.paths();
    asked.sort();
    let packages = ["a", "b", "c"].map(|name| format!("/x86_64/{name}-1-r0.apk"));
    assert_eq!(asked[0], format!("/x86_64/{FILE_NAME}"));
    assert_eq!(asked[1..], packages);

    // The same session does not ask again, another asks whether the index has changed.
    assert!(matches!(
        world.open(&access).unwrap().state,
        IndexState::Unchanged
    ));
    assert_eq!(world.server.asked().len(), 4);
    let later = world.access();
    assert!(matches!(
        world.open(&later).unwrap().state,
        IndexState::Unchanged
    ));
    assert!(
        world.server.asked()[4]
            .headers
            .contains_key("if-none-match")
    );

    // Without the network all is at hand.
    let offline = world.offline();
    let opened = world.open(&offline).unwrap();
    assert!(matches!(opened.state, IndexState::Kept));
    assert_eq!(bring(&offline, &opened.repository).unwrap(), paths);
    assert_eq!(world.server.asked().len(), 5);

    world.publish(&["a", "d"], signer());
    let opened = world.open(&world.access()).unwrap();
    assert!(matches!(opened.state, IndexState::Fetched));
    assert_eq!(names(&opened.repository), ["a", "d"]);
}

#[test]
fn offline_names_all_that_is_missing() {
    let world = World::new(&["a", "b", "c"]);
    let error = world.open(&world.offline()).unwrap_err();
    insta::assert_snapshot!(world.shown(error), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: not asked: the network is not to be used (offline)
    ");
    let others = ["/one", "/two"].map(|path| Repository::parse(&world.server.url(path)).unwrap());
    let offline = world.offline();
    let error = wait(offline.open_all(&others, Arch::X86_64, None, &Silent)).unwrap_err();
    insta::assert_snapshot!(world.shown(error), @"
    the network is not to be used (offline) and 2 things were never fetched:
      the index for x86_64 (SERVER/one)
      the index for x86_64 (SERVER/two)
    ");

    let access = world.access();
    let opened = world.open(&access).unwrap();
    let first = &entries(&opened.repository)[0];
    wait(access.package(&opened.repository, first, &Silent)).unwrap();
    let opened = world.open(&offline).unwrap();
    let error = bring(&offline, &opened.repository).unwrap_err();
    insta::assert_snapshot!(world.shown(error), @"
    the network is not to be used (offline) and 2 things were never fetched:
      b-1-r0 (SERVER/)
      c-1-r0 (SERVER/)
    ");
}

#[test]
fn mirrors_are_asked_in_order_and_all_reasons_told() {
    let world = World::new(&["a"]);
    let (down, wrong, mirror) = (
        Server::start(),
        World::new(&["a"]),
        Server::of(world.folder.path().join("packages")),
    );
    down.on(&format!("/x86_64/{FILE_NAME}"), Reply::status(403));
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    wrong.publish(&["a"], &Signer::new("tester.rsa.pub", key).unwrap());
    let upstream = "https://upstream.example/os";
    let mirrors = |places: &[String]| AccessSettings {
        mirrors: places
            .iter()
            .map(|place| format!("{upstream}={place}").parse().unwrap())
            .collect(),
        ..AccessSettings::default()
    };
    let folder = world.folder.path().join("nothing").display().to_string();
    let all = [folder, down.url(""), wrong.server.url(""), mirror.url("")];
    let repository = Repository::parse(upstream).unwrap();
    let access = world.access_with(mirrors(&all), NetworkSettings::default());
    let opened = open(&access, &repository).unwrap();
    assert_eq!(opened.repository.name, upstream);
    bring(&access, &opened.repository).unwrap();
    let package = "/x86_64/a-1-r0.apk".to_owned();
    // The wrong one has the right package: the index vouches for it, not the server.
    assert_eq!(wrong.server.paths().len() + mirror.paths().len(), 3);
    assert!(wrong.server.paths().contains(&package));

    let world = World::new(&["a"]);
    let offline = NetworkSettings {
        offline: true,
        ..NetworkSettings::default()
    };
    let none = [all[0].clone(), "/nowhere".to_owned()];
    let access = world.access_with(mirrors(&none), offline);
    let error = open(&access, &repository).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&all[0], "DIR/nothing"), @"
    repository https://upstream.example/os: can't fetch the index for x86_64:
      DIR/nothing/x86_64/APKINDEX.tar.gz: it is not there
      /nowhere/x86_64/APKINDEX.tar.gz: it is not there
      https://upstream.example/os/x86_64/APKINDEX.tar.gz: not asked: the network is not to be used (offline)
    ");

    // A mirror is for what lies below its URL, not for what begins with the same letters.
    let beside = Repository::parse(&format!("{upstream}-other")).unwrap();
    let RepositoryError::Unreachable { reasons, .. } = open(&access, &beside).unwrap_err() else {
        panic!("no mirror is for it");
    };
    assert_eq!(reasons.len(), 1);
}

#[test]
fn an_index_that_is_not_signed_right_is_not_kept() {
    let world = World::new(&["a"]);
    let path = format!("/x86_64/{FILE_NAME}");
    let good = fs::read(world.at(FILE_NAME)).unwrap();
    world.open(&world.access()).unwrap();

    // The signature of one index before the contents of another, as somebody in between may do.
    world.package("evil", "1-r0");
    world.publish(&["a", "evil"], signer());
    let other = fs::read(world.at(FILE_NAME)).unwrap();
    let member = |bytes: &[u8]| {
        let at = (10..bytes.len()).find(|at| bytes[*at..].starts_with(&[0x1f, 0x8b, 8]));
        at.unwrap()
    };
    let swapped = [&good[..member(&good)], &other[member(&other)..]].concat();
    world.server.on(&path, Reply::ok(swapped).etag("evil"));
    for _ in 0..2 {
        // Whatever is asked again: it was never taken for the index.
        let error = world.open(&world.access()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the signature by tester.rsa.pub is wrong"),
            "{error}"
        );
    }
    assert_eq!(
        names(&world.open(&world.offline()).unwrap().repository),
        ["a"]
    );

    // Those who can live with an old index are told that it is one.
    let settings = AccessSettings {
        accept_stale: true,
        ..AccessSettings::default()
    };
    let stale = world.access_with(settings, NetworkSettings::default());
    let opened = world.open(&stale).unwrap();
    assert!(
        matches!(&opened.state, IndexState::Stale(RepositoryError::Unreachable { reasons, .. })
        if matches!(reasons[..], [(_, PlaceError::Index(_))]))
    );
    assert_eq!(names(&opened.repository), ["a"]);

    world.server.forget(&path);
    world.server.on(&path, Reply::endless());
    let nobody = Keyring::default();
    let access = world.access();
    let opened = wait(access.open(&world.repository(), Arch::X86_64, Some(&nobody), &Silent));
    assert!(matches!(opened, Err(RepositoryError::Unreachable { .. })));
}

#[test]
fn a_wrong_file_under_the_right_name() {
    let world = World::new(&["a", "b"]);
    let access = world.access();
    let opened = world.open(&access).unwrap();
    let repository = &opened.repository;
    let path = "/x86_64/a-1-r0.apk";
    let (a, b) = (
        fs::read(world.at("a-1-r0.apk")).unwrap(),
        fs::read(world.at("b-1-r0.apk")).unwrap(),
    );
    let entry = &entries(repository)[0];
    let refused = |reply: Reply| {
        world.server.forget(path);
        world.server.on(path, reply);
        let error = wait(access.package(repository, entry, &Silent)).unwrap_err();
        let text = world.shown(error);
        let partial = fs::read_dir(world.folder.path().join("store/partial"))
            .unwrap()
            .count();
        assert_eq!(partial, 0, "{text}");
        // The name of the file on its way is a hash.
        match text.split_once("/partial/") {
            Some((before, after)) => format!("{before}/partial/…{}", &after[64..]),
            None => text,
        }
    };
    // Another package; of the same size; the right beginning with other data; too much; nothing.
    assert!(refused(Reply::ok(b.clone())).contains("SERVER/x86_64/a-1-r0.apk"));
    let mut same_size = b.clone();
    same_size.resize(a.len(), 0);
    assert!(refused(Reply::ok(same_size)).contains("b-1-r0"));
    let mut changed = a.clone();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    insta::assert_snapshot!(refused(Reply::ok(changed)), @"
    repository SERVER/: can't fetch a-1-r0:
      SERVER/x86_64/a-1-r0.apk: the data of package DIR/store/partial/….part is not what its .PKGINFO says: datahash sha256:f761bd27290a04a279fec1d7a3f5a928a035e01f9f4d74339a615b553adeb19d, in fact sha256:76633c9dc93dd05e4759aff254ac3b5a630049fc43d21fada2942a14be15fb55; get it again from its source
    ");
    insta::assert_snapshot!(refused(Reply::ok([a.clone(), vec![0]].concat())).contains("the server has"), @"true");
    assert!(refused(Reply::endless()).contains("it is larger than"));
    assert!(refused(Reply::status(404)).contains("it is not there"));

    // The rest of another file behind the beginning of the right one is found out, and mended.
    world.server.forget(path);
    let mut later = a.clone();
    let end = later.len() - 20;
    later[end] ^= 1;
    world
        .server
        .on(path, Reply::ok(a.clone()).etag("same").breaks_after(1000))
        .on(path, Reply::ok(later).etag("same"))
        .on(path, Reply::ok(a.clone()).etag("same"));
    let brought = wait(access.package(repository, entry, &Silent)).unwrap();
    assert!(fs::read(brought).unwrap() == a);
}

#[test]
fn what_is_kept_is_checked_when_it_is_used() {
    let world = World::new(&["a", "b"]);
    let access = world.access();
    let opened = world.open(&access).unwrap();
    let paths = bring(&access, &opened.repository).unwrap();
    let before = world.server.asked().len();
    // One is cut short, one is another package.
    let bytes = fs::read(&paths[0]).unwrap();
    fs::remove_file(&paths[0]).unwrap();
    fs::write(&paths[0], &bytes[..bytes.len() - 1]).unwrap();
    fs::copy(&paths[1], world.folder.path().join("b")).unwrap();
    let offline = world.offline();
    let kept = world.open(&offline).unwrap();
    let error = bring(&offline, &kept.repository).unwrap_err();
    assert!(error.to_string().contains("can't fetch a-1-r0"), "{error}");
    assert_eq!(world.server.asked().len(), before);
}

#[test]
fn apks_own_cache() {
    let world = World::new(&["a"]);
    let cache = world.folder.path().join("cache");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let access = |refresh: Refresh| {
        let settings = AccessSettings {
            cache_folder: Some(CacheFolder::new(Path::new("/"), &cache)),
            refresh,
            ..AccessSettings::default()
        };
        world.access_with(settings, NetworkSettings::default())
    };
    let listed = |folder: &Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let first = access(Refresh::Always);
    let opened = world.open(&first).unwrap();
    let paths = bring(&first, &opened.repository).unwrap();
    let url = world.server.url(&format!("/x86_64/{FILE_NAME}"));
    let index = format!(
        "APKINDEX.{}.tar.gz",
        &base::Digest::of(url.as_bytes()).hex()[..8]
    );
    let identity = match entries(&opened.repository)[0].identity {
        polpo_apk::dependency::Identity::Sha1(digest) => digest.hex(),
        polpo_apk::dependency::Identity::Sha256(digest) => digest.hex(),
    };
    let package = format!("a-1-r0.{}.apk", &identity[..8]);
    assert_eq!(listed(&cache), [index.clone(), package.clone()]);
    assert_eq!(paths, [cache.join(&package)]);

    // What apk has put there serves too, and is asked for by its date.
    fs::remove_dir_all(world.folder.path().join("store")).unwrap();
    let before = world.server.asked().len();
    let again = access(Refresh::WhenMissing);
    let opened = world.open(&again).unwrap();
    assert!(matches!(opened.state, IndexState::Kept));
    assert_eq!(bring(&again, &opened.repository).unwrap(), paths);
    assert_eq!(world.server.asked().len(), before);
    let file = fs::File::options()
        .write(true)
        .open(cache.join(&index))
        .unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    file.set_modified(then).unwrap();
    world
        .server
        .on(&format!("/x86_64/{FILE_NAME}"), Reply::status(304));
    let age = |seconds| Refresh::OlderThan {
        age: Duration::from_secs(seconds),
        now: then + Duration::from_secs(100),
    };
    assert!(matches!(
        world.open(&access(age(101))).unwrap().state,
        IndexState::Kept
    ));
    let opened = world.open(&access(age(99))).unwrap();
    assert!(matches!(opened.state, IndexState::Unchanged));
    let asked = world.server.asked().pop().unwrap();
    assert_eq!(
        asked.headers["if-modified-since"],
        "Sun, 06 Nov 1994 08:49:37 GMT"
    );
    let modified = fs::metadata(cache.join(&index))
        .unwrap()
        .modified()
        .unwrap();
    assert!(modified > then && modified < now);

    // A damaged package is fetched again.
    fs::write(cache.join(&package), b"x").unwrap();
    let again = access(Refresh::WhenMissing);
    let opened = world.open(&again).unwrap();
    bring(&again, &opened.repository).unwrap();
    assert!(fs::metadata(cache.join(&package)).unwrap().len() > 1);
}

#[test]
fn indexes_by_name_and_packages_elsewhere() {
    let world = World::new(&["a"]);
    let access = world.access();
    let direct = world.server.url(&format!("/x86_64/{FILE_NAME}"));
    let opened = open(&access, &Repository::parse(&direct).unwrap()).unwrap();
    bring(&access, &opened.repository).unwrap();

    // An index of format 2 under the name of one of format 3 is refused, as by apk.
    fs::copy(world.at(FILE_NAME), world.at("Packages.adb")).unwrap();
    let v3 = Repository::parse(&format!("v3 {}", world.server.url(""))).unwrap();
    let error = open(&access, &v3).unwrap_err();
    assert!(
        error.to_string().contains("is no index of format 3"),
        "{error}"
    );

    // A package for all architectures: where apk looks, then beside the index.
    let mut index = Index::default();
    let mut all = world.package("all", "1-r0");
    all.info.arch = "noarch".to_owned();
    index.merge([all]);
    index
        .write(&world.at(FILE_NAME), Some(signer()), EPOCH)
        .unwrap();
    let access = world.access();
    let opened = world.open(&access).unwrap();
    bring(&access, &opened.repository).unwrap();
    let paths = world.server.paths();
    assert_eq!(
        paths[paths.len() - 2..],
        ["/noarch/all-1-r0.apk", "/x86_64/all-1-r0.apk"]
    );
}

#[test]
fn names_that_lead_elsewhere() {
    let world = World::new(&["a"]);
    let mut index = Index::default();
    let mut up = world.package("a", "1-r0");
    up.info.name = "../../up".to_owned();
    index.merge([up]);
    index
        .write(&world.at(FILE_NAME), Some(signer()), EPOCH)
        .unwrap();
    let access = world.access();
    let opened = world.open(&access).unwrap();
    let error = bring(&access, &opened.repository).unwrap_err();
    assert!(matches!(error, RepositoryError::FileName { .. }), "{error}");
    assert_eq!(world.server.asked().len(), 1);
}

#[test]
fn a_password_is_told_to_its_server_alone() {
    let world = World::new(&["a"]);
    let elsewhere = Server::of(world.folder.path().join("packages"));
    let path = format!("/x86_64/{FILE_NAME}");
    let index = fs::read(world.at(FILE_NAME)).unwrap();
    world
        .server
        .on(
            &path,
            Reply::ok(index).etag("1").only_for("Basic dTpzZWNyZXQ="),
        )
        .on(
            "/x86_64/a-1-r0.apk",
            Reply::redirect(elsewhere.url("/x86_64/a-1-r0.apk")),
        );
    let repository = Repository::parse(&world.server.url_for("u:secret", "")).unwrap();
    let heard = Heard::default();
    let access = world.access();
    let keyring = signer().keyring();
    let opened = wait(access.open(&repository, Arch::X86_64, Some(&keyring), &heard)).unwrap();
    let entries = entries(&opened.repository);
    wait(access.package(&opened.repository, &entries[0], &heard)).unwrap();
    assert!(!elsewhere.asked()[0].headers.contains_key("authorization"));
    world.server.forget(&path);
    world.server.on(&path, Reply::status(500));
    let again = world.access();
    let error = wait(again.open(&repository, Arch::X86_64, Some(&keyring), &heard)).unwrap_err();
    let said = heard.0.into_inner().unwrap().join("\n");
    for text in [
        said,
        error.to_string(),
        format!("{error:?}"),
        format!("{opened:?}"),
        opened.repository.name,
    ] {
        assert!(!text.contains("secret"), "{text}");
    }
    assert!(!holds(&world.folder.path().join("store"), b"secret"));
}

fn holds(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, needle),
            false => fs::read(&path)
                .unwrap()
                .windows(needle.len())
                .any(|window| window == needle),
        }
    })
}

#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl Reporter for Heard {
    fn report(&self, event: Event<'_>) {
        let mut heard = self.0.lock().unwrap();
        match event {
            Event::Notice { message } => heard.push(message.to_owned()),
            Event::Started { subject, .. } => heard.push(subject.to_owned()),
            _ => {}
        }
    }
}

/// What `openssl rsa -pubin -modulus` says of a key, in the letters of a JSON web key.
fn web_key(id: &str, signer: &Signer) -> String {
    use base64::Engine as _;
    let spki = signer.public().spki();
    // 4096 bits and the exponent 65537 stand at the end of the DER: 512 bytes, `02 03 01 00 01`.
    let modulus = &spki[spki.len() - 5 - 512..spki.len() - 5];
    let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(modulus);
    format!(r#"{{"kty": "RSA", "kid": "{id}", "n": "{modulus}", "e": "AQAB", "alg": "RS256"}}"#)
}

#[test]
fn keys_that_a_server_names() {
    let world = World::new(&["a"]);
    let keys = |list: &[String]| Reply::ok(format!(r#"{{"keys": [{}]}}"#, list.join(",")));
    let configuration = format!(r#"{{"jwks_uri": "{}"}}"#, world.server.url("/keys"));
    world
        .server
        .on("/apk-configuration", Reply::ok(configuration));
    world
        .server
        .on("/keys", keys(&[web_key("tester", signer())]));
    let settings = || AccessSettings {
        discover_keys: true,
        ..AccessSettings::default()
    };
    let open = |access: &Access, keyring: &Keyring, heard: &dyn Reporter| {
        wait(access.open(&world.repository(), Arch::X86_64, Some(keyring), heard))
    };
    let nobody = Keyring::default();
    // Nobody asked for it: nobody is trusted.
    assert!(open(&world.access(), &nobody, &Silent).is_err());
    assert_eq!(world.server.paths(), [format!("/x86_64/{FILE_NAME}")]);

    let heard = Heard::default();
    let access = world.access_with(settings(), NetworkSettings::default());
    let opened = open(&access, &nobody, &heard).unwrap();
    assert_eq!(opened.keys[0].name, "tester.rsa.pub");
    assert_eq!(opened.keys[0].key, *signer().public());
    let said = heard.0.into_inner().unwrap().join("\n");
    let fingerprint = signer().public().id().to_string();
    assert!(
        said.contains("tester.rsa.pub") && said.contains(&fingerprint),
        "{said}"
    );
    // Another repository of the session has its own keys.
    let other = World::new(&["a"]);
    let error = wait(access.open(&other.repository(), Arch::X86_64, Some(&nobody), &Silent));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("not among the trusted keys")
    );

    // It is remembered, for when the network may not be used.
    let offline = NetworkSettings {
        offline: true,
        ..NetworkSettings::default()
    };
    let offline = world.access_with(settings(), offline);
    assert_eq!(open(&offline, &nobody, &Silent).unwrap().keys, opened.keys);

    // A key of the user's is never replaced by one that a server names.
    let mine = Signer::new(
        "tester.rsa.pub",
        PrivateKey::generate(Algorithm::Rsa4096).unwrap(),
    );
    let access = world.access_with(settings(), NetworkSettings::default());
    let heard = Heard::default();
    let error = open(&access, &mine.unwrap().keyring(), &heard).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the signature by tester.rsa.pub is wrong"),
        "{error}"
    );
    let said = heard.0.into_inner().unwrap().join("\n");
    assert!(said.contains("it is not trusted"), "{said}");
}

#[test]
fn answers_that_name_no_keys() {
    let world = World::new(&["a"]);
    let settings = AccessSettings {
        discover_keys: true,
        ..AccessSettings::default()
    };
    let refused = |configuration: &str, keys: Reply| {
        world.server.forget("/apk-configuration");
        world.server.forget("/keys");
        let configuration = configuration.replace("SERVER", &world.server.url(""));
        world
            .server
            .on("/apk-configuration", Reply::ok(configuration));
        world.server.on("/keys", keys);
        let access = world.access_with(settings.clone(), NetworkSettings::default());
        world.shown(open(&access, &world.repository()).unwrap_err())
    };
    let here = r#"{"jwks_uri": "SERVER/keys"}"#;
    let keys = |list: &str| Reply::ok(format!(r#"{{"keys": [{list}]}}"#));
    let good = web_key("x", signer());
    let mut texts = vec![
        refused("no", Reply::status(200)),
        refused("{}", Reply::status(200)),
        refused(r#"{"jwks_uri": "keys"}"#, Reply::status(200)),
        refused(
            r#"{"jwks_uri": "http://keys.example/"}"#,
            Reply::status(200),
        ),
        refused(r#"{"jwks_uri": "file:///etc/passwd"}"#, Reply::status(200)),
        refused(here, Reply::status(404)),
        refused(here, Reply::status(403)),
        refused(here, Reply::endless()),
        refused(here, keys(r#"{"kty": "EC", "kid": "x"}"#)),
        refused(here, keys(r#"{"kty": "RSA", "kid": "", "n": "", "e": ""}"#)),
        refused(here, keys(&web_key("../../x", signer()))),
        refused(
            here,
            keys(r#"{"kty": "RSA", "kid": "x", "n": "!", "e": "AQAB"}"#),
        ),
        refused(
            here,
            keys(r#"{"kty": "RSA", "kid": "x", "n": "AQAB", "e": "AQAB"}"#),
        ),
        refused(here, keys(&vec![good; 65].join(","))),
    ];
    for text in &mut texts {
        *text = text.replace("repository SERVER/: ", "");
    }
    insta::assert_snapshot!(texts.join("\n"), @"
    SERVER/apk-configuration: expected ident at line 1 column 2
    SERVER/apk-configuration: missing field `jwks_uri` at line 1 column 2
    SERVER/apk-configuration: its jwks_uri is no URL: relative URL without a base
    http://keys.example/ is not encrypted, so the keys it names prove nothing; use https, or bring the keys by other means
    file:///etc/passwd is not encrypted, so the keys it names prove nothing; use https, or bring the keys by other means
    SERVER/keys: it is not there
    can't fetch SERVER/keys: the server answered 403
    can't fetch SERVER/keys: it is larger than 1048576 bytes
    SERVER/keys: key x is of type EC, and apk verifies indexes by RSA alone
    SERVER/keys: `` can't be the id of a key
    SERVER/keys: `../../x` can't be the id of a key
    SERVER/keys: key x is not in base64
    SERVER/keys: key x: not a usable RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519 key: its modulus has 3 bytes
    SERVER/keys: it has more than 64 keys
    ");

    let plain = Repository::parse("http://plain.example/os").unwrap();
    let access = world.access_with(settings.clone(), NetworkSettings::default());
    let error = open(&access, &plain).unwrap_err();
    assert!(error.to_string().contains("is not encrypted"), "{error}");
}
