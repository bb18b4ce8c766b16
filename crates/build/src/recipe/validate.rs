//! What is wrong with a recipe whatever it is resolved for.

use std::collections::BTreeMap;
use std::ops::Range;

use base::{Arch, Problem, did_you_mean};
use yaml::Decoder;

use super::text::Text;
use super::written::{Checks, Contents, Copyright, Cpe, PipelineStep, SetCap, Test};
use crate::lint::LINTERS;

/// Linux capabilities a file may have, with their bits (`linux/capability.h`); melange's choice.
pub(crate) const FILE_CAPABILITIES: [(&str, u32); 5] = [
    ("cap_net_bind_service", 10),
    ("cap_net_admin", 12),
    ("cap_net_raw", 13),
    ("cap_ipc_lock", 14),
    ("cap_sys_admin", 21),
];

/// Reports everything that can be seen without resolving.
pub(crate) fn contents(contents: &Contents, decoder: &mut Decoder) {
    let package = &contents.package;
    for name in &package.target_architecture {
        if name.value != "all" && !has_reference(name) && name.parse::<Arch>().is_err() {
            let known = Arch::ALL.map(Arch::apk);
            let problem = Problem::error(
                "unknown-architecture",
                format!("unknown architecture `{}`", name.value),
            )
            .at(decoder.source(), name.span(), "unknown")
            .help(match did_you_mean(name, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known are {}", known.join(", ")),
            });
            decoder.problem(problem);
        }
    }
    package
        .copyright
        .iter()
        .for_each(|entry| copyright(entry, decoder));
    if let Some(fields) = &package.cpe {
        cpe(fields, fields.span(), decoder);
    }
    package
        .setcap
        .iter()
        .for_each(|entry| setcap(entry, decoder));
    checks(&package.checks, decoder);
    one_line("url", &package.url, decoder);
    one_line("commit", &package.commit, decoder);
    pipeline(&contents.pipeline, decoder);
    test(contents.test.as_ref(), decoder);

    let mut ranges: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    for data in &contents.data {
        if let Some(first) = ranges.insert(&data.name, data.name.span()) {
            let problem = Problem::error(
                "duplicate-data",
                format!("two lists are called `{}`", data.name.value),
            )
            .at(decoder.source(), data.name.span(), "again here")
            .at(decoder.source(), first, "first here");
            decoder.problem(problem);
        }
    }
    for subpackage in &contents.subpackages {
        if let Some(range) = &subpackage.range
            && !range.is_empty()
            && !ranges.contains_key(range.value.as_str())
        {
            let help = match did_you_mean(range, ranges.keys().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if ranges.is_empty() => "the recipe has no `data`".to_owned(),
                None => format!(
                    "`data` has {}",
                    ranges.keys().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            let problem = Problem::error(
                "unknown-range",
                format!("no `data` is called `{}`", range.value),
            )
            .at(decoder.source(), range.span(), "not defined")
            .help(help);
            decoder.problem(problem);
        }
        subpackage
            .setcap
            .iter()
            .for_each(|entry| setcap(entry, decoder));
        checks(&subpackage.checks, decoder);
        one_line("url", &subpackage.url, decoder);
        one_line("commit", &subpackage.commit, decoder);
        pipeline(&subpackage.pipeline, decoder);
        test(subpackage.test.as_ref(), decoder);
    }
    for transform in &contents.var_transforms {
        if let Err(failure) = regex::Regex::new(&transform.matching) {
            let reason = failure.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            error(
                decoder,
                "invalid-regex",
                &format!(
                    "`{}` is no regular expression: {}",
                    transform.matching.value,
                    reason.trim_start_matches("error: ")
                ),
                transform.matching.span(),
            );
        }
    }
}

fn error(decoder: &mut Decoder, rule: &'static str, message: &str, span: Range<usize>) {
    decoder.error(rule, message, span, "");
}

pub(crate) fn has_reference(text: &str) -> bool {
    text.contains("${{")
}

fn copyright(entry: &Copyright, decoder: &mut Decoder) {
    let license = &entry.license;
    if license.trim().is_empty() && !license.span().is_empty() {
        error(
            decoder,
            "empty-license",
            "the licence is empty",
            license.span(),
        );
    }
    let path = &entry.license_path;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let problem = Problem::error(
            "license-path",
            format!("`{}` leads out of the workspace", path.value),
        )
        .at(decoder.source(), path.span(), "")
        .help("give the path of a file below the workspace, without `..`");
        decoder.problem(problem);
    }
}

fn cpe(fields: &Cpe, whole: Range<usize>, decoder: &mut Decoder) {
    let named = [
        ("vendor", &fields.vendor),
        ("product", &fields.product),
        ("edition", &fields.edition),
        ("language", &fields.language),
        ("sw_edition", &fields.sw_edition),
        ("target_sw", &fields.target_sw),
        ("target_hw", &fields.target_hw),
        ("other", &fields.other),
    ];
    let given = |field: &Option<Text>| field.as_ref().is_some_and(|text| !text.is_empty());
    if let Some(part) = fields.part.as_ref().filter(|part| !part.is_empty())
        && !matches!(part.value.as_str(), "a" | "o")
    {
        error(
            decoder,
            "invalid-cpe",
            &format!(
                "`part` of a CPE is `a` (application) or `o` (operating system), not `{}`",
                part.value
            ),
            part.span(),
        );
    }
    if given(&fields.vendor) != given(&fields.product) {
        let missing = if given(&fields.vendor) {
            "product"
        } else {
            "vendor"
        };
        error(
            decoder,
            "invalid-cpe",
            &format!("a CPE with `vendor` or `product` needs both: `{missing}` is missing"),
            whole,
        );
    }
    for (name, field) in named {
        let Some(text) = field.as_ref().filter(|text| !text.is_empty()) else {
            continue;
        };
        if has_reference(text) || is_cpe_field(text) {
            continue;
        }
        error(
            decoder,
            "invalid-cpe",
            &format!(
                "`{}` can't be the `{name}` of a CPE: lower-case letters, digits and `+_.-`, a letter or digit first",
                text.value
            ),
            text.span(),
        );
    }
}

pub(crate) fn is_cpe_field(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || b"+_.-".contains(&byte))
}

/// What becomes a line of `.PKGINFO`.
fn one_line(key: &str, text: &Text, decoder: &mut Decoder) {
    if text.trim().contains(char::is_control) {
        let message = format!("`{key}` has a line end or control character");
        decoder.error("not-one-line", message, text.span(), "write it in one line");
    }
}

/// An unknown name would else be found when all is built.
fn checks(checks: &Checks, decoder: &mut Decoder) {
    for name in &checks.disabled {
        if has_reference(name) || LINTERS.iter().any(|linter| linter.name == name.value) {
            continue;
        }
        let known = LINTERS.iter().map(|linter| linter.name);
        let problem = Problem::error(
            "unknown-linter",
            format!("there is no linter `{}`", name.value),
        )
        .at(decoder.source(), name.span(), "")
        .help(match did_you_mean(name, known) {
            Some(linter) => format!("did you mean `{linter}`?"),
            None => "`polpo lint --list` names them all".to_owned(),
        });
        decoder.problem(problem);
    }
}

fn setcap(entry: &SetCap, decoder: &mut Decoder) {
    if entry.reason.trim().is_empty() {
        let problem = Problem::error(
            "setcap-reason",
            format!(
                "the capabilities of `{}` have no `reason`",
                entry.path.value
            ),
        )
        .at(decoder.source(), entry.path.span(), "")
        .help("say why the program needs them");
        decoder.problem(problem);
    }
    for (names, sets) in entry.add.iter() {
        for name in names.split(',') {
            if !FILE_CAPABILITIES.iter().any(|(known, _)| *known == name) {
                let known = FILE_CAPABILITIES.map(|(known, _)| known);
                let problem = Problem::error(
                    "unknown-capability",
                    format!("files can't be given the capability `{name}`"),
                )
                .at(decoder.source(), names.span(), "")
                .help(match did_you_mean(name, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("those allowed are {}", known.join(", ")),
                });
                decoder.problem(problem);
            }
        }
        let flags = sets.trim_start_matches(['+', '=']);
        if flags.is_empty() || !flags.chars().all(|flag| "eip".contains(flag)) {
            let problem = Problem::error(
                "invalid-capability-sets",
                format!("`{}` names no capability sets", sets.value),
            )
            .at(decoder.source(), sets.span(), "")
            .help("`+` and some of `e` (effective), `i` (inheritable), `p` (permitted), such as `+ep`");
            decoder.problem(problem);
        }
    }
}

fn test(test: Option<&Test>, decoder: &mut Decoder) {
    if let Some(test) = test {
        pipeline(&test.pipeline, decoder);
    }
}

/// The rules for steps; a definition of a pipeline keeps them, too.
pub(crate) fn pipeline(steps: &[PipelineStep], decoder: &mut Decoder) {
    steps.iter().for_each(|step| self::step(step, decoder));
}

pub(crate) fn step(step: &PipelineStep, decoder: &mut Decoder) {
    let uses = step.uses.as_ref().filter(|uses| !uses.is_empty());
    let runs = step.runs.as_ref().filter(|runs| !runs.is_empty());
    if let (Some(uses), Some(runs)) = (uses, runs) {
        let problem = Problem::error(
            "uses-and-runs",
            format!(
                "a step either uses a pipeline (`{}`) or runs a script, not both",
                uses.value
            ),
        )
        .at(decoder.source(), uses.span(), "uses a pipeline")
        .at(
            decoder.source(),
            runs.start..runs.start + 1,
            "and runs a script",
        )
        .help("make two steps of it");
        decoder.problem(problem);
    }
    if let (None, Some(with)) = (uses, &step.with)
        && let Some((first, _)) = with.iter().next()
    {
        let problem = Problem::error(
            "with-without-uses",
            "`with` gives inputs to the pipeline of `uses`, which is missing",
        )
        .at(decoder.source(), first.span(), "an input for nothing")
        .help("add `uses`, or move the values to `environment`");
        decoder.problem(problem);
    }
    if let Some(uses) = uses
        && (uses.starts_with('/') || uses.split('/').any(|part| matches!(part, "" | "." | "..")))
    {
        let problem = Problem::error(
            "invalid-uses",
            format!("`{}` is no pipeline's name", uses.value),
        )
        .at(decoder.source(), uses.span(), "")
        .help("a name such as `autoconf/make`, without `..` and a leading `/`");
        decoder.problem(problem);
    }
    if let Some(required) = &step.assertions.required_steps
        && required.value as usize > step.pipeline.len()
        && uses.is_none()
    {
        let problem = Problem::error(
            "required-steps",
            format!(
                "{} steps are required to run, but there are only {}",
                required.value,
                step.pipeline.len()
            ),
        )
        .at(decoder.source(), required.span(), "");
        decoder.problem(problem);
    }
    for (name, _) in step.environment.iter() {
        if name.is_empty() || name.contains(['=', '\0']) {
            error(
                decoder,
                "invalid-environment",
                &format!(
                    "`{}` can't be the name of an environment variable",
                    name.value
                ),
                name.span(),
            );
        }
    }
    pipeline(&step.pipeline, decoder);
}
