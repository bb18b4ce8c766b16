//! The sandbox's first process and the signer, for programs that can't be these themselves, such as
//! this crate's tests.

use apk::signature::Signer;

fn main() {
    polpo_build::sandbox::init_if_requested();
    polpo_build::signing::serve_if_requested(|path, _| {
        let key = key::load_private(path, || None).map_err(|error| error.to_string())?;
        Signer::of_file(path, key).map_err(|error| error.to_string())
    });
    std::process::exit(2);
}
