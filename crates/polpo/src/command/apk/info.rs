use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use apk::dependency::Dependency;
use apk::package::TermList;
use apk::query::{Field, Fields, PackageId, Population, ReverseField, Telling};
use apk::serialize::whole_size;
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node};
use super::making::REFUSED;
use super::query::answer;
use super::question::{Opened, Query, Question, absolute, count_code, print, unreadable};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print all that is known
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    all: bool,
    /// Print the files of the package
    #[arg(long, short = 'L', overrides_with_all = ["exists", "installed", "who_owns"])]
    contents: bool,
    /// Print what the package depends on
    #[arg(long, short = 'R', overrides_with_all = ["exists", "installed", "who_owns"])]
    depends: bool,
    /// Print the description
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    description: bool,
    /// Print the names of the packages that are installed; the exit code counts those that are not
    #[arg(long, short, overrides_with = "who_owns")]
    exists: bool,
    /// The same as --exists
    #[arg(long, hide = true, overrides_with = "who_owns")]
    installed: bool,
    /// Print what has the package installed unasked
    #[arg(long, overrides_with_all = ["exists", "installed", "who_owns"])]
    install_if: bool,
    /// Print the licence
    #[arg(long, overrides_with_all = ["exists", "installed", "who_owns"])]
    license: bool,
    /// Print what the package provides
    #[arg(long, short = 'P', overrides_with_all = ["exists", "installed", "who_owns"])]
    provides: bool,
    /// Print the installed packages that depend on the package
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    rdepends: bool,
    /// Print whose files the package may overwrite
    #[arg(long, overrides_with_all = ["exists", "installed", "who_owns"])]
    replaces: bool,
    /// Print the installed packages that the package has had installed
    #[arg(long, overrides_with_all = ["exists", "installed", "who_owns"])]
    rinstall_if: bool,
    /// Print the installed size
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    size: bool,
    /// Print the package's triggers
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    triggers: bool,
    /// Print the web page
    #[arg(long, short, overrides_with_all = ["exists", "installed", "who_owns"])]
    webpage: bool,
    /// Print the packages that own these paths
    #[arg(long, short = 'W')]
    who_owns: bool,
    /// QUERY are constraints: describe what satisfies them, with all that it needs
    #[arg(long)]
    recursive: bool,
    #[command(flatten)]
    query: Query,
    /// Names or patterns; paths with --who-owns; without one, all installed packages are listed
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
}

impl Arguments {
    /// The fields that single options ask for.
    fn asked(&self) -> Fields {
        let mut fields = Fields::NONE;
        for (asked, field) in [
            (self.contents, Field::Contents),
            (self.depends, Field::Depends),
            (self.description, Field::Description),
            (self.install_if, Field::InstallIf),
            (self.license, Field::License),
            (self.provides, Field::Provides),
            (self.rdepends, Field::ReverseDepends),
            (self.replaces, Field::Replaces),
            (self.rinstall_if, Field::ReverseInstallIf),
            (self.size, Field::InstalledSize),
            (self.triggers, Field::Triggers),
            (self.webpage, Field::Url),
        ] {
            if asked {
                fields = fields.with(field);
            }
        }
        if self.all { Fields::ALL } else { fields }
    }

    fn telling(&self, question: &Question<'_>) -> Telling {
        let told = question.query.summarize.or(question.query.fields);
        let mut fields = self.asked();
        if let Some(told) = told {
            fields = fields.union(told.fields);
        }
        if fields.is_empty() {
            fields = Fields::of(&[Field::Description, Field::Url, Field::InstalledSize]);
        }
        Telling {
            fields: match question.query.summarize {
                Some(_) => fields,
                None => fields.with(Field::Name).with(Field::Version),
            },
            reverse: told
                .and_then(|told| told.reverse)
                .unwrap_or(ReverseField::Package),
            installed_only: true,
        }
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let mut question = Question::new(&arguments.query, &arguments.words);
    question.recursive |= arguments.recursive;
    if arguments.who_owns || arguments.exists || arguments.installed {
        question.repositories = false;
        let opened = question.open(context).await?;
        return opened.with_population(|population| match arguments.who_owns {
            true => who_owns(arguments, context, &opened, population),
            false => exists(arguments, context, population),
        });
    }
    question.selection.all_matches = true;
    let listing = arguments.words.is_empty();
    if listing {
        question.selection.installed = true;
        question.selection.everything = true;
    }
    if question.selection.fields.is_empty() {
        question.selection.fields = Fields::of(&[Field::Name, Field::Provides]);
    }
    let telling = arguments.telling(&question);
    let opened = question.open(context).await?;
    let for_people =
        question.query.format == Layout::Default && (listing || context.global.legacy_info.on());
    opened.with_population(|population| {
        if !for_people || question.query.summarize.is_some() {
            return answer(context, &opened, population, &question, &telling);
        }
        let Some(selected) = opened.select(context, population, &question)? else {
            return Ok(ExitCode::from(REFUSED));
        };
        let mut teller = Teller {
            population,
            verbosity: context.console.verbosity(),
            out: String::new(),
        };
        let mut partial = false;
        for package in selected.sorted(population) {
            if listing {
                teller.one_line(package, 1)?;
            } else {
                partial |= teller.sections(package, telling.fields)?;
            }
        }
        print(teller.out)?;
        if selected.missing == 0 && partial && telling.fields == Fields::ALL {
            return Ok(ExitCode::from(1));
        }
        Ok(count_code(selected.missing))
    })
}

fn exists(
    arguments: &Arguments,
    context: &Context<'_>,
    population: &Population<'_>,
) -> Result<ExitCode, Failure> {
    let mut teller = Teller {
        population,
        verbosity: context.console.verbosity(),
        out: String::new(),
    };
    let mut missing = 0;
    let mut found = Vec::new();
    for word in &arguments.words {
        // apk passes over what is no dependency.
        let Ok(term) = Dependency::parse(word) else {
            continue;
        };
        let (provider, satisfies) = population.installed_provider(&term).map_err(unreadable)?;
        match provider.filter(|_| satisfies) {
            Some(package) => {
                teller.one_line(package, 0)?;
                found.push(population.label(package));
            }
            None => missing += usize::from(!satisfies),
        }
    }
    print(match arguments.query.format {
        Layout::Default => teller.out,
        layout => Node::texts(found).to_text(layout),
    })?;
    Ok(count_code(missing))
}

fn who_owns(
    arguments: &Arguments,
    context: &Context<'_>,
    opened: &Opened,
    population: &Population<'_>,
) -> Result<ExitCode, Failure> {
    let verbosity = context.console.verbosity();
    let layout = arguments.query.format;
    let told = arguments.query.fields;
    let asked = arguments.asked();
    let fields = told.map_or(asked, |told| asked.union(told.fields));
    let telling = Telling {
        fields: match fields.is_empty() {
            true => Fields::of(&[Field::Query, Field::PathTarget, Field::Error, Field::Name]),
            false => fields,
        },
        reverse: told
            .and_then(|told| told.reverse)
            .unwrap_or(ReverseField::Package),
        installed_only: true,
    };
    let mut unowned = 0;
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut nodes = Vec::new();
    for word in &arguments.words {
        let path = absolute(word);
        let owner = opened.owner(population, &path);
        if layout != Layout::Default {
            nodes.push(ownership(population, &path, owner, &telling)?);
            continue;
        }
        match owner {
            None => {
                context
                    .console
                    .error(&format!("{path}: Could not find owner package"));
                unowned += 1;
            }
            Some((package, _)) if verbosity == 0 => {
                names.insert(population.name(package).to_owned());
            }
            Some((package, target)) => {
                let link = if target.is_some() {
                    "symlink target "
                } else {
                    ""
                };
                context.console.line(&format!(
                    "{path} {link}is owned by {}",
                    population.label(package)
                ));
            }
        }
    }
    if layout == Layout::Default {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by(|left, right| apk::query::compare_names(left, right));
        print(names.iter().map(|name| format!("{name}\n")).collect())?;
    } else {
        print(Node::list(nodes).to_text(layout))?;
    }
    Ok(count_code(unowned))
}

fn ownership(
    population: &Population<'_>,
    path: &str,
    owner: Option<(PackageId, Option<String>)>,
    telling: &Telling,
) -> Result<Node, Failure> {
    let mut fields = Vec::new();
    if telling.fields.has(Field::Query) {
        fields.push((Field::Query.key(), Node::Text(path.to_owned())));
    }
    let Some((package, target)) = owner else {
        let reason = Node::Text("owner not found".to_owned());
        fields.push((Field::Error.key(), reason));
        return Ok(Node::Object(fields));
    };
    if let Some(target) = target.filter(|_| telling.fields.has(Field::PathTarget)) {
        fields.push((Field::PathTarget.key(), Node::Text(target)));
    }
    let (description, _) = population.describe(package, telling).map_err(unreadable)?;
    if let Node::Object(told) = Node::description(description) {
        fields.extend(told);
    }
    Ok(Node::Object(fields))
}

/// Tells of packages as `info` always has.
struct Teller<'t, 'a> {
    population: &'t Population<'a>,
    verbosity: u8,
    out: String,
}

impl Teller<'_, '_> {
    fn one_line(&mut self, package: PackageId, at_least: u8) -> Result<(), Failure> {
        let verbosity = self.verbosity.max(at_least);
        if verbosity == 0 {
            return Ok(());
        }
        let population = self.population;
        self.out.push_str(population.name(package));
        // Writing to a string can't fail.
        if verbosity > 1 {
            let _ = write!(self.out, "-{}", population.version(package));
        }
        if verbosity > 2 {
            let entry = population.entry(package).map_err(unreadable)?;
            let _ = write!(self.out, " - {}", entry.info.description);
        }
        self.out.push('\n');
        Ok(())
    }

    /// Whether something that was asked for can't be known, as the package isn't installed.
    fn sections(&mut self, package: PackageId, fields: Fields) -> Result<bool, Failure> {
        let population = self.population;
        let mut fields = fields;
        let mut partial = false;
        if !population.is_installed(package) {
            let installed = Fields::INSTALLED
                .with(Field::ReverseDepends)
                .with(Field::ReverseInstallIf);
            partial = fields.intersects(installed);
            fields = fields.without(installed);
        }
        let entry = population.entry(package).map_err(unreadable)?;
        let info = &entry.info;
        let labels = |packages: Vec<PackageId>| -> Vec<String> {
            packages
                .into_iter()
                .map(|id| population.label(id))
                .collect()
        };
        let texts = |list| -> Vec<String> {
            let terms = info.as_written(list);
            terms.map(Dependency::to_string).collect()
        };
        let own = [
            (Field::Description, "description", info.description.clone()),
            (Field::Url, "webpage", info.url.clone()),
            (
                Field::InstalledSize,
                "installed size",
                whole_size(info.installed_size),
            ),
        ];
        for (field, title, text) in own {
            if fields.has(field) {
                self.text(package, title, &text);
            }
        }
        if fields.has(Field::Depends) {
            self.words(package, "depends on", texts(TermList::Depends));
        }
        if fields.has(Field::Provides) {
            self.words(package, "provides", texts(TermList::Provides));
        }
        if fields.has(Field::ReverseDepends) {
            let found = population
                .reverse_depends(package, true)
                .map_err(unreadable)?;
            self.words(package, "is required by", labels(found));
        }
        if fields.has(Field::Contents) {
            self.lines(package, "contains", "", &population.paths(package));
        }
        if fields.has(Field::Triggers) {
            self.lines(package, "triggers", "trigger ", &info.triggers);
        }
        if fields.has(Field::InstallIf) {
            self.words(package, "has auto-install rule", texts(TermList::InstallIf));
        }
        if fields.has(Field::ReverseInstallIf) {
            let found = population
                .installed_because_of(package)
                .map_err(unreadable)?;
            self.words(package, "affects auto-installation of", labels(found));
        }
        if fields.has(Field::Replaces) {
            self.words(package, "replaces", texts(TermList::Replaces));
        }
        if fields.has(Field::License) {
            self.text(package, "license", &info.license());
        }
        Ok(partial)
    }

    // Writing to a string can't fail.
    fn text(&mut self, package: PackageId, title: &str, text: &str) {
        let population = self.population;
        let _ = match self.verbosity > 1 {
            true => writeln!(self.out, "{}: {text}", population.name(package)),
            false => writeln!(self.out, "{} {title}:\n{text}\n", population.label(package)),
        };
    }

    fn begin(&mut self, package: PackageId, title: &str) {
        if self.verbosity == 1 {
            let _ = writeln!(self.out, "{} {title}:", self.population.label(package));
        }
    }

    /// One a line, or all in one line after the name with `-v`.
    fn words(&mut self, package: PackageId, title: &str, words: Vec<String>) {
        self.begin(package, title);
        let mut separator = '\n';
        if self.verbosity > 1 {
            separator = ' ';
            let _ = write!(self.out, "{}: ", self.population.name(package));
        }
        for word in words {
            self.out.push_str(&word);
            self.out.push(separator);
        }
        self.out.push('\n');
    }

    /// One a line, each after the name with `-v`.
    fn lines(&mut self, package: PackageId, title: &str, mark: &str, lines: &[String]) {
        self.begin(package, title);
        for line in lines {
            let _ = match self.verbosity > 1 {
                true => writeln!(self.out, "{}: {mark}{line}", self.population.name(package)),
                false => writeln!(self.out, "{line}"),
            };
        }
        self.out.push('\n');
    }
}
