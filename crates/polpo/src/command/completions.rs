use clap::CommandFactory;

use super::{apk, apko, melange, other_program};
use crate::arguments::{Arguments, CalledBy};
use crate::output::failure::Failure;
use crate::output::print_raw;

pub(crate) fn run(shell: clap_complete::Shell, name: CalledBy) -> Result<(), Failure> {
    let apk = apk::Arguments::command();
    let (mut command, name) = match name {
        // What follows `polpo apk` is what follows `apk`, and so with the others.
        CalledBy::Polpo => {
            let polpo = Arguments::command().mut_subcommand("apk", |_| apk);
            let polpo = other_program::PROGRAMS
                .iter()
                .fold(polpo, |polpo, program| {
                    polpo.mut_subcommand(program.name, |_| program.command())
                });
            (polpo, "polpo")
        }
        CalledBy::Apk => (apk, "apk"),
        CalledBy::Apko => (apko::PROGRAM.command(), apko::PROGRAM.name),
        CalledBy::Melange => (melange::PROGRAM.command(), melange::PROGRAM.name),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print_raw(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_know_the_commands_of_apk() {
        let complete = |name| {
            let mut command = match name {
                "apk" => apk::Arguments::command(),
                _ => Arguments::command().mut_subcommand("apk", |_| apk::Arguments::command()),
            };
            let mut script = Vec::new();
            clap_complete::generate(clap_complete::Shell::Bash, &mut command, name, &mut script);
            String::from_utf8(script).unwrap()
        };
        assert!(complete("apk").contains("--preupgrade-only"));
        assert!(complete("polpo").contains("polpo__subcmd__apk__subcmd__upgrade"));
    }
}
