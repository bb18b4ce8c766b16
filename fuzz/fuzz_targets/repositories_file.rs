//! Any lines declare repositories or are problems; each problem can be shown.
#![no_main]

use apk::repository::{MAXIMUM_REPOSITORIES, RepositoryList};
use base::Arch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut list = RepositoryList::new(Arch::X86_64);
    list.file("repositories", text);
    if let Some(line) = text.lines().next() {
        list.argument("-X", line);
    }
    assert!(list.repositories().len() <= MAXIMUM_REPOSITORIES);
    for problem in list.problems() {
        assert!(!problem.to_string().is_empty());
    }
});
