//! What a step's script becomes.

use std::fmt::Write as _;

/// Marks the line in which the shell says what failed.
const MARK: &str = "polpo: failed: ";

/// `script` as `/bin/sh -c` runs it: stops at the first failure, in its working directory.
pub(super) fn wrapped(script: &str, working_directory: &str, trace: bool) -> String {
    let directory = quoted(working_directory);
    let mut text = String::from("set -eo pipefail\n");
    // bash tells which command failed; others would end at a trap they don't know. Steps are many:
    // nothing here starts a process that needn't.
    let _ = writeln!(
        text,
        "if [ -n \"${{BASH_VERSION:-}}\" ]; then trap 'printf \"%s\\n\" \"{MARK}${{BASH_COMMAND:-}}\" >&2' ERR; fi"
    );
    let _ = writeln!(
        text,
        "[ -d {directory} ] || mkdir -p {directory}\ncd {directory}"
    );
    if trace {
        text.push_str("set -x\n");
    }
    text.push_str(script);
    text.push_str("\nexit 0\n");
    text
}

/// `text` as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command that failed, if `line` is the shell's word about it; and whether it is.
pub(super) fn failed_command(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_quoted() {
        let text = wrapped("make", "/home/build/it's $(id)", false);
        assert!(text.contains(r"cd '/home/build/it'\''s $(id)'"), "{text}");
        assert!(!text.contains("set -x"));
        assert!(wrapped("make", "/", true).contains("\nset -x\nmake\n"));
    }
}
