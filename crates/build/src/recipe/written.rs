use base::{Arch, Problem, SourceText};
use yaml::{Decode, Decoder, Item, Node, Spanned};

pub use super::environment::*;
use super::record::record;
use super::shape::Shape;
use super::text::{Duration, Text, TextMap};
pub use super::update::*;
use super::validate;

/// A recipe as written: every key of the format, typed, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The file.
    pub source: SourceText,
    /// Its contents.
    pub contents: Contents,
}

impl Recipe {
    /// Decodes and validates a recipe.
    ///
    /// # Errors
    /// Every problem that shows without resolving it: syntax, types, unknown keys, and values that
    /// can't be meant.
    pub fn parse(source: SourceText) -> Result<Recipe, Vec<Problem>> {
        let validated: Validated = yaml::decode(source.clone())?;
        Ok(Recipe {
            source,
            contents: validated.0,
        })
    }

    /// Whether the recipe is meant for `arch`; without `target-architecture` it is for all.
    pub fn targets(&self, arch: Arch) -> bool {
        let wanted = &self.contents.package.target_architecture;
        wanted.is_empty()
            || wanted
                .iter()
                .any(|name| name.value == "all" || name.parse() == Ok(arch))
    }
}

impl Contents {
    /// What is written, in the order of the format's keys, without comments and places; what says
    /// nothing is left out.
    pub fn as_written(&self) -> Item {
        self.item().unwrap_or_else(|| Item::Map(Vec::new()))
    }
}

struct Validated(Contents);

impl Decode for Validated {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Validated> {
        let contents = Contents::decode(node, decoder)?;
        validate::contents(&contents, decoder);
        Some(Validated(contents))
    }
}

record! {
    /// The top level of a recipe.
    Contents as "the recipe" {
        /// What the main package is.
        required package: Package = "package",
        /// The guest that builds it.
        value environment: Environment = "environment",
        /// Linux capabilities of build and test steps.
        value capabilities: Capabilities = "capabilities",
        /// The steps that make the main package.
        value pipeline: Vec<PipelineStep> = "pipeline",
        /// Packages split from it.
        value subpackages: Vec<Subpackage> = "subpackages",
        /// Lists that subpackages range over.
        value data: Vec<RangeData> = "data",
        /// How newer versions are found.
        optional update: Update = "update",
        /// Variables, `${{vars.NAME}}`.
        value vars: TextMap = "vars",
        /// Variables made out of others.
        value var_transforms: Vec<VarTransform> = "var-transforms",
        /// Variations of the build, enabled from outside.
        value options: Options = "options",
        /// The main package's test.
        optional test: Test = "test",
    }

    /// The main package.
    Package as "package" {
        /// The name.
        required name: Text = "name",
        /// Upstream's version.
        required version: Text = "version",
        /// How often this version was packaged anew.
        value epoch: u64 = "epoch",
        /// What it is.
        value description: Text = "description",
        /// Free notes.
        value annotations: TextMap = "annotations",
        /// The homepage.
        value url: Text = "url",
        /// The commit of the recipe.
        value commit: Text = "commit",
        /// Architectures it is for; all when empty.
        value target_architecture: Vec<Text> = "target-architecture",
        /// Licences.
        value copyright: Vec<Copyright> = "copyright",
        /// Dependencies written by hand.
        value dependencies: Dependencies = "dependencies",
        /// What dependency analysis leaves out.
        value options: PackageOptions = "options",
        /// Scripts that apk runs.
        value scriptlets: Scriptlets = "scriptlets",
        /// Linters.
        value checks: Checks = "checks",
        /// The name in the NVD.
        optional cpe: Spanned<Cpe> = "cpe",
        /// File capabilities.
        value setcap: Vec<SetCap> = "setcap",
        /// How long the build may take.
        optional timeout: Duration = "timeout",
        /// What a build machine needs.
        value resources: Resources = "resources",
        /// What a test machine needs.
        value test_resources: Resources = "test-resources",
    }

    /// A package split from the main one.
    Subpackage as "subpackage" {
        /// When it is made.
        optional condition: Text = "if",
        /// The list it is made for each item of.
        optional range: Text = "range",
        /// The name.
        required name: Text = "name",
        /// The steps that make it.
        value pipeline: Vec<PipelineStep> = "pipeline",
        /// Dependencies written by hand.
        value dependencies: Dependencies = "dependencies",
        /// What dependency analysis leaves out.
        value options: PackageOptions = "options",
        /// Scripts that apk runs.
        value scriptlets: Scriptlets = "scriptlets",
        /// What it is.
        value description: Text = "description",
        /// Free notes.
        value annotations: TextMap = "annotations",
        /// The homepage.
        value url: Text = "url",
        /// The commit of the recipe.
        value commit: Text = "commit",
        /// Linters.
        value checks: Checks = "checks",
        /// Its test.
        optional test: Test = "test",
        /// File capabilities.
        value setcap: Vec<SetCap> = "setcap",
    }

    /// One `copyright` entry.
    Copyright as "copyright" {
        /// An SPDX expression.
        required license: Text = "license",
        /// The files it covers.
        value paths: Vec<Text> = "paths",
        /// The copyright notice.
        value attestation: Text = "attestation",
        /// A file of the workspace with the licence's text.
        value license_path: Text = "license-path",
        /// What licence detection is to find instead.
        value detection_override: Text = "detection-override",
    }

    /// Dependencies written by hand, in apk's grammar.
    Dependencies as "dependencies" {
        /// What it needs when installed.
        value runtime: Vec<Text> = "runtime",
        /// What it provides.
        value provides: Vec<Text> = "provides",
        /// Whose files it may overwrite.
        value replaces: Vec<Text> = "replaces",
        /// Which provider wins.
        optional provider_priority: Text = "provider-priority",
        /// Which of two packages keeps its files.
        optional replaces_priority: Text = "replaces-priority",
    }

    /// What dependency analysis leaves out.
    PackageOptions as "options" {
        /// Generates no `provides`.
        value no_provides: bool = "no-provides",
        /// Generates no dependencies.
        value no_depends: bool = "no-depends",
        /// Generates no `cmd:` provides.
        value no_commands: bool = "no-commands",
        /// Generates no versioned dependencies on shared libraries.
        value no_versioned_shlib_deps: bool = "no-versioned-shlib-deps",
    }

    /// Scripts that apk runs.
    Scriptlets as "scriptlets" {
        /// A script for changes under certain paths.
        optional trigger: Trigger = "trigger",
        /// Before the files are there.
        optional pre_install: Text = "pre-install",
        /// After the files are there.
        optional post_install: Text = "post-install",
        /// Before the package goes.
        optional pre_deinstall: Text = "pre-deinstall",
        /// After the package is gone.
        optional post_deinstall: Text = "post-deinstall",
        /// Before another version takes over.
        optional pre_upgrade: Text = "pre-upgrade",
        /// After another version took over.
        optional post_upgrade: Text = "post-upgrade",
    }

    /// A script for changes under certain paths.
    Trigger as "trigger" {
        /// The script.
        required script: Text = "script",
        /// The paths.
        value paths: Vec<Text> = "paths",
    }

    /// Linters.
    Checks as "checks" {
        /// Those that only warn.
        value disabled: Vec<Text> = "disabled",
    }

    /// The fields of a CPE name.
    Cpe as "cpe" {
        /// `a` or `o`.
        optional part: Text = "part",
        /// Who makes it.
        optional vendor: Text = "vendor",
        /// What it is called.
        optional product: Text = "product",
        /// The edition.
        optional edition: Text = "edition",
        /// The language.
        optional language: Text = "language",
        /// The software edition.
        optional sw_edition: Text = "sw_edition",
        /// The software it runs in.
        optional target_sw: Text = "target_sw",
        /// The hardware it runs on.
        optional target_hw: Text = "target_hw",
        /// Anything else.
        optional other: Text = "other",
    }

    /// Capabilities of a file.
    SetCap as "setcap" {
        /// The file.
        required path: Text = "path",
        /// Capabilities, and the sets they go to (`+eip`).
        value add: TextMap = "add",
        /// Why they are needed.
        value reason: Text = "reason",
    }

    /// What a machine needs; read by schedulers only.
    Resources as "resources" {
        /// Cores.
        value cpu: Text = "cpu",
        /// The model of the processor.
        value cpumodel: Text = "cpumodel",
        /// Memory, with a unit.
        value memory: Text = "memory",
        /// Disk, with a unit.
        value disk: Text = "disk",
    }

    /// Linux capabilities of build and test steps.
    Capabilities as "capabilities" {
        /// Given beyond the usual.
        value add: Vec<Text> = "add",
        /// Taken away.
        value drop: Vec<Text> = "drop",
    }

    /// A list that subpackages range over.
    RangeData as "data" {
        /// Its name.
        required name: Text = "name",
        /// `${{range.key}}` to `${{range.value}}`.
        value items: TextMap = "items",
    }

    /// A variable made out of another by a regular expression.
    VarTransform as "var-transforms" {
        /// The text to start from.
        required from: Text = "from",
        /// What is replaced, in RE2's syntax.
        required matching: Text = "match",
        /// What takes its place; `$1` and `${1}` are groups.
        value replace: Text = "replace",
        /// The name of the variable it makes.
        required to: Text = "to",
    }

    /// A variation of the build.
    BuildOption as "the build option" {
        /// Variables it sets.
        value vars: TextMap = "vars",
        /// How it changes the guest.
        value environment: EnvironmentChange = "environment",
    }

    /// How a build option changes the guest.
    EnvironmentChange as "environment" {
        /// How it changes what is installed.
        value contents: ContentsChange = "contents",
    }

    /// How a build option changes what is installed.
    ContentsChange as "contents" {
        /// How it changes the packages.
        value packages: ListChange = "packages",
    }

    /// How a build option changes a list.
    ListChange as "packages" {
        /// Added at the end.
        value add: Vec<Text> = "add",
        /// Removed.
        value remove: Vec<Text> = "remove",
    }

    /// A test.
    Test as "test" {
        /// Its guest.
        value environment: Environment = "environment",
        /// Its steps.
        value pipeline: Vec<PipelineStep> = "pipeline",
    }

    /// A step, or the definition of a pipeline, which has the same keys.
    PipelineStep as "the step" {
        /// When it runs.
        optional condition: Text = "if",
        /// What people call it.
        optional name: Text = "name",
        /// The pipeline it runs.
        optional uses: Text = "uses",
        /// That pipeline's inputs.
        optional with: Spanned<TextMap> = "with",
        /// A shell script.
        optional runs: Text = "runs",
        /// Steps that run after its own script.
        value pipeline: Vec<PipelineStep> = "pipeline",
        /// What it takes.
        value inputs: Inputs = "inputs",
        /// What it needs installed.
        value needs: Needs = "needs",
        /// A label; nothing uses it.
        optional label: Text = "label",
        /// What must be true of it.
        value assertions: Assertions = "assertions",
        /// Where it runs.
        optional working_directory: Text = "working-directory",
        /// Environment variables.
        value environment: TextMap = "environment",
    }

    /// An input of a pipeline.
    Input as "the input" {
        /// What it is for.
        value description: Text = "description",
        /// What it is when not given.
        value default: Text = "default",
        /// Whether it must be given.
        value required: bool = "required",
    }

    /// What a step needs installed.
    Needs as "needs" {
        /// In apk's grammar.
        value packages: Vec<Text> = "packages",
    }

    /// What must be true of a step.
    Assertions as "assertions" {
        /// How many of its steps must run, exactly.
        optional required_steps: Spanned<u32> = "required-steps",
    }
}

/// Build options by name.
pub type Options = NamedList<BuildOption>;

/// Inputs by name.
pub type Inputs = NamedList<Input>;

/// A mapping from names to structs, in the order written, the names' places kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedList<T> {
    entries: Vec<(Text, T)>,
}

impl<T> Default for NamedList<T> {
    fn default() -> NamedList<T> {
        NamedList {
            entries: Vec::new(),
        }
    }
}

impl<T> NamedList<T> {
    /// Names and values, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &T)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// The values, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter()
            .find(|(key, _)| key.value == name)
            .map(|(_, value)| value)
    }

    /// The names, in the order written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.value.as_str())
    }
}

impl<T: Decode> Decode for NamedList<T> {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<NamedList<T>> {
        let entries = match &node.value {
            yaml::Value::Null => &[],
            yaml::Value::Mapping(entries) => entries.as_slice(),
            _ => {
                decoder.mismatch("a mapping", node);
                return None;
            }
        };
        let decoded: Vec<Option<(Text, T)>> = entries
            .iter()
            .map(|entry| {
                let name = Spanned::new(entry.key.clone(), entry.key_span.clone());
                Some((name, T::decode(&entry.value, decoder)?))
            })
            .collect();
        let entries = decoded.into_iter().collect::<Option<_>>()?;
        Some(NamedList { entries })
    }
}
