//! Checks of polpo's own tree and generators for it: `cargo run -p xtask -- COMMAND`.

mod corpus;
mod index;
mod layers;
mod packages;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p xtask -- COMMAND

commands:
  layers    check that each crate uses only crates of lower levels
";

#[allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is the program's whole output"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["layers"] => layers::check(),
        ["corpus", "images", ref words @ ..] => corpus::images::check(words),
        ["corpus", "recipes", ref words @ ..] => corpus::recipes::check(words),
        ["generate-index", ref words @ ..] => index::generate(words),
        ["generate-packages", ref words @ ..] => packages::generate(words),
        _ => {
            eprintln!(
                "{USAGE}  {}\n  {}\n  {}\n  {}",
                corpus::images::USAGE,
                corpus::recipes::USAGE,
                index::USAGE,
                packages::USAGE
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
