use clap::CommandFactory;

use crate::arguments::Arguments;

pub(crate) fn run(shell: clap_complete::Shell) {
    clap_complete::generate(
        shell,
        &mut Arguments::command(),
        "polpo",
        &mut std::io::stdout(),
    );
}
