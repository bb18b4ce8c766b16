//! A recipe compiled: melange's format again, with nothing left to look up or to decide.
//!
//! The keys are those of a recipe, as in the JSON of `melange compile`, so that programs which read
//! that read this. What it says is the resolved recipe's: steps and subpackages whose conditions
//! don't hold are gone, pipelines are spelled out, variables have their values everywhere.

use std::collections::BTreeMap;

use base::Problem;
use serde::{Serialize, Serializer};
use yaml::Item;

use super::resolve::{ENVIRONMENT, ResolveOptions, Resolved};
use super::resolved::{
    Accounts, Action, Copyright, Cpe, FileCapabilities, GuestRequest, HOME, PackageOptions,
    ResolvedPackage, ResolvedSubpackage, ResolvedTest, Scriptlets, Step,
};
use super::shape::Shape;
use super::substitute::{Place, Scope, substitute_prose};
use super::validate::FILE_CAPABILITIES;
use super::written::{Contents, Recipe};

/// Serializes an item, mappings in their order.
#[derive(Clone, Copy, Debug)]
pub struct Serialized<'i>(pub &'i Item);

impl Serialize for Serialized<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Item::Null => serializer.serialize_unit(),
            Item::Bool(value) => serializer.serialize_bool(*value),
            Item::Integer(value) => serializer.serialize_i64(*value),
            Item::Text(text) => serializer.serialize_str(text),
            Item::List(items) => serializer.collect_seq(items.iter().map(Serialized)),
            Item::Map(entries) => {
                let entries = entries.iter();
                serializer.collect_map(entries.map(|(key, item)| (key, Serialized(item))))
            }
        }
    }
}

impl Recipe {
    /// The recipe compiled for one architecture: a mapping with the keys of a recipe.
    ///
    /// # Errors
    /// As [`Recipe::resolve`].
    pub fn compile(&self, options: &ResolveOptions<'_>) -> Result<Item, Vec<Problem>> {
        self.compile_with_warnings(options)
            .map(|(compiled, _)| compiled)
    }

    /// As [`Recipe::compile`]; the second value holds what is worth a warning.
    ///
    /// # Errors
    /// As [`Recipe::resolve`].
    pub fn compile_with_warnings(
        &self,
        options: &ResolveOptions<'_>,
    ) -> Result<(Item, Vec<Problem>), Vec<Problem>> {
        let resolved = self.resolve_with_scope(options)?;
        Ok((compiled(self, &resolved), resolved.warnings))
    }
}

/// Entries of a mapping; those without a value are left out.
#[derive(Default)]
struct Entries(Vec<(String, Item)>);

impl Entries {
    fn add(&mut self, key: &str, value: impl Into<Item>) {
        self.0.push((key.to_owned(), value.into()));
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.add(key, text);
        }
    }

    fn optional(&mut self, key: &str, text: Option<&String>) {
        self.text(key, text.map_or("", String::as_str));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.add(key, texts.to_vec());
        }
    }

    fn texts_by_name<'m>(
        &mut self,
        key: &str,
        texts: impl IntoIterator<Item = (&'m String, &'m String)>,
    ) {
        let entries: Vec<(String, Item)> = texts
            .into_iter()
            .map(|(key, value)| (key.clone(), Item::Text(value.clone())))
            .collect();
        if !entries.is_empty() {
            self.add(key, Item::Map(entries));
        }
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.add(key, true);
        }
    }

    fn list<T>(&mut self, key: &str, values: &[T], item: impl Fn(&T) -> Item) {
        if !values.is_empty() {
            self.add(key, Item::List(values.iter().map(item).collect()));
        }
    }

    fn shape(&mut self, key: &str, shape: &impl Shape) {
        self.0
            .extend(shape.item().map(|item| (key.to_owned(), item)));
    }

    fn map(&mut self, key: &str, entries: Entries) {
        if !entries.0.is_empty() {
            self.add(key, Item::Map(entries.0));
        }
    }
}

impl From<Entries> for Item {
    fn from(entries: Entries) -> Item {
        Item::Map(entries.0)
    }
}

fn compiled(recipe: &Recipe, resolved: &Resolved) -> Item {
    let (written, scope) = (&recipe.contents, &resolved.scope);
    let resolved = &resolved.recipe;
    let mut entries = Entries::default();
    entries.add(
        "package",
        main_package(written, &resolved.package, recipe, scope),
    );
    entries.map("environment", guest(&resolved.environment));
    let mut capabilities = Entries::default();
    capabilities.texts("add", &resolved.capabilities.add);
    capabilities.texts("drop", &resolved.capabilities.drop);
    entries.map("capabilities", capabilities);
    entries.list("pipeline", &resolved.steps, step);
    entries.list("subpackages", &resolved.subpackages, subpackage);
    if let Some(mut update) = written.update.clone() {
        replace(&mut update, recipe, scope);
        let mut update = Entries(match update.item() {
            Some(Item::Map(entries)) => entries,
            _ => Vec::new(),
        });
        if update.0.first().is_none_or(|(key, _)| key != "enabled") {
            update
                .0
                .insert(0, ("enabled".to_owned(), Item::Bool(false)));
        }
        entries.map("update", update);
    }
    let names = written.vars.iter().map(|(name, _)| &name.value);
    let values: BTreeMap<&String, String> = names
        .filter_map(|name| {
            let value = scope.get(&format!("vars.{name}"))??;
            Some((name, value.to_owned()))
        })
        .collect();
    entries.texts_by_name("vars", values.iter().map(|(name, value)| (*name, value)));
    if let Some(test) = &resolved.test {
        entries.map("test", self::test(test));
    }
    entries.into()
}

/// Gives variables their values in a part that nothing executes; the unknown stays as it stands.
fn replace(part: &mut impl Shape, recipe: &Recipe, scope: &Scope<'_>) {
    let place = Place {
        source: &recipe.source,
        used_by: None,
    };
    part.change_texts(&mut |text| {
        text.value = substitute_prose(text, scope, place, &mut Vec::new());
    });
}

fn main_package(
    contents: &Contents,
    package: &ResolvedPackage,
    recipe: &Recipe,
    scope: &Scope<'_>,
) -> Item {
    let written = &contents.package;
    let mut entries = Entries::default();
    entries.text("name", &package.name);
    entries.text("version", &package.version);
    let epoch = i64::try_from(package.epoch).unwrap_or(i64::MAX);
    entries.add("epoch", epoch);
    entries.text("description", &package.description);
    entries.texts_by_name("annotations", &package.annotations);
    entries.text("url", &package.url);
    entries.text("commit", &package.commit);
    let mut architectures = written.target_architecture.clone();
    replace(&mut architectures, recipe, scope);
    entries.shape("target-architecture", &architectures);
    entries.list("copyright", &package.licenses, copyright);
    about(&mut entries, package);
    if let Some(cpe) = &package.cpe {
        entries.map("cpe", self::cpe(cpe));
    }
    entries.shape("timeout", &written.timeout);
    entries.shape("resources", &written.resources);
    entries.shape("test-resources", &written.test_resources);
    entries.into()
}

fn subpackage(subpackage: &ResolvedSubpackage) -> Item {
    let package = &subpackage.package;
    let mut entries = Entries::default();
    entries.text("name", &package.name);
    entries.list("pipeline", &subpackage.steps, step);
    about(&mut entries, package);
    entries.text("description", &package.description);
    entries.texts_by_name("annotations", &package.annotations);
    entries.text("url", &package.url);
    entries.text("commit", &package.commit);
    if let Some(test) = &subpackage.test {
        entries.map("test", self::test(test));
    }
    entries.into()
}

/// What main packages and subpackages have alike.
fn about(entries: &mut Entries, package: &ResolvedPackage) {
    let mut dependencies = Entries::default();
    dependencies.texts("runtime", &package.runtime);
    dependencies.texts("provides", &package.provides);
    dependencies.texts("replaces", &package.replaces);
    for (key, priority) in [
        ("provider-priority", package.provider_priority),
        ("replaces-priority", package.replaces_priority),
    ] {
        if let Some(priority) = priority {
            dependencies.add(key, priority.to_string());
        }
    }
    entries.map("dependencies", dependencies);
    entries.map("options", options(package.options));
    entries.map("scriptlets", scriptlets(&package.scriptlets));
    let mut checks = Entries::default();
    checks.texts("disabled", &package.disabled_checks);
    entries.map("checks", checks);
    entries.list("setcap", &package.setcap, capabilities);
}

fn copyright(copyright: &Copyright) -> Item {
    let mut entries = Entries::default();
    entries.texts("paths", &copyright.paths);
    entries.text("attestation", &copyright.attestation);
    entries.text("license", &copyright.license);
    entries.text("license-path", &copyright.license_path);
    entries.text("detection-override", &copyright.detection_override);
    entries.into()
}

fn options(options: PackageOptions) -> Entries {
    let mut entries = Entries::default();
    entries.flag("no-provides", options.no_provides);
    entries.flag("no-depends", options.no_depends);
    entries.flag("no-commands", options.no_commands);
    entries.flag("no-versioned-shlib-deps", options.no_versioned_shlib_deps);
    entries
}

fn scriptlets(scriptlets: &Scriptlets) -> Entries {
    let mut entries = Entries::default();
    if let Some(trigger) = &scriptlets.trigger {
        let mut inner = Entries::default();
        inner.text("script", &trigger.script);
        inner.texts("paths", &trigger.paths);
        entries.map("trigger", inner);
    }
    entries.optional("pre-install", scriptlets.pre_install.as_ref());
    entries.optional("post-install", scriptlets.post_install.as_ref());
    entries.optional("pre-deinstall", scriptlets.pre_deinstall.as_ref());
    entries.optional("post-deinstall", scriptlets.post_deinstall.as_ref());
    entries.optional("pre-upgrade", scriptlets.pre_upgrade.as_ref());
    entries.optional("post-upgrade", scriptlets.post_upgrade.as_ref());
    entries
}

fn capabilities(file: &FileCapabilities) -> Item {
    let mut add: BTreeMap<String, String> = BTreeMap::new();
    for (name, bit) in FILE_CAPABILITIES {
        let sets: String = [
            ('e', file.effective),
            ('i', file.inheritable),
            ('p', file.permitted),
        ]
        .into_iter()
        .filter(|(_, mask)| mask & (1 << bit) != 0)
        .map(|(set, _)| set)
        .collect();
        if !sets.is_empty() {
            add.insert(name.to_owned(), format!("+{sets}"));
        }
    }
    let mut entries = Entries::default();
    entries.add("path", format!("/{}", file.path));
    entries.texts_by_name("add", &add);
    entries.text("reason", &file.reason);
    entries.into()
}

fn cpe(cpe: &Cpe) -> Entries {
    let mut entries = Entries::default();
    entries.optional("part", cpe.part.as_ref());
    entries.text("vendor", &cpe.vendor);
    entries.text("product", &cpe.product);
    entries.optional("edition", cpe.edition.as_ref());
    entries.optional("language", cpe.language.as_ref());
    entries.optional("sw_edition", cpe.sw_edition.as_ref());
    entries.optional("target_sw", cpe.target_sw.as_ref());
    entries.optional("target_hw", cpe.target_hw.as_ref());
    entries.optional("other", cpe.other.as_ref());
    entries
}

fn test(test: &ResolvedTest) -> Entries {
    let mut entries = Entries::default();
    entries.map("environment", guest(&test.environment));
    entries.list("pipeline", &test.steps, step);
    entries
}

fn guest(guest: &GuestRequest) -> Entries {
    let mut contents = Entries::default();
    contents.texts("repositories", &guest.repositories);
    contents.texts("keyring", &guest.keyring);
    contents.texts("packages", &guest.packages);
    let mut entries = Entries::default();
    entries.map("contents", contents);
    entries.map("accounts", accounts(&guest.accounts));
    // The search path belongs to the steps: a guest has one whatever the recipe says.
    let usual = |name: &str, value: &str| name == "PATH" && ENVIRONMENT.contains(&(name, value));
    let environment = guest.environment.iter();
    entries.texts_by_name(
        "environment",
        environment.filter(|(name, value)| !usual(name, value)),
    );
    entries
}

fn accounts(accounts: &Accounts) -> Entries {
    let mut entries = Entries::default();
    entries.optional("run-as", accounts.run_as.as_ref());
    entries.list("users", &accounts.users, |user| {
        let mut entries = Entries::default();
        entries.text("username", &user.name);
        entries.add("uid", user.uid);
        entries.add("gid", user.gid);
        entries.text("shell", &user.shell);
        entries.text("homedir", &user.home);
        entries.into()
    });
    entries.list("groups", &accounts.groups, |group| {
        let mut entries = Entries::default();
        entries.text("groupname", &group.name);
        entries.add("gid", group.gid);
        entries.texts("members", &group.members);
        entries.into()
    });
    entries
}

fn step(step: &Step) -> Item {
    let mut entries = Entries::default();
    let is_made_up = step.uses.as_ref() == Some(&step.name)
        || step.name.strip_prefix("step ").is_some_and(|number| {
            number
                .chars()
                .all(|character| character.is_ascii_digit() || character == '.')
        });
    if !is_made_up {
        entries.text("name", &step.name);
    }
    entries.optional("uses", step.uses.as_ref());
    entries.texts_by_name("with", &step.with);
    if let Action::Run { script } = &step.action {
        entries.text("runs", script);
    }
    entries.list("pipeline", &step.steps, self::step);
    if let Some(required) = step.required_steps {
        let mut assertions = Entries::default();
        let required = i64::try_from(required).unwrap_or(i64::MAX);
        assertions.add("required-steps", required);
        entries.map("assertions", assertions);
    }
    if step.working_directory != HOME {
        entries.text("working-directory", &step.working_directory);
    }
    entries.texts_by_name("environment", &step.environment);
    entries.into()
}
