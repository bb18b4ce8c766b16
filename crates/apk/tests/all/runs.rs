//! Runs of packages: what layers of images take over of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use archive::segment::{Inflate, Segment, Splicer, deflate, end_blocks};
use archive::{Limits, gzip, tar};
use base::Digest;
use polpo_apk::package::{Deflated, Package, Run};
use tempfile::TempDir;

use crate::sample::sample;

/// The run of a package, its bytes, and those beside it.
fn run_of(package: &Package) -> (Run, Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let [run, beside] = ["run", "beside"].map(|name| folder.path().join(name));
    let create = |path: &Path| File::create_new(path).unwrap();
    let written = package
        .write_run(&Limits::default(), &mut create(&run), &mut create(&beside))
        .unwrap();
    (written, fs::read(run).unwrap(), fs::read(beside).unwrap())
}

/// What a layer has of it: what every reader of the layer sees.
fn seen(package: &Package, run: &Run, bytes: &[u8], beside: &[u8]) -> Vec<u8> {
    let summary = |deflated| archive::segment::Summary {
        crc32: run.crc32,
        length: run.length,
        deflated,
    };
    let mut seen = Vec::new();
    match run.deflated {
        Deflated::Within(segment) => {
            Inflate::new(package.segment_bytes(&segment), segment.summary()).read_to_end(&mut seen)
        }
        Deflated::Beside(size) => Inflate::new(beside, summary(size)).read_to_end(&mut seen),
        Deflated::No => (&bytes[..]).read_to_end(&mut seen),
    }
    .unwrap();
    seen
}

/// The content of the package's data in its two parts, without the end.
fn parts_of(package: &Package) -> [Vec<u8>; 2] {
    let limits = Limits::default();
    let manifest = package.manifest(&limits).unwrap();
    let segments = package.segments(&manifest, &limits).unwrap().unwrap();
    [segments.directories, segments.files].map(|segment| {
        let mut content = Vec::new();
        Inflate::new(package.segment_bytes(&segment), segment.summary())
            .read_to_end(&mut content)
            .unwrap();
        content
    })
}

/// A package whose data are these segments, as polpo writes them.
fn package_of(segments: &[Segment]) -> (TempDir, PathBuf) {
    let mut splicer = Splicer::new(Vec::new()).unwrap();
    for segment in segments {
        splicer.append(segment).unwrap();
    }
    splicer.append(&end_blocks()).unwrap();
    let data = splicer.finish().unwrap();
    let info = format!(
        "pkgname = forged\npkgver = 1\narch = x86_64\ndatahash = {}\n",
        Digest::of(&data).hex()
    );
    let mut control = tar::Writer::new(Vec::new());
    let header = tar::Header::file(".PKGINFO", info.len() as u64);
    control.append(&header, info.as_bytes()).unwrap();
    let file = [gzip::compress(&control.into_inner()), data].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged-1.apk");
    fs::write(&path, file).unwrap();
    (folder, path)
}

#[test]
fn a_run_is_what_the_package_has_deflated() {
    let (_folder, file, written) = sample();
    let package = Package::open(&file).unwrap();
    let (run, bytes, beside) = run_of(&package);
    assert_eq!(run.deflated, Deflated::Within(written.segments.files));
    assert_eq!(run.manifest, package.manifest(&Limits::default()).unwrap());
    assert_eq!(seen(&package, &run, &bytes, &beside), bytes);
    assert!(beside.is_empty());
    // Contents are found where they are.
    let place: std::sync::Arc<Path> = file.with_extension("run").into();
    fs::write(&place, &bytes).unwrap();
    let entries = run.manifest.entries.iter();
    let at = entries
        .clone()
        .position(|entry| entry.path == "var/cache/sample/grün.txt")
        .unwrap();
    assert_eq!(run.content(at, &place).unwrap().read().unwrap(), b"umlaut");

    // The same parts, put together by somebody else.
    let [directories, files] = parts_of(&package).map(|part| deflate(&part[..]).unwrap());
    let (_folder, path) = package_of(&[directories, files]);
    let package = Package::open(&path).unwrap();
    let (run, same, beside) = run_of(&package);
    assert!(matches!(run.deflated, Deflated::Within(_)));
    assert_eq!(same, bytes);
    assert_eq!(seen(&package, &run, &same, &beside), bytes);
}

/// Readers of a layer see the padding of its files too: a package that hides something there, by which
/// neither length nor CRC-32 change, is not copied into layers as it is.
#[test]
fn padding_that_forges_a_sum_is_not_taken_over() {
    /// Added to any bytes, it leaves their CRC-32 as it was: the polynomial itself.
    const NOTHING: [u8; 5] = [0x41, 0x06, 0x71, 0xdb, 0x01];
    let (_folder, file, _) = sample();
    let [directories, files] = parts_of(&Package::open(&file).unwrap());
    let content = b"at the top\n";
    let start = files
        .windows(content.len())
        .position(|window| window == content)
        .unwrap();
    let padding = start + content.len();
    // Behind a content; and in the last twelve bytes of its header, which nobody reads either.
    for place in [padding, padding + 100, start - 12] {
        let mut forged = files.clone();
        for (byte, other) in forged[place..].iter_mut().zip(NOTHING) {
            assert_eq!(*byte, 0);
            *byte ^= other;
        }
        assert_eq!(crc32fast::hash(&forged), crc32fast::hash(&files));
        if place < start {
            // A header's own sum is of its bytes.
            let header = &mut forged[start - 512..start];
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let segments = [&directories, &forged].map(|part| deflate(&part[..]).unwrap());
        let (_folder, path) = package_of(&segments);
        let package = Package::open(&path).unwrap();
        let (run, bytes, beside) = run_of(&package);
        assert!(!matches!(run.deflated, Deflated::Within(_)), "{place}");
        assert_eq!(seen(&package, &run, &bytes, &beside), bytes);
        assert!(!bytes.windows(5).any(|window| window == NOTHING), "{place}");
    }
}
