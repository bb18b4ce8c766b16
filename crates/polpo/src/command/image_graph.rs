use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use apk::package::PackageInfo;
use image::configuration::PackageTerm;

use super::image_plans;
use crate::arguments::image::ImageGraph;
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageGraph, session: &Session<'_>) -> Result<(), Failure> {
    let what = "the packages can't be chosen";
    let (loaded, packages) = image_plans::list(&arguments.file, what, session).await?;
    // One architecture is enough to see what needs what.
    let first = packages.first().map(|package| package.arch);
    let infos: Vec<&PackageInfo> = packages
        .iter()
        .filter(|package| Some(package.arch) == first)
        .map(|package| &package.info)
        .collect();
    let file = arguments.file.config.display().to_string();
    let terms = &loaded.configuration.contents.packages;
    print_raw(&graph(&file, terms, &infos, arguments.spanning_tree))
}

fn graph(file: &str, terms: &[PackageTerm], packages: &[&PackageInfo], tree: bool) -> String {
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut providers: BTreeMap<&str, &str> = BTreeMap::new();
    for package in packages {
        for provided in &package.provides {
            providers.entry(&provided.name).or_insert(&package.name);
        }
    }
    for package in packages {
        providers.insert(&package.name, &package.name);
    }
    let mut text = String::from("digraph images {\n\trankdir=LR;\n");
    let _ = writeln!(text, "\t{};", quoted(file));
    for package in packages {
        let label = format!("{} {}", package.name, package.version);
        let _ = writeln!(
            text,
            "\t{} [label={}, tooltip={}];",
            quoted(&package.name),
            quoted(&label),
            quoted(&package.description)
        );
    }
    let mut add = |from: &str, to: &str| {
        if from != to && (!tree || reached.insert(to.to_owned())) {
            edges.insert((from.to_owned(), to.to_owned()));
        }
    };
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for term in terms.iter().filter(|term| !term.term.conflict) {
        let name = term.term.name.as_str();
        add(file, name);
        names.insert(name);
    }
    for package in packages {
        for term in package.depends.iter().filter(|term| !term.conflict) {
            add(&package.name, &term.name);
            names.insert(&term.name);
        }
    }
    // What is only provided leads to who provides it.
    for name in names {
        if let Some(provider) = providers.get(name).filter(|provider| **provider != name) {
            let _ = writeln!(text, "\t{} [shape=rect];", quoted(name));
            add(name, provider);
        }
    }
    for (from, to) in edges {
        let _ = writeln!(text, "\t{} -> {};", quoted(&from), quoted(&to));
    }
    text.push_str("}\n");
    text
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', " ")
    )
}

#[cfg(test)]
mod tests {
    use apk::dependency::Dependency;

    use super::*;

    #[test]
    fn a_graph_names_what_is_needed_and_provided() {
        let package = |name: &str, depends: &str, provides: &str| PackageInfo {
            name: name.to_owned(),
            version: "1-r0".to_owned(),
            description: format!("the \"{name}\""),
            depends: Dependency::parse_list(depends).unwrap(),
            provides: Dependency::parse_list(provides).unwrap(),
            ..PackageInfo::default()
        };
        let packages = [
            package("hello", "so:libc.so.6 base !dash", ""),
            package("base", "", ""),
            package("glibc", "base", "so:libc.so.6=6"),
        ];
        let packages: Vec<&PackageInfo> = packages.iter().collect();
        let terms = [PackageTerm::of(Dependency::any("hello"))];
        insta::assert_snapshot!(graph("a.yaml", &terms, &packages, false), @r#"
        digraph images {
        	rankdir=LR;
        	"a.yaml";
        	"hello" [label="hello 1-r0", tooltip="the \"hello\""];
        	"base" [label="base 1-r0", tooltip="the \"base\""];
        	"glibc" [label="glibc 1-r0", tooltip="the \"glibc\""];
        	"so:libc.so.6" [shape=rect];
        	"a.yaml" -> "hello";
        	"glibc" -> "base";
        	"hello" -> "base";
        	"hello" -> "so:libc.so.6";
        	"so:libc.so.6" -> "glibc";
        }
        "#);
        let tree = graph("a.yaml", &terms, &packages, true);
        assert_eq!(tree.matches("-> \"base\"").count(), 1);
    }
}
