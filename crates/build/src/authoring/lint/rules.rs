use base::Severity::{Error, Info, Warning};

use super::{Rule, deeds, sources};

/// Every rule.
#[rustfmt::skip]
pub static RULES: [Rule; 26] = [
    Rule {
        name: "forbidden-repository-used", severity: Error, fixable: false, check: deeds::repositories,
        explanation: "A recipe doesn't name its distribution's own repository: where packages come from is for whoever builds to say.",
        help: "remove it, and give the repository on the command line",
    },
    Rule {
        name: "forbidden-keyring-used", severity: Error, fixable: false, check: deeds::keyrings,
        explanation: "A recipe doesn't name its distribution's own key: who is trusted is for whoever builds to say.",
        help: "remove it, and give the key on the command line",
    },
    Rule {
        name: "valid-copyright-header", severity: Info, fixable: false, check: deeds::copyright,
        explanation: "A package says under which licence it may be used.",
        help: "add `copyright` with a `license`",
    },
    Rule {
        name: "contains-epoch", severity: Error, fixable: false, check: deeds::epoch,
        explanation: "Programs that build packages anew count the epoch up where it is written.",
        help: "add `epoch: 0` below `version`",
    },
    Rule {
        name: "valid-pipeline-fetch-uri", severity: Error, fixable: false, check: sources::places,
        explanation: "Sources have a whole URI, with a host in ASCII: one that merely looks like another is a way to smuggle code in.",
        help: "give a URI such as `https://example.org/name-${{package.version}}.tar.gz`",
    },
    Rule {
        name: "uri-mimic", severity: Error, fixable: false, check: deeds::mimics,
        explanation: "A host that is nearly one of another recipe (two letters or the last label differ) is a misspelling, or meant to be taken for the other.",
        help: "check the host; if both are right, skip this rule here with `#nolint:uri-mimic`",
    },
    Rule {
        name: "valid-pipeline-fetch-digest", severity: Error, fixable: false, check: sources::digests,
        explanation: "Fetched files are checked against a SHA-256 or SHA-512.",
        help: "`polpo recipe bump` writes the digest of what is fetched",
    },
    Rule {
        name: "no-repeated-deps", severity: Error, fixable: false, check: deeds::repeated,
        explanation: "A package is listed once in a guest.",
        help: "remove one of them",
    },
    Rule {
        name: "bad-template-var", severity: Error, fixable: false, check: deeds::template_variables,
        explanation: "`$pkgdir`, `$pkgver`, `$pkgname` and `$srcdir` are other formats' names; here they are empty.",
        help: "write `${{targets.destdir}}`, `${{package.version}}`, `${{package.name}}` or `${{package.srcdir}}`",
    },
    Rule {
        name: "bad-version", severity: Error, fixable: false, check: deeds::version,
        explanation: "Versions follow apk's grammar, without `-rN`; others can't be compared.",
        help: "such as `1.2.3`, `1.2_rc1` or `2024.05.01`; the number behind `-r` is `epoch`",
    },
    Rule {
        name: "valid-pipeline-git-checkout-commit", severity: Error, fixable: false, check: sources::commits,
        explanation: "What is checked out is checked against a whole commit: tags and branches move.",
        help: "add `expected-commit` with 40 hexadecimal digits; `polpo recipe bump` writes it",
    },
    Rule {
        name: "valid-pipeline-git-checkout-tag-or-branch", severity: Error, fixable: false, check: sources::refs,
        explanation: "A checkout says which tag or branch its commit is on, so that people and programs can find newer ones.",
        help: "add `tag: v${{package.version}}`, or `branch`",
    },
    Rule {
        name: "check-when-version-changes", severity: Error, fixable: false, check: deeds::checked_versions,
        explanation: "A comment `# CHECK-WHEN-VERSION-CHANGES: VERSION` in a script is the version that somebody checked it with.",
        help: "check that the script is right for this version, then change the comment",
    },
    Rule {
        name: "tagged-repository-in-environment-repos", severity: Error, fixable: false, check: deeds::tagged,
        explanation: "A tagged repository, such as `@local`, is one of the machine it was written on.",
        help: "remove it, and give the repository on the command line",
    },
    Rule {
        name: "git-checkout-must-use-github-updates", severity: Error, fixable: false, check: sources::monitors,
        explanation: "A checkout from GitHub that is updated by programs needs `update.github` or `update.git`: only these know the commit.",
        help: "add `update.github` with `identifier: OWNER/NAME`, or `update.git`",
    },
    Rule {
        name: "valid-spdx-license", severity: Error, fixable: false, check: deeds::licences,
        explanation: "Licences are SPDX expressions, or `custom` or `PROPRIETARY`.",
        help: "such as `MIT` or `GPL-2.0-or-later AND BSD-3-Clause`: see spdx.org/licenses",
    },
    Rule {
        name: "valid-package-or-subpackage-test", severity: Info, fixable: false, check: deeds::tested,
        explanation: "A recipe has a test, of its package or of a subpackage.",
        help: "add `test` with a `pipeline`",
    },
    Rule {
        name: "update-disabled-reason", severity: Warning, fixable: false, check: deeds::update_reason,
        explanation: "Where updates are off, people want to know why.",
        help: "add `update` with `enabled: true`, or with an `exclude-reason`",
    },
    Rule {
        name: "background-process-without-redirect", severity: Warning, fixable: false, check: deeds::background,
        explanation: "A program that a test leaves running keeps the test's output open, and mixes its own into it.",
        help: "send its output somewhere: `daemon > daemon.log 2>&1 &`",
    },
    Rule {
        name: "sccache-enabled", severity: Error, fixable: false, check: deeds::compiler_cache,
        explanation: "`sccache/enable` is for development on one's own machine.",
        help: "remove the step",
    },
    Rule {
        name: "valid-update-schedule", severity: Error, fixable: false, check: deeds::schedule,
        explanation: "A schedule says how often: daily, weekly or monthly.",
        help: "add `period`",
    },
    Rule {
        name: "unused-var-transform", severity: Warning, fixable: false, check: deeds::unused_transforms,
        explanation: "A variable that a transform makes is used somewhere.",
        help: "use it as `${{vars.NAME}}`, or remove the transform",
    },
    Rule {
        name: "update-identifier-must-match-git-repository", severity: Error, fixable: false, check: sources::identifier,
        explanation: "Updates come from the repository that is checked out.",
        help: "make `update.github.identifier` the OWNER/NAME of a checkout",
    },
    Rule {
        name: "depends-on-unversioned-py-provides", severity: Warning, fixable: false, check: deeds::python,
        explanation: "`py3-NAME` is provided by the packages of every Python version; which one is installed is anybody's guess.",
        help: "name `py3.X-NAME` or `py3-supported-NAME`",
    },
    Rule {
        name: "fetch-templating", severity: Warning, fixable: false, check: sources::templating,
        explanation: "A recipe that programs update fetches what its version says: a version written out stays behind.",
        help: "write `${{package.version}}`, or a variable made from it",
    },
    Rule {
        name: "layout", severity: Warning, fixable: true, check: deeds::layout,
        explanation: "Recipes have one form, so that changes show what changed.",
        help: "`polpo recipe fmt` lays it out",
    },
];
