//! Reading an index of a real distribution's size, and solving over it. `scripts/bench` makes one
//! and names it in `POLPO_BENCH_INDEX`, an APKINDEX.tar.gz.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "nothing is measured then"
)]

use std::hint::black_box;
use std::path::PathBuf;

use base::Arch;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use polpo_apk::catalogue::Catalogue;
use polpo_apk::dependency::Dependency;
use polpo_apk::index::Index;
use polpo_apk::repository::{RepositoryList, choose};
use store::Store;

const WORLD: [&str; 5] = ["build-essential", "python3", "git", "nginx", "postgresql"];

fn path() -> PathBuf {
    let path = std::env::var_os("POLPO_BENCH_INDEX");
    path.map(PathBuf::from).expect(
        "POLPO_BENCH_INDEX names no APKINDEX.tar.gz; `cargo run -p xtask -- generate-index` makes one",
    )
}

fn read(criterion: &mut Criterion) {
    let path = path();
    let index = Index::read_unverified(&path).unwrap();
    let text = index.to_text();
    let mut group = criterion.benchmark_group("index");
    group.sample_size(20);
    group.bench_function("parse the text", |bencher| {
        bencher.iter(|| black_box(Catalogue::parse("", &text).unwrap()).len());
    });
    group.bench_function("inflate and parse the file", |bencher| {
        bencher.iter(|| black_box(Catalogue::open(&path, None, None).unwrap()).len());
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Catalogue::open(&path, None, Some(&store)).unwrap();
    group.bench_function("find its compact form", |bencher| {
        bencher.iter(|| black_box(Catalogue::open(&path, None, Some(&store)).unwrap()).len());
    });
    let repository = path.parent().and_then(std::path::Path::parent).unwrap();
    let arch = Arch::host();
    let mut list = RepositoryList::new(arch);
    list.argument("-r", &repository.display().to_string());
    let repositories = list.finish().unwrap();
    let world: Vec<Dependency> = WORLD.iter().map(|term| term.parse().unwrap()).collect();
    group.bench_function("plan from its compact form", |bencher| {
        bencher.iter_batched(
            || [repositories[0].open(arch, None, Some(&store)).unwrap()],
            |loaded| black_box(choose(&loaded, arch, &world).unwrap().len()),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, read);
criterion_main!(benches);
