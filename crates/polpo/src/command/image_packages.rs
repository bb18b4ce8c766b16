use std::fmt::Write as _;

use serde::Serialize;

use super::image_plans;
use crate::arguments::image::ImagePackages;
use crate::output::failure::Failure;
use crate::output::{Format, Printer, print_raw};
use crate::settings::Session;

/// apko's formats by name.
const FORMATS: [(&str, &str); 8] = [
    ("name-version", "{{ .Name }} {{ .Version }}"),
    (
        "name-version-source",
        "{{ .Name }} {{ .Version }} {{ .Source }}",
    ),
    ("name=version", "{{ .Name }}={{ .Version }}"),
    (
        "name=version-source",
        "{{ .Name }}={{ .Version }} {{ .Source }}",
    ),
    ("name-(version)", "{{ .Name }} ({{ .Version }})"),
    (
        "name-(version)-source",
        "{{ .Name }} ({{ .Version }}) {{ .Source }}",
    ),
    ("packagelock", "- {{ .Name }}={{ .Version }}"),
    (
        "packagelock-source",
        "- {{ .Name }}={{ .Version }} # {{ .Source }}",
    ),
];

#[derive(Serialize)]
struct Listed {
    arch: &'static str,
    name: String,
    version: String,
    source: String,
}

pub(crate) async fn run(arguments: &ImagePackages, session: &Session<'_>) -> Result<(), Failure> {
    let format = FORMATS
        .iter()
        .find(|(name, _)| *name == arguments.format)
        .map_or(arguments.format.as_str(), |(_, format)| *format);
    if format != "json" {
        // A wrong format is told before the work.
        fill(format, "", "", "")?;
    }
    let what = "the packages can't be chosen";
    let (_, packages) = image_plans::list(&arguments.file, what, session).await?;
    let listed: Vec<Listed> = packages
        .into_iter()
        .map(|package| Listed {
            arch: package.arch.apk(),
            name: package.info.name,
            version: package.info.version,
            source: package.place,
        })
        .collect();
    if format == "json" {
        return Printer::new(Format::Json).print(&listed, |_| String::new());
    }
    let mut text = String::new();
    let arch = |package: Option<&Listed>| package.map(|package| package.arch);
    let several = arch(listed.first()) != arch(listed.last());
    let mut last = "";
    for package in &listed {
        if several && last != package.arch {
            session.notice(&format!("packages for {}", package.arch));
            last = package.arch;
        }
        let line = fill(format, &package.name, &package.version, &package.source)?;
        let _ = writeln!(text, "{line}");
    }
    print_raw(&text)
}

fn fill(format: &str, name: &str, version: &str, source: &str) -> Result<String, Failure> {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, inner)) = rest.split_once("{{") {
        out.push_str(before);
        let (field, after) = inner.split_once("}}").unwrap_or((inner, ""));
        out.push_str(match field.trim() {
            ".Name" => name,
            ".Version" => version,
            ".Source" => source,
            other => {
                return Err(Failure::Usage(format!(
                    "--format: `{{{{ {other} }}}}` is none of .Name, .Version and .Source"
                )));
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled() {
        let all: Vec<String> = FORMATS
            .iter()
            .map(|(_, format)| fill(format, "a", "1-r0", "x/a-1-r0.apk").unwrap())
            .collect();
        insta::assert_snapshot!(all.join("\n"), @"
        a 1-r0
        a 1-r0 x/a-1-r0.apk
        a=1-r0
        a=1-r0 x/a-1-r0.apk
        a (1-r0)
        a (1-r0) x/a-1-r0.apk
        - a=1-r0
        - a=1-r0 # x/a-1-r0.apk
        ");
        assert!(fill("{{ .Nmae }}", "", "", "").is_err());
        assert_eq!(fill("{{.Name}}", "a", "", "").unwrap(), "a");
    }
}
