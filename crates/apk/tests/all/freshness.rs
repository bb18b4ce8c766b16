//! Indexes that were good once, offered as if they were the newest.

use std::fs;

use base::{Age, Arch, Epoch, Silent};
use polpo_apk::index::{FILE_NAME, Freshness, Index, Stamp};
use polpo_apk::repository::{Access, AccessSettings, IndexState, Repository};
use store::NetworkSettings;
use testkit::Server;

use crate::remote::{World, open};
use crate::sample::{EPOCH, signer};

/// A day after the indexes were made.
const NOW: Epoch = Epoch(EPOCH.0 + 86_400);

fn stamp(serial: u64) -> Option<Stamp> {
    Some(Stamp {
        serial,
        time: Epoch(EPOCH.0 + serial),
    })
}

/// Publishes an index with this stamp in a folder, signed by the trusted key; its bytes.
fn publish(world: &World, stamp: Option<Stamp>) -> Vec<u8> {
    let mut index = Index::read(&world.at(FILE_NAME), &signer().keyring()).unwrap();
    index.description = stamp.map_or_else(|| "bare".to_owned(), |stamp| stamp.put("stamped"));
    index
        .write(&world.at(FILE_NAME), Some(signer()), EPOCH)
        .unwrap();
    fs::read(world.at(FILE_NAME)).unwrap()
}

fn access(world: &World, freshness: Freshness) -> Access {
    let settings = AccessSettings {
        freshness,
        ..AccessSettings::default()
    };
    world.access_with(settings, NetworkSettings::default())
}

/// What opening it comes to: its stamp's serial, or why not.
fn opened(world: &World, freshness: Freshness) -> Result<Option<u64>, String> {
    match open(&access(world, freshness), &world.repository()) {
        Ok(opened) => Ok(opened.repository.stamp().map(|stamp| stamp.serial)),
        Err(error) => Err(world.shown(error)),
    }
}

#[test]
fn an_older_index_is_refused_though_it_is_signed() {
    let world = World::new(&["a"]);
    let usual = Freshness::default();
    let bare = publish(&world, None);
    assert_eq!(opened(&world, usual), Ok(None));
    let first = publish(&world, stamp(1));
    assert_eq!(opened(&world, usual), Ok(Some(1)));
    publish(&world, stamp(3));
    assert_eq!(opened(&world, usual), Ok(Some(3)));

    // Somebody in between goes on to serve what was signed before.
    fs::write(world.at(FILE_NAME), &first).unwrap();
    insta::assert_snapshot!(opened(&world, usual).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index (serial 1, 2023-11-14T22:13:21Z) is older than one seen before (serial 3, 2023-11-14T22:13:23Z): the server is behind, or somebody keeps what is newer from you; ask another mirror, or if it was begun anew, say --accept-older-index once
    ");
    fs::write(world.at(FILE_NAME), &bare).unwrap();
    insta::assert_snapshot!(opened(&world, usual).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index has no serial, but one seen before has (serial 3, 2023-11-14T22:13:23Z): somebody offers one from before there were serials, or it was made without (`apk index --stamp` goes on); if that is meant, say --accept-older-index once
    ");
    publish(
        &world,
        Some(Stamp {
            time: EPOCH,
            ..stamp(3).unwrap()
        }),
    );
    insta::assert_snapshot!(opened(&world, usual).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index (serial 3, 2023-11-14T22:13:20Z) is another than one seen before with the same serial (serial 3, 2023-11-14T22:13:23Z); whoever signs must make the next one from the last
    ");

    // Those who go on with what they have are told, and keep what is newer.
    fs::write(world.at(FILE_NAME), &first).unwrap();
    let settings = AccessSettings {
        accept_stale: true,
        ..AccessSettings::default()
    };
    let stale = world.access_with(settings, NetworkSettings::default());
    let found = open(&stale, &world.repository()).unwrap();
    assert!(matches!(found.state, IndexState::Stale(_)));
    assert_eq!(found.repository.stamp(), stamp(3));

    // Whoever knows why takes it, and from then on it is the one to go by.
    let accepted = Freshness {
        accept_older: true,
        ..usual
    };
    assert_eq!(opened(&world, accepted), Ok(Some(1)));
    assert_eq!(opened(&world, usual), Ok(Some(1)));
    publish(&world, stamp(2));
    assert_eq!(opened(&world, usual), Ok(Some(2)));
}

#[test]
fn a_mirror_that_is_behind_is_passed_over() {
    let world = World::new(&["a"]);
    let behind = World::new(&["a"]);
    publish(&behind, stamp(1));
    publish(&world, stamp(2));
    let upstream = "https://upstream.example/os";
    let mirrors = |servers: &[&Server]| {
        let mirrors = servers
            .iter()
            .map(|server| format!("{upstream}={}", server.url("")));
        let settings = AccessSettings {
            mirrors: mirrors.map(|mirror| mirror.parse().unwrap()).collect(),
            ..AccessSettings::default()
        };
        let access = world.access_with(settings, NetworkSettings::default());
        let repository = Repository::parse(upstream).unwrap();
        open(&access, &repository).map(|opened| opened.repository.stamp())
    };
    // Serials are of the repository, wherever its index is found.
    assert_eq!(mirrors(&[&behind.server]).unwrap(), stamp(1));
    assert_eq!(mirrors(&[&world.server]).unwrap(), stamp(2));
    let asked = behind.server.paths().len();
    assert_eq!(mirrors(&[&behind.server, &world.server]).unwrap(), stamp(2));
    assert_eq!(behind.server.paths().len(), asked + 1);
}

#[test]
fn ages_count_everywhere() {
    let world = World::new(&["a"]);
    let aged = |age: &str| Freshness {
        maximum_age: Some(age.parse::<Age>().unwrap()),
        now: NOW,
        ..Freshness::default()
    };
    insta::assert_snapshot!(opened(&world, aged("7d")).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index doesn't say how old it is, and --index-max-age asks for it; have it made with `apk index --stamp`
    ");
    publish(&world, stamp(1));
    assert_eq!(opened(&world, aged("1d")), Ok(Some(1)));
    insta::assert_snapshot!(opened(&world, aged("23h")).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index (serial 1, 2023-11-14T22:13:21Z) was made more than 23 hours ago; ask another mirror, or have it made again with `apk index --stamp`
    ");
    let early = Freshness {
        now: Epoch(EPOCH.0 - 86_400),
        ..aged("1d")
    };
    insta::assert_snapshot!(opened(&world, early).unwrap_err(), @"
    repository SERVER/: can't fetch the index for x86_64:
      SERVER/x86_64/APKINDEX.tar.gz: its index (serial 1, 2023-11-14T22:13:21Z) is of the future, so nobody can say how old it is: set this machine's clock, or have it made again with `apk index --stamp`
    ");
    // Also of what was kept, and of folders of this machine.
    assert_eq!(opened(&world, Freshness::default()), Ok(Some(1)));
    assert!(opened(&world, aged("23h")).is_err());
    let folder = Repository::folder(world.folder.path().join("packages"));
    let of_folder = |age: &str| open(&access(&world, aged(age)), &folder);
    assert!(of_folder("1d").is_ok());
    insta::assert_snapshot!(world.shown(of_folder("23h").unwrap_err()), @"repository DIR/packages: its index (serial 1, 2023-11-14T22:13:21Z) was made more than 23 hours ago; ask another mirror, or have it made again with `apk index --stamp`");
}

#[test]
fn stamps_of_strangers_count_for_nothing() {
    let world = World::new(&["a"]);
    publish(&world, stamp(9));
    let access = access(&world, Freshness::default());
    let repository = world.repository();
    let opened =
        crate::remote::wait(access.open(&repository, Arch::X86_64, None, &Silent)).unwrap();
    assert_eq!(opened.repository.stamp(), stamp(9));
    // It was not checked who signed that one, so it is not what others are held to.
    publish(&world, stamp(1));
    assert_eq!(self::opened(&world, Freshness::default()), Ok(Some(1)));
}
