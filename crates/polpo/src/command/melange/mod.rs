//! melange's command line: `polpo melange …`, or polpo called by the name `melange`.

mod flags;
mod resign;
mod translate;

pub(crate) use resign::{sign, sign_index};

use super::other_program::Program;

/// melange's commands, and what they are to polpo.
pub(crate) const PROGRAM: Program = Program {
    name: "melange",
    commands: flags::COMMANDS,
    translate: translate::translate,
};

#[cfg(test)]
mod tests;
