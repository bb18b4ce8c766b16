//! Linting, analysing and packaging 20,000 files of 200 MB.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "nothing is measured then")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use base::{Arch, Epoch};
use criterion::{Criterion, criterion_group, criterion_main};
use polpo_build::describe::Origin;
use polpo_build::emit::{EmitOptions, emit};
use polpo_build::executor::Owners;
use polpo_build::lint::Levels;
use polpo_build::recipe::{PipelineLibrary, Recipe, ResolveOptions};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILES: usize = 20_000;
const BYTES: usize = 200_000_000;

/// As a large package has them: scripts and modules in many folders, some libraries, few of them
/// large; a third compresses badly.
fn fill(folder: &Path) {
    let words = "fn main let mut self return Result String import def class static int void \
        struct if else for while const "
        .split_whitespace()
        .collect::<Vec<_>>();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for number in 0..FILES {
        let place = folder.join(format!("usr/lib/thing/{}/{}", number % 97, number % 13));
        fs::create_dir_all(&place).unwrap();
        let size = BYTES / FILES;
        let mut bytes = Vec::with_capacity(size + 16);
        if number % 3 == 0 {
            while bytes.len() < size {
                bytes.extend_from_slice(&next().to_le_bytes());
            }
        } else {
            while bytes.len() < size {
                let word = words[(next() % words.len() as u64) as usize];
                bytes.extend_from_slice(word.as_bytes());
                bytes.push(if next() % 9 == 0 { b'\n' } else { b' ' });
            }
        }
        let name = if number % 50 == 0 {
            "same.txt".to_owned()
        } else {
            format!("{number}.py")
        };
        fs::write(place.join(name), bytes).unwrap();
    }
}

fn packaging(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("files");
    fill(&folder);
    let recipe = "package: {name: thing, version: '1', epoch: 0, description: x, copyright: [{license: MIT}]}\n\
        pipeline: [{runs: 'true'}]\n";
    let library = PipelineLibrary::closed();
    let recipe = Recipe::parse(base::SourceText::new("thing.yaml", recipe))
        .unwrap()
        .resolve(&ResolveOptions::new(Arch::X86_64, &library))
        .unwrap();
    let folders = [("thing".to_owned(), folder)].into();
    let out = scratch.path().join("out");
    let origin = Origin::default();
    let levels = Levels::default();
    let mut group = criterion.benchmark_group("20,000 files of 200 MB");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(15));
    group.bench_function("linted, analysed and packaged", |bencher| {
        bencher.iter(|| {
            emit(
                &recipe,
                &folders,
                &EmitOptions {
                    owners: &Owners::default(),
                    out: &out,
                    epoch: Epoch(0),
                    origin: &origin,
                    levels: &levels,
                    library_versions: None,
                    strip_origin_name: false,
                },
            )
            .unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, packaging);
criterion_main!(benches);
