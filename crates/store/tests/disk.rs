use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Digest;
use store::{Store, StoreError, TreeError};

fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn blobs_come_back_and_are_read_only() {
    let (folder, store) = opened();
    let blob = store.put(&b"octopus"[..]).unwrap();
    assert_eq!((blob.digest, blob.size), (Digest::of(b"octopus"), 7));
    assert_eq!(store.put(&b"octopus"[..]).unwrap(), blob);
    let path = store.path(&blob.digest).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"octopus");
    assert!(std::fs::metadata(&path).unwrap().permissions().readonly());

    let file = folder.path().join("file");
    std::fs::write(&file, b"other").unwrap();
    assert!(store.contains(&store.put_file(&file).unwrap().digest));
    assert!(!store.contains(&Digest::of(b"never put")));
    assert!(matches!(
        store.open_verified(&Digest::of(b"never put")),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn the_wrong_bytes_are_not_stored() {
    let (_folder, store) = opened();
    let error = store
        .put_expecting(&b"squid"[..], Digest::of(b"octopus"))
        .unwrap_err();
    insta::assert_snapshot!(error, @"wrong contents: expected sha256:5633c9b8af6d089859afcbec42fdc03f8c407aaba9668218b433bd4959911465, got sha256:1d48f84aa257b116c0a7407b64135d007bcb898799e99331ec9a9349002fca4e (5 bytes)");
    assert!(!store.contains(&Digest::of(b"squid")));
}

#[test]
fn a_damaged_blob_is_found_out_and_removed() {
    let (_folder, store) = opened();
    let blob = store.put(&b"octopus"[..]).unwrap();
    let path = store.path(&blob.digest).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"0ctopus").unwrap();
    let error = store.open_verified(&blob.digest).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!store.contains(&blob.digest));
}

#[test]
fn many_threads_put_and_fill_at_once() {
    let (folder, store) = opened();
    let key = Digest::of(b"tree");
    let fills = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // As other processes do: each opens the store for itself.
            let store = Store::open(folder.path().join("store")).unwrap();
            let fills = &fills;
            scope.spawn(move || {
                for number in 0..20_u32 {
                    let bytes = vec![number as u8; 100_000];
                    let blob = store.put(&bytes[..]).unwrap();
                    assert_eq!(blob.digest, Digest::of(&bytes));
                }
                let path = store
                    .tree(&key, |folder| {
                        fills.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(30));
                        std::fs::write(folder.join("file"), b"x")
                    })
                    .unwrap();
                assert_eq!(names(&path), ["file"]);
            });
        }
    });
    assert_eq!(fills.load(Ordering::SeqCst), 1);
    assert_eq!(
        store.tree_path(&key).unwrap().parent().unwrap(),
        store.root().join("trees")
    );
}

#[test]
fn a_failed_fill_leaves_nothing() {
    let (_folder, store) = opened();
    let key = Digest::of(b"tree");
    let failed = store.tree(&key, |folder| {
        std::fs::write(folder.join("half"), b"x").unwrap();
        Err("no")
    });
    assert!(matches!(failed, Err(TreeError::Fill("no"))));
    assert_eq!(store.tree_path(&key), None);
    assert!(store.tree(&key, |_| Ok::<(), ()>(())).is_ok());
}

#[test]
fn what_a_killed_process_leaves_is_removed_and_a_living_ones_is_not() {
    let (folder, store) = opened();
    let root = folder.path().join("store");
    // What remains of a process that was killed: a session without anyone holding its lock.
    let dead = root.join("tmp/session-dead/tree");
    std::fs::create_dir_all(&dead).unwrap();
    std::fs::write(root.join("tmp/session-dead/lock"), b"").unwrap();
    std::fs::write(dead.join("half"), b"x").unwrap();
    std::fs::write(root.join("tmp/stray"), b"x").unwrap();
    let living = store.temp_file().unwrap();

    let second = Store::open(&root).unwrap();
    assert!(!dead.exists());
    assert!(!root.join("tmp/stray").exists());
    assert!(living.path().exists());
    drop((living, store, second));
    assert_eq!(names(&root.join("tmp")), ["lock"]);
}

#[test]
fn trees_that_a_crash_of_the_machine_may_have_spoiled_are_forgotten() {
    let (folder, store) = opened();
    let root = folder.path().join("store");
    let key = Digest::of(b"tree");
    let path = store.tree(&key, |_| Ok::<(), ()>(())).unwrap();
    let boot = names(&root.join("unsynced")).remove(0);
    assert_eq!(names(&root.join("unsynced").join(&boot)), [key.hex()]);
    // The same process, or another of this boot, trusts it.
    drop(Store::open(&root).unwrap());
    assert!(path.exists());

    let second = Digest::of(b"second");
    store.tree(&second, |_| Ok::<(), ()>(())).unwrap();
    std::fs::rename(
        root.join("unsynced").join(&boot),
        root.join("unsynced/earlier-boot"),
    )
    .unwrap();
    let reopened = Store::open(&root).unwrap();
    assert_eq!(reopened.tree_path(&second), None);
    assert!(!root.join("unsynced/earlier-boot").exists());
}

#[test]
fn records_come_back_by_kind_and_key() {
    let (_folder, store) = opened();
    let key = Digest::of(b"key");
    assert_eq!(store.record_get::<Vec<u32>>("numbers", &key).unwrap(), None);
    store.record_put("numbers", &key, &vec![1, 2]).unwrap();
    store.record_put("numbers", &key, &vec![3]).unwrap();
    assert_eq!(
        store.record_get::<Vec<u32>>("numbers", &key).unwrap(),
        Some(vec![3])
    );
    // Of another shape, as an older version may have written it.
    assert_eq!(store.record_get::<bool>("numbers", &key).unwrap(), None);
    assert_eq!(store.record_get::<Vec<u32>>("others", &key).unwrap(), None);
}

#[test]
fn a_store_that_cannot_be_made_says_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let error = Store::open(folder.path().join("file/store")).unwrap_err();
    let text = error
        .to_string()
        .replace(&folder.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text, @"can't create the folder DIR/file/store: Not a directory (os error 20)");
}
