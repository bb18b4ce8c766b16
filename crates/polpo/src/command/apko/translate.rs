//! From apko's commands to polpo's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use image::configuration;

use super::archive::reference;
use crate::command::other_program::{Call, Calls, Given, usage, words};
use crate::output::failure::Failure;

pub(super) fn translate(given: &Given<'_>) -> Result<Calls, Failure> {
    let folder = given
        .value("workdir")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let operands = given.operands();
    let operand = |place: usize| operands.get(place).copied().unwrap_or_default();
    let mut scratch = None;
    let mut archive = None;
    let one = |line: &[&str], more: Vec<OsString>| vec![words(line, more)];
    let calls = match given.command.name {
        "build" => {
            let output = operand(2);
            let is_folder = folder.clone().unwrap_or_default().join(output).is_dir();
            let mut line = build(given, operand(0), folder.as_deref())?;
            if is_folder {
                let mut call = words(
                    &["image", "build", operand(0), operand(1), output],
                    Vec::new(),
                );
                call.append(&mut line);
                vec![call]
            } else {
                let layout = layout(&mut scratch)?;
                let mut call = words(
                    &["image", "build", operand(0), operand(1), &layout],
                    Vec::new(),
                );
                call.append(&mut line);
                // A name that is none is told here, before anything is built.
                archive = Some(Call::Archive {
                    layout: layout.into(),
                    reference: reference(operand(1))?,
                    output: output.into(),
                });
                vec![call]
            }
        }
        "publish" => {
            if given.is_on("local") {
                return Err(usage(
                    "--local sends to Docker: build into a layout and `polpo image copy LAYOUT docker:NAME`",
                ));
            }
            let layout = layout(&mut scratch)?;
            let mut call = words(
                &["image", "build", operand(0), operand(1), &layout],
                Vec::new(),
            );
            call.append(&mut build(given, operand(0), folder.as_deref())?);
            let mut publish = vec!["image", "publish", layout.as_str()];
            publish.extend(operands.iter().skip(1));
            let mut publish = words(&publish, common(given));
            if let Some(file) = given.value("image-refs").filter(|file| !file.is_empty()) {
                publish.push(format!("--image-refs={file}").into());
            }
            vec![call, publish]
        }
        "build-minirootfs" => {
            let arch = given.value("build-arch").filter(|arch| !arch.is_empty());
            let mut line = given.passed_on();
            line.push(format!("--arch={}", arch.unwrap_or("host")).into());
            line.extend(given.build_date()?);
            one(&["image", "minirootfs", operand(0), operand(1)], line)
        }
        "lock" | "resolve" => {
            let mut line = choosing(given, operand(0), folder.as_deref());
            if given.command.name == "resolve" {
                let default = Path::new(operand(0)).with_extension("resolved.json");
                let output = match given.value("output").filter(|output| !output.is_empty()) {
                    Some(output) => output.to_owned(),
                    None => default.display().to_string(),
                };
                line.push(format!("--output={output}").into());
            }
            one(&["image", "lock", operand(0)], line)
        }
        "show-config" => one(&["image", "show", operand(0)], given.passed_on()),
        "show-packages" => one(
            &["image", "packages", operand(0)],
            choosing(given, operand(0), folder.as_deref()),
        ),
        "dot" => {
            if given.is_on("web") {
                return Err(usage(
                    "--web: give the graph to Graphviz: `apko dot CONFIG | dot -Tsvg`",
                ));
            }
            one(
                &["image", "dot", operand(0)],
                choosing(given, operand(0), folder.as_deref()),
            )
        }
        "login" => {
            if given.value("password").is_some() {
                return Err(usage(
                    "a password on the command line can be read by everybody on the machine; use --password-stdin",
                ));
            }
            let mut line = given.passed_on();
            if let Some(user) = given.value("username") {
                line.push(format!("--username={user}").into());
            }
            if given.is_on("password-stdin") {
                line.push("--password-stdin".into());
            }
            one(&["login", operand(0)], line)
        }
        "erofs" => erofs(given, &operands, folder.as_deref())?,
        "clean" => one(&["clean"], given.passed_on()),
        "version" => one(&["--version"], Vec::new()),
        _ => one(&["completions", operand(0), "apko"], Vec::new()),
    };
    Ok(Calls {
        calls: calls.into_iter().map(Call::Polpo).chain(archive).collect(),
        folder,
        _scratch: scratch,
        ..Calls::default()
    })
}

/// `erofs ls SOURCE`; SOURCE is a layout or a file, with or without a scheme before it.
fn erofs(
    given: &Given<'_>,
    operands: &[&str],
    folder: Option<&Path>,
) -> Result<Vec<Vec<OsString>>, Failure> {
    let source = match operands {
        ["ls", source] => *source,
        ["mount", ..] => {
            return Err(usage(
                "what is mounted is the system's own work: `polpo image copy IMAGE erofs:FILE`, then \
                 `mount -t erofs -o loop,ro FILE FOLDER` as root, or `erofsfuse FILE FOLDER`",
            ));
        }
        ["umount", ..] => return Err(usage("`umount FOLDER` takes back what `mount` did")),
        _ => return Err(usage("apko erofs takes `ls SOURCE`")),
    };
    let bare = ["erofs:", "oci:", "oci-dir:"]
        .iter()
        .find_map(|scheme| source.strip_prefix(scheme))
        .unwrap_or(source);
    let is_file = folder.unwrap_or(Path::new("")).join(bare).is_file();
    let place = match is_file {
        true => format!("erofs:{bare}"),
        false => format!("oci:{bare}"),
    };
    let mut line = common(given);
    let arch = given
        .value("arch")
        .filter(|arch| !matches!(*arch, "" | "host"));
    if let Some(arch) = arch {
        line.push(format!("--arch={arch}").into());
    }
    Ok(vec![words(&["image", "files", &place], line)])
}

/// A folder for a layout that is needed no longer than the calls.
fn layout(scratch: &mut Option<tempfile::TempDir>) -> Result<String, Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::failed("a folder for the image can't be made", error))?;
    let path = folder.path().join("layout").display().to_string();
    *scratch = Some(folder);
    Ok(path)
}

/// The options that every command of polpo takes.
fn common(given: &Given<'_>) -> Vec<OsString> {
    let mut line = Vec::new();
    for option in ["store", "progress"] {
        if let Some(value) = given.value(option) {
            line.push(format!("--{option}={value}").into());
        }
    }
    if let Some(folder) = given.value("cache-dir").filter(|folder| !folder.is_empty()) {
        line.push(format!("--store={folder}").into());
    }
    line
}

/// What is passed on, and the architectures: apko builds for all where nothing says which.
fn choosing(given: &Given<'_>, config: &str, folder: Option<&Path>) -> Vec<OsString> {
    let mut line = given.passed_on();
    let archs = given.list("arch");
    if archs.is_empty() {
        let path = folder.unwrap_or(Path::new("")).join(config);
        // A file that can't be read is told by the command itself.
        let says = configuration::load(&path, &[])
            .is_ok_and(|loaded| !loaded.configuration.archs.is_empty());
        if !says {
            line.push("--arch=all".into());
        }
    } else {
        line.push(format!("--arch={}", archs.join(",")).into());
    }
    line
}

/// What `build` and `publish` share.
fn build(given: &Given<'_>, config: &str, folder: Option<&Path>) -> Result<Vec<OsString>, Failure> {
    for format in given.list("sbom-formats") {
        if format != "spdx" {
            return Err(usage(format!(
                "--sbom-formats: `{format}` is not written; `spdx` is"
            )));
        }
    }
    let mut line = choosing(given, config, folder);
    line.extend(given.build_date()?);
    if !given.was_said("sbom") || given.is_on("sbom") {
        let path = given.value("sbom-path").filter(|path| !path.is_empty());
        line.push(format!("--sbom-path={}", path.unwrap_or(".")).into());
    }
    Ok(line)
}
