//! Real packages, and what melange finds in them (`pkg/sca/sca_test.go`, `kernel_sca_test.go`).

use std::path::PathBuf;

use apk::package::PackageInfo;
use archive::Limits;
use archive::tar::{EntryKind, Reader};

use super::*;

/// Some of the packages were cut to a few files after they were made, so the hashes in them no
/// longer hold: they are read as the tar archives they are.
fn read(file: &str) -> (PackageInfo, FileTree) {
    let corpus = std::env::var_os("POLPO_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let bytes = std::fs::read(corpus.join("apk/packages").join(file)).unwrap();
    let limits = Limits::default();
    let plain = archive::decompress::open(&bytes[..], limits).unwrap();
    let mut reader = Reader::new(plain, limits);
    let (mut info, mut tree) = (None, FileTree::new());
    while let Some(mut entry) = reader.next().unwrap() {
        let header = entry.header().clone();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if header.path == ".PKGINFO" {
            info = Some(PackageInfo::parse(&bytes).unwrap());
        }
        let node = match header.kind {
            EntryKind::File { .. } => Node::file(bytes),
            EntryKind::Directory => Node::directory(),
            EntryKind::Symlink { target } => Node::symlink(target),
            other => panic!("{other:?} in {file}"),
        };
        if !header.path.starts_with('.') {
            let path = TreePath::new(&header.path).unwrap();
            tree.insert(path, node.with_mode(header.mode));
        }
    }
    (info.unwrap(), tree)
}

fn analysed(file: &str, options: Options) -> (Dependencies, String) {
    let (info, tree) = read(file);
    let view = PackageView {
        name: &info.name,
        version: &info.version,
        tree: &tree,
        runtime: &[],
        provides: &[],
        options,
        library_versions: None,
    };
    let found = generate(&view, &[]).unwrap();
    (found, info.version)
}

fn check(file: &str, runtime: &str, provides: &str, vendored: &str) {
    check_with(Options::default(), file, runtime, provides, vendored);
}

/// Names separated by spaces; `@` is the package's version.
fn check_with(options: Options, file: &str, runtime: &str, provides: &str, vendored: &str) {
    let (found, version) = analysed(file, options);
    let names = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .map(|name| name.replace('@', &version))
            .collect()
    };
    let given = |names: BTreeSet<String>| names.into_iter().collect::<Vec<String>>();
    assert_eq!(given(found.runtime), names(runtime), "{file}");
    assert_eq!(given(found.provides), names(provides), "{file}");
    assert_eq!(given(found.vendored), names(vendored), "{file}");
}

#[test]
fn libraries_that_can_be_run() {
    check(
        "libcap-2.69-r0.apk",
        "so:ld-linux-aarch64.so.1 so:libc.so.6 so:libcap.so.2 so:libpsx.so.2",
        "so-ver:libcap.so.2=@ so-ver:libpsx.so.2=@ so:libcap.so.2=2 so:libpsx.so.2=2",
        "",
    );
}

#[test]
fn vendored_libraries_and_modules() {
    check(
        "neon-4604-r0.apk",
        "so:ld-linux-aarch64.so.1 so:libc.so.6 so:libecpg.so.6 so:libpgtypes.so.3 so:libpq.so.5",
        "",
        "pc:libecpg=@ pc:libecpg_compat=@ pc:libpgtypes=@ pc:libpq=@ \
         so-ver:libecpg_compat.so.3=@ so:libecpg_compat.so.3=3",
    );
}

#[test]
fn languages() {
    check("perl-json-4.11-r0.apk", "perl~5", "", "");
    check("ruby3.2-base64-0.2.0-r2.apk", "ruby-3.2", "", "");
    check("bash-doc-5.2.37-r2.apk", "man-db texinfo", "", "");
}

#[test]
fn sonames_without_a_number() {
    check(
        "aws-c-s3-0.4.9-r0.apk",
        "so:ld-linux-aarch64.so.1 so:libaws-c-auth.so.1.0.0 so:libaws-c-cal.so.1.0.0 \
         so:libaws-c-common.so.1 so:libaws-c-http.so.1.0.0 so:libaws-c-io.so.1.0.0 \
         so:libaws-c-s3.so.0unstable so:libaws-checksums.so.1.0.0 so:libc.so.6",
        "so-ver:libaws-c-s3.so.0unstable=@ so:libaws-c-s3.so.0unstable=0",
        "",
    );
}

#[test]
fn libraries_of_the_hosts_driver() {
    check(
        "nvidia-driver-590.48.01-r0.apk",
        "so:libc.so.6 so:libdl.so.2 so:libm.so.6 so:libpthread.so.0 so:librt.so.1",
        "",
        "",
    );
}

#[test]
fn interpreters() {
    let options = Options {
        no_provides: true,
        ..Options::default()
    };
    check_with(
        options,
        "shbang-test-1-r1.apk",
        "cmd:bash cmd:envDashSCmd cmd:python3.12 so:ld-linux-x86-64.so.2 so:libc.so.6",
        "",
        "",
    );
}

#[test]
fn programs_that_open_the_systems_openssl() {
    check(
        "go-fips-bin-0.0.1-r0.apk",
        "openssl-config-fipshardened so:ld-linux-x86-64.so.2 so:libc.so.6 so:libcrypto.so.3",
        "cmd:go-fips-bin=@",
        "",
    );
}

/// The folder that the package names to the loader is one that libraries are provided from.
#[test]
fn folders_named_to_the_loader() {
    let (info, mut tree) = read("ld-so-conf-d-test-1-r1.apk");
    let library = crate::analyse::tests::compile(
        "int answer(void) { return 42; }\n",
        &[
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-Wl,-soname,libanswer.so.1",
        ],
    );
    for folder in ["my/lib/test", "my/lib/test/deeper", "my/lib"] {
        let path = TreePath::new(&format!("{folder}/libanswer.so.1")).unwrap();
        tree.insert_parents(&path, &Node::directory());
        tree.insert(path, Node::file(library.clone()));
        let view = PackageView {
            name: &info.name,
            version: &info.version,
            tree: &tree,
            runtime: &[],
            provides: &[],
            options: Options::default(),
            library_versions: None,
        };
        let found = generate(&view, &[]).unwrap();
        let provided = found.provides.contains("so:libanswer.so.1=1");
        assert_eq!(provided, folder == "my/lib/test", "{folder}");
        assert_eq!(found.vendored.contains("so:libanswer.so.1=1"), !provided);
        tree.remove(&format!("{folder}/libanswer.so.1"));
    }
}

#[test]
fn kernels() {
    for image in ["bzimage", "vmlinux", "gzipped-vmlinux", "uki"] {
        check(
            &format!("linux-{image}-6.17.7-r0.apk"),
            "",
            "linux:6.17.7-test",
            "",
        );
    }
}

#[test]
fn kernel_modules() {
    for modules in ["modules", "modules-gzip", "modules-xz", "modules-zstd"] {
        check(
            &format!("linux-{modules}-6.17.7-r0.apk"),
            "linux:6.17.7-test",
            "",
            "",
        );
    }
    check(
        "linux-rpi-modules-1.20250915-r0.apk",
        "linux:6.12.25 linux:6.12.25-v7 linux:6.12.25-v7l linux:6.12.25-v8 linux:6.12.25-v8-16k",
        "",
        "",
    );
}
