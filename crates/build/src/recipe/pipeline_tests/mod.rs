//! The built-in pipelines as recipes rely on them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base::{Arch, SourceText};

use super::built_in::Native;
use super::*;

mod builders;
mod languages;
mod projects;
mod sources;
mod workbench;

/// What melange 0.59's definitions take: names, inputs (`*`: required, `=`: the default), needs.
const CONTRACT: &str = r"
R/build: package* path=. version* [R R-dev R-doc busybox]
autoconf/configure: build=${{host.triplet.gnu}} dir=. host=${{host.triplet.gnu}} opts [autoconf automake libtool]
autoconf/make: dir=. opts targets [make]
autoconf/make-install: dir=. opts targets=install [make]
cargo/build: install-dir=bin jobs modroot=. opts=--release output output-dir=target/release prefix=usr rustflags [build-base busybox cargo-auditable rust]
cmake/build: opts output-dir=output [cmake ninja]
cmake/configure: opts output-dir=output [cmake ninja]
cmake/install: output-dir=output [cmake ninja]
fetch: delete=false directory=. dns-timeout=20 expected-none expected-sha256 expected-sha512 extract=true purl-name=${{package.name}} purl-version=${{package.version}} reason retry-limit=5 strip-components=1 timeout=5 uri* [wget]
git-am: patches* [git]
git-checkout: branch cherry-picks depth=unset destination=. expected-commit expected-commit-is-branch-tip=false initial-backoff=2 max-backoff=60 max-retries=3 reason recurse-submodules=false repository* shallow-submodules=false sparse-paths submodule-jobs=1 tag type-hint [git]
go/build: amd64=v2 arm64=v8.0 buildmode=default deps experiments extra-args go-package=go ignore-untracked-files=true install-dir=bin ldflags modroot=. output* packages* prefix=usr strip=-w tags tidy=false toolchaintags=netgo,osusergo vendor=false [${{inputs.go-package}} build-base busybox ca-certificates-bundle]
go/build/v2: amd64=v2 arm64=v8.0 buildmode=default experiments extra-args ignore-untracked-files=true install-dir=bin ldflags modroot=. output packages=. prefix=usr strip=-w tags toolchaintags=netgo,osusergo vendor=false [busybox ca-certificates-bundle]
go/bump: deps* go-version modroot=. replaces show-diff=false tidy-compat tidy=true work=false [git gobump]
go/covdata: cover-dir=/home/build package=go [${{inputs.package}} busybox jq]
go/install: amd64=v2 arm64=v8.0 experiments go-package=go install-dir=bin ldflags package* prefix=usr strip=-w tags toolchaintags=netgo,osusergo version [${{inputs.go-package}} build-base busybox ca-certificates-bundle git]
llvm/covreport: ignore-filename-regex object package=llvm-19 [${{inputs.package}}]
maven/configure-mirror:  [busybox]
maven/pombump: debug=false dependencies patch-file=./pombump-deps.yaml pom=pom.xml properties properties-file=./pombump-properties.yaml show-dependency-tree=false [busybox pombump]
meson/compile: output-dir=output [meson]
meson/configure: opts output-dir=output [meson]
meson/install: output-dir=output [meson]
npm/install: npm-package=npm overrides package* prefix=${{targets.contextdir}}/usr/ version* [${{inputs.npm-package}} busybox nodejs npm]
patch: fuzz=2 patches series strip-components=1 [patch]
pecl/install: extension* [automake busybox]
pecl/phpize: php-config=php-config prefix=/usr [autoconf busybox]
perl/cleanup:  [busybox]
perl/make:  [busybox perl]
python/build:  [busybox python3]
python/build-wheel:  [busybox py3-build py3-installer python3]
python/import: from import imports python=DEFAULT venv [wolfi-base]
python/install:  [busybox python3]
python/test: command* [wolfi-base]
ruby/build: dir=. gem* opts output [busybox ca-certificates-bundle]
ruby/clean:  [busybox ca-certificates-bundle]
ruby/install: dir=. gem gem-file opts version* [busybox ca-certificates-bundle]
split/alldocs: package [busybox]
split/bin: package [busybox]
split/debug: package [binutils busybox scanelf]
split/dev: package prefix=/usr [busybox]
split/infodir: package [busybox]
split/lib: package paths patterns [busybox]
split/locales: package [busybox]
split/manpages: package [busybox]
split/static: package [busybox]
strip: opts=-g [binutils scanelf]
xcover/ensure: min-coverage package=xcover [${{inputs.package}} busybox jq]
xcover/profile: exclude-functions executable-path* include-functions log-level=info package=xcover scope=project verbose=false wait-timeout=60 [${{inputs.package}} busybox]
xcover/status: package=xcover [${{inputs.package}} busybox]
xcover/stop: package=xcover [busybox]
xcover/wait: package=xcover wait-timeout=60 [${{inputs.package}} busybox]
";

/// Needs that polpo does not have, for it does without: sources are fetched outside the guest, and
/// ELF headers are read by binutils.
const NOT_NEEDED: [(&str, &str); 3] = [
    ("fetch", "wget"),
    ("split/debug", "scanelf"),
    ("strip", "scanelf"),
];

#[test]
fn names_inputs_defaults_and_needs_are_those_of_melange() {
    let library = PipelineLibrary::default();
    let mut table = String::from("\n");
    for name in PipelineLibrary::built_in() {
        let step = &library.load(name).unwrap().step;
        let mut inputs: Vec<String> = step
            .inputs
            .iter()
            .map(|(name, input)| {
                let required = if input.required { "*" } else { "" };
                let default = match input.default.as_str() {
                    "" => String::new(),
                    default => format!("={default}"),
                };
                format!("{}{required}{default}", name.value)
            })
            .collect();
        inputs.sort();
        let mut needs: Vec<&str> = step
            .needs
            .packages
            .iter()
            .map(|package| package.value.as_str())
            .collect();
        for (pipeline, package) in NOT_NEEDED {
            if pipeline == name {
                assert!(!needs.contains(&package), "{name}");
                needs.push(package);
            }
        }
        needs.sort_unstable();
        table += &format!("{name}: {} [{}]\n", inputs.join(" "), needs.join(" "));
    }
    assert_eq!(table, CONTRACT);
}

/// The steps of `pipeline` in the package `x`, given `with`.
fn resolved(pipeline: &str, with: &BTreeMap<String, String>) -> Vec<Step> {
    let with = serde_json::to_string(with).unwrap();
    let recipe = format!(
        "package: {{name: x, version: '1'}}\npipeline:\n  - uses: {pipeline}\n    with: {with}\n"
    );
    let library = PipelineLibrary::default();
    Recipe::parse(SourceText::new("x.yaml", recipe))
        .and_then(|recipe| recipe.resolve(&ResolveOptions::new(Arch::X86_64, &library)))
        .unwrap()
        .steps
}

fn scripts(steps: &[Step], into: &mut Vec<String>) {
    for step in steps {
        if let Action::Run { script } = &step.action {
            into.push(script.clone());
        }
        scripts(&step.steps, into);
    }
}

/// A value for every input that must have one.
fn least(pipeline: &str) -> BTreeMap<String, String> {
    let library = PipelineLibrary::default();
    let step = &library.load(pipeline).unwrap().step;
    let required = step.inputs.iter().filter(|(_, input)| input.required);
    let mut with: BTreeMap<String, String> = required
        .map(|(name, _)| (name.value.clone(), "some-value".to_owned()))
        .collect();
    if pipeline == "git-checkout" {
        with.insert("repository".to_owned(), "https://example.org/x".to_owned());
    }
    if pipeline == "fetch" {
        with.insert("uri".to_owned(), "https://example.org/x.tar.gz".to_owned());
        with.insert("expected-sha256".to_owned(), "0".repeat(64));
    }
    with
}

/// Whatever an input holds, it is no code, but where its description says that the shell reads it.
#[test]
fn inputs_are_no_code() {
    let library = PipelineLibrary::default();
    for pipeline in PipelineLibrary::built_in() {
        let step = &library.load(pipeline).unwrap().step;
        for (name, input) in step.inputs.iter() {
            let is_code = [
                "read by the shell",
                "Read by the shell",
                "a script for the shell",
            ]
            .iter()
            .any(|words| input.description.contains(words));
            let needs = step.needs.packages.iter();
            let is_package = needs
                .into_iter()
                .any(|need| need.contains(&format!("inputs.{}}}", name.value)));
            if Native::of(pipeline).is_some() {
                continue;
            }
            let mut with = least(pipeline);
            let value = if is_package {
                "hostile"
            } else {
                "hostile$(touch evil)`touch evil`';touch evil;\";touch evil;"
            };
            with.insert(name.value.clone(), value.to_owned());
            let mut found = Vec::new();
            scripts(&resolved(pipeline, &with), &mut found);
            let spliced = found.iter().any(|script| script.contains("hostile"));
            assert!(
                !spliced || is_code,
                "{pipeline}: {} is spliced into its script",
                name.value
            );
            assert!(
                spliced || !is_code,
                "{pipeline}: {} is not read by the shell",
                name.value
            );
        }
    }
}

/// Options as Wolfi's recipes have them: continued lines, quotes, substitutions, a comment at the end.
const OPTIONS: [&str; 6] = [
    "",
    "--a \\\n--b='c d' \\\n",
    "CFLAGS=\"$CFLAGS -DX\" LIBDIR=\"/usr/lib/\" TESTS='t/pp/*.t t/xs/*.t'",
    "-DA=\"b c\" \\\n-DNO_MAN=ON  # needs what we don't have\n",
    "-X main.commit=$(git rev-parse HEAD) -X 'main.date=$(date -u -d \"@$SOURCE_DATE_EPOCH\" \"+%FT%TZ\")'",
    "$([ -d /usr/lib/old ] && echo a='no' b='no')",
];

#[test]
fn scripts_are_read_by_every_shell() {
    let library = PipelineLibrary::default();
    for pipeline in PipelineLibrary::built_in() {
        let step = &library.load(pipeline).unwrap().step;
        for options in OPTIONS {
            let mut with = least(pipeline);
            for (name, input) in step.inputs.iter() {
                if input.description.contains("read by the shell") || name.value == "command" {
                    with.insert(name.value.clone(), options.to_owned());
                }
            }
            if with.get("command").is_some_and(String::is_empty)
                || with.get("packages").is_some_and(String::is_empty)
            {
                continue;
            }
            let mut found = Vec::new();
            scripts(&resolved(pipeline, &with), &mut found);
            for script in found {
                for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
                    let done = Command::new(shell[0])
                        .args(&shell[1..])
                        .args(["-n", "-c", &format!("\n{script}")])
                        .output()
                        .unwrap();
                    let said = String::from_utf8_lossy(&done.stderr);
                    assert!(
                        done.status.success() && said.is_empty(),
                        "{pipeline} with {options:?}, {shell:?}: {said}\n{script}"
                    );
                }
            }
        }
    }
}

/// docs/src/reference/pipelines.md is what the definitions say. `POLPO_UPDATE=1` writes it anew.
#[test]
fn the_reference_of_pipelines_is_current() {
    let cell = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").replace('|', "\\|")
    };
    let library = PipelineLibrary::default();
    let mut page = String::from(
        "# Pipelines

The pipelines that come with polpo. A step names one with `uses` and gives its inputs with `with`; definitions in a folder
of `--pipeline-dir` go before these. A **required** input has no default. Inputs come to scripts as environment variables and
are never taken for code, but those that are said to be read by the shell: these may hold quotes, substitutions and
continued lines. What a pipeline *needs* is added to the packages of the guest.
",
    );
    for name in PipelineLibrary::built_in() {
        let step = &library.load(name).unwrap().step;
        page += &format!("\n## {name}\n\n{}.\n", step.name.as_ref().unwrap().value);
        if !step.needs.packages.is_empty() {
            let needs: Vec<String> = step
                .needs
                .packages
                .iter()
                .map(|package| format!("`{}`", package.value))
                .collect();
            page += &format!("\nNeeds {}.\n", needs.join(", "));
        }
        if Native::of(name).is_some() {
            page += "\npolpo does it itself, outside the sandbox; what it brings is kept in the store.\n";
        }
        if step.inputs.iter().next().is_none() {
            continue;
        }
        page += "\n| input | default | what it is |\n|---|---|---|\n";
        for (input, about) in step.inputs.iter() {
            let default = match (about.required, about.default.as_str()) {
                (true, "") => "**required**".to_owned(),
                (_, "") => String::new(),
                (_, default) => format!("`{default}`"),
            };
            page += &format!(
                "| `{}` | {default} | {} |\n",
                input.value,
                cell(&about.description)
            );
        }
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/src/reference/pipelines.md"
    );
    if std::env::var_os("POLPO_UPDATE").is_some() {
        fs::write(path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "{path} is stale: run this test with POLPO_UPDATE=1"
    );
}
