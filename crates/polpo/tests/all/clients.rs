//! crane and containerd take images in each form, and polpo takes theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use apk::package::PackageInfo;
use archive::tree::Node;
use base::Digest;
use oci::Layout;
use testkit::{Docker, Program, Registry};

use crate::image_diff::{Shelf, info, text, tree};
use crate::world::checkout;
use crate::yard::json;

const COMPRESSIONS: [&str; 5] = ["gzip", "zstd", "best", "zstd:chunked", "estargz"];

const IMAGE: &str = "contents: {packages: [busybox, secret, words]}\n\
                     accounts: {users: [{username: web, uid: 1000}], run-as: web}\n\
                     entrypoint: {command: /usr/bin/busybox}\n\
                     environment: {COLOUR: blue}\n\
                     work-dir: /usr/share\n\
                     layering: {strategy: package, budget: 10}\n\
                     archs: [x86_64, aarch64]\n";

/// What a container is to tell of the image.
const SCRIPT: &str = "id -u; pwd; echo $COLOUR; cat words; stat -c ' %a %u:%g' /etc/secret";

/// A repository for two architectures, of programs that run and of files that only some may read.
pub(crate) fn repository(shelf: &Shelf) {
    let mut packages = Vec::new();
    for (arch, busybox) in [
        ("x86_64", PathBuf::from("/bin/busybox")),
        ("aarch64", checkout().join("target/foreign/busybox-aarch64")),
    ] {
        let busybox = fs::read(busybox).expect("a static busybox: scripts/install test");
        let program = Node::file(busybox).with_mode(0o755);
        let secret = text("secret").with_mode(0o600).with_owner(5, 6);
        for (name, files) in [
            ("busybox", vec![("usr/bin/busybox", program)]),
            ("words", vec![("usr/share/words", text(arch))]),
            ("secret", vec![("etc/secret", secret)]),
        ] {
            let info = PackageInfo {
                arch: arch.to_owned(),
                ..info(name, "1-r0", "MIT")
            };
            packages.push((info, tree(files)));
        }
    }
    shelf.repository("packages", packages);
}

/// Builds the image for both architectures into a layout, as `latest`.
fn build(shelf: &Shelf, layout: &str, compression: &str) -> Digest {
    fs::write(shelf.path("image.yaml"), IMAGE).unwrap();
    let program = shelf.polpo(&["image", "build", "image.yaml", "hello:latest", layout]);
    program
        .args(["-r", "packages", "-k", "keys", "--compress", compression])
        .run()
        .success();
    tagged(shelf, layout)
}

fn tagged(shelf: &Shelf, layout: &str) -> Digest {
    let layout = Layout::open(shelf.path(layout)).unwrap();
    layout.resolve(Some("latest")).unwrap().digest
}

fn copy(shelf: &Shelf, from: &str, to: &str) {
    shelf.polpo(&["image", "copy", from, to]).run().success();
}

/// Its `validate` compares each layer with its digest, its size and the configuration's diffID.
#[test]
fn crane_takes_what_is_published_and_gives_it_back() {
    let shelf = Shelf::new();
    repository(&shelf);
    let registry = Registry::start();
    let crane = |words: &[&str]| {
        let program = Program::tool("crane").args(words).arg("--insecure");
        program.folder(&shelf.path("")).run().success().stdout
    };
    for compression in COMPRESSIONS {
        let layout = compression.replace(':', "-");
        let digest = build(&shelf, &layout, compression);
        let name = registry.name(&format!("team/hello:{layout}"));
        shelf
            .polpo(&["image", "publish", &layout, &name])
            .run()
            .success();
        assert_eq!(crane(&["digest", &name]).trim(), digest.to_string());
        let manifest = crane(&["manifest", &name]);
        assert_eq!(Digest::of(manifest.trim_end().as_bytes()), digest);
        // Its own check opens layers as gzip whatever they are.
        let check = match compression {
            "gzip" | "estargz" => vec!["validate", "--remote", &name],
            _ => vec!["validate", "--fast", "--remote", &name],
        };
        for (platform, arch) in [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")] {
            let told = crane(&[&check[..], &["--platform", platform]].concat());
            assert!(told.starts_with("PASS"), "{compression}: {told}");
            // The files of all layers, over each other.
            crane(&["export", "--platform", platform, &name, "root.tar"]);
            let words = Program::new("tar").args(["-xOf", "root.tar", "usr/share/words"]);
            let words = words.folder(&shelf.path("")).run().success();
            assert_eq!(words.stdout, arch, "{compression}");
        }

        // crane pushes the index of a layout itself, which names the image's.
        let pulled = format!("{layout}-pulled");
        crane(&["pull", "--format=oci", &name, &pulled]);
        let pushed = registry.name(&format!("team/pushed:{layout}"));
        crane(&["push", "--index", &pulled, &pushed]);
        let back = format!("{layout}-back");
        copy(&shelf, &pushed, &format!("oci:{back}:latest"));
        let outer = fs::read(shelf.path(&pulled).join("index.json")).unwrap();
        assert_eq!(tagged(&shelf, &back), Digest::of(&outer));
        let layout = Layout::open(shelf.path(&back)).unwrap();
        assert!(layout.blob_path(&digest).is_file(), "{compression}");
    }
    let listed = crane(&["ls", &registry.name("team/hello")]);
    let tags: BTreeSet<&str> = listed.lines().collect();
    let expected = ["best", "estargz", "gzip", "zstd", "zstd-chunked"];
    assert_eq!(tags, BTreeSet::from(expected));

    // An archive as docker's.
    copy(&shelf, "oci:gzip:latest", "docker-archive:one.tar:hello:v1");
    let told = crane(&["validate", "--tarball", "one.tar"]);
    assert!(told.contains("PASS"), "{told}");
    let pushed = registry.name("team/archive:v1");
    crane(&["push", "one.tar", &pushed]);
    copy(&shelf, &pushed, "oci:from-archive:latest");
    let of = |words: &str| json(&crane(&["config", words]));
    let name = format!("{}@{}", registry.name("team/hello"), image(&shelf, "gzip"));
    assert_eq!(of(&pushed), of(&name));
}

/// The digest of a layout's image for this machine.
fn image(shelf: &Shelf, layout: &str) -> Digest {
    let layout = Layout::open(shelf.path(layout)).unwrap();
    let image = layout.image(Some("latest"), base::Arch::X86_64).unwrap();
    image.descriptor.digest
}

#[test]
fn containerd_imports_images_runs_them_and_gives_them_back() {
    if !rustix::process::geteuid().is_root() {
        return; // the daemon that starts it wants root
    }
    let shelf = Shelf::new();
    repository(&shelf);
    let daemon = Docker::start();
    let ctr = |words: &[&str]| {
        let program = daemon.containerd(words).folder(&shelf.path(""));
        program.run().success().stdout
    };
    for compression in COMPRESSIONS {
        let layout = compression.replace(':', "-");
        let digest = build(&shelf, &layout, compression);
        let archive = format!("{layout}.tar");
        let (from, to) = (
            format!("oci:{layout}:latest"),
            format!("oci-archive:{archive}:latest"),
        );
        copy(&shelf, &from, &to);
        let base = format!("--base-name=example.test/{layout}");
        let all = [
            "images",
            "import",
            "--all-platforms",
            "--snapshotter=native",
        ];
        ctr(&[&all[..], &[&base, &archive]].concat());
        let name = format!("example.test/{layout}:latest");
        let listed = ctr(&["images", "list", &format!("name=={name}")]);
        let (_, listed) = listed.split_once('\n').unwrap();
        assert!(listed.contains(&digest.to_string()), "{listed}");
        assert!(listed.contains("linux/amd64,linux/arm64"), "{listed}");
        let selected = format!("name=={name}");
        let checked = ctr(&["images", "check", "--snapshotter=native", &selected]);
        let checked: Vec<&str> = checked.split_whitespace().collect();
        assert!(checked.contains(&"complete"), "{checked:?}");
        assert_eq!(checked.last(), Some(&"true"), "not unpacked: {checked:?}");
        let run = ["run", "--rm", "--snapshotter=native", &name];
        let told = ctr(&[&run[..], &["one", "/usr/bin/busybox", "sh", "-c", SCRIPT]].concat());
        assert_eq!(told, "1000\n/usr/share\nblue\nx86_64 600 5:6\n");
        let exported = format!("{layout}-exported.tar");
        ctr(&["images", "export", "--all-platforms", &exported, &name]);
        let back = format!("{layout}-back");
        copy(
            &shelf,
            &format!("oci-archive:{exported}:latest"),
            &format!("oci:{back}:latest"),
        );
        assert_eq!(tagged(&shelf, &back), digest);
    }
}
