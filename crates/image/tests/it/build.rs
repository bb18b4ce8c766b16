use std::collections::{BTreeMap, BTreeSet};

use apk::package::Script;
use base::{Epoch, Silent};
use image::BuiltImage;
use store::Store;

use crate::bed::{
    ARCH, Bed, EPOCH, access, configuration, hard_link, info, layer_files, list, listed, text,
    tree, wait,
};

const HELLO: &str = "
contents: {packages: [hello]}
accounts:
  run-as: nonroot
  users: [{username: nonroot, uid: 65532}]
  groups: [{groupname: nonroot, gid: 65532}]
entrypoint: {command: /usr/bin/hello}
archs: [x86_64]
";

fn entries(store: &Store, image: &BuiltImage) -> Vec<String> {
    let files = layer_files(store, image);
    files.iter().flat_map(|file| listed(file)).collect()
}

fn names(entries: &[String]) -> Vec<&str> {
    entries
        .iter()
        .filter_map(|entry| entry.split(' ').nth(3))
        .collect()
}

#[test]
fn everything_is_in_the_layer_once_and_in_order() {
    let bed = Bed::with_hello();
    let image = bed.build(HELLO);
    let entries = entries(&bed.store(), &image);
    insta::assert_snapshot!(entries.join("\n"), @r"
    5 755 0:0 dev
    5 755 0:0 etc
    5 755 0:0 etc/apk
    5 755 0:0 etc/apk/keys
    5 755 0:0 home
    5 700 65532:65532 home/nonroot
    5 755 0:0 lib
    5 755 0:0 opt
    5 555 0:0 proc
    5 700 0:0 root
    5 1777 0:0 tmp
    5 755 0:0 usr
    5 755 0:0 usr/bin
    5 755 0:0 usr/lib
    5 755 0:0 usr/lib/apk
    5 755 0:0 usr/lib/apk/db
    5 755 0:0 usr/lib/apk/exec
    5 755 0:0 usr/share
    5 755 0:0 usr/share/hello
    5 755 0:0 var
    5 755 0:0 var/cache
    5 755 0:0 var/cache/apk
    5 755 0:0 var/cache/misc
    5 755 0:0 var/lib
    5 755 0:0 var/lib/db
    5 755 0:0 var/lib/db/sbom
    0 755 0:0 usr/bin/hello
    1 755 0:0 usr/bin/hi usr/bin/hello
    2 777 0:0 usr/bin/salve hello
    0 644 0:0 usr/share/hello/words
    0 644 0:0 var/lib/db/sbom/hello-1.0-r0.spdx.json
    2 777 0:0 bin usr/bin
    0 644 0:0 etc/os-release
    3 620 0:0 dev/console
    3 666 0:0 dev/null
    3 666 0:0 dev/random
    3 666 0:0 dev/urandom
    3 666 0:0 dev/zero
    0 644 0:0 etc/apk/arch
    0 644 0:0 etc/apk/keys/test.rsa.pub
    0 644 0:0 etc/apk/repositories
    0 644 0:0 etc/apk/world
    0 444 0:0 etc/apko.json
    0 644 0:0 etc/group
    0 644 0:0 etc/passwd
    0 640 0:0 etc/shadow
    2 777 0:0 lib/apk ../usr/lib/apk
    0 644 0:0 usr/lib/apk/db/installed
    0 600 0:0 usr/lib/apk/db/lock
    0 644 0:0 usr/lib/apk/db/scripts.tar
    0 644 0:0 usr/lib/apk/db/triggers
    ");
    let names = names(&entries);
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
    for (place, name) in names.iter().enumerate() {
        if let Some((parent, _)) = name.rsplit_once('/') {
            let parent = names.iter().position(|other| *other == parent).unwrap();
            assert!(parent < place, "{name} comes before its directory");
        }
    }
}

#[test]
fn configuration_and_manifest() {
    let bed = Bed::with_hello();
    let image = bed.build(HELLO);
    let config = String::from_utf8(image.config.to_bytes().unwrap()).unwrap();
    let config = config.replace(&image.layers[0].diff_id.hex(), "DIFFID");
    insta::assert_snapshot!(config, @r#"{"architecture":"amd64","author":"polpo","created":"2023-11-14T22:13:20Z","history":[{"author":"polpo","created":"2023-11-14T22:13:20Z","created_by":"polpo"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:DIFFID"]},"config":{"Entrypoint":["/usr/bin/hello"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin","SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],"Labels":{"org.opencontainers.image.created":"2023-11-14T22:13:20Z"},"User":"65532"}}"#);
    assert_eq!(image.config.config.user, "65532");
    assert!(image.notes.is_empty(), "{:?}", image.notes);
}

#[test]
fn the_same_bytes_wherever_and_however_often() {
    let first = Bed::with_hello();
    let cold = first.build(HELLO);
    let warm = first.build(HELLO);
    // Another folder, another store; the packages are written anew but are the same.
    let second = Bed::with_hello();
    let other = second.build(HELLO);
    for image in [&warm, &other] {
        assert_eq!(image.descriptor, cold.descriptor);
        assert_eq!(image.layers, cold.layers);
        assert_eq!(image.sbom, cold.sbom);
    }
    // Another time makes another configuration, but the same layer.
    let store = first.store();
    let plan = first.plan(&store, HELLO);
    let later = image::build(&plan, "test", Epoch(EPOCH.0 + 1), &store, &Silent).unwrap();
    assert_eq!(later.layers, cold.layers);
    assert_ne!(later.descriptor, cold.descriptor);
    assert_eq!(plan.digest(EPOCH).unwrap(), plan.digest(EPOCH).unwrap());
    assert_ne!(plan.digest(EPOCH).unwrap(), plan.digest(Epoch(0)).unwrap());
}

#[test]
fn a_damaged_package_in_the_store_is_found() {
    let bed = Bed::with_hello();
    let store = bed.store();
    let plan = bed.plan(&store, HELLO);
    let victim = store.path(&plan.packages[1].digest).unwrap();
    let mut bytes = std::fs::read(&victim).unwrap();
    let middle = bytes.len() - 200;
    bytes[middle] ^= 1;
    std::fs::remove_file(&victim).unwrap();
    std::fs::write(&victim, bytes).unwrap();
    assert!(image::build(&plan, "test", EPOCH, &store, &Silent).is_err());
}

#[test]
fn no_zero_blocks_inside_a_layer() {
    let bed = Bed::with_hello();
    let store = bed.store();
    let image = bed.build(HELLO);
    let bytes = std::fs::read(&layer_files(&store, &image)[0]).unwrap();
    let mut members = archive::gzip::Members::new(&bytes[..], archive::Limits::default());
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut members.next().unwrap().unwrap(), &mut tar).unwrap();
    assert!(members.next().unwrap().is_none(), "one member");
    assert_eq!(base::Digest::of(&tar), image.layers[0].diff_id);
    // The strict reader refuses an archive that goes on after its end.
    let mut reader = archive::tar::Reader::new(&tar[..], archive::Limits::default());
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, entries(&store, &image).len());
    // scripts.tar is two zero blocks itself, inside an entry; no others but the last.
    assert!(tar.ends_with(&[0; 1024]));
}

#[test]
fn files_are_deflated_once_and_taken_over() {
    let bed = Bed::with_hello();
    let kept = |kind: &str| {
        let folder = bed.path("store/records").join(kind);
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    };
    // Packages of polpo's own carry their files deflated.
    bed.build("contents: {packages: [hello]}");
    assert_eq!(kept("layer-segment"), 0);
    // A file less, and the rest is deflated anew, once.
    let changed = "
contents: {packages: [hello]}
paths: [{path: /usr/bin/hello, type: permissions, permissions: 0o700}]
";
    let first = bed.build(changed);
    assert_eq!(kept("layer-segment"), 1);
    bed.build(&format!("{changed}\ncmd: other\n"));
    let again = bed.build(changed);
    assert_eq!(kept("layer-segment"), 1);
    assert_eq!(first.layers, again.layers);
}

#[test]
fn a_replaced_file_is_the_replacers() {
    let mut bed = Bed::new();
    bed.package(
        info("old"),
        tree([
            ("usr/bin/tool", text("old")),
            ("usr/bin/torch", hard_link("usr/bin/tool")),
            ("usr/bin/other", text("other")),
        ]),
    );
    let mut new = info("new");
    new.depends = list("old");
    new.replaces = list("old<2");
    bed.package(new, tree([("usr/bin/tool", text("new"))]));
    let image = bed.build("contents: {packages: [new]}");
    let store = bed.store();
    let folder = bed.path("root");
    std::fs::create_dir(&folder).unwrap();
    image::write_layout(
        std::slice::from_ref(&image),
        &store,
        &bed.path("layout"),
        "x",
    )
    .unwrap();
    let layout = oci::Layout::open(bed.path("layout")).unwrap();
    let resolved = layout.image(None, ARCH).unwrap();
    image::unpack_image(
        &layout,
        &resolved,
        &folder,
        archive::unpack::Ownership::Ignore,
    )
    .unwrap();
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("usr/bin/tool"), "new");
    assert_eq!(read("usr/bin/torch"), "old");
    assert_eq!(read("usr/bin/other"), "other");
    let installed = read("usr/lib/apk/db/installed");
    let files: Vec<&str> = installed
        .lines()
        .filter(|line| line.starts_with("P:") || line.starts_with("R:"))
        .collect();
    assert_eq!(files, ["P:new", "R:tool", "P:old", "R:other", "R:torch"]);
}

#[test]
fn a_conflict_is_told() {
    let mut bed = Bed::new();
    bed.package(info("one"), tree([("usr/bin/tool", text("one"))]));
    bed.package(info("two"), tree([("usr/bin/tool", text("two"))]));
    let error = bed
        .try_build("contents: {packages: [one, two]}")
        .unwrap_err();
    insta::assert_snapshot!(bed.shown(error), @"two 1.0-r0 and one 1.0-r0 both have /usr/bin/tool, with different contents; have one of them say `replaces: one`, or leave one out");
}

#[test]
fn the_database_is_apks() {
    let mut bed = Bed::with_hello();
    let mut script = info("with-script");
    script.triggers = vec!["/usr/share".to_owned()];
    bed.package_with(
        script,
        tree([("usr/share/x", text("x"))]),
        BTreeMap::from([(Script::Trigger, b"#!/bin/sh\n".to_vec())]),
    );
    let yaml = "
contents:
  packages: [hello, with-script, 'base=1.0-r0']
  repositories: [/a/folder, 'https://user:secret@example.org/os']
  runtime_repositories: ['@edge https://example.org/edge']
";
    let (_, layout) = bed.layout(yaml);
    let folder = bed.path("root");
    std::fs::create_dir(&folder).unwrap();
    let resolved = layout.image(None, ARCH).unwrap();
    image::unpack_image(
        &layout,
        &resolved,
        &folder,
        archive::unpack::Ownership::Ignore,
    )
    .unwrap();
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("etc/apk/world"), "base=1.0-r0\nhello\nwith-script\n");
    assert_eq!(
        read("etc/apk/repositories"),
        "@edge https://example.org/edge\nhttps://example.org/os\n"
    );
    assert_eq!(read("etc/apk/arch"), "x86_64\n");
    assert!(read("etc/apk/keys/test.rsa.pub").starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(!read("etc/apko.json").contains("secret"));
    assert_eq!(
        std::fs::read_link(folder.join("lib/apk")).unwrap().to_str(),
        Some("../usr/lib/apk")
    );
    assert!(read("usr/lib/apk/db/triggers").ends_with(" /usr/share\n"));
}

#[test]
fn accounts_are_merged() {
    let mut bed = Bed::new();
    bed.package(
        info("base"),
        tree([
            (
                "etc/passwd",
                text("root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:old:/old:/bin/sh\nnginx:x:101:101:n:/var/lib/nginx:/sbin/nologin\n"),
            ),
            ("etc/group", text("root:x:0:\nnonroot:x:65532:\n")),
            ("etc/shadow", text("root:*:19000::::::\n").with_mode(0o640)),
            ("srv/www", {
                let mut node = text("x");
                (node.user, node.uid) = ("nginx".to_owned(), 1000);
                node
            }),
        ]),
    );
    let yaml = "
contents: {packages: [base]}
accounts:
  run-as: nginx:nonroot
  users:
    - {username: nonroot, uid: 65532, homedir: /home/nonroot}
    - {username: extra, uid: 7, gid: 65532}
  groups: [{groupname: nonroot, gid: 65532, members: [extra]}]
";
    let (image, layout) = bed.layout(yaml);
    assert_eq!(image.config.config.user, "101:65532");
    let folder = bed.path("root");
    std::fs::create_dir(&folder).unwrap();
    let resolved = layout.image(None, ARCH).unwrap();
    image::unpack_image(
        &layout,
        &resolved,
        &folder,
        archive::unpack::Ownership::Ignore,
    )
    .unwrap();
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let accounts = [read("etc/passwd"), read("etc/group"), read("etc/shadow")].join("--\n");
    insta::assert_snapshot!(accounts, @r"
    root:x:0:0:root:/root:/bin/sh
    nonroot:x:65532:65532:Account created by polpo:/home/nonroot:/bin/sh
    nginx:x:101:101:n:/var/lib/nginx:/sbin/nologin
    extra:x:7:65532:Account created by polpo:/home/extra:/bin/sh
    --
    root:x:0:
    nonroot:x:65532:extra
    --
    root:*:19000::::::
    nonroot:!:::::::
    extra:!:::::::
    ");
    let entries = entries(&bed.store(), &image);
    let find = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.split(' ').nth(3) == Some(name))
            .unwrap()
            .clone()
    };
    assert_eq!(find("home/nonroot"), "5 700 65532:65532 home/nonroot");
    assert_eq!(find("etc/shadow"), "0 640 0:0 etc/shadow");
    // An owner's name counts more than its number, as in apk.
    assert_eq!(find("srv/www"), "0 644 101:0 srv/www");

    let clash = "contents: {packages: [base]}\naccounts: {users: [{username: nginx, uid: 5}]}";
    insta::assert_snapshot!(bed.shown(bed.try_build(clash).unwrap_err()), @"the image file gives user `nginx` the number 5, but a package gave it 101; use 101, or another name");
    let nobody = "contents: {packages: [base]}\naccounts: {run-as: nobody}";
    insta::assert_snapshot!(bed.shown(bed.try_build(nobody).unwrap_err()), @"`run-as: nobody` names no user of the image; it has root, nonroot, nginx. Add it to `accounts`, or write a number");
}

#[test]
fn paths_change_what_they_name() {
    let bed = Bed::with_hello();
    let yaml = "
contents: {packages: [hello]}
paths:
  - {path: /srv/data/deep, type: directory, uid: 7, permissions: 0o2750}
  - {path: /usr/bin/hello, type: permissions, permissions: 0o4755}
  - {path: /usr/bin/ciao, type: hardlink, source: /bin/hello, permissions: 0o4755}
  - {path: /etc/link, type: symlink, source: nowhere, permissions: 0o600}
  - {path: /bin/empty, type: empty-file, permissions: 0o600}
  - {path: /usr/share/hello, type: permissions, permissions: 0o500, recursive: true}
";
    let image = bed.build(yaml);
    let entries = entries(&bed.store(), &image);
    let find = |name: &str| -> String {
        let found: Vec<&String> = entries
            .iter()
            .filter(|entry| entry.split(' ').nth(3) == Some(name))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {entries:#?}");
        found[0].clone()
    };
    assert_eq!(find("srv/data"), "5 755 0:0 srv/data");
    assert_eq!(find("srv/data/deep"), "5 2750 7:0 srv/data/deep");
    assert_eq!(find("usr/bin/hello"), "0 4755 0:0 usr/bin/hello");
    assert_eq!(find("usr/bin/hi"), "1 4755 0:0 usr/bin/hi usr/bin/hello");
    assert_eq!(
        find("usr/bin/ciao"),
        "1 4755 0:0 usr/bin/ciao usr/bin/hello"
    );
    assert_eq!(find("etc/link"), "2 777 0:0 etc/link nowhere");
    assert_eq!(find("usr/bin/empty"), "0 600 0:0 usr/bin/empty");
    assert_eq!(
        find("usr/share/hello/words"),
        "0 500 0:0 usr/share/hello/words"
    );

    let refused = |path: &str| {
        let yaml = format!("contents: {{packages: [hello]}}\npaths:\n  - {path}\n");
        bed.shown(bed.try_build(&yaml).unwrap_err())
    };
    let refusals = [
        refused("{path: /usr/bin/hello, type: directory, permissions: 0o755}"),
        refused("{path: /usr/bin/hello/x, type: empty-file, permissions: 0o755}"),
        refused("{path: /bin, type: permissions, permissions: 0o700}"),
        refused("{path: /nowhere, type: permissions, permissions: 0o700}"),
        refused("{path: /usr/bin, type: symlink, source: x}"),
        refused("{path: /x, type: hardlink, source: /usr/bin}"),
        refused("{path: /x, type: hardlink, source: /nowhere}"),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    /usr/bin/hello has to be a directory, but the image has a file there; choose another path or leave out the package that brings it
    /usr/bin/hello has to be a directory, but the image has a file there; choose another path or leave out the package that brings it
    /bin is a symbolic link to `usr/bin`, and polpo changes nothing through links; name what it leads to
    can't change the permissions of /nowhere: the image has no such file; check the path, or add the package that brings it
    can't make the symbolic link /usr/bin: the image has a directory there; remove that entry of `paths` or the package that brings it
    /usr/bin has to be a file, but the image has a directory there
    can't link to /nowhere: the image has no such file; check the path, or add the package that brings it
    ");
}

#[test]
fn origins_make_layers() {
    let mut bed = Bed::with_hello();
    let mut large = info("large");
    large.installed_size = 1_000_000;
    bed.package(large, tree([("opt/large/file", text(&"x".repeat(50_000)))]));
    let yaml = "
contents: {packages: [hello, large]}
layering: {strategy: origin, budget: 2}
";
    let image = bed.build(yaml);
    assert_eq!(image.layers.len(), 3);
    let store = bed.store();
    let files = layer_files(&store, &image);
    let layers: Vec<Vec<String>> = files.iter().map(|file| listed(file)).collect();
    assert_eq!(names(&layers[0]), ["opt", "opt/large", "opt/large/file"]);
    let single = bed.build("contents: {packages: [hello, large]}");
    let all = entries(&store, &single);
    let together: BTreeSet<&str> = layers.iter().flat_map(|layer| names(layer)).collect();
    assert_eq!(together, names(&all).into_iter().collect());

    // Another image with the package has its layer already.
    let other = bed.build("contents: {packages: [large]}\nlayering: {strategy: origin, budget: 5}");
    assert_eq!(other.layers[0], image.layers[0]);
}

#[test]
fn services_and_certificates() {
    let mut bed = Bed::new();
    let certificate = "-----BEGIN CERTIFICATE-----\nMAEA\n-----END CERTIFICATE-----\n";
    bed.package(
        info("s6"),
        tree([("bin/s6-svscan", text("x").with_mode(0o755))]),
    );
    let mut bundle = info("bundle");
    bundle.provides = list("certs");
    bed.package(
        bundle,
        tree([
            ("etc/ssl/certs/ca-certificates.crt", text("first\n")),
            (
                "usr/local/share/ca-certificates/own.crt",
                text(&certificate.replace("MAEA", "MAEB")),
            ),
            ("usr/local/share/ca-certificates/bad.crt", text("x")),
        ]),
    );
    let yaml = "
contents: {packages: [bundle]}
entrypoint: {type: service-bundle, services: {web: /usr/bin/web -f}}
certificates:
  additional:
    - name: mine
      content: |
        -----BEGIN CERTIFICATE-----
        MAEA
        -----END CERTIFICATE-----
  providers: [certs]
";
    let (image, layout) = bed.layout(yaml);
    assert_eq!(image.config.config.entrypoint, ["/bin/s6-svscan", "/sv"]);
    let folder = bed.path("root");
    std::fs::create_dir(&folder).unwrap();
    let resolved = layout.image(None, ARCH).unwrap();
    image::unpack_image(
        &layout,
        &resolved,
        &folder,
        archive::unpack::Ownership::Ignore,
    )
    .unwrap();
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("sv/web/run"), "#!/bin/execlineb\n/usr/bin/web -f\n");
    let expected = format!(
        "first\n{certificate}\n{}\n",
        certificate.replace("MAEA", "MAEB")
    );
    assert_eq!(read("etc/ssl/certs/ca-certificates.crt"), expected);
    let fingerprint = base::Digest::of(&[0x30, 1, 0]).hex();
    assert_eq!(
        read(&format!(
            "usr/local/share/ca-certificates/mine-{fingerprint}.crt"
        )),
        certificate
    );
    assert_eq!(
        read("etc/ssl/certs/.ca-certificates.crt.sha256"),
        format!(
            "{}  ca-certificates.crt\n",
            base::Digest::of(expected.as_bytes()).hex()
        )
    );
}

#[test]
fn what_cannot_be_solved_is_explained() {
    let bed = Bed::with_hello();
    let store = bed.store();
    let plan = |yaml: &str| bed.try_plan(&store, yaml);
    assert!(
        plan("contents: {packages: [nothing]}")
            .unwrap_err()
            .to_string()
            .contains("nothing")
    );
    let error = plan("archs: [aarch64]").unwrap_err();
    insta::assert_snapshot!(bed.shown(error), @"the image file is for aarch64, not for x86_64; add it to `archs` or choose another");
    assert!(
        plan("contents: {packages: []}")
            .unwrap()
            .packages
            .is_empty()
    );
}

/// apko's own test image: the same files, but for what polpo does otherwise on purpose.
#[test]
fn apkos_golden_image() {
    let bed = Bed::new();
    let store = bed.store();
    let corpus = testkit::corpus().join("apko/cli");
    let keyring = apk::signature::Keyring::load(&[corpus.join("melange.rsa.pub")]).unwrap();
    let yaml = std::fs::read_to_string(corpus.join("apko.yaml")).unwrap();
    let golden = oci::Layout::open(corpus.join("golden")).unwrap();
    for arch in [base::Arch::X86_64, base::Arch::Aarch64] {
        let repository = apk::repository::Repository::folder(corpus.join("packages"));
        let repositories = [repository.open(arch, Some(&keyring), None).unwrap()];
        let configuration = configuration(&yaml);
        let access = access(&store);
        let plan = image::plan(
            &configuration,
            arch,
            &repositories,
            &keyring,
            &access,
            &Silent,
        );
        let plan = wait(plan).unwrap();
        let image = image::build(&plan, "golden", Epoch(0), &store, &Silent).unwrap();
        let ours = entries(&store, &image);
        let theirs = golden.image(None, arch).unwrap();
        let theirs = listed(&golden.blob_path(&theirs.manifest.layers[0].digest));
        assert_eq!(
            names(&ours).into_iter().collect::<BTreeSet<_>>(),
            names(&theirs).into_iter().collect::<BTreeSet<_>>()
        );
        let ours: BTreeSet<&String> = ours.iter().collect();
        let theirs: BTreeSet<&String> = theirs.iter().collect();
        let different: Vec<_> = ours.symmetric_difference(&theirs).collect();
        // apko drops the owner that the package gives the file.
        assert_eq!(
            different,
            [&"0 644 0:0 etc/os-release", &"0 644 501:20 etc/os-release"]
        );
    }
}

#[test]
fn an_image_of_nothing() {
    let bed = Bed::new();
    let store = bed.store();
    let (configuration, keyring) = (configuration("cmd: x"), bed.keyring());
    let access = access(&store);
    let plan = image::plan(&configuration, ARCH, &[], &keyring, &access, &Silent);
    let plan = wait(plan).unwrap();
    let image = image::build(&plan, "empty", EPOCH, &store, &Silent).unwrap();
    let entries = entries(&store, &image);
    assert!(names(&entries).contains(&"usr/lib/apk/db/installed"));
    assert!(names(&entries).contains(&"etc/passwd"));
}

#[test]
fn the_record_of_an_image_is_kept_for_its_signer() {
    let bed = Bed::with_hello();
    let store = bed.store();
    let plan = bed.plan(&store, HELLO);
    let image = image::build(&plan, "test", EPOCH, &store, &Silent).unwrap();
    let record = image::ImageRecord::of(&plan, &image, EPOCH, "0.1.0").unwrap();
    record.keep(&store, &image.descriptor.digest).unwrap();
    let found = image::ImageRecord::find(&store, &image.descriptor.digest).unwrap();
    assert_eq!(found.as_ref(), Some(&record));
    let dependencies: BTreeSet<String> = record
        .provenance
        .build_definition
        .resolved_dependencies
        .iter()
        .filter_map(|dependency| dependency.digest.get("sha256").cloned())
        .collect();
    let packages: BTreeSet<String> = plan
        .packages
        .iter()
        .map(|package| package.digest.hex())
        .collect();
    assert_eq!(dependencies, packages);
    assert_eq!(
        image::ImageRecord::find(&store, &base::Digest::of(b"other")).unwrap(),
        None
    );
}

/// What can't be an image is told, and nothing is left of it.
#[test]
fn impossible_images_are_refused() {
    let mut bed = Bed::with_hello();
    bed.package(
        info("loop"),
        tree([
            ("etc/one", archive::tree::Node::symlink("two")),
            ("etc/two", archive::tree::Node::symlink("one")),
        ]),
    );
    let refused = |yaml: &str| bed.shown(bed.try_build(yaml).unwrap_err());
    insta::assert_snapshot!(refused("
contents: {packages: [loop]}
paths: [{path: /etc/one/x, type: directory, permissions: 0o755}]
"), @"/etc/one/x leads through more than 40 symbolic links");
    insta::assert_snapshot!(refused("
contents: {packages: [hello]}
paths: [{path: /usr/bin/hello/x, type: directory, permissions: 0o755}]
"), @"/usr/bin/hello has to be a directory, but the image has a file there; choose another path or leave out the package that brings it");
    insta::assert_snapshot!(refused("
contents: {packages: [hello]}
paths: [{path: /usr/bin, type: symlink, source: x}]
"), @"can't make the symbolic link /usr/bin: the image has a directory there; remove that entry of `paths` or the package that brings it");
    insta::assert_snapshot!(refused("
contents: {packages: [base]}
accounts: {users: [{username: root, uid: 7}]}
"), @"the image file gives user `root` the number 7, but a package gave it 0; use 0, or another name");
}

/// A base image for another machine is refused, as is one that is none.
#[test]
fn base_images_fit_their_architecture() {
    let bed = Bed::with_hello();
    let (_, layout) = bed.layout("contents: {packages: [base]}");
    let store = bed.store();
    let refused = |yaml: String, arch: base::Arch| {
        let repositories = Vec::new();
        let targets = [image::Target {
            arch,
            repositories: &repositories,
        }];
        let configuration = configuration(&yaml);
        let keyring = bed.keyring();
        let access = access(&store);
        let folder = std::path::Path::new("");
        let plans = image::plan_all(&configuration, folder, &targets, &keyring, &access, &Silent);
        bed.shown(wait(plans).unwrap_err())
    };
    let over = |folder: &std::path::Path| {
        format!("contents: {{baseimage: {{image: {}}}}}", folder.display())
    };
    insta::assert_snapshot!(refused(over(layout.root()), base::Arch::Aarch64), @"the base image in DIR/layout is for amd64, not for aarch64; build it for aarch64 too, or leave aarch64 out of `archs`");
    insta::assert_snapshot!(refused(over(&bed.path("nowhere")), ARCH), @"the base image can't be used: DIR/nowhere is not an OCI image layout: it has no file `oci-layout`; polpo makes one by `polpo image build`");
    // Upon the right one: its packages stay, its files are not written again.
    let plan = bed.plan(
        &store,
        &over(layout.root())
            .replace('}', ", packages: [hello]}")
            .replacen(", packages: [hello]}", "}", 1),
    );
    let names: Vec<&str> = plan
        .packages
        .iter()
        .map(|package| package.entry.info.name.as_str())
        .collect();
    assert_eq!(names, ["hello"]);
    let image = image::build(&plan, "over", EPOCH, &store, &Silent).unwrap();
    assert_eq!((image.manifest.layers.len(), image.layers.len()), (2, 1));
    let own = listed(&layer_files(&store, &image)[0]).join("\n");
    assert!(own.contains(" usr/bin/hello"), "{own}");
    assert!(!own.contains(" etc/os-release"), "{own}");
    let documented: Vec<&str> = image
        .sbom
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert!(
        documented.contains(&"base") && documented.contains(&"hello"),
        "{documented:?}"
    );
}
