use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use archive::unpack::Ownership;
use build::recipe::CapabilityChange;
use build::sandbox::{
    Bind, Cancel, Connection, Ending, Held, InitProgram, Launch, Root, Standard, User,
    find_bubblewrap,
};
use oci::{ImageConfig, Layout};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::arguments::{ImageRun, Network as NetworkArgument};
use crate::output::failure::Failure;
use crate::settings::Session;

/// The image can't be run as it is configured.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("it names no command; give one after the layout")]
    NoCommand,
    #[error("its user is `{0}`, which its /etc/passwd does not name")]
    NoUser(String),
    #[error("`{0}` in its environment is no NAME=value")]
    Environment(String),
    #[error("{0} can't be executed there: it is no file, or has no right to be run")]
    NotExecutable(String),
    #[error("there is no {0} in it")]
    NoFile(String),
    #[error("there is no `{name}` in the folders of its PATH ({path})")]
    NotInPath { name: String, path: String },
}

pub(crate) fn run(arguments: &ImageRun, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let what = || format!("{} can't be run", arguments.layout.display());
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Failure::failed(what(), error);
    let layout = Layout::open(&arguments.layout).map_err(|error| failed(error.into()))?;
    let image = layout
        .image(arguments.tag.as_deref(), arguments.arch)
        .map_err(|error| failed(error.into()))?;
    let bubblewrap = find_bubblewrap().map_err(|error| failed(error.into()))?;
    let init = InitProgram::this().map_err(|error| failed(error.into()))?;

    let store = session.store()?;
    let scratch = store.temp_dir().map_err(|error| failed(error.into()))?;
    let [root, temporary, start] = ["root", "tmp", "start"].map(|name| scratch.path().join(name));
    for folder in [&root, &temporary, &start] {
        fs::create_dir(folder).map_err(|error| failed(error.into()))?;
    }
    image::unpack_image(&layout, &image, &root, Ownership::Ignore)
        .map_err(|error| failed(error.into()))?;

    let config = &image.config;
    let mut binds = Vec::new();
    if root.join("tmp").is_dir() {
        binds.push(Bind {
            source: temporary,
            target: "/tmp".to_owned(),
            writable: true,
        });
    }
    let working_directory = config.config.working_dir.as_str();
    let folder = Root::Folder {
        path: root.clone(),
        read_only: true,
    };
    let held = Held::new(&init, folder, &start).map_err(|error| failed(error.into()))?;
    let environment = environment(config).map_err(|error| failed(error.into()))?;
    let command = command(arguments, config).map_err(|error| failed(error.into()))?;
    find_program(&command[0], &environment, working_directory, &root).map_err(|error| {
        let code = match error {
            RunError::NotExecutable(_) => 126,
            _ => 127,
        };
        Failure::NotStarted {
            what: what(),
            cause: error.into(),
            code,
        }
    })?;
    let launch = Launch {
        init: &init,
        bubblewrap: &bubblewrap,
        user: user(config, &root).map_err(|error| failed(error.into()))?,
        capabilities: &CapabilityChange::default(),
        root: &held,
        binds: &binds,
        environment: &environment,
        command: &command,
        working_directory: (!working_directory.is_empty()).then_some(working_directory),
        network: match arguments.network {
            NetworkArgument::Deny => Connection::None,
            NetworkArgument::Allow => Connection::Host,
        },
        bounds: None,
        scratch: &start,
        standard: Standard::Inherited,
    };
    // The writer lives as long as this function: nothing but the program's own end ends it.
    let (_writer, cancel) = Cancel::pair().map_err(|error: io::Error| failed(error.into()))?;
    let ending = launch
        .run(None, &cancel, &mut |_| {})
        .map_err(|error| failed(error.into()))?;
    Ok(match ending {
        Ending::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ending::TimedOut | Ending::Cancelled | Ending::Exceeded(_) => ExitCode::from(1),
    })
}

fn command(arguments: &ImageRun, config: &ImageConfig) -> Result<Vec<String>, RunError> {
    let command = if arguments.command.is_empty() {
        [config.config.entrypoint.clone(), config.config.cmd.clone()].concat()
    } else {
        arguments.command.clone()
    };
    if command.is_empty() {
        Err(RunError::NoCommand)
    } else {
        Ok(command)
    }
}

fn environment(config: &ImageConfig) -> Result<BTreeMap<String, String>, RunError> {
    let pair = |line: &String| match line.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(RunError::Environment(line.clone())),
    };
    config.config.env.iter().map(pair).collect()
}

/// Where execvp looks if the environment says nothing (glibc's `_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Whether there is something to execute by that name, as execvp will look for it.
fn find_program(
    name: &str,
    environment: &BTreeMap<String, String>,
    working_directory: &str,
    root: &Path,
) -> Result<(), RunError> {
    let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let here = Path::new("/").join(working_directory);
    let is_path = name.contains('/');
    let candidates: Vec<PathBuf> = match is_path {
        true => vec![here.join(name)],
        false => path.split(':').map(|at| here.join(at).join(name)).collect(),
    };
    let mut not_executable = None;
    for candidate in candidates {
        match is_executable(root, &candidate) {
            Some(true) => return Ok(()),
            Some(false) => not_executable = Some(candidate),
            None => {}
        }
    }
    Err(match not_executable {
        Some(candidate) => RunError::NotExecutable(candidate.display().to_string()),
        None if is_path => RunError::NoFile(name.to_owned()),
        None => RunError::NotInPath {
            name: name.to_owned(),
            path: path.to_owned(),
        },
    })
}

/// `None` if there is nothing at `path`, whose links stay within `root`. What can't be found out is
/// left to the kernel, which will say so when it starts the program.
fn is_executable(root: &Path, path: &Path) -> Option<bool> {
    let beneath = path.strip_prefix("/").unwrap_or(path);
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
    let found = folder.and_then(|folder| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let program = openat2(folder, beneath, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        rustix::fs::fstat(program)
    });
    match found {
        Ok(found) => {
            let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            Some(is_file && found.st_mode & 0o111 != 0)
        }
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        Err(_) => Some(true),
    }
}

/// The user of the configuration, `USER[:GROUP]` by name or number; a group that is not given is the
/// one in the image's passwd, else 0 (OCI image specification, `config.User`).
fn user(config: &ImageConfig, root: &Path) -> Result<User, RunError> {
    let configured = config.config.user.as_str();
    if configured.is_empty() {
        return Ok(User::default());
    }
    let (name, group) = match configured.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (configured, None),
    };
    // Without a passwd there are only numbers.
    let passwd = read_inside(root, "etc/passwd").unwrap_or_default();
    let known = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [entry, _, uid, gid, ..] = fields[..] else {
            return None;
        };
        let user = User {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        };
        (entry == name || uid == name).then_some(user)
    });
    let unknown = || RunError::NoUser(configured.to_owned());
    let uid = match (name.parse(), known) {
        (Ok(uid), _) => uid,
        (Err(_), Some(user)) => user.uid,
        (Err(_), None) => return Err(unknown()),
    };
    let gid = match group {
        None => known.map_or(0, |user| user.gid),
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => group_id(root, group).ok_or_else(unknown)?,
        },
    };
    Ok(User { uid, gid })
}

/// A file of the image, none of whose folders is a link: a link could lead out of it.
fn read_inside(root: &Path, path: &str) -> Option<String> {
    let mut inside = root.to_path_buf();
    for component in path.split('/') {
        inside.push(component);
        if fs::symlink_metadata(&inside).ok()?.is_symlink() {
            return None;
        }
    }
    fs::read_to_string(inside).ok()
}

fn group_id(root: &Path, name: &str) -> Option<u32> {
    let groups = read_inside(root, "etc/group")?;
    groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [group, _, gid, ..] if group == name => gid.parse().ok(),
            _ => None,
        }
    })
}
