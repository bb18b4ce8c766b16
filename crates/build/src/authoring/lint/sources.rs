//! Rules about where sources come from.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Findings, Subject, uses};
use crate::recipe::Text;
use crate::recipe::written::PipelineStep;

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where a step without the input it needs is told.
fn step_span(step: &PipelineStep) -> Range<usize> {
    step.uses.as_ref().map_or(0..0, Text::span)
}

/// The host of a URI: what stands between `://` and the path, without user and port. Nothing is
/// normalised: what looks like another host must not become it.
pub(super) fn host(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let host = match place.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => place,
    };
    is_scheme.then_some(host)
}

fn is_host(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    labels.len() > 1
        && labels.iter().all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
        && labels
            .last()
            .is_some_and(|last| last.len() > 1 && !last.contains(|c: char| c.is_ascii_digit()))
}

/// The input that says where a step's source is: `Err` with the step when it is missing.
pub(super) fn place(step: &PipelineStep) -> Option<Result<&Text, &'static str>> {
    let name = match step.uses.as_ref()?.value.as_str() {
        "fetch" => "uri",
        "git-checkout" => "repository",
        _ => return None,
    };
    Some(Subject::input(step, name).ok_or(name))
}

pub(super) fn places(subject: &Subject<'_>, findings: &mut Findings) {
    for step in subject.building() {
        match place(step) {
            None => {}
            Some(Err(name)) => {
                findings.add(format!("`{name}` is missing"), step_span(step));
            }
            Some(Ok(text)) => {
                let uri = subject.value(text);
                // Variables of a range are known later.
                let unknown = |part: &str| part.contains("${{");
                match host(&uri) {
                    None if unknown(&uri) => {}
                    // A file that an apt mirror has, found by its hash.
                    None if uri
                        .strip_prefix("apt:")
                        .is_some_and(|file| !file.is_empty()) => {}
                    Some(host) if unknown(host) || is_host(host) => {}
                    None => findings.add(format!("`{uri}` is no whole URI"), text.span()),
                    Some(host) => findings.add(
                        format!(
                            "`{}` is no host that sources come from",
                            host.escape_debug()
                        ),
                        text.span(),
                    ),
                }
            }
        }
    }
}

pub(super) fn digests(subject: &Subject<'_>, findings: &mut Findings) {
    for step in subject.building().into_iter().chain(subject.testing()) {
        if !uses(step, "fetch") {
            continue;
        }
        let mut given = false;
        for (name, digits) in [("expected-sha256", 64), ("expected-sha512", 128)] {
            if let Some(text) = Subject::input(step, name) {
                given = true;
                let value = subject.value(text);
                if !is_hex(&value, digits) && !value.contains("${{") {
                    findings.add(
                        format!("`{name}` is not {digits} hexadecimal digits"),
                        text.span(),
                    );
                }
            }
        }
        if !given && Subject::input(step, "expected-none").is_none() {
            findings.add(
                "neither `expected-sha256` nor `expected-sha512` is given",
                step_span(step),
            );
        }
    }
}

fn checkouts<'s>(subject: &'s Subject<'_>) -> Vec<&'s PipelineStep> {
    let mut steps = subject.building();
    steps.retain(|step| uses(step, "git-checkout"));
    steps
}

pub(super) fn commits(subject: &Subject<'_>, findings: &mut Findings) {
    for step in checkouts(subject) {
        match Subject::input(step, "expected-commit") {
            None => findings.add("`expected-commit` is missing", step_span(step)),
            Some(text) => {
                let value = subject.value(text);
                if !is_hex(&value, 40) && !value.contains("${{") {
                    findings.add(
                        "`expected-commit` is not 40 hexadecimal digits",
                        text.span(),
                    );
                }
            }
        }
    }
}

pub(super) fn refs(subject: &Subject<'_>, findings: &mut Findings) {
    for step in checkouts(subject) {
        if ["tag", "branch"]
            .iter()
            .all(|name| Subject::input(step, name).is_none())
        {
            findings.add("neither `tag` nor `branch` is given", step_span(step));
        }
    }
}

pub(super) fn monitors(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(update) = &subject.recipe.contents.update else {
        return;
    };
    if !update.enabled || update.github.is_some() || update.git.is_some() {
        return;
    }
    for step in checkouts(subject) {
        if let Some(repository) = Subject::input(step, "repository")
            && subject.value(repository).starts_with("https://github.com/")
        {
            findings.add(
                "updates of this checkout are looked for without `update.github` or `update.git`",
                repository.span(),
            );
        }
    }
}

/// `OWNER/NAME` of a repository's URL.
fn identified(repository: &str) -> String {
    let trimmed = repository.trim_end_matches('/');
    let mut parts = trimmed.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let owner = parts.next().unwrap_or_default();
    format!("{owner}/{}", name.trim_end_matches(".git"))
}

pub(super) fn identifier(subject: &Subject<'_>, findings: &mut Findings) {
    let update = subject.recipe.contents.update.as_ref();
    let Some(github) = update.and_then(|update| update.github.as_ref()) else {
        return;
    };
    let repositories: Vec<String> = checkouts(subject)
        .into_iter()
        .filter_map(|step| Subject::input(step, "repository"))
        .map(|text| identified(&subject.value(text)))
        .collect();
    let identifier = subject.value(&github.identifier);
    if !repositories.is_empty()
        && !repositories
            .iter()
            .any(|repository| repository.eq_ignore_ascii_case(&identifier))
    {
        findings.add(
            format!(
                "updates come from `{identifier}`, but {} checked out",
                match repositories.as_slice() {
                    [one] => format!("`{one}` is"),
                    several => format!("`{}` are", several.join("`, `")),
                }
            ),
            github.identifier.span(),
        );
    }
}

static VERSION_REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\$\{\{\s*(package\.(version|full-version)|vars\..*version.*)[^}]*\}\}").ok()
});

fn follows_version(text: &str) -> bool {
    VERSION_REFERENCE
        .as_ref()
        .is_some_and(|reference| reference.is_match(text))
}

pub(super) fn templating(subject: &Subject<'_>, findings: &mut Findings) {
    let contents = &subject.recipe.contents;
    let is_automatic = |update: &crate::recipe::written::Update| update.enabled && !update.manual;
    if !contents.update.as_ref().is_some_and(is_automatic) {
        return;
    }
    let package = &contents.package;
    let (name, version) = (package.name.trim(), package.version.trim());
    let patterns = (
        Regex::new(&format!(
            r"(?:^|/){}(?:[-_]v?\d+\.\d+(?:\.\d+)?(?:[-+][\w\d.]+)?|/v?\d+\.\d+(?:\.\d+)?(?:[-+][\w\d.]+)?/)",
            regex::escape(name)
        )),
        Regex::new(&format!("^v?{}$", regex::escape(version))),
    );
    let (Ok(in_uri), Ok(as_tag)) = patterns else {
        return;
    };
    let mut sources: Vec<(&Text, &Regex)> = Vec::new();
    let mut is_templated = false;
    for step in subject.building() {
        if uses(step, "fetch") {
            sources.extend(Subject::input(step, "uri").map(|uri| (uri, &in_uri)));
        }
        if uses(step, "git-checkout") {
            sources.extend(Subject::input(step, "tag").map(|tag| (tag, &as_tag)));
            is_templated |= Subject::input(step, "ref").is_some_and(|text| follows_version(text));
        }
    }
    is_templated |= sources.iter().any(|(text, _)| text.contains("${{"));
    for (text, pattern) in sources {
        if is_templated {
            if !follows_version(text) && pattern.is_match(text) {
                findings.add(
                    format!("the version is written out in `{}`", text.value),
                    text.span(),
                );
            }
        } else {
            findings.add(
                format!("`{}` stays the same whatever the version", text.value),
                text.span(),
            );
        }
    }
}
