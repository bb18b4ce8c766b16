//! What apko's commands take, and what becomes of it.

use crate::command::other_program::table::{Command, Fate, Flag, list, short, switch, value};

const LIMITS: &str = "what comes from elsewhere has limits of its own";
const NO_VCS: &str =
    "write `vcs-url` into the image file: what is built depends on no folder's git";

/// Of every command.
const GLOBAL: &[Flag] = &[
    value(
        "log-level",
        Fate::Own("`debug`: as `--verbose`; else nothing"),
    ),
    short('C', value("workdir", Fate::Own("the folder to work in"))),
    value("store", Fate::Same),
    value("progress", Fate::Same),
    short('v', switch("verbose", Fate::Same)),
];

/// Of the commands that choose packages.
const CHOOSING: &[Flag] = &[
    short('k', list("keyring-append", Fate::Same)),
    short('b', list("build-repository-append", Fate::Same)),
    short('r', list("repository-append", Fate::Same)),
    switch("discover-keys", Fate::Same),
];

const ARCH: &[Flag] = &[list(
    "arch",
    Fate::Own("the same; without it those of the image file, else all"),
)];

const CACHE: &[Flag] = &[
    value("cache-dir", Fate::As("--store")),
    switch("offline", Fate::Same),
];

const APPENDED: &[Flag] = &[short('p', list("package-append", Fate::Same))];

const PARITY: &[Flag] = &[switch("parity", Fate::Same)];

const SIGNATURES: &[Flag] = &[switch(
    "ignore-signatures",
    Fate::Own("refused if true: name the repository's key by `-k`"),
)];

const BUILDING: &[Flag] = &[
    switch("vcs", Fate::Nothing(NO_VCS)),
    value(
        "build-date",
        Fate::Own("`--source-date-epoch`, unless SOURCE_DATE_EPOCH is set"),
    ),
    switch("sbom", Fate::Own("`false`: no SBOM is written")),
    value(
        "sbom-path",
        Fate::Own("the same; without it the working directory"),
    ),
    list("sbom-formats", Fate::Own("`spdx`; another one is refused")),
    list("annotations", Fate::Same),
    value("lockfile", Fate::Same),
    value("format", Fate::Same),
];

const LIMIT_FLAGS: &[Flag] = &[
    value("max-apkindex-decompressed-size", Fate::Nothing(LIMITS)),
    value("max-apk-control-size", Fate::Nothing(LIMITS)),
    value("max-apk-data-size", Fate::Nothing(LIMITS)),
    value("max-http-response-size", Fate::Nothing(LIMITS)),
];

const INCLUDES: &[Flag] = &[list("include-paths", Fate::Same)];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "build",
        about: "Build an image: into a layout if OUTPUT is a folder, else into an archive for `docker load`",
        operands: "CONFIG TAG OUTPUT",
        count: (3, 3),
        done_by: "polpo image build",
        flags: &[
            ARCH,
            CHOOSING,
            APPENDED,
            CACHE,
            BUILDING,
            INCLUDES,
            SIGNATURES,
            LIMIT_FLAGS,
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "publish",
        about: "Build an image and send it to a registry",
        operands: "CONFIG TAG…",
        count: (2, usize::MAX),
        done_by: "polpo image build",
        flags: &[
            ARCH,
            CHOOSING,
            APPENDED,
            CACHE,
            BUILDING,
            SIGNATURES,
            &[
                value(
                    "image-refs",
                    Fate::Own("`polpo image publish --image-refs`"),
                ),
                switch(
                    "local",
                    Fate::Own("refused if true: `polpo image copy LAYOUT docker:NAME` does it"),
                ),
            ],
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "build-minirootfs",
        about: "Write the files of an image as one tar",
        operands: "CONFIG OUTPUT",
        count: (2, 2),
        done_by: "polpo image minirootfs",
        flags: &[
            CHOOSING,
            APPENDED,
            &[
                value(
                    "build-arch",
                    Fate::Own("`--arch`; without it this machine's"),
                ),
                value(
                    "build-date",
                    Fate::Own("`--source-date-epoch`, unless SOURCE_DATE_EPOCH is set"),
                ),
                value("sbom-path", Fate::Nothing("apko writes none here either")),
            ],
            SIGNATURES,
            LIMIT_FLAGS,
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "lock",
        about: "Choose the packages of an image for all architectures and write them down",
        operands: "CONFIG",
        count: (1, 1),
        done_by: "polpo image lock",
        flags: &[
            ARCH,
            CHOOSING,
            CACHE,
            INCLUDES,
            SIGNATURES,
            &[value("output", Fate::Same)],
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "resolve",
        about: "As lock, into CONFIG.resolved.json",
        operands: "CONFIG",
        count: (1, 1),
        done_by: "polpo image lock",
        flags: &[
            ARCH,
            CHOOSING,
            CACHE,
            INCLUDES,
            SIGNATURES,
            &[value(
                "output",
                Fate::Own("the same; without it CONFIG.resolved.json"),
            )],
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "show-config",
        about: "Print an image file with everything it includes",
        operands: "CONFIG",
        count: (1, 1),
        done_by: "polpo image show",
        flags: &[
            &[
                short(
                    'k',
                    list("keyring-append", Fate::Nothing("it changes nothing here")),
                ),
                short(
                    'b',
                    list(
                        "build-repository-append",
                        Fate::Nothing("it changes nothing here"),
                    ),
                ),
                short(
                    'r',
                    list(
                        "repository-append",
                        Fate::Nothing("it changes nothing here"),
                    ),
                ),
            ],
            CACHE,
            GLOBAL,
        ],
    },
    Command {
        name: "show-packages",
        about: "Print the packages that an image would have",
        operands: "CONFIG",
        count: (1, 1),
        done_by: "polpo image packages",
        flags: &[
            ARCH,
            CHOOSING,
            CACHE,
            &[value("format", Fate::Same)],
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "dot",
        about: "Print what an image's packages need, as a graph",
        operands: "CONFIG",
        count: (1, 1),
        done_by: "polpo image dot",
        flags: &[
            ARCH,
            CHOOSING,
            CACHE,
            &[
                short('S', switch("spanning-tree", Fate::Same)),
                switch(
                    "web",
                    Fate::Own("refused if true: give the graph to Graphviz"),
                ),
                short(
                    'e',
                    value("registry-explorer", Fate::Nothing("the graph has no links")),
                ),
            ],
            PARITY,
            GLOBAL,
        ],
    },
    Command {
        name: "login",
        about: "Keep a user and password for a registry",
        operands: "REGISTRY",
        count: (1, 1),
        done_by: "polpo login",
        flags: &[
            &[
                short('u', value("username", Fate::Own("the same"))),
                short(
                    'p',
                    value(
                        "password",
                        Fate::Own(
                            "refused: everybody on the machine could read it; use `--password-stdin`",
                        ),
                    ),
                ),
                switch("password-stdin", Fate::Own("the same")),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "erofs",
        about: "`erofs ls SOURCE`: list the files of an image of EROFS, or of an EROFS image on its own",
        operands: "ls SOURCE",
        count: (1, 3),
        done_by: "polpo image files",
        flags: &[
            &[
                value("arch", Fate::Own("the same")),
                value("mode", Fate::Nothing("nothing is mounted")),
                switch("rw", Fate::Nothing("nothing is mounted")),
            ],
            GLOBAL,
        ],
    },
    Command {
        name: "clean",
        about: "Remove everything from the store",
        operands: "",
        count: (0, 0),
        done_by: "polpo clean",
        flags: &[
            &[
                value("cache-dir", Fate::As("--store")),
                switch("dry-run", Fate::Same),
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
        flags: &[
            &[switch("json", Fate::Nothing("the version is one word"))],
            GLOBAL,
        ],
    },
    Command {
        name: "completion",
        about: "Print a completion script for a shell",
        operands: "SHELL",
        count: (1, 1),
        done_by: "polpo completions",
        flags: &[GLOBAL],
    },
];
