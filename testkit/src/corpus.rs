use std::path::PathBuf;

/// The folder of real data that tests read: `POLPO_CORPUS`, else `../shared/corpus` beside the checkout.
///
/// # Panics
/// When it is not there: tests that need it must fail without it.
pub fn corpus() -> PathBuf {
    let folder = std::env::var_os("POLPO_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    assert!(
        folder.is_dir(),
        "no corpus at {}: set POLPO_CORPUS",
        folder.display()
    );
    folder
}
