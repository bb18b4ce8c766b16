//! What apk's commands show on a terminal, which obeys what files and pipes only keep.

use testkit::Program;

use crate::yard::{Yard, package};

/// Clears the screen, sets the title, and turns letters around.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;mine\u{7}\u{9b}31m\u{202e}";

/// A system whose database says such things of a package. No package of ours could.
fn trapped() -> Yard {
    let yard = Yard::new(&[package("trap", "1-r0").file("opt/trap", "text")]);
    yard.says(&["add", "trap"]);
    let database = "root/lib/apk/db/installed";
    let text = yard.read(database);
    let evil = text.replace("T:trap for tests", &format!("T:before{EVIL}after"));
    assert_ne!(evil, text);
    yard.write(database, &evil);
    yard
}

/// What a run of polpo's apk puts on a terminal.
fn on_terminal(yard: &Yard, words: &str) -> String {
    let line = format!(
        "exec '{}' apk --root '{}' --allow-untrusted --no-network {words}",
        env!("CARGO_BIN_EXE_polpo"),
        yard.root().display()
    );
    Program::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("APK_CONFIG", "/dev/null")
        .env("POLPO_STORE", yard.path("store"))
        .run()
        .success()
        .stdout
        .replace("\r\n", "\n")
}

#[test]
fn a_terminal_obeys_no_package() {
    let yard = trapped();
    for words in [
        "info trap",
        "info -a trap",
        "search -v --installed trap",
        "list --installed",
        "query --installed trap",
        "query --installed --format yaml trap",
        "info -W /opt/trap",
        "policy trap",
    ] {
        let shown = on_terminal(&yard, words);
        let obeyed = |character: char| {
            character != '\n' && character.is_control() || character == '\u{202e}'
        };
        assert!(!shown.contains(obeyed), "{words}: {shown:?}");
    }
    let words = ["query", "--fields", "description", "--installed", "trap"];
    insta::assert_snapshot!(on_terminal(&yard, &words.join(" ")), @r"Description: before\x1b[2J\x1b]0;mine\x07\x9b31m\u202eafter");
    // Whoever reads a pipe gets what the package says.
    assert!(yard.says(&words).contains(&format!("before{EVIL}after")));
    let document = yard.says(&[
        "query",
        "--format=json",
        "--fields",
        "description",
        "--installed",
        "trap",
    ]);
    assert!(document.contains(r"before\u001b[2J"), "{document}");
    // What is wrong is said on the terminal too.
    let line = format!("--repository 'http://x/{EVIL}' info");
    let shown = on_terminal(&yard, &line);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}
