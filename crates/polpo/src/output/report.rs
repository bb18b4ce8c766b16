use std::collections::BTreeSet;

use base::{Location, Problem, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::printer::print_raw;
use super::problem::render;

/// How problems are printed where they are a command's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// A list for programs.
    Json,
    /// SARIF 2.1.0, which forges and editors show beside the lines.
    Sarif,
}

/// A rule that problems are about.
pub(crate) struct KnownRule {
    pub(crate) name: &'static str,
    pub(crate) explanation: &'static str,
}

/// A problem as programs read it.
#[derive(Serialize)]
pub(super) struct Row<'p> {
    rule: &'p str,
    severity: Severity,
    message: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'p str>,
    #[serde(flatten)]
    location: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_text: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'p str>,
}

/// Prints problems on stdout: they are what was asked for.
pub(crate) fn print_problems(
    problems: &[Problem],
    rules: &[KnownRule],
    format: ReportFormat,
) -> Result<(), Failure> {
    let document = match format {
        ReportFormat::Text => {
            let text: String = problems
                .iter()
                .map(|problem| render(problem, false))
                .collect();
            return print_raw(&text);
        }
        ReportFormat::Json => {
            let rows: Vec<Row<'_>> = problems.iter().map(row).collect();
            serde_json::to_string_pretty(&rows)
        }
        ReportFormat::Sarif => serde_json::to_string_pretty(&sarif(problems, rules)),
    };
    let document =
        document.map_err(|error| Failure::failed("the result can't be written as JSON", error))?;
    print_raw(&(document + "\n"))
}

pub(super) fn row(problem: &Problem) -> Row<'_> {
    let location = problem.location();
    let source = problem.source.as_ref();
    Row {
        rule: problem.rule,
        severity: problem.severity,
        message: &problem.message,
        file: source.map(|source| source.name()),
        location,
        line_text: source
            .zip(location)
            .and_then(|(source, at)| source.text().lines().nth(at.line - 1)),
        help: problem.help.as_deref(),
    }
}

/// The problems as one run of SARIF 2.1.0 (OASIS).
fn sarif(problems: &[Problem], rules: &[KnownRule]) -> Value {
    let names: BTreeSet<&str> = problems.iter().map(|problem| problem.rule).collect();
    let described: Vec<Value> = names
        .iter()
        .map(|name| {
            let known = rules.iter().find(|rule| rule.name == *name);
            match known {
                Some(rule) => json!({"id": name, "fullDescription": {"text": rule.explanation}}),
                None => json!({"id": name}),
            }
        })
        .collect();
    let results: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let message = match &problem.help {
                Some(help) => format!("{}: {help}", problem.message),
                None => problem.message.clone(),
            };
            let mut result = json!({
                "ruleId": problem.rule,
                "level": match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Info => "note",
                },
                "message": {"text": message},
            });
            if let (Some(source), Some(at), Some(label)) =
                (&problem.source, problem.location(), problem.labels.first())
            {
                let end = source.location(label.span.end);
                result["locations"] = json!([{"physicalLocation": {
                    "artifactLocation": {"uri": uri(source.name())},
                    "region": {
                        "startLine": at.line,
                        "startColumn": at.column,
                        "endLine": end.line,
                        "endColumn": end.column,
                    },
                }}]);
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "polpo",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": described,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative reference of RFC 3986.
fn uri(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'+' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
