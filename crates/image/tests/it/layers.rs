//! How files are split into layers, and how layers are compressed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use archive::{Limits, decompress, tar};
use base::{Digest, Silent};
use image::{BuiltImage, Compression};
use oci::{Layout, media_type};
use store::Store;

use crate::bed::{Bed, EPOCH, info, layer_files, listed, text, tree};

const ALL: [Compression; 5] = [
    Compression::Gzip,
    Compression::Zstd,
    Compression::Best,
    Compression::ZstdChunked,
    Compression::Estargz,
];

const PLAIN: &str = "contents: {packages: [hello]}\narchs: [x86_64]\n";
const BY_PACKAGE: &str = "contents: {packages: [hello]}\nlayering: {strategy: package}\n";

fn build(bed: &Bed, yaml: &str, compression: Compression) -> BuiltImage {
    let store = bed.store();
    let mut plan = bed.plan(&store, yaml);
    plan.compression = compression;
    image::build(&plan, "test", EPOCH, &store, &Silent).unwrap()
}

/// A layer's tar.
fn tar_of(layer: &Path) -> Vec<u8> {
    let blob = File::open(layer).unwrap();
    let mut content = Vec::new();
    decompress::open(std::io::BufReader::new(blob), Limits::default())
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    content
}

fn paths(tar: &[u8]) -> Vec<String> {
    let mut reader = tar::Reader::new(tar, Limits::default()).strict();
    let mut paths = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        paths.push(entry.header().path.clone());
    }
    paths
}

/// What stands before a change is not hashed again, and the digests are those of the bytes all the same.
#[test]
fn a_changed_layer_is_what_it_is_when_it_is_made_first() {
    let changed = format!("{PLAIN}environment: {{CHANGED: yes}}\n");
    for compression in ALL {
        let bed = Bed::with_hello();
        let before = build(&bed, PLAIN, compression);
        let after = build(&bed, &changed, compression);
        assert_ne!(before.layers, after.layers);
        let store = bed.store();
        let prefixes = std::fs::read_dir(store.root().join("records/layer-prefix")).unwrap();
        assert_eq!(prefixes.count(), 1, "{compression}");

        let other = Store::open(bed.path("other")).unwrap();
        let mut plan = bed.plan(&other, &changed);
        plan.compression = compression;
        let first = image::build(&plan, "test", EPOCH, &other, &Silent).unwrap();
        assert_eq!(first.layers, after.layers, "{compression}");
        for (layer, file) in after.layers.iter().zip(layer_files(&store, &after)) {
            let blob = std::fs::read(&file).unwrap();
            assert_eq!(
                (Digest::of(&blob), blob.len() as u64),
                (layer.digest, layer.size)
            );
            assert_eq!(Digest::of(&tar_of(&file)), layer.diff_id);
        }
    }
}

#[test]
fn a_layer_for_each_package() {
    let bed = Bed::with_hello();
    let image = bed.build(BY_PACKAGE);
    let store = bed.store();
    let files = layer_files(&store, &image);
    let lists: Vec<Vec<String>> = files.iter().map(|file| listed(file)).collect();
    assert_eq!(lists.len(), 3);
    let files = |place: usize| -> Vec<&str> {
        let files = lists[place].iter().filter(|line| !line.starts_with('5'));
        files.map(|line| line.split(' ').nth(3).unwrap()).collect()
    };
    // Of one size, so by name.
    assert_eq!(
        files(0),
        ["bin", "etc/group", "etc/os-release", "etc/passwd"]
    );
    assert_eq!(
        files(1),
        [
            "usr/bin/hello",
            "usr/bin/hi",
            "usr/bin/salve",
            "usr/share/hello/words",
            "var/lib/db/sbom/hello-1.0-r0.spdx.json",
        ]
    );
    assert!(files(2).contains(&"usr/lib/apk/db/installed"));
    let all: Vec<&str> = (0..3).flat_map(files).collect();
    let one = bed.build(PLAIN);
    let whole = listed(&layer_files(&store, &one)[0]);
    let whole: BTreeSet<&str> = whole
        .iter()
        .filter(|line| !line.starts_with('5'))
        .map(|line| line.split(' ').nth(3).unwrap())
        .collect();
    assert_eq!(all.len(), whole.len());
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), whole);
    // The smallest share the last layer of packages.
    let budget =
        bed.build("contents: {packages: [hello]}\nlayering: {strategy: package, budget: 1}\n");
    assert_eq!(budget.layers.len(), 2);
}

#[test]
fn a_package_has_the_same_layer_in_every_image() {
    let mut bed = Bed::with_hello();
    let mut other = info("other");
    other.depends = crate::bed::list("base");
    bed.package(other, tree([("usr/bin/other", text("other"))]));
    let one = bed.build(BY_PACKAGE);
    let two = bed.build("contents: {packages: [hello, other]}\nlayering: {strategy: package}\n");
    assert_eq!(two.layers.len(), 4);
    assert!(two.layers.contains(&one.layers[0]));
}

#[test]
fn no_more_layers_than_engines_run() {
    let mut bed = Bed::new();
    let names: Vec<String> = (0..140).map(|number| format!("package-{number}")).collect();
    for name in &names {
        bed.package(info(name), tree([(&*format!("usr/{name}"), text(name))]));
    }
    let yaml = format!(
        "contents: {{packages: [{}]}}\nlayering: {{strategy: package}}\n",
        names.join(", ")
    );
    assert_eq!(bed.build(&yaml).layers.len(), 127);
}

#[test]
fn the_same_tar_however_it_is_compressed() {
    let bed = Bed::with_hello();
    let store = bed.store();
    let gzip = build(&bed, BY_PACKAGE, Compression::Gzip);
    for compression in ALL {
        let image = build(&bed, BY_PACKAGE, compression);
        let files = layer_files(&store, &image).into_iter();
        let files = files.zip(layer_files(&store, &gzip));
        let layers = image.layers.iter().zip(&gzip.layers);
        for ((layer, other), (file, other_file)) in layers.zip(files) {
            let tar = tar_of(&file);
            assert_eq!(Digest::of(&tar), layer.diff_id, "{compression}");
            let mut paths = paths(&tar);
            if compression == Compression::Estargz {
                assert_eq!(paths.pop().unwrap(), "stargz.index.json");
            } else {
                assert_eq!(layer.diff_id, other.diff_id, "{compression}");
            }
            assert_eq!(paths, self::paths(&tar_of(&other_file)));
        }
        let kind = match compression {
            Compression::Gzip | Compression::Estargz => media_type::LAYER_TAR_GZIP,
            _ => media_type::LAYER_TAR_ZSTD,
        };
        for (descriptor, layer) in image.manifest.layers.iter().zip(&image.layers) {
            assert_eq!(descriptor.media_type, kind);
            assert_eq!(descriptor.annotations, layer.annotations);
            assert_eq!(descriptor.annotations.is_empty(), !compression.is_lazy());
        }
    }
}

/// Text of some length that compresses as programs' files do.
fn long_text(seed: u32, lines: u32) -> String {
    let mut state = seed;
    let mut text = String::new();
    for line in 0..lines {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!("line {line} says {:x} to {}\n", state >> 12, state % 97);
    }
    text
}

/// With packages that others wrote: compressed well, hardly and not at all.
fn with_foreign() -> Bed {
    let mut bed = Bed::with_hello();
    for (name, level) in [("well", 9), ("hardly", 1), ("not", 0)] {
        let (text, library) = (long_text(level, 40_000), long_text(level + 50, 3_000));
        let entries = [
            (format!("usr/lib/{name}/text"), self::text(&text)),
            (format!("usr/lib/{name}/text2"), self::text(&text[9..])),
            (
                format!("usr/share/{name}/same"),
                crate::bed::hard_link(&format!("usr/lib/{name}/text")),
            ),
            (format!("usr/share/{name}/small"), self::text("small")),
            (format!("usr/share/{name}/text"), self::text(&library)),
            (
                format!("usr/share/{name}/{}", "long".repeat(40)),
                self::text(&library),
            ),
        ];
        let tree = tree(
            entries
                .each_ref()
                .map(|(path, node)| (path.as_str(), node.clone())),
        );
        bed.foreign_package(info(name), tree, level);
    }
    bed
}

const FOREIGN: &str = "contents: {packages: [hello, well, hardly, not]}\narchs: [x86_64]\n";

#[test]
fn what_others_compressed_is_taken_over() {
    let bed = with_foreign();
    let image = bed.build(FOREIGN);
    let store = bed.store();
    let tar = tar_of(&layer_files(&store, &image)[0]);
    assert_eq!(Digest::of(&tar), image.layers[0].diff_id);
    let paths = paths(&tar);
    let unique: BTreeSet<&String> = paths.iter().collect();
    assert_eq!(unique.len(), paths.len());
    // Apk's checksums are of use in packages alone.
    let checksums = |name: &str| {
        let mut reader = tar::Reader::new(&tar[..], Limits::default()).strict();
        let mut found = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            if entry.header().path.contains(name) {
                found.push(entry.header().checksum.is_some());
            }
        }
        found
    };
    assert_eq!(checksums("hello/words"), [true]);
    assert!(checksums("well").len() > 5 && !checksums("well").contains(&true));
    // Only the one that was not compressed is compressed here.
    let kept = std::fs::read_dir(bed.path("store/records/layer-segment")).unwrap();
    assert_eq!(kept.count(), 1);
    // Each as small as its author made it.
    for (name, least, most) in [("well", 0, 101), ("hardly", 0, 101), ("not", 0, 50)] {
        let alone = bed.build(&format!("contents: {{packages: [{name}]}}\n"));
        let package = std::fs::metadata(bed.path(&format!("packages/x86_64/{name}-1.0-r0.apk")));
        let share = alone.layers[0].size * 100 / package.unwrap().len();
        assert!((least..=most).contains(&share), "{name}: {share} %");
    }
}

#[test]
fn a_foreign_package_that_is_no_good_is_told_as_before() {
    let bed = with_foreign();
    let path = bed.path("packages/x86_64/well-1.0-r0.apk");
    let good = std::fs::read(&path).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&path, bad).unwrap();
        let error = bed.try_build(FOREIGN).unwrap_err();
        std::fs::write(&path, &good).unwrap();
        std::error::Error::source(&error)
            .map_or_else(|| bed.shown(&error), |cause| bed.shown(cause))
    };
    let place = good.len() / 2;
    let flipped = refused(&|bytes| bytes[place] ^= 4);
    assert!(
        flipped.contains("is not what its .PKGINFO says: datahash"),
        "{flipped}"
    );
    bed.build(FOREIGN);
}

#[test]
fn the_same_blobs_with_one_core_and_many_cold_and_warm() {
    let (first, second) = (with_foreign(), with_foreign());
    const PLAIN: &str = FOREIGN;
    let threads = |number: usize| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(number)
            .build()
            .unwrap()
    };
    for compression in ALL {
        let one = threads(1).install(|| build(&first, PLAIN, compression));
        let many = threads(7).install(|| build(&second, PLAIN, compression));
        assert_eq!(one.layers, many.layers, "{compression}");
        assert_eq!(one.descriptor, many.descriptor, "{compression}");
        // Segments are kept, the image and its layer are not.
        for kind in ["image-built", "layer"] {
            std::fs::remove_dir_all(second.path("store/records").join(kind)).unwrap();
        }
        let warm = build(&second, PLAIN, compression);
        assert_eq!(warm.layers, one.layers, "{compression}");
    }
}

#[test]
fn tables_say_where_files_are() {
    let bed = Bed::with_hello();
    let store = bed.store();
    for compression in [Compression::ZstdChunked, Compression::Estargz] {
        let image = build(&bed, PLAIN, compression);
        let layer = &image.layers[0];
        let blob = std::fs::read(&layer_files(&store, &image)[0]).unwrap();
        let annotation = |name: &str| layer.annotations.get(name).unwrap().clone();
        let (table, checksum) = if compression == Compression::Estargz {
            let footer = std::str::from_utf8(&blob[blob.len() - 35..blob.len() - 19]).unwrap();
            let start = usize::from_str_radix(footer, 16).unwrap();
            let mut members = archive::gzip::Members::new(&blob[start..], Limits::default());
            let mut tar = Vec::new();
            members
                .next()
                .unwrap()
                .unwrap()
                .read_to_end(&mut tar)
                .unwrap();
            let mut reader = tar::Reader::new(&tar[..], Limits::default());
            let mut table = Vec::new();
            reader
                .next()
                .unwrap()
                .unwrap()
                .read_to_end(&mut table)
                .unwrap();
            let digest = Digest::of(&table).to_string();
            assert_eq!(
                annotation("containerd.io/snapshot/stargz/toc.digest"),
                digest
            );
            (table, digest)
        } else {
            let prefix = "io.github.containers.zstd-chunked";
            let position = annotation(&format!("{prefix}.manifest-position"));
            let numbers: Vec<usize> = position
                .split(':')
                .map(|number| number.parse().unwrap())
                .collect();
            let packed = &blob[numbers[0]..numbers[0] + numbers[1]];
            assert_eq!(
                annotation(&format!("{prefix}.manifest-checksum")),
                Digest::of(packed).to_string()
            );
            assert_eq!(&blob[blob.len() - 8..], b"GNUlInUx");
            let mut table = Vec::new();
            decompress::open(packed, Limits::default())
                .unwrap()
                .read_to_end(&mut table)
                .unwrap();
            assert_eq!(table.len(), numbers[2]);
            (table, String::new())
        };
        let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
        let entries = table["entries"].as_array().unwrap();
        let words = entries
            .iter()
            .find(|entry| entry["name"] == "usr/share/hello/words")
            .unwrap();
        // What stands there is the file alone.
        let start = words["offset"].as_u64().unwrap() as usize;
        let mut content = vec![0; words["size"].as_u64().unwrap() as usize];
        decompress::open(&blob[start..], Limits::default())
            .unwrap()
            .read_exact(&mut content)
            .unwrap();
        assert_eq!(words["digest"], Digest::of(&content).to_string());
        assert_eq!(content, "hello ".repeat(10_000).as_bytes(), "{checksum}");
    }
}

/// The files of the store that have packages' runs.
fn runs(bed: &Bed) -> Vec<std::path::PathBuf> {
    let trees = std::fs::read_dir(bed.path("store/trees")).unwrap();
    trees
        .map(|tree| tree.unwrap().path().join("run.tar"))
        .filter(|file| file.is_file())
        .collect()
}

#[test]
fn layers_of_unchanged_packages_are_not_read_again() {
    let bed = Bed::with_hello();
    let first = bed.build(BY_PACKAGE);
    // Were these bytes read, the layer would be another one.
    let runs = runs(&bed);
    assert_eq!(runs.len(), 2);
    for run in runs {
        let mut bytes = std::fs::read(&run).unwrap();
        // What the image reads of them, its own files are made of.
        if let Some(place) = bytes.windows(12).position(|bytes| bytes == b"hello hello ") {
            bytes[place] = b'H';
        }
        std::fs::write(&run, bytes).unwrap();
    }
    let second = bed.build(&format!("{BY_PACKAGE}cmd: other\n"));
    assert_ne!(second.descriptor, first.descriptor);
    assert_eq!(second.layers[..2], first.layers[..2]);
}

#[test]
fn an_unchanged_image_needs_no_package() {
    let bed = Bed::with_hello();
    let first = bed.build(BY_PACKAGE);
    for entry in std::fs::read_dir(bed.path("packages/x86_64")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "apk") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::remove_dir_all(bed.path("store/trees")).unwrap();
    let again = bed.build(BY_PACKAGE);
    assert_eq!(again.descriptor, first.descriptor);
    assert_eq!(again.manifest, first.manifest);
    assert_eq!(again.sbom, first.sbom);
    // A layer that is lost is made again, and so is the image.
    let lost = format!(
        "store/records/layer-pieces/{}.json",
        first.layers[2].digest.hex()
    );
    std::fs::remove_file(bed.path(&lost)).unwrap();
    assert_eq!(bed.build(BY_PACKAGE).layers, first.layers);
}

/// A layer is not in the store a second time beside what it is made of.
#[test]
fn layers_are_kept_in_pieces() {
    let bed = with_foreign();
    for compression in ALL {
        let store = Store::open(bed.path(&format!("store-{compression}"))).unwrap();
        let mut plan = bed.plan(&store, FOREIGN);
        plan.compression = compression;
        let write = |name: &str| {
            let root = bed.path(&format!("{name}-{compression}"));
            let place = (&*root, "latest");
            let plans = [(&plan, EPOCH)];
            let built = image::build_layout(&plans, "test", &store, &Silent, place).unwrap();
            (built.0[0].clone(), Layout::open(root).unwrap())
        };
        let (first, layout) = write("first");
        let layer = &first.layers[0];
        assert_eq!(store.path(&layer.digest), None, "{compression}");
        layout.open_blob(&layer.descriptor()).unwrap();

        // Into another folder, with nothing to read it from but the store.
        let (second, layout) = write("second");
        assert_eq!(second.layers, first.layers);
        assert_eq!(store.path(&layer.digest), None);
        layout.open_blob(&layer.descriptor()).unwrap();

        // Cut off, a piece is no piece any more: the layer is made again.
        let pieces = store.root().join("records/layer-pieces");
        let record = pieces.join(format!("{}.json", layer.digest.hex()));
        let record = std::fs::read_to_string(record).unwrap();
        let blobs = record.split("sha256:").skip(1);
        let blob: Digest = blobs.last().unwrap()[..64].parse().unwrap();
        let blob = store.path(&blob).unwrap();
        let bytes = std::fs::read(&blob).unwrap();
        std::fs::write(&blob, &bytes[..bytes.len() - 1]).unwrap();
        let again = image::build(&plan, "test", EPOCH, &store, &Silent).unwrap();
        assert_eq!(again.layers, first.layers, "{compression}");
        let file = &layer_files(&store, &again)[0];
        assert_eq!(store.path(&layer.digest).as_ref(), Some(file));
        assert_eq!(Digest::of(&std::fs::read(file).unwrap()), layer.digest);
    }
}

#[test]
fn a_package_that_was_no_good_is_taken_again() {
    let bed = Bed::with_hello();
    let path = bed.path("packages/x86_64/hello-1.0-r0.apk");
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    let place = bad.len() - 100;
    bad[place] ^= 1;
    std::fs::write(&path, bad).unwrap();
    assert!(bed.try_build(PLAIN).is_err());
    std::fs::write(&path, good).unwrap();
    bed.build(PLAIN);
}
