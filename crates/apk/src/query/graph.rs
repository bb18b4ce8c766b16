use std::collections::BTreeSet;

use super::population::{PackageId, Population};
use super::relations::Provider;
use super::selection::Selected;
use crate::catalogue::CatalogueError;
use crate::dependency::Dependency;
use crate::package::TermList;

/// A graph of dependencies: its lines in the order in which apk draws them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Nodes and edges.
    pub items: Vec<GraphItem>,
}

/// A line of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphItem {
    /// A name that no package has or provides, or that a term which follows no grammar speaks of;
    /// it comes once.
    Missing {
        /// The name.
        name: String,
    },
    /// A package depends on a name that no package has or provides.
    Unsatisfied {
        /// `name-version` of the package.
        package: String,
        /// The name.
        name: String,
    },
    /// A package needs or provides a name in a version that follows no grammar.
    Ungrammatical {
        /// `name-version` of the package.
        package: String,
        /// The name, or nothing where the term has none.
        name: String,
        /// The whole term.
        term: String,
        /// Whether the package provides it.
        provided: bool,
    },
    /// A package depends on another.
    Depends {
        /// `name-version` of the package.
        package: String,
        /// `name-version` of the other.
        on: String,
        /// Whether the dependencies of the other lead back to what is being drawn.
        ring: bool,
        /// The name that the other provides, where it isn't its own.
        provided: Option<String>,
    },
}

/// How far a package is drawn.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Untouched,
    /// Its dependencies are being drawn; that many led back to it.
    Open(u32),
    Drawn,
}

/// What is to be drawn of a package, in order.
enum Step {
    Nothing {
        name: String,
    },
    Ungrammatical {
        name: String,
        term: String,
        provided: bool,
    },
    To {
        package: PackageId,
        provided: Option<String>,
    },
}

/// A package whose dependencies are being drawn.
struct Frame {
    package: PackageId,
    steps: std::vec::IntoIter<Step>,
    /// How often something led back to a package that is open.
    rings: u32,
    /// The edge that leads to the package drawn next.
    edge: Option<(PackageId, Option<String>)>,
}

struct Drawing<'p, 'a> {
    population: &'p Population<'a>,
    installed_only: bool,
    errors_only: bool,
    states: Vec<State>,
    missing: BTreeSet<String>,
    graph: Graph,
}

impl<'a> Population<'a> {
    /// Draws what the packages that were selected depend on, and what those depend on in turn:
    /// all, or with `errors_only` rings and what is missing. With `installed_only`, packages that
    /// are not installed satisfy nothing.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn graph(
        &self,
        selected: &Selected,
        installed_only: bool,
        errors_only: bool,
    ) -> Result<Graph, CatalogueError> {
        let mut drawing = Drawing {
            population: self,
            installed_only,
            errors_only,
            states: vec![State::Untouched; self.len()],
            missing: BTreeSet::new(),
            graph: Graph::default(),
        };
        for found in self.in_table_order(selected)? {
            drawing.draw(found)?;
        }
        Ok(drawing.graph)
    }

    /// The packages as apk comes upon them: for each word by its table of names.
    fn in_table_order(&self, selected: &Selected) -> Result<Vec<PackageId>, CatalogueError> {
        let names = self.relations()?.names();
        let packages = names.flat_map(|name| self.named(name).iter().copied());
        let mut places = vec![0u32; self.len()];
        for (place, package) in (0..).zip(packages) {
            if let Some(known) = places.get_mut(package.0 as usize) {
                *known = place;
            }
        }
        let place = |id: &PackageId| places.get(id.0 as usize).copied();
        let mut begun = 0;
        let mut found = Vec::with_capacity(selected.matches.len());
        for end in selected
            .ends
            .iter()
            .copied()
            .chain([selected.matches.len()])
        {
            let of_word = selected.matches.get(begun..end).unwrap_or_default();
            found.extend(of_word.iter().map(|found| found.package));
            if let Some(of_word) = found.get_mut(begun..) {
                of_word.sort_by_key(place);
            }
            begun = end;
        }
        Ok(found)
    }
}

impl Drawing<'_, '_> {
    /// Draws a package and what it depends on. Chains of strangers can be long, so nothing recurs.
    fn draw(&mut self, package: PackageId) -> Result<(), CatalogueError> {
        if self.state(package) != State::Untouched {
            return Ok(());
        }
        let mut frames = vec![self.open(package)?];
        while let Some(frame) = frames.last_mut() {
            match frame.steps.next() {
                Some(Step::Nothing { name }) => {
                    let package = self.population.label(frame.package);
                    self.missing(&name);
                    let item = GraphItem::Unsatisfied { package, name };
                    self.graph.items.push(item);
                }
                Some(Step::Ungrammatical {
                    name,
                    term,
                    provided,
                }) => {
                    let package = self.population.label(frame.package);
                    self.missing(&name);
                    self.graph.items.push(GraphItem::Ungrammatical {
                        package,
                        name,
                        term,
                        provided,
                    });
                }
                Some(Step::To { package, provided }) => match self.state(package) {
                    State::Drawn => self.edge(frame.package, package, provided, 0),
                    State::Open(hits) => {
                        self.set(package, State::Open(hits + 1));
                        frame.rings += 1;
                        self.edge(frame.package, package, provided, 1);
                    }
                    State::Untouched => {
                        frame.edge = Some((package, provided));
                        let next = self.open(package)?;
                        frames.push(next);
                    }
                },
                None => {
                    let rings = match self.state(frame.package) {
                        // What led back to the package itself ends here.
                        State::Open(hits) => frame.rings.saturating_sub(hits),
                        _ => frame.rings,
                    };
                    self.set(frame.package, State::Drawn);
                    frames.pop();
                    if let Some(before) = frames.last_mut()
                        && let Some((to, provided)) = before.edge.take()
                    {
                        before.rings += rings;
                        self.edge(before.package, to, provided, rings);
                    }
                }
            }
        }
        Ok(())
    }

    /// Draws a name once.
    fn missing(&mut self, name: &str) {
        if self.missing.insert(name.to_owned()) {
            let name = name.to_owned();
            self.graph.items.push(GraphItem::Missing { name });
        }
    }

    fn state(&self, package: PackageId) -> State {
        self.states
            .get(package.0 as usize)
            .copied()
            .unwrap_or_default()
    }

    fn set(&mut self, package: PackageId, state: State) {
        if let Some(known) = self.states.get_mut(package.0 as usize) {
            *known = state;
        }
    }

    fn edge(&mut self, from: PackageId, to: PackageId, provided: Option<String>, rings: u32) {
        if rings > 0 || !self.errors_only {
            self.graph.items.push(GraphItem::Depends {
                package: self.population.label(from),
                on: self.population.label(to),
                ring: rings > 0,
                provided,
            });
        }
    }

    fn open(&mut self, package: PackageId) -> Result<Frame, CatalogueError> {
        self.set(package, State::Open(0));
        let population = self.population;
        let entry = population.entry(package)?;
        let mut steps = Vec::new();
        let broken = |term: &Dependency, provided| {
            term.is_broken().then(|| Step::Ungrammatical {
                name: term.name.clone(),
                term: term.to_string(),
                provided,
            })
        };
        for term in entry.info.as_written(TermList::Depends) {
            steps.extend(broken(term, false));
            if term.conflict {
                continue;
            }
            let providers = population.relations()?.providers(&term.name);
            if providers.is_empty() {
                steps.push(Step::Nothing {
                    name: term.name.clone(),
                });
                continue;
            }
            for provider in providers {
                if self.installed_only && !population.is_installed(provider.package) {
                    continue;
                }
                if self.is_provided(term, provider) {
                    steps.push(Step::To {
                        package: provider.package,
                        provided: (population.name(provider.package) != term.name)
                            .then(|| term.name.clone()),
                    });
                }
            }
        }
        for term in entry.info.as_written(TermList::Provides) {
            steps.extend(broken(term, true));
        }
        Ok(Frame {
            package,
            steps: steps.into_iter(),
            rings: 0,
            edge: None,
        })
    }

    fn is_provided(&self, term: &Dependency, provider: &Provider) -> bool {
        let version = match provider.own {
            true => Some(self.population.version(provider.package)),
            false => provider.version.as_deref(),
        };
        term.matches(version, Some(&self.population.identity(provider.package)))
    }
}
