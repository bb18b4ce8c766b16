//! From melange's commands to polpo's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use apk::package::Package;
use base::Arch;
use build::recipe::{PipelineLibrary, query};
use clap::Parser;

use crate::arguments::recipe::RecipeQuery;
use crate::command::other_program::{Call, Calls, Given, usage, words};
use crate::command::recipes;
use crate::output::failure::Failure;

/// The recipes that are looked for where none is named, in this order.
const USUAL: [&str; 4] = [
    ".melange.yaml",
    ".melange.yml",
    "melange.yaml",
    "melange.yml",
];

/// What `package-version` asks.
const VERSION: &str = "{{ .Package.Name }}-{{ .Package.Version }}-r{{ .Package.Epoch }}";

pub(super) fn translate(given: &Given<'_>) -> Result<Calls, Failure> {
    let one = |words| Ok(vec![Call::Polpo(words)]);
    let calls = match given.command.name {
        "build" => build(given),
        "test" => test(given),
        "compile" => {
            let recipe = recipe(given)?;
            one(words(&["recipe", "compile", &recipe], given.passed_on()))
        }
        "query" => ask(given, given.operands().get(1).copied().unwrap_or_default()),
        "package-version" => ask(given, VERSION),
        "bump" => {
            let operands = given.operands();
            let mut line = vec!["recipe", "bump"];
            line.extend(operands);
            one(words(&line, given.passed_on()))
        }
        "update-cache" => {
            let folder = given.value("cache-dir").unwrap_or("/var/cache/melange");
            let copies = format!("--copy-to={folder}");
            let recipe = recipe(given)?;
            one(words(
                &["source", "fetch", &recipe, &copies],
                given.passed_on(),
            ))
        }
        "index" => index(given),
        "sign-index" => Ok(vec![Call::SignIndex {
            key: given.value("signing-key").unwrap_or("melange.rsa").into(),
            index: PathBuf::from(given.operands().first().copied().unwrap_or_default()),
            force: given.is_on("force"),
        }]),
        "sign" => Ok(vec![Call::Sign {
            key: given
                .value("signing-key")
                .unwrap_or("local-melange.rsa")
                .into(),
            packages: given.operands().into_iter().map(PathBuf::from).collect(),
        }]),
        "keygen" => keygen(given),
        "scan" => scan(given),
        "lint" => {
            let mut line = vec!["lint"];
            line.extend(given.operands());
            one(words(&line, given.passed_on()))
        }
        "license-check" => {
            let mut line = vec!["license-check"];
            line.extend(given.operands());
            let format = given.value("format").unwrap_or("flat");
            let fix = format!("--fix={format}");
            let more = given.is_on("fix").then_some(fix.as_str());
            line.extend(more);
            one(words(&line, given.passed_on()))
        }
        "rebuild" => {
            let each = given.operands().into_iter();
            let more = || given.passed_on().into_iter().chain(runner(given)).collect();
            let call = |package| Call::Polpo(words(&["rebuild", package], more()));
            Ok(each.map(call).collect())
        }
        "version" => one(vec!["--version".into()]),
        _ => {
            let shell = given.operands().first().copied().unwrap_or_default();
            one(words(&["completions", shell, "melange"], Vec::new()))
        }
    }?;
    Ok(Calls {
        calls,
        ..Calls::default()
    })
}

/// The recipe that is named, or one of the usual ones.
fn recipe(given: &Given<'_>) -> Result<String, Failure> {
    if let Some(named) = given.operands().first() {
        return Ok((*named).to_owned());
    }
    let found = USUAL.iter().find(|name| Path::new(name).is_file());
    found.map(|name| (*name).to_owned()).ok_or_else(|| {
        usage(format!(
            "no recipe is named, and there is none of {} here",
            USUAL.join(", ")
        ))
    })
}

/// What steps run in, if it is said.
fn runner(given: &Given<'_>) -> Option<OsString> {
    let named = given.value("runner").filter(|name| !name.is_empty());
    named.map(|name| format!("--runner={name}").into())
}

/// The architectures to do it for.
fn archs(given: &Given<'_>, usual: Arch) -> Result<Vec<Arch>, Failure> {
    let mut archs: Vec<Arch> = Vec::new();
    for name in given.list("arch") {
        let arch = match name {
            "host" => Arch::host(),
            name => name
                .parse()
                .map_err(|error| usage(format!("--arch {name}: {error}")))?,
        };
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    if archs.is_empty() {
        archs.push(usual);
    }
    Ok(archs)
}

/// What `build` and `test` share.
fn steps(given: &Given<'_>, recipe: &str) -> Result<Vec<OsString>, Failure> {
    let own = Path::new(recipe).parent().map_or(".", |folder| {
        // The parent of a bare name is empty.
        folder
            .to_str()
            .filter(|folder| !folder.is_empty())
            .unwrap_or(".")
    });
    let source = given
        .value("source-dir")
        .filter(|folder| !folder.is_empty());
    let mut line = given.passed_on();
    line.push(format!("--source-dir={}", source.unwrap_or(own)).into());
    line.extend(runner(given));
    Ok(line)
}

fn build(given: &Given<'_>) -> Result<Vec<Call>, Failure> {
    let recipe = recipe(given)?;
    let mut line = steps(given, &recipe)?;
    match given.value("override-host-triplet-libc-substitution-flavor") {
        None | Some("" | "gnu") => {}
        Some(other) => {
            return Err(usage(format!(
                "`host.triplet` is of gnu alone, not of `{other}`; name `cross.triplet` in the recipe"
            )));
        }
    }
    let namespace = given.value("namespace").unwrap_or("unknown");
    line.push(format!("--namespace={namespace}").into());
    line.extend(given.build_date()?);
    for_each_arch(given, &["build", &recipe], &line)
}

fn test(given: &Given<'_>) -> Result<Vec<Call>, Failure> {
    let recipe = recipe(given)?;
    let mut line = steps(given, &recipe)?;
    // What is tested lies in the first repository that is a folder.
    let folder = |place: &&str| !place.contains("://") && Path::new(place).is_dir();
    if let Some(place) = given.list("repository-append").into_iter().find(folder) {
        line.push(format!("--out-dir={place}").into());
    }
    for_each_arch(given, &["test", &recipe], &line)
}

fn for_each_arch(
    given: &Given<'_>,
    command: &[&str],
    line: &[OsString],
) -> Result<Vec<Call>, Failure> {
    let call = |arch: Arch| {
        let mut words = words(command, line.to_vec());
        words.push(format!("--arch={}", arch.apk()).into());
        Call::Polpo(words)
    };
    Ok(archs(given, Arch::host())?.into_iter().map(call).collect())
}

fn ask(given: &Given<'_>, template: &str) -> Result<Vec<Call>, Failure> {
    let recipe = recipe(given)?;
    let line = words(&["recipe", "query"], given.passed_on());
    Ok(vec![Call::Polpo(
        line.into_iter()
            .chain([OsString::from("--"), recipe.into(), template.into()])
            .collect(),
    )])
}

fn index(given: &Given<'_>) -> Result<Vec<Call>, Failure> {
    let output = given.value("output").unwrap_or("APKINDEX.tar.gz");
    // Like melange, apk's command is not asked who signed the packages.
    let mut line = words(
        &[
            "index",
            "--allow-untrusted",
            "--no-warnings",
            "--output",
            output,
        ],
        Vec::new(),
    );
    if given.is_on("merge") {
        let source = given.value("source").unwrap_or("APKINDEX.tar.gz");
        if Path::new(source).exists() {
            line.extend(words(&["--merge", "--index", source], Vec::new()));
        }
    }
    if let Some(key) = given.value("signing-key").filter(|key| !key.is_empty()) {
        line.extend(words(&["--sign-key", key], Vec::new()));
    }
    let wanted = given.value("arch").filter(|arch| !arch.is_empty());
    line.push("--".into());
    for file in given.operands() {
        if let Some(wanted) = wanted {
            let package = Package::open(Path::new(file))
                .map_err(|error| Failure::failed("no index was written", error))?;
            if package.info().arch != wanted {
                continue;
            }
        }
        line.push(file.into());
    }
    Ok(vec![Call::Apk(line)])
}

fn keygen(given: &Given<'_>) -> Result<Vec<Call>, Failure> {
    if let Some(size) = given.value("key-size") {
        match size.parse::<u32>() {
            Ok(2048..=4096) => {}
            Ok(..2048) => {
                return Err(usage(format!(
                    "a key of {size} bits is not safe; leave --key-size out"
                )));
            }
            _ => {
                return Err(usage(format!(
                    "keys have 4096 bits, not {size}; leave --key-size out"
                )));
            }
        }
    }
    let file = given.operands().first().copied().unwrap_or("melange.rsa");
    Ok(vec![Call::Polpo(words(
        &["key", "generate", file],
        given.passed_on(),
    ))])
}

/// The packages of the recipe, where the repository has them.
fn scan(given: &Given<'_>) -> Result<Vec<Call>, Failure> {
    const NAMES: &str = "{{ .Package.Version }}-r{{ .Package.Epoch }}\n{{ .Package.Name }}\n\
        {{ range .Subpackages }}{{ println .Name }}{{ end }}";
    let repository = given.value("repository-append").unwrap_or("./packages");
    let recipe = recipe(given)?;
    let mut calls = Vec::new();
    for arch in archs(given, Arch::X86_64)? {
        let line = ["query", "--arch", arch.apk(), "--", &recipe, NAMES];
        let asked = RecipeQuery::try_parse_from(line).map_err(|error| usage(error.to_string()))?;
        let (compiled, _) =
            recipes::compile(&asked.recipe, &asked.values, &PipelineLibrary::closed())?;
        let names = query(NAMES, &compiled)?;
        let mut lines = names.lines().filter(|line| !line.is_empty());
        let version = lines.next().unwrap_or_default();
        let mut line = words(&["scan"], given.passed_on());
        for (position, name) in lines.enumerate() {
            let file = format!("{repository}/{}/{name}-{version}.apk", arch.apk());
            // A subpackage may not have been made; the main package always is.
            if position == 0 || file.contains("://") || Path::new(&file).exists() {
                line.push(file.into());
            }
        }
        calls.push(Call::Polpo(line));
    }
    Ok(calls)
}
