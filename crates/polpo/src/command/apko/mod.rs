//! apko's command line: `polpo apko …`, or polpo called by the name `apko`.

mod archive;
mod flags;
mod translate;

use super::other_program::Program;

pub(crate) use archive::archive;

/// apko's commands, and what they are to polpo.
pub(crate) const PROGRAM: Program = Program {
    name: "apko",
    commands: flags::COMMANDS,
    translate: translate::translate,
};

#[cfg(test)]
mod tests;
