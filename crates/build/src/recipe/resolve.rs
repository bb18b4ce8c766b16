use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use base::{Arch, Digest, Problem, Severity, did_you_mean};

use super::expand::{Expansion, Surroundings};
use super::library::PipelineLibrary;
use super::resolved::{
    Accounts, Copyright, Cpe, FileCapabilities, Group, GuestRequest, HOME, OUTPUT_FOLDER,
    PackageOptions, ResolvedPackage, ResolvedRecipe, ResolvedSubpackage, ResolvedTest, Scriptlets,
    Trigger, User,
};
use super::substitute::{Place, Scope, condition, substitute, substitute_prose};
use super::syntax::Bash;
use super::text::{Text, TextMap};
use super::validate::{FILE_CAPABILITIES, is_cpe_field};
use super::variables::global_scope;
use super::written::{self, Recipe, Subpackage};

/// The C library that `${{host.triplet.…}}` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Libc {
    /// glibc.
    #[default]
    Gnu,
    /// musl.
    Musl,
}

/// What a recipe is resolved for.
#[derive(Debug)]
pub struct ResolveOptions<'l> {
    /// The architecture.
    pub arch: Arch,
    /// Variables from outside: they replace those of the recipe, not those of build options.
    pub vars: BTreeMap<String, String>,
    /// The build options that are enabled.
    pub build_options: BTreeSet<String>,
    /// Environment variables from outside; the recipe's own win.
    pub environment: BTreeMap<String, String>,
    /// The commit of the repository that holds the recipe, where it names none.
    pub commit: Option<String>,
    /// The C library of the host triplets.
    pub libc: Libc,
    /// Where pipelines are looked for.
    pub pipelines: &'l PipelineLibrary,
    /// Whom to ask whether scripts can be read.
    pub bash: Option<Arc<Bash>>,
}

impl<'l> ResolveOptions<'l> {
    /// Nothing but the architecture and the pipelines.
    pub fn new(arch: Arch, pipelines: &'l PipelineLibrary) -> ResolveOptions<'l> {
        ResolveOptions {
            arch,
            vars: BTreeMap::new(),
            build_options: BTreeSet::new(),
            environment: BTreeMap::new(),
            commit: None,
            libc: Libc::default(),
            pipelines,
            bash: None,
        }
    }
}

/// How many packages a recipe may make.
const PACKAGE_LIMIT: usize = 5_000;

/// Environment variables that a guest has unless the recipe says otherwise.
pub(crate) const ENVIRONMENT: [(&str, &str); 8] = [
    ("HOME", HOME),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin",
    ),
    ("GOPATH", "/home/build/.cache/go"),
    ("GOMODCACHE", "/var/cache/melange/gomodcache"),
    ("UV_CACHE_DIR", "/var/cache/melange/uv"),
    ("PIP_CACHE_DIR", "/var/cache/melange/pip"),
    ("COMPOSER_CACHE_DIR", "/var/cache/melange/composer"),
    ("npm_config_cache", "/var/cache/melange/npm"),
];

/// The value that the variable `name` has in a guest unless the recipe says otherwise.
pub fn usual_variable(name: &str) -> Option<&'static str> {
    let usual = ENVIRONMENT.iter().find(|(known, _)| *known == name)?;
    Some(usual.1)
}

impl Recipe {
    /// What the recipe means for one architecture.
    ///
    /// # Errors
    /// Every problem at once: unknown variables, circles, bad names and versions, pipelines that
    /// can't be found, inputs that are missing or unknown, conditions that can't be read.
    pub fn resolve(&self, options: &ResolveOptions<'_>) -> Result<ResolvedRecipe, Vec<Problem>> {
        self.resolve_with_warnings(options)
            .map(|(resolved, _)| resolved)
    }

    /// As [`Recipe::resolve`]; the second value holds what is worth a warning.
    ///
    /// # Errors
    /// Every problem at once, warnings included, if one of them is an error.
    pub fn resolve_with_warnings(
        &self,
        options: &ResolveOptions<'_>,
    ) -> Result<(ResolvedRecipe, Vec<Problem>), Vec<Problem>> {
        let resolved = self.resolve_with_scope(options)?;
        Ok((resolved.recipe, resolved.warnings))
    }

    pub(crate) fn resolve_with_scope(
        &self,
        options: &ResolveOptions<'_>,
    ) -> Result<Resolved, Vec<Problem>> {
        let mut problems = Vec::new();
        let scope = global_scope(self, options, &mut problems);
        let mut resolver = Resolver {
            recipe: self,
            options,
            problems,
        };
        let (recipe, scope) = resolver.recipe(scope);
        let mut problems = resolver.problems;
        problems.sort_by_key(|problem| {
            // Problems of the recipe itself first, in the order of the file.
            let own = problem.source.as_ref() == Some(&self.source);
            (!own, problem.labels.first().map(|label| label.span.start))
        });
        problems.dedup();
        let failed = problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        if failed {
            Err(problems)
        } else {
            Ok(Resolved {
                recipe,
                scope,
                warnings: problems,
            })
        }
    }
}

/// A recipe resolved, and what every part of it saw.
pub(crate) struct Resolved {
    pub(crate) recipe: ResolvedRecipe,
    pub(crate) scope: Scope<'static>,
    pub(crate) warnings: Vec<Problem>,
}

/// A subpackage after ranges: what is written, its scope's own values, and its name.
struct Instance<'r> {
    written: &'r Subpackage,
    range: Option<(String, Option<String>)>,
    name: Option<String>,
}

pub(super) struct Resolver<'r> {
    pub(super) recipe: &'r Recipe,
    options: &'r ResolveOptions<'r>,
    pub(super) problems: Vec<Problem>,
}

impl<'r> Resolver<'r> {
    fn place(&self) -> Place<'r> {
        Place {
            source: &self.recipe.source,
            used_by: None,
        }
    }

    pub(super) fn error(
        &mut self,
        rule: &'static str,
        message: String,
        span: Range<usize>,
        help: &str,
    ) {
        let problem = Problem::error(rule, message).at(&self.recipe.source, span, "");
        self.problems.push(match help {
            "" => problem,
            help => problem.help(help),
        });
    }

    pub(super) fn text(&mut self, text: &Text, scope: &Scope<'_>) -> String {
        substitute(text, scope, self.place(), &mut self.problems).unwrap_or_default()
    }

    fn prose(&mut self, text: &Text, scope: &Scope<'_>) -> String {
        substitute_prose(text, scope, self.place(), &mut self.problems)
    }

    fn optional(&mut self, text: Option<&Text>, scope: &Scope<'_>) -> Option<String> {
        let text = text.filter(|text| !text.is_empty())?;
        Some(self.text(text, scope))
    }

    fn texts(&mut self, texts: &[Text], scope: &Scope<'_>) -> Vec<String> {
        texts.iter().map(|text| self.text(text, scope)).collect()
    }

    fn map(&mut self, map: &TextMap, scope: &Scope<'_>) -> BTreeMap<String, String> {
        map.iter()
            .map(|(key, value)| (key.value.clone(), self.text(value, scope)))
            .collect()
    }

    fn notes(&mut self, map: &TextMap, scope: &Scope<'_>) -> BTreeMap<String, String> {
        map.iter()
            .map(|(key, value)| (key.value.clone(), self.prose(value, scope)))
            .collect()
    }

    fn recipe(&mut self, mut scope: Scope<'static>) -> (ResolvedRecipe, Scope<'static>) {
        let contents = &self.recipe.contents;
        self.check_options();
        let instances = self.instances(&scope);
        self.check_names(&scope, &instances);
        let names: Vec<String> = instances
            .iter()
            .filter_map(|instance| instance.name.clone())
            .chain(scope.get("package.name").flatten().map(str::to_owned))
            .collect();
        for name in names {
            let folder = format!("{OUTPUT_FOLDER}/{name}");
            scope.set(format!("targets.package.{name}"), Some(folder));
        }

        let package = self.package(&scope);
        let mut needs = Vec::new();
        let steps = self.steps(&contents.pipeline, &scope, &mut needs);
        let mut subpackages = Vec::new();
        for instance in &instances {
            let scope = instance_scope(instance, &scope);
            let wanted = match &instance.written.condition {
                Some(text) => condition(text, &scope, self.place(), &mut self.problems),
                None => Some(true),
            };
            if wanted == Some(false) {
                continue;
            }
            subpackages.push(self.subpackage(instance, &package, &scope, &mut needs));
        }
        let mut environment = self.environment(&contents.environment, &scope);
        self.change_packages(&mut environment.packages, &scope);
        environment.packages.extend(needs);
        deduplicate(&mut environment.packages);
        let test = self.test(contents.test.as_ref(), &package.name, &scope);
        let capabilities = self.capabilities(&contents.capabilities, &scope);
        let written = &contents.package;
        let timeout = written.timeout.map(|timeout| timeout.seconds());
        let limits = self.limits(&written.resources, timeout, &scope);
        let test_limits = self.limits(&written.test_resources, timeout, &scope);
        let recipe = ResolvedRecipe {
            arch: self.options.arch,
            package,
            environment,
            steps,
            subpackages,
            test,
            capabilities,
            limits,
            test_limits,
            recipe_digest: Digest::of(self.recipe.source.text().as_bytes()),
        };
        (recipe, scope)
    }

    fn check_options(&mut self) {
        let known: Vec<&str> = self.recipe.contents.options.names().collect();
        for name in &self.options.build_options {
            if known.contains(&name.as_str()) {
                continue;
            }
            let help = match did_you_mean(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if known.is_empty() => "the recipe has no `options`".to_owned(),
                None => format!("there are {}", known.join(", ")),
            };
            let message = format!("{} has no build option `{name}`", self.recipe.source.name());
            self.problems
                .push(Problem::error("unknown-option", message).help(help));
        }
    }

    /// Every subpackage, once per item where it has a range.
    fn instances(&mut self, scope: &Scope<'_>) -> Vec<Instance<'r>> {
        let mut instances = Vec::new();
        for written in &self.recipe.contents.subpackages {
            let range = written.range.as_ref().filter(|range| !range.is_empty());
            let mut ranges = match range {
                None => vec![None],
                Some(range) => {
                    let data = &self.recipe.contents.data;
                    let items = data.iter().find(|data| data.name.value == range.value);
                    let items = items.map(|data| &data.items);
                    items
                        .into_iter()
                        .flat_map(TextMap::iter)
                        .map(|(key, value)| {
                            let value = substitute(value, scope, self.place(), &mut self.problems);
                            Some((key.value.clone(), value))
                        })
                        .collect()
                }
            };
            ranges.sort();
            for range in ranges {
                if instances.len() >= PACKAGE_LIMIT {
                    self.error(
                        "too-many-packages",
                        format!(
                            "with its ranges, the recipe makes more than {PACKAGE_LIMIT} packages"
                        ),
                        written.name.span(),
                        "",
                    );
                    return instances;
                }
                let mut instance = Instance {
                    written,
                    range,
                    name: None,
                };
                let scope = instance_scope(&instance, scope);
                instance.name = substitute(&written.name, &scope, self.place(), &mut self.problems);
                instances.push(instance);
            }
        }
        instances
    }

    fn check_names(&mut self, scope: &Scope<'_>, instances: &[Instance<'_>]) {
        let package = &self.recipe.contents.package;
        let main = scope.get("package.name").flatten().map(str::to_owned);
        let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let names = std::iter::once((main, package.name.span())).chain(
            instances
                .iter()
                .map(|instance| (instance.name.clone(), instance.written.name.span())),
        );
        for (name, span) in names {
            let Some(name) = name else { continue };
            if !is_package_name(&name) {
                self.error(
                    "invalid-name",
                    format!("`{name}` can't be a package's name"),
                    span.clone(),
                    "letters, digits and `+_.-`, a letter or digit first",
                );
            }
            match seen.get(&name) {
                Some(first) => {
                    let problem = Problem::error(
                        "duplicate-name",
                        format!("two packages are called `{name}`"),
                    )
                    .at(&self.recipe.source, span, "again here")
                    .at(&self.recipe.source, first.clone(), "first here");
                    self.problems.push(problem);
                }
                None => {
                    seen.insert(name, span);
                }
            }
        }
        if let Some(version) = scope.get("package.version").flatten()
            && !apk::version::is_valid(version)
        {
            let message = match version {
                "" => "the version is empty".to_owned(),
                version => format!("`{version}` is no version in apk's grammar"),
            };
            self.error(
                "invalid-version",
                message,
                package.version.span(),
                "such as 1.2.3, 1.2b, 1.2_rc1 or 1.2_p3: numbers and dots, a letter, then suffixes `_alpha`, `_beta`, `_pre`, `_rc`, `_p`, `_git` …",
            );
        }
    }

    fn package(&mut self, scope: &Scope<'_>) -> ResolvedPackage {
        let written = &self.recipe.contents.package;
        let mut package = ResolvedPackage {
            name: self.text(&written.name, scope),
            version: self.text(&written.version, scope),
            epoch: written.epoch,
            description: self.prose(&written.description, scope),
            url: self.text(&written.url, scope),
            commit: self.text(&written.commit, scope),
            licenses: written
                .copyright
                .iter()
                .map(|entry| self.copyright(entry, scope))
                .collect(),
            options: package_options(&written.options),
            scriptlets: self.scriptlets(&written.scriptlets, scope),
            disabled_checks: self.texts(&written.checks.disabled, scope),
            setcap: self.setcap(&written.setcap, scope),
            cpe: written.cpe.as_ref().and_then(|cpe| self.cpe(cpe, scope)),
            annotations: self.notes(&written.annotations, scope),
            ..ResolvedPackage::default()
        };
        package.full_version = format!("{}-r{}", package.version, package.epoch);
        if package.commit.is_empty() {
            package.commit = self.options.commit.clone().unwrap_or_default();
        }
        self.dependencies(&written.dependencies, scope, &mut package);
        package
    }

    fn subpackage(
        &mut self,
        instance: &Instance<'_>,
        main: &ResolvedPackage,
        scope: &Scope<'_>,
        needs: &mut Vec<String>,
    ) -> ResolvedSubpackage {
        let written = instance.written;
        let mut package = ResolvedPackage {
            name: instance.name.clone().unwrap_or_default(),
            version: main.version.clone(),
            epoch: main.epoch,
            full_version: main.full_version.clone(),
            description: self.prose(&written.description, scope),
            url: self.text(&written.url, scope),
            commit: self.text(&written.commit, scope),
            licenses: main.licenses.clone(),
            options: package_options(&written.options),
            scriptlets: self.scriptlets(&written.scriptlets, scope),
            disabled_checks: self.texts(&written.checks.disabled, scope),
            setcap: self.setcap(&written.setcap, scope),
            annotations: self.notes(&written.annotations, scope),
            ..ResolvedPackage::default()
        };
        if package.commit.is_empty() {
            package.commit.clone_from(&main.commit);
        }
        self.dependencies(&written.dependencies, scope, &mut package);
        ResolvedSubpackage {
            steps: self.steps(&written.pipeline, scope, needs),
            test: self.test(written.test.as_ref(), &package.name, scope),
            package,
        }
    }

    fn dependencies(
        &mut self,
        written: &written::Dependencies,
        scope: &Scope<'_>,
        package: &mut ResolvedPackage,
    ) {
        package.runtime = self.dependency_list(&written.runtime, "depends on", scope);
        package.provides = self.dependency_list(&written.provides, "provides", scope);
        package.replaces = self.dependency_list(&written.replaces, "replaces", scope);
        // A conflict is meant wherever it stands.
        for list in [&mut package.provides, &mut package.replaces] {
            package
                .runtime
                .extend(list.extract_if(.., |entry| entry.starts_with('!')));
        }
        package.provider_priority = self.priority(written.provider_priority.as_ref(), scope);
        package.replaces_priority = self.priority(written.replaces_priority.as_ref(), scope);
    }

    fn dependency_list(&mut self, texts: &[Text], what: &str, scope: &Scope<'_>) -> Vec<String> {
        let mut list = Vec::new();
        for text in texts {
            let Some(value) = substitute(text, scope, self.place(), &mut self.problems) else {
                continue;
            };
            match apk::dependency::Dependency::parse(&value) {
                Ok(dependency) => {
                    if dependency.conflict && what != "depends on" {
                        let problem = Problem::warning(
                            "misplaced-conflict",
                            format!("`{value}` is a conflict, which nothing {what}"),
                        );
                        let problem = problem.at(&self.recipe.source, text.span(), "");
                        self.problems
                            .push(problem.help("write it below `runtime`, where apk heeds it"));
                    } else if what == "provides" && value.contains(['<', '>', '~']) {
                        self.error(
                            "invalid-dependency",
                            format!("a package provides one version, not a range: `{value}`"),
                            text.span(),
                            "a name, or a name and a version: `name=1.2-r0`",
                        );
                    }
                    list.push(value);
                }
                Err(reason) => self.error(
                    "invalid-dependency",
                    reason.to_string(),
                    text.span(),
                    "a name, maybe with a version (`name>=1.2`), or `!name` for a conflict",
                ),
            }
        }
        list
    }

    fn priority(&mut self, text: Option<&Text>, scope: &Scope<'_>) -> Option<i64> {
        let text = text.filter(|text| !text.is_empty())?;
        let value = substitute(text, scope, self.place(), &mut self.problems)?;
        let parsed = value.parse().ok();
        if parsed.is_none() && !value.is_empty() {
            self.error(
                "invalid-priority",
                format!("a priority is an integer, not `{value}`"),
                text.span(),
                "",
            );
        }
        parsed
    }

    fn copyright(&mut self, written: &written::Copyright, scope: &Scope<'_>) -> Copyright {
        Copyright {
            license: self.text(&written.license, scope),
            attestation: self.text(&written.attestation, scope),
            license_path: self.text(&written.license_path, scope),
            detection_override: self.text(&written.detection_override, scope),
            paths: self.texts(&written.paths, scope),
        }
    }

    fn scriptlets(&mut self, written: &written::Scriptlets, scope: &Scope<'_>) -> Scriptlets {
        Scriptlets {
            pre_install: self.optional(written.pre_install.as_ref(), scope),
            post_install: self.optional(written.post_install.as_ref(), scope),
            pre_deinstall: self.optional(written.pre_deinstall.as_ref(), scope),
            post_deinstall: self.optional(written.post_deinstall.as_ref(), scope),
            pre_upgrade: self.optional(written.pre_upgrade.as_ref(), scope),
            post_upgrade: self.optional(written.post_upgrade.as_ref(), scope),
            trigger: written.trigger.as_ref().map(|trigger| Trigger {
                script: self.text(&trigger.script, scope),
                paths: self.texts(&trigger.paths, scope),
            }),
        }
    }

    fn setcap(&mut self, written: &[written::SetCap], scope: &Scope<'_>) -> Vec<FileCapabilities> {
        let mut files: BTreeMap<String, FileCapabilities> = BTreeMap::new();
        for entry in written {
            let path = self.text(&entry.path, scope);
            let path = path.trim_start_matches('/').to_owned();
            if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                self.error(
                    "invalid-path",
                    format!("`{}` is no file of the package", entry.path.value),
                    entry.path.span(),
                    "the path from the root, such as /usr/bin/ping",
                );
                continue;
            }
            let file = files.entry(path.clone()).or_insert(FileCapabilities {
                path,
                ..FileCapabilities::default()
            });
            let reason = self.text(&entry.reason, scope);
            if !file.reason.is_empty() && !reason.is_empty() {
                file.reason.push('\n');
            }
            file.reason.push_str(&reason);
            for (names, sets) in entry.add.iter() {
                let bits = FILE_CAPABILITIES
                    .iter()
                    .filter(|(known, _)| names.split(',').any(|name| name == *known))
                    .fold(0, |bits, (_, bit)| bits | 1 << bit);
                let in_set = |set: char| if sets.contains(set) { bits } else { 0 };
                file.effective |= in_set('e');
                file.permitted |= in_set('p');
                file.inheritable |= in_set('i');
            }
        }
        files.into_values().collect()
    }

    fn cpe(&mut self, written: &written::Cpe, scope: &Scope<'_>) -> Option<Cpe> {
        let mut field = |text: &Option<Text>| {
            let value = self.optional(text.as_ref(), scope)?;
            if let Some(text) = text
                && !is_cpe_field(&value)
                && text.contains("${{")
            {
                let message = format!("`{value}` can't be a part of a CPE");
                self.error("invalid-cpe", message, text.span(), "");
            }
            Some(value)
        };
        Some(Cpe {
            part: field(&written.part),
            vendor: field(&written.vendor)?,
            product: field(&written.product)?,
            edition: field(&written.edition),
            language: field(&written.language),
            sw_edition: field(&written.sw_edition),
            target_sw: field(&written.target_sw),
            target_hw: field(&written.target_hw),
            other: field(&written.other),
        })
    }

    fn environment(&mut self, written: &written::Environment, scope: &Scope<'_>) -> GuestRequest {
        let contents = &written.contents;
        let mut repositories = self.texts(&contents.build_repositories, scope);
        repositories.extend(self.texts(&contents.repositories, scope));
        deduplicate(&mut repositories);
        let mut environment = self.options.environment.clone();
        environment.extend(self.map(&written.environment, scope));
        for (name, value) in ENVIRONMENT {
            let slot = environment.entry(name.to_owned()).or_default();
            if slot.is_empty() {
                value.clone_into(slot);
            }
        }
        GuestRequest {
            packages: self.guest_packages(&contents.packages, scope),
            repositories,
            keyring: self.texts(&contents.keyring, scope),
            environment,
            accounts: self.accounts(&written.accounts, scope),
        }
    }

    fn guest_packages(&mut self, texts: &[Text], scope: &Scope<'_>) -> Vec<String> {
        let mut packages = Vec::new();
        for text in texts {
            let Some(value) = substitute(text, scope, self.place(), &mut self.problems) else {
                continue;
            };
            match apk::dependency::Dependency::parse_apko(&value) {
                Ok(_) => packages.push(value),
                Err(reason) => self.error(
                    "invalid-dependency",
                    reason.to_string(),
                    text.span(),
                    "a name, maybe with a version: `name>=1.2`",
                ),
            }
        }
        packages
    }

    fn change_packages(&mut self, packages: &mut Vec<String>, scope: &Scope<'_>) {
        for (name, option) in self.recipe.contents.options.iter() {
            if !self.options.build_options.contains(&name.value) {
                continue;
            }
            let change = &option.environment.contents.packages;
            packages.extend(self.guest_packages(&change.add, scope));
            let removed = self.texts(&change.remove, scope);
            packages.retain(|package| !removed.contains(package));
        }
    }

    fn accounts(&mut self, written: &written::Accounts, scope: &Scope<'_>) -> Accounts {
        let mut accounts = Accounts {
            run_as: self.optional(written.run_as.as_ref(), scope),
            users: Vec::new(),
            groups: Vec::new(),
        };
        for user in &written.users {
            accounts.users.push(User {
                name: self.text(&user.username, scope),
                uid: user.uid,
                gid: user.gid.unwrap_or(user.uid),
                shell: self.text(&user.shell, scope),
                home: self.text(&user.homedir, scope),
            });
        }
        for group in &written.groups {
            accounts.groups.push(Group {
                name: self.text(&group.groupname, scope),
                gid: group.gid,
                members: self.texts(&group.members, scope),
            });
        }
        if !accounts.users.iter().any(|user| user.name == "build") {
            accounts.users.push(User {
                name: "build".to_owned(),
                uid: 1000,
                gid: 1000,
                shell: String::new(),
                home: HOME.to_owned(),
            });
        }
        if !accounts.groups.iter().any(|group| group.name == "build") {
            accounts.groups.push(Group {
                name: "build".to_owned(),
                gid: 1000,
                members: vec!["build".to_owned()],
            });
        }
        accounts
    }

    fn steps(
        &mut self,
        written: &[written::PipelineStep],
        scope: &Scope<'_>,
        needs: &mut Vec<String>,
    ) -> Vec<super::Step> {
        let mut expansion = Expansion {
            library: self.options.pipelines,
            recipe: &self.recipe.source,
            problems: &mut self.problems,
            needs,
            expanded: 0,
            bash: self.options.bash.as_deref(),
        };
        expansion.steps(written, scope, &Surroundings::of(self.recipe))
    }

    fn test(
        &mut self,
        written: Option<&written::Test>,
        package: &str,
        scope: &Scope<'_>,
    ) -> Option<ResolvedTest> {
        let written = written?;
        let mut environment = self.environment(&written.environment, scope);
        let main = &self.recipe.contents.environment.contents;
        if environment.repositories.is_empty() {
            environment.repositories = self.texts(&main.build_repositories, scope);
            environment
                .repositories
                .extend(self.texts(&main.repositories, scope));
            deduplicate(&mut environment.repositories);
        }
        if environment.keyring.is_empty() {
            environment.keyring = self.texts(&main.keyring, scope);
        }
        let mut needs = Vec::new();
        let steps = self.steps(&written.pipeline, scope, &mut needs);
        environment.packages.push(package.to_owned());
        environment.packages.extend(needs);
        deduplicate(&mut environment.packages);
        Some(ResolvedTest { environment, steps })
    }
}

fn instance_scope<'o>(instance: &Instance<'_>, outer: &'o Scope<'o>) -> Scope<'o> {
    let mut scope = Scope::inside(outer);
    if let Some((key, value)) = &instance.range {
        scope.set("range.key", Some(key.clone()));
        scope.set("range.value", value.clone());
    }
    if let Some(name) = &instance.name {
        let folder = format!("{OUTPUT_FOLDER}/{name}");
        for variable in ["subpkg.name", "context.name"] {
            scope.set(variable, Some(name.clone()));
        }
        for variable in ["targets.subpkgdir", "targets.contextdir"] {
            scope.set(variable, Some(folder.clone()));
        }
    }
    scope
}

fn package_options(written: &written::PackageOptions) -> PackageOptions {
    PackageOptions {
        no_provides: written.no_provides,
        no_depends: written.no_depends,
        no_commands: written.no_commands,
        no_versioned_shlib_deps: written.no_versioned_shlib_deps,
    }
}

/// `^[a-zA-Z\d][a-zA-Z\d+_.-]*$`, as melange has it.
fn is_package_name(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte))
}

/// Keeps the first of equal entries.
fn deduplicate(list: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}
