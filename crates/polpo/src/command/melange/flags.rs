//! What melange's commands take, and what becomes of it.

use crate::command::other_program::table::{Command, Fate, Flag, list, short, switch, value};

const STORED: &str = "everything that is fetched lies in the store, by hash";
const TIDY: &str = "nothing half-made is ever left";
const RUNNER: &str = "the same; without it `bubblewrap`, as with melange on Linux";

/// Of every command.
const GLOBAL: &[Flag] = &[
    value(
        "log-level",
        Fate::Own("`debug`: as `--verbose`; else nothing"),
    ),
    switch("gcplog", Fate::Nothing("`--progress json` is for programs")),
    value("store", Fate::Same),
    value("progress", Fate::Same),
    switch("offline", Fate::Same),
    short('v', switch("verbose", Fate::Same)),
];

/// Of the commands that run steps.
const STEPS: &[Flag] = &[
    list(
        "arch",
        Fate::Own("polpo is called for each; without it, for this machine's alone"),
    ),
    value("network", Fate::Same),
    list("network-host", Fate::Same),
    list("network-mirror", Fate::Same),
    list("source-mirror", Fate::Same),
    list("repository-mirror", Fate::Same),
    switch("local-repositories", Fate::Same),
    value("workspace-dir", Fate::Same),
    list("pipeline-dirs", Fate::As("--pipeline-dir")),
    value(
        "source-dir",
        Fate::Own("the same; without it, the recipe's own folder"),
    ),
    value("cache-dir", Fate::Same),
    value(
        "cache-source",
        Fate::Nothing("melange does nothing with it either"),
    ),
    value("apk-cache-dir", Fate::Nothing(STORED)),
    list("env-file", Fate::Same),
    value("runner", Fate::Own(RUNNER)),
    short('k', list("keyring-append", Fate::Same)),
    short('r', list("repository-append", Fate::Same)),
    switch("debug", Fate::As("--verbose")),
    switch(
        "debug-runner",
        Fate::Nothing("`-i` opens a shell where a step failed"),
    ),
    short('i', switch("interactive", Fate::As("--debug"))),
    switch("rm", Fate::Nothing(TIDY)),
    switch(
        "ignore-signatures",
        Fate::Own("refused if true: name the repository's key by `-k`"),
    ),
    value("cpu", Fate::Same),
    value("cpumodel", Fate::Nothing("it is for virtual machines")),
    value("memory", Fate::Same),
    value("disk", Fate::Same),
    value("timeout", Fate::Same),
];

const BUILD: &[Flag] = &[
    value(
        "build-date",
        Fate::Own("`--source-date-epoch`, unless the variable SOURCE_DATE_EPOCH is set"),
    ),
    value("pipeline-dir", Fate::Same),
    value("signing-key", Fate::Same),
    value("vars-file", Fate::Same),
    switch(
        "generate-index",
        Fate::Nothing("there always is an index: it is how packages are found"),
    ),
    switch("empty-workspace", Fate::Same),
    switch("strip-origin-name", Fate::Same),
    value("out-dir", Fate::Same),
    value("dependency-log", Fate::Same),
    value("namespace", Fate::Own("the same; without it `unknown`")),
    value(
        "override-host-triplet-libc-substitution-flavor",
        Fate::Own("`gnu`, or refused"),
    ),
    list("build-option", Fate::Same),
    list("package-append", Fate::Same),
    switch("create-build-log", Fate::Same),
    switch("persist-lint-results", Fate::Same),
    value(
        "trace",
        Fate::Nothing("`--progress json` tells what takes how long"),
    ),
    list("lint-require", Fate::Same),
    list("lint-warn", Fate::Same),
    switch("cleanup", Fate::Nothing(TIDY)),
    value("git-commit", Fate::Same),
    value(
        "git-repo-url",
        Fate::Nothing("the recipe is recorded by its hash"),
    ),
    value(
        "license",
        Fate::Nothing("the recipe's own licence is not recorded"),
    ),
    switch("generate-provenance", Fate::Same),
    switch(
        "fail-on-lint-warning",
        Fate::Nothing("melange does nothing with it either; use `--lint-require`"),
    ),
];

const TEST: &[Flag] = &[
    list("test-package-append", Fate::Same),
    list(
        "test-option",
        Fate::Nothing("melange does nothing with it either"),
    ),
];

const IRRELEVANT: &str = "nothing is built";

const COMPILE: &[Flag] = &[
    value("arch", Fate::Same),
    value("pipeline-dir", Fate::Same),
    list("pipeline-dirs", Fate::As("--pipeline-dir")),
    list("env-file", Fate::Same),
    value("vars-file", Fate::Same),
    list("build-option", Fate::Same),
    value("git-commit", Fate::Same),
    value("build-date", Fate::Nothing(IRRELEVANT)),
    value("workspace-dir", Fate::Nothing(IRRELEVANT)),
    value("source-dir", Fate::Nothing(IRRELEVANT)),
    value("cache-dir", Fate::Nothing(IRRELEVANT)),
    value("cache-source", Fate::Nothing(IRRELEVANT)),
    value("apk-cache-dir", Fate::Nothing(IRRELEVANT)),
    value("signing-key", Fate::Nothing(IRRELEVANT)),
    switch("generate-index", Fate::Nothing(IRRELEVANT)),
    switch("empty-workspace", Fate::Nothing(IRRELEVANT)),
    switch("strip-origin-name", Fate::Nothing(IRRELEVANT)),
    value("out-dir", Fate::Nothing(IRRELEVANT)),
    value("dependency-log", Fate::Nothing(IRRELEVANT)),
    value("namespace", Fate::Nothing(IRRELEVANT)),
    list(
        "log-policy",
        Fate::Nothing("melange does nothing with it either"),
    ),
    value("runner", Fate::Nothing(IRRELEVANT)),
    short('k', list("keyring-append", Fate::Nothing(IRRELEVANT))),
    short('r', list("repository-append", Fate::Nothing(IRRELEVANT))),
    list("package-append", Fate::Nothing(IRRELEVANT)),
    switch("create-build-log", Fate::Nothing(IRRELEVANT)),
    switch("debug", Fate::As("--verbose")),
    switch("debug-runner", Fate::Nothing(IRRELEVANT)),
    short('i', switch("interactive", Fate::Nothing(IRRELEVANT))),
    switch("rm", Fate::Nothing(IRRELEVANT)),
    switch("fail-on-lint-warning", Fate::Nothing(IRRELEVANT)),
    value("cpu", Fate::Nothing(IRRELEVANT)),
    value("memory", Fate::Nothing(IRRELEVANT)),
    value("timeout", Fate::Nothing(IRRELEVANT)),
    switch("generate-provenance", Fate::Nothing(IRRELEVANT)),
    value("git-repo-url", Fate::Nothing(IRRELEVANT)),
    value("license", Fate::Nothing(IRRELEVANT)),
];

const KEY: Flag = value("signing-key", Fate::Same);

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "build",
        about: "Build packages from a recipe",
        operands: "RECIPE",
        count: (0, 1),
        done_by: "polpo build",
        flags: &[BUILD, STEPS, GLOBAL],
    },
    Command {
        name: "test",
        about: "Test built packages as their recipe says",
        operands: "RECIPE [PACKAGE]",
        count: (1, 2),
        done_by: "polpo test",
        flags: &[TEST, STEPS, GLOBAL],
    },
    Command {
        name: "compile",
        about: "Compile a recipe: pipelines and variables replaced, as JSON",
        operands: "RECIPE",
        count: (0, 1),
        done_by: "polpo recipe compile",
        flags: &[COMPILE, GLOBAL],
    },
    Command {
        name: "query",
        about: "Ask a recipe by a template in Go's language",
        operands: "RECIPE TEMPLATE",
        count: (2, 2),
        done_by: "polpo recipe query",
        flags: &[GLOBAL],
    },
    Command {
        name: "package-version",
        about: "Print the name and version of a recipe's package",
        operands: "RECIPE",
        count: (1, 1),
        done_by: "polpo recipe query",
        flags: &[GLOBAL],
    },
    Command {
        name: "bump",
        about: "Give a recipe a new version",
        operands: "RECIPE VERSION",
        count: (2, 2),
        done_by: "polpo recipe bump",
        flags: &[&[value("expected-commit", Fate::Same)], GLOBAL],
    },
    Command {
        name: "update-cache",
        about: "Bring the sources of a recipe into a folder, by hash",
        operands: "RECIPE",
        count: (1, 1),
        done_by: "polpo source fetch",
        flags: &[
            &[
                value(
                    "cache-dir",
                    Fate::Own("`--copy-to`; without it /var/cache/melange"),
                ),
                list("source-mirror", Fate::Same),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "index",
        about: "Write an index of packages",
        operands: "PACKAGE…",
        count: (1, usize::MAX),
        done_by: "polpo apk index",
        flags: &[
            &[
                short(
                    'o',
                    value("output", Fate::Own("the same; without it APKINDEX.tar.gz")),
                ),
                short(
                    's',
                    value("source", Fate::Own("`--index`, with `--merge` alone")),
                ),
                short('m', switch("merge", Fate::Own("`--merge` and `--index`"))),
                short(
                    'a',
                    value("arch", Fate::Own("packages of another one are left out")),
                ),
                value("signing-key", Fate::As("--sign-key")),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "sign-index",
        about: "Sign an index",
        operands: "APKINDEX.tar.gz",
        count: (1, 1),
        done_by: "polpo apk index",
        flags: &[
            &[
                value("signing-key", Fate::Own("the key; without it melange.rsa")),
                short(
                    'f',
                    switch(
                        "force",
                        Fate::Own("replaces the signatures of a signed one"),
                    ),
                ),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "sign",
        about: "Sign packages anew, in place",
        operands: "PACKAGE…",
        count: (1, usize::MAX),
        done_by: "polpo itself",
        flags: &[
            &[short(
                'k',
                value(
                    "signing-key",
                    Fate::Own("the key; without it local-melange.rsa"),
                ),
            )],
            GLOBAL,
        ],
    },
    Command {
        name: "keygen",
        about: "Make a key pair that packages and indexes are signed with",
        operands: "FILE",
        count: (0, 1),
        done_by: "polpo key generate",
        flags: &[
            &[value(
                "key-size",
                Fate::Own("4096 is what polpo makes; a smaller one from 2048 on becomes that"),
            )],
            GLOBAL,
        ],
    },
    Command {
        name: "scan",
        about: "Analyse the packages of a recipe again",
        operands: "RECIPE",
        count: (1, 1),
        done_by: "polpo scan",
        flags: &[
            &[
                short(
                    'k',
                    value(
                        "keyring-append",
                        Fate::Nothing("melange does nothing with it either"),
                    ),
                ),
                short(
                    'r',
                    value(
                        "repository-append",
                        Fate::Own("where the packages are; without it ./packages"),
                    ),
                ),
                short('p', value("package", Fate::Same)),
                list("arch", Fate::Own("without it x86_64")),
                switch("diff", Fate::Same),
                switch("comments", Fate::Nothing("polpo writes none into .PKGINFO")),
                value("namespace", Fate::Nothing("the packages tell it")),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "lint",
        about: "Check finished packages",
        operands: "PACKAGE…",
        count: (1, usize::MAX),
        done_by: "polpo lint",
        flags: &[
            &[
                list("lint-require", Fate::Same),
                list("lint-warn", Fate::Same),
                switch("persist-lint-results", Fate::Same),
                value("out-dir", Fate::Same),
                switch(
                    "fail-on-lint-warning",
                    Fate::Nothing("melange does nothing with it either; use `--lint-require`"),
                ),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "license-check",
        about: "Compare a recipe or a package with the licences' texts in its sources",
        operands: "FILE",
        count: (1, usize::MAX),
        done_by: "polpo license-check",
        flags: &[
            &[
                value("scan-type", Fate::Same),
                value("workdir", Fate::Nothing(STORED)),
                switch(
                    "fix",
                    Fate::Own("`--fix`: what the texts bear out, comments and attestations stay"),
                ),
                value("format", Fate::Own("the value of `--fix`")),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "rebuild",
        about: "Build a package again and say where it differs",
        operands: "PACKAGE…",
        count: (1, usize::MAX),
        done_by: "polpo rebuild",
        flags: &[
            &[
                value("runner", Fate::Own(RUNNER)),
                switch(
                    "diff",
                    Fate::Nothing("differences are always shown, and fail"),
                ),
                value("out-dir", Fate::Same),
                value("source-dir", Fate::Same),
                KEY,
                short('k', list("keyring-append", Fate::Same)),
                short('r', list("repository-append", Fate::Same)),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "version",
        about: "Print the version",
        operands: "",
        count: (0, 0),
        done_by: "polpo --version",
        flags: &[GLOBAL],
    },
    Command {
        name: "completion",
        about: "Print a completion script for bash, zsh, fish or powershell",
        operands: "SHELL",
        count: (1, 1),
        done_by: "polpo completions SHELL melange",
        flags: &[GLOBAL],
    },
];
