//! Writes a few inputs for each target, made here: `cargo run --example seeds -- corpus`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use apk::adb::schema::{INDEX_FILE, INSTALLED_FILE, PACKAGE_FILE};
use apk::adb::text::Dump;
use apk::adb::{Compression, Reader};
use apk::catalogue::Catalogue;
use apk::database::{self, InstalledPackage, Owners};
use apk::dependency::Dependency;
use apk::index::{Index, IndexEntry};
use apk::package::{
    Package, PackageContents, PackageInfo, Packing, Script, stream_v3, write, write_v3,
};
use apk::serialize::{Form, Serializer};
use archive::Limits;
use archive::tar::Writer;
use archive::tree::{FileTree, Node, NodeKind, TarOptions, TreePath};
use base::Epoch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::write::DeflateEncoder;
use store::Store;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Seeds(PathBuf);

impl Seeds {
    fn add(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Outcome<()> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    }
}

/// Four steps, then a deflate stream of words and numbers, of more blocks than one.
fn stream(level: u32) -> Outcome<Vec<u8>> {
    let lines = (0..9_000u32).map(|number| format!("{} of {number}\n", number * number % 977));
    let content: String = lines.collect();
    let steps = [(0x0d, 700u16), (0x00, 0), (0x4e, 60_000), (0x01, 512)];
    let mut bytes = vec![steps.len() as u8];
    for (kind, size) in steps {
        bytes.push(kind);
        bytes.extend(size.to_le_bytes());
    }
    let mut encoder = DeflateEncoder::new(bytes, flate2::Compression::new(level));
    encoder.write_all(content.as_bytes())?;
    Ok(encoder.finish()?)
}

struct Nobody;

impl Owners for Nobody {
    fn user(&self, _: u64) -> String {
        "nobody".to_owned()
    }

    fn group(&self, _: u64) -> String {
        "nobody".to_owned()
    }
}

fn tree() -> Outcome<FileTree> {
    let mut tree = FileTree::new();
    let mut attributes = Node::file(*b"contents").with_mode(0o4755);
    attributes.xattrs.insert("user.x".to_owned(), vec![0, 1]);
    let target = TreePath::new("etc/file")?;
    for (path, node) in [
        ("etc", Node::directory()),
        ("etc/file", attributes),
        ("etc/link", Node::new(NodeKind::HardLink { target })),
        (
            "etc/null",
            Node::new(NodeKind::CharDevice { major: 1, minor: 3 }),
        ),
        ("usr", Node::directory().with_owner(1, 2)),
        ("usr/other", Node::symlink("../etc/file")),
    ] {
        tree.insert(TreePath::new(path)?, node);
    }
    Ok(tree)
}

fn info() -> Outcome<PackageInfo> {
    Ok(PackageInfo {
        name: "seed".to_owned(),
        version: "1.2.3_rc4-r5".to_owned(),
        arch: "x86_64".to_owned(),
        installed_size: 8,
        description: "one of everything".to_owned(),
        licenses: vec!["MIT".to_owned()],
        origin: "seeds".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        build_time: Some(1_700_000_000),
        provider_priority: Some(7),
        depends: Dependency::parse_list("a>1 !b so:c.so.1=2 d~3")?,
        provides: Dependency::parse_list("cmd:seed=1")?,
        install_if: Dependency::parse_list("e f=1")?,
        replaces: Dependency::parse_list("g<2")?,
        triggers: vec!["/usr/*".to_owned()],
        tags: vec!["t=1".to_owned()],
        ..PackageInfo::default()
    })
}

fn dump(file: &[u8]) -> Outcome<Vec<u8>> {
    let mut text = Vec::new();
    let mut out = Serializer::new(Form::Yaml, false, &mut text);
    let mut reader = Reader::new(file, Limits::default())?;
    Dump::new(&mut out).file(&mut reader, &apk::signature::Keyring::default())?;
    Ok(text)
}

/// What the store keeps of an index.
fn kept(index: &Index, work: &Path) -> Outcome<Vec<u8>> {
    let path = work.join("APKINDEX.tar.gz");
    index.write(&path, None, Epoch(1))?;
    let store = Store::open(work.join("store"))?;
    Catalogue::open(&path, None, Some(&store))?;
    let file = fs::read_dir(store.root().join("catalogues"))?.next();
    Ok(fs::read(file.ok_or("nothing is kept")??.path())?)
}

/// The same as the target takes it: what the header's digest covers, and one block in which the
/// details stand right behind the rest.
fn parts(kept: &[u8]) -> Option<Vec<u8>> {
    let number = |place: usize| {
        let bytes = kept.get(place..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let body = 168 + 32 * number(12)?;
    let details = number(64)?;
    let mut header = kept.get(48..168)?.to_vec();
    let mut end = 0;
    for place in (72..168).step_by(8) {
        let start = number(place)?;
        end = end.max(start + number(place + 4)?);
        let moved = start - body + 200;
        header.splice(place - 48..place - 44, moved.to_le_bytes());
    }
    header.splice(16..20, (end - body + 200).to_le_bytes());
    let solver = kept.get(body as usize..end as usize)?;
    Some([&header, solver, kept.get(details as usize..)?].concat())
}

/// Transactions that were interrupted, without the checksums of their lines.
const JOURNALS: [(&str, &str); 4] = [
    (
        "unpacking",
        r#"{"begin":{"installed":"%installed","boot":"%boot","changing":["b"],"modified":["usr"]}}
{"unpack":{"package":"b-1","name":"b"}}
{"touch":{"path":"usr"}}
{"make":{"path":"usr/empty"}}
{"change":{"path":"etc","mode":448,"uid":1,"gid":2}}
"#,
    ),
    (
        "placing",
        r#"{"begin":{"installed":"%installed","boot":"another","changing":["a","b"],"modified":[]}}
{"unpack":{"package":"b-1","name":"b"}}
{"place":{"package":"b-1","name":"b","removed":"a","record":"C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:b\nV:1\nF:etc\nR:file\n\n","scripts":{"post-install":[35,33]},"triggers":["/usr/*"],"script_follows":true,"new_paths":["etc/file"],"operations":[{"commit":"usr/new"},{"beside":"etc/file"},{"discard":"usr/x"},{"delete":"etc/file"},{"delete-beside":"etc/file"},{"permissions":{"path":"usr","mode":493,"uid":0,"gid":0}},{"remove-directory":"usr/empty"},{"delete":"climbs/outside/file"},{"delete":"absolute/file"},{"commit":"loop/x"}],"modified":["etc"],"usermode":false,"has_hard_links":true}}
{"placed":{"broken_files":true}}
{"done":{"broken_script":true}}
{"unpack":{"package":"c-1","name":"c"}}
"undone"
"#,
    ),
    (
        "writing",
        r#"{"begin":{"installed":"%installed","boot":"%boot","changing":[],"modified":["etc"]}}
{"database":{"files":[["lib/apk/db/installed","%installed"],["etc/apk/world","%installed"]]}}
"#,
    ),
    (
        "forgotten",
        r#"{"begin":{"installed":"sha256:0000000000000000000000000000000000000000000000000000000000000000","boot":"","changing":["a"],"modified":[]}}
{"touch":{"path":"usr"}}
"#,
    ),
];

/// The YAML files below a folder of the project, with what to call them.
fn yaml_files(folder: &Path, found: &mut Vec<(String, PathBuf)>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            yaml_files(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "yaml") {
            let above = folder.file_name().unwrap_or_default().to_string_lossy();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push((format!("{above}-{stem}"), path));
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let folder = std::env::args_os()
        .nth(1)
        .ok_or("name the folder to write to")?;
    let seeds = Seeds(folder.into());
    let tree = tree()?;
    let contents = PackageContents {
        info: info()?,
        scripts: BTreeMap::from([(Script::PostInstall, b"#!/bin/sh\necho hi\n".to_vec())]),
        extras: BTreeMap::new(),
        tree: &tree,
    };
    let work = tempfile::tempdir()?;

    let path = work.path().join("seed.apk");
    write(&path, &contents, None, Epoch(1_700_000_000))?;
    let older = fs::read(&path)?;
    let package = Package::open(&path)?;
    let manifest = package.manifest(&Limits::default())?;
    let installed = InstalledPackage::new(&package, &manifest);
    let index = Index {
        description: "seeds".to_owned(),
        entries: vec![IndexEntry::of(&package)],
        ..Index::default()
    };
    let mut tar = Writer::new(Vec::new());
    tree.write_tar(&mut tar, TarOptions::default())?;
    let tar = tar.finish()?;
    for target in ["apk_package", "gzip_members", "decompress"] {
        seeds.add(target, "package", &older)?;
    }
    for target in ["tar_reader", "tar_unpack"] {
        seeds.add(target, "tree", &tar)?;
    }
    seeds.add("apk_index", "index", index.to_bytes(None, Epoch(1))?)?;
    seeds.add("apkindex", "index", index.to_text())?;
    let kept = kept(&index, work.path())?;
    seeds.add("catalogue", "kept", [&b"as they are"[..], &kept].concat())?;
    seeds.add("catalogue", "parts", parts(&kept).ok_or("no header")?)?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut recipes = Vec::new();
    for folder in [
        "os/packages",
        "crates/build/src/pipelines",
        "crates/build/tests/it/parity",
    ] {
        yaml_files(&project.join(folder), &mut recipes)?;
    }
    for (name, path) in recipes {
        let text = fs::read(path)?;
        seeds.add("recipe", &name, &text)?;
        seeds.add("recipe_layout", &name, &text)?;
    }
    for level in [0, 1, 6, 9] {
        seeds.add("recode", &format!("level-{level}"), stream(level)?)?;
    }
    for (name, records) in JOURNALS {
        seeds.add("journal", name, records)?;
    }
    seeds.add("pkginfo", "info", contents.info.to_pkginfo()?)?;
    seeds.add(
        "installed_database",
        "database",
        database::to_text(std::slice::from_ref(&installed)),
    )?;

    let mut plain = Vec::new();
    for (name, compression) in [
        ("plain", Compression::None),
        ("deflate", Compression::Deflate(0)),
        ("zstd", Compression::Zstd(3)),
    ] {
        let packing = Packing {
            compression,
            ..Packing::default()
        };
        let mut bytes = Vec::new();
        stream_v3(Path::new("seed.apk"), &mut bytes, &contents, &packing)?;
        seeds.add("adb_file", name, &bytes)?;
        seeds.add("apk_package", name, &bytes)?;
        if compression == Compression::None {
            plain = bytes;
        }
    }
    write_v3(&path, &contents, &Packing::default())?;
    let indexed = Index {
        entries: vec![IndexEntry::of(&Package::open(&path)?)],
        ..index
    };
    let indexed = indexed.to_adb(&[], Compression::None)?;
    seeds.add("apk_index", "format-3", &indexed)?;
    let database = database::to_adb(&[installed], &Nobody)?;
    for (name, schema, payload) in [
        ("package", PACKAGE_FILE.id, head(&plain)?),
        ("index", INDEX_FILE.id, head(&indexed)?),
        ("database", INSTALLED_FILE.id, database),
    ] {
        seeds.add("adb_file", name, &payload)?;
        let mut file = apk::adb::Writer::new(Vec::new(), schema)?;
        file.head(&payload, &[])?;
        seeds.add("adb_text", name, dump(&file.into_inner())?)?;
        let mut input = u16::try_from(payload.len())?.to_le_bytes().to_vec();
        input.extend(&payload);
        if schema == PACKAGE_FILE.id {
            // What follows the file's header, the block's and the payload is its data.
            let start = (12 + payload.len()).next_multiple_of(8);
            input.extend(plain.get(start..).unwrap_or_default());
        }
        seeds.add("apk_v3", name, input)?;
    }

    seeds.add("apk_version", "versions", "1.0\n1.0_rc1-r2\n1.0a~0f\n")?;
    for (name, term) in [
        ("world", "!name@tag>=1.0-r0"),
        ("apko", "name~1.0@tag"),
        ("identity", "name><Q1TeeSfx1iNeOBVZCxS+J3bjEZxHw="),
    ] {
        seeds.add("apk_constraint", name, format!("{term}\n1.0-r0"))?;
    }
    seeds.add(
        "repositories_file",
        "lines",
        "# remark\n@edge https://example.org/main\nset v=1\nv3 file:///a/${v}\nndx /x/Packages.adb\n",
    )?;
    let digest = base::Digest::of(b"");
    let name = format!("localhost:5000/team/a.b_c__d---e:v1@{digest}");
    seeds.add("references", "full", name)?;
    seeds.add("references", "address", "[::1]:5000/a")?;
    let challenge = r#"Bearer realm="https://a.example/t",service="s",scope="repository:a:pull", Basic realm="x""#;
    seeds.add("registry_headers", "challenge", challenge)?;
    let link = r#"<b>; rel=prev, </v2/a/tags/list?n=1&last=x>; rel="next""#;
    seeds.add("registry_headers", "link", link)?;
    let config = oci::Descriptor::of(oci::media_type::CONFIG, b"{}");
    let manifest = oci::Manifest::image(config.clone(), vec![config.clone()]);
    seeds.add("image_documents", "manifest", manifest.to_bytes()?)?;
    let index = oci::Index::new(vec![config]);
    seeds.add("image_documents", "index", index.to_bytes()?)?;
    sigstore(&seeds)
}

/// Signatures by identities, and the parts of them that others sign.
fn sigstore(seeds: &Seeds) -> Outcome<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/attest/testdata/sigstore");
    for name in ["trusted_root", "bundle_1", "bundle_2"] {
        let json = fs::read(folder.join(format!("{name}.json")))?;
        seeds.add("sigstore_bundle", name, &json)?;
        let bundle: serde_json::Value = serde_json::from_slice(&json)?;
        let material = &bundle["verificationMaterial"];
        let times = &material["timestampVerificationData"]["rfc3161Timestamps"];
        let entry = &material["tlogEntries"][0];
        let parts = [
            &material["certificate"]["rawBytes"],
            &times[0]["signedTimestamp"],
            &entry["canonicalizedBody"],
            &entry["inclusionProof"]["checkpoint"]["envelope"],
            &bundle["dsseEnvelope"]["signatures"][0]["sig"],
        ];
        for (place, part) in parts.into_iter().enumerate() {
            let Some(text) = part.as_str() else {
                continue;
            };
            let part = match STANDARD.decode(text) {
                Ok(bytes) => bytes,
                Err(_) => text.as_bytes().to_vec(),
            };
            let seed = [&[place as u8][..], &part].concat();
            seeds.add("sigstore_parts", &format!("{name}-{place}"), seed)?;
        }
    }
    let key = key::PrivateKey::generate(key::Algorithm::EcdsaP256)?;
    seeds.add("key_pem", "private", key.to_pem(None)?.as_bytes())?;
    seeds.add("key_pem", "public", key.public()?.to_pem())
}

/// The payload of a file.
fn head(file: &[u8]) -> Outcome<Vec<u8>> {
    Ok(Reader::new(file, Limits::default())?.head()?.payload)
}
