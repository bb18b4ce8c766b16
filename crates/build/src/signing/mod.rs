//! The signer is not the builder: a process of its own opens the key, and what runs steps never has
//! it in memory.
//!
//! It is this very program again, started before the first step of the first build. The two speak
//! over a pair of sockets that nobody else has. The builder says what it is going to carry out,
//! *then* carries it out, and hands over each package that came out, open for reading. The signer
//! holds the package to the recipe that was committed to, hashes it itself, signs it, and states
//! what it was made of: that of the plan, which was committed to before a step ran, and not what
//! anybody says afterwards. Indexes it makes itself, of the one that is there, if trusted keys have
//! signed it, and of the packages that it has hashed.
//!
//! It writes no file. If either side ends, so does the other, and what is in a repository stays.
//!
//! No other process of its user can read its memory or trace it, from its first instruction: it is
//! executed as a copy that can't be read. Its user may be another one than the builder's
//! ([`SignerProgram::user`]), whose key files the builder can't read then.

mod process;
mod protocol;
mod serve;

pub use process::{Sealed, SignerProgram, SigningError, SigningProcess};
pub use protocol::Purpose;
pub use serve::serve_if_requested;

/// Variables of the environment that a password may be in. No program that is started here is given
/// them, but the signer.
pub const PASSWORDS: [&str; 2] = ["POLPO_KEY_PASSWORD", "COSIGN_PASSWORD"];

/// A program that is started without the passwords in the environment.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    for name in PASSWORDS {
        command.env_remove(name);
    }
    command
}

/// The argument that makes a program be the signer: see [`serve_if_requested`].
const SIGNER_ARGUMENT: &str = "signer-process";
