use clap::CommandFactory;

use super::{apk, apko, melange};
use crate::arguments::{Arguments, CalledBy};

pub(crate) fn run(shell: clap_complete::Shell, name: CalledBy) {
    let apk = apk::Arguments::command();
    let (mut command, name) = match name {
        // What follows `polpo apk` is what follows `apk`, and so with melange.
        CalledBy::Polpo => {
            let polpo = Arguments::command().mut_subcommand("apk", |_| apk);
            let melange = |_| melange::command();
            let polpo = polpo.mut_subcommand("melange", melange);
            (polpo.mut_subcommand("apko", |_| apko::command()), "polpo")
        }
        CalledBy::Apk => (apk, "apk"),
        CalledBy::Apko => (apko::command(), "apko"),
        CalledBy::Melange => (melange::command(), "melange"),
    };
    clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
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
