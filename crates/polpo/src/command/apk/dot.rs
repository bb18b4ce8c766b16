use std::fmt::Write as _;
use std::process::ExitCode;

use apk::query::{Field, Fields, Graph, GraphItem};
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node};
use super::making::REFUSED;
use super::question::{From, InstalledOnly, Query, Question, Recursive, print, unreadable};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Draw only what is missing, and rings
    #[arg(long)]
    errors: bool,
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
    /// Names or patterns; without one, all packages
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let words: Vec<String> = arguments
        .words
        .iter()
        .filter(|word| !word.is_empty())
        .cloned()
        .collect();
    let mut question = Question::new(&arguments.query, &words);
    // Unless it is asked for, what is installed is not looked at.
    question.from = From::Repositories;
    question.installed(arguments.installed.installed);
    question.recursive(arguments.recursive);
    question.selection.everything = true;
    let names = Fields::of(&[Field::Name, Field::Provides]);
    question.selection.fields = question.selection.fields.union(names);
    let opened = question.open(context).await?;
    opened.with_population(|population| {
        let Some(selected) = opened.select(context, population, &question)? else {
            return Ok(ExitCode::from(REFUSED));
        };
        let graph = population
            .graph(&selected, question.selection.installed, arguments.errors)
            .map_err(unreadable)?;
        match arguments.query.format {
            Layout::Default if graph.items.is_empty() => {}
            Layout::Default => print(drawing(&graph))?,
            layout => print(document(&graph).to_text(layout))?,
        }
        Ok(ExitCode::from(u8::from(graph.items.is_empty())))
    })
}

/// The graph in graphviz's language.
fn drawing(graph: &Graph) -> String {
    let mut out = String::from("digraph \"apkindex\" {\n  rankdir=LR;\n  node [shape=box];\n");
    for item in &graph.items {
        // Writing to a string can't fail.
        let _ = match item {
            GraphItem::Missing { name } => writeln!(
                out,
                "  \"{name}\" [style=dashed, color=red, fontcolor=red, shape=octagon];"
            ),
            GraphItem::Unsatisfied { package, name } => {
                writeln!(out, "  \"{package}\" -> \"{name}\" [color=red];")
            }
            GraphItem::Ungrammatical {
                package,
                name,
                term,
                provided,
            } => {
                let head = if *provided { "inv" } else { "normal" };
                writeln!(
                    out,
                    "  \"{package}\" -> \"{name}\" [arrowhead={head},style=dashed,color=red,fontcolor=red,label=\"{term}\"];"
                )
            }
            GraphItem::Depends {
                package,
                on,
                ring,
                provided,
            } => {
                let colour = if *ring { "color=red," } else { "" };
                let label = match provided {
                    Some(name) => format!("arrowhead=inv,label=\"{name}\","),
                    None => String::new(),
                };
                writeln!(out, "  \"{package}\" -> \"{on}\"[{colour}{label}];")
            }
        };
    }
    out.push_str("}\n");
    out
}

fn document(graph: &Graph) -> Node {
    let mut missing = Vec::new();
    let mut edges = Vec::new();
    for item in &graph.items {
        let text = |text: &str| Node::Text(text.to_owned());
        match item {
            GraphItem::Missing { name } => missing.push(text(name)),
            GraphItem::Unsatisfied { package, name } => edges.push(Node::Object(vec![
                ("package", text(package)),
                ("missing", text(name)),
            ])),
            GraphItem::Ungrammatical { package, term, .. } => edges.push(Node::Object(vec![
                ("package", text(package)),
                ("ungrammatical", text(term)),
            ])),
            GraphItem::Depends {
                package,
                on,
                ring,
                provided,
            } => {
                let mut fields = vec![("package", text(package)), ("depends-on", text(on))];
                fields.extend(provided.as_deref().map(|name| ("provided", text(name))));
                if *ring {
                    fields.push(("ring", Node::Text("yes".to_owned())));
                }
                edges.push(Node::Object(fields));
            }
        }
    }
    Node::Object(vec![
        ("missing", Node::list(missing)),
        ("edges", Node::list(edges)),
    ])
}
