//! The sandbox's first process and nothing else, for programs that can't be it themselves, such as
//! this crate's tests.

fn main() {
    polpo_build::sandbox::init_if_requested();
    std::process::exit(2);
}
