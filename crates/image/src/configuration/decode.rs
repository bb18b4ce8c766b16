use std::collections::BTreeMap;
use std::ops::Range;

use apk::dependency::Dependency;
use apk::repository::Repository;
use base::{Arch, Problem, SourceText, did_you_mean};
use yaml::{Decode, Decoder, Fields, Node, Spanned};

use super::{
    Accounts, BaseImage, Certificates, Contents, Entrypoint, EntrypointKind, Group,
    ImageConfiguration, ImagePath, Layering, LayeringStrategy, NamedText, PackageTerm, PathChange,
    PathChangeKind, User, split_words,
};

/// The names that apko takes for keys and certificates, which become file names.
fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// An error at `span` with what to do about it.
pub(super) fn error(
    decoder: &mut Decoder,
    rule: &'static str,
    span: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) {
    let problem = Problem::error(rule, message)
        .at(decoder.source(), span, "")
        .help(help);
    decoder.problem(problem);
}

impl Decode for ImageConfiguration {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<ImageConfiguration> {
        if node.value == yaml::Value::Null {
            decoder.error(
                "empty-file",
                "the image file is empty",
                0..0,
                "an image file names at least `contents`",
            );
            return None;
        }
        let mut fields = Fields::of(node, "the image file", decoder)?;
        let contents = fields.or_default("contents", decoder);
        let entrypoint = fields.or_default("entrypoint", decoder);
        let cmd = command_line(&mut fields, "cmd", decoder);
        let stop_signal = fields.or_default("stop-signal", decoder);
        let work_dir = work_dir(&mut fields, decoder);
        let accounts = fields.or_default("accounts", decoder);
        let archs = archs(&mut fields, decoder);
        let environment = environment(&mut fields, decoder);
        let paths: Vec<Option<PathChange>> = fields
            .or_default::<Vec<Node>>("paths", decoder)
            .iter()
            .map(|node| path_change(node, decoder))
            .collect();
        let vcs_url = fields.or_default("vcs-url", decoder);
        let annotations = fields.or_default("annotations", decoder);
        let include: String = fields.or_default("include", decoder);
        let volumes = fields.or_default("volumes", decoder);
        let layering: Option<Layering> = fields.optional("layering", decoder);
        let contents: Contents = contents;
        let format = super::format::decode(&mut fields, layering.as_ref(), &contents, decoder);
        let certificates = fields.optional("certificates", decoder);
        if contents.baseimage.is_some() {
            for key in [
                "entrypoint",
                "cmd",
                "stop-signal",
                "work-dir",
                "accounts",
                "environment",
                "paths",
                "annotations",
            ] {
                warn_over_base(&mut fields, key, decoder);
            }
        }
        fields.finish(decoder);
        Some(ImageConfiguration {
            contents,
            entrypoint,
            cmd,
            stop_signal,
            work_dir,
            accounts,
            archs,
            environment,
            paths: paths.into_iter().flatten().collect(),
            vcs_url,
            annotations,
            include: Some(include).filter(|path| !path.is_empty()),
            volumes,
            layering,
            format,
            certificates,
        })
    }
}

/// apko takes nothing but packages over a base image.
fn warn_over_base(fields: &mut Fields<'_>, key: &'static str, decoder: &mut Decoder) {
    if let Some(entry) = fields.entry(key) {
        let problem = Problem::warning(
            "over-base-image",
            format!(
                "apko refuses `{key}` beside `baseimage`; polpo adds it to what the base image has"
            ),
        )
        .at(decoder.source(), entry.key_span.clone(), "")
        .help("leave it as it is unless apko is to read this file too");
        decoder.problem(problem);
    }
}

fn command_line(fields: &mut Fields<'_>, key: &'static str, decoder: &mut Decoder) -> String {
    let Some(line) = fields.optional::<Spanned<String>>(key, decoder) else {
        return String::new();
    };
    if let Err(unbalanced) = split_words(&line) {
        error(
            decoder,
            "unbalanced-quote",
            line.span(),
            format!("`{key}` is no command line: {unbalanced}"),
            "close the quote, or put a backslash before it",
        );
    }
    line.value
}

fn work_dir(fields: &mut Fields<'_>, decoder: &mut Decoder) -> String {
    let Some(path) = fields.optional::<Spanned<String>>("work-dir", decoder) else {
        return String::new();
    };
    if !path.is_empty() && !path.starts_with('/') {
        error(
            decoder,
            "relative-path",
            path.span(),
            format!("`work-dir` is `{}`, which is relative to nothing", *path),
            "begin it with a `/`",
        );
    }
    path.value
}

fn archs(fields: &mut Fields<'_>, decoder: &mut Decoder) -> Vec<Arch> {
    let mut archs: Vec<Arch> = Vec::new();
    for name in fields.or_default::<Vec<Spanned<String>>>("archs", decoder) {
        match name.parse::<Arch>() {
            Ok(arch) if archs.contains(&arch) => {}
            Ok(arch) => archs.push(arch),
            Err(unknown) => {
                let known = Arch::ALL.map(Arch::apk);
                let help = match did_you_mean(&name, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "`all` and `host` belong on the command line: `--arch host`".to_owned(),
                };
                error(
                    decoder,
                    "unknown-architecture",
                    name.span(),
                    unknown.to_string(),
                    help,
                );
            }
        }
    }
    archs
}

fn environment(fields: &mut Fields<'_>, decoder: &mut Decoder) -> BTreeMap<String, String> {
    let Some(node) = fields.optional::<Node>("environment", decoder) else {
        return BTreeMap::new();
    };
    if let yaml::Value::Mapping(entries) = &node.value {
        for entry in entries {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                error(
                    decoder,
                    "environment-name",
                    entry.key_span.clone(),
                    format!(
                        "{:?} can't be the name of an environment variable",
                        entry.key
                    ),
                    "a name is not empty and has no `=`",
                );
            }
        }
    }
    Decode::decode(&node, decoder).unwrap_or_default()
}

impl Decode for Contents {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Contents> {
        let mut fields = Fields::of(node, "`contents`", decoder)?;
        let build_repositories = repositories(&mut fields, "build_repositories", decoder);
        let runtime_repositories = repositories(&mut fields, "runtime_repositories", decoder);
        let both = repositories(&mut fields, "repositories", decoder);
        let keyring = fields.or_default("keyring", decoder);
        let runtime_keyring = named_texts(&mut fields, "runtime_keyring", "key", decoder);
        for entry in &runtime_keyring {
            if let Err(refused) = key::PublicKey::from_pem(&entry.content) {
                error(
                    decoder,
                    "invalid-key",
                    entry.span(),
                    format!("the key `{}` can't be used: {refused}", entry.name),
                    "`content` is an RSA public key in PEM",
                );
            }
        }
        let packages = packages(&mut fields, decoder);
        let baseimage = fields.optional("baseimage", decoder);
        fields.finish(decoder);
        Some(Contents {
            build_repositories,
            runtime_repositories,
            repositories: both,
            keyring,
            runtime_keyring: runtime_keyring
                .into_iter()
                .map(|entry| entry.value)
                .collect(),
            packages,
            baseimage,
        })
    }
}

impl Decode for BaseImage {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<BaseImage> {
        let mut fields = Fields::of(node, "`baseimage`", decoder)?;
        let image = fields.required::<Spanned<String>>("image", decoder);
        let apkindex = fields.or_default("apkindex", decoder);
        fields.finish(decoder);
        let image = image?;
        if image.is_empty() {
            error(
                decoder,
                "missing-key",
                image.span(),
                "`baseimage` names no image",
                "write the folder of an OCI layout",
            );
        }
        Some(BaseImage {
            image: image.value,
            apkindex,
        })
    }
}

fn packages(fields: &mut Fields<'_>, decoder: &mut Decoder) -> Vec<PackageTerm> {
    let mut packages = Vec::new();
    for text in fields.or_default::<Vec<Spanned<String>>>("packages", decoder) {
        match Dependency::parse_apko(&text) {
            Ok(term) => packages.push(PackageTerm {
                term,
                written: text.value.clone(),
                place: Some((SourceText::clone(decoder.source()), text.span())),
            }),
            Err(refused) => error(
                decoder,
                "invalid-constraint",
                text.span(),
                refused.to_string(),
                "write a package as `name`, `name=1.2-r3`, `name>=1.2`, `name~1.2` or `!name`, and a repository's tag as `name@tag`",
            ),
        }
    }
    packages
}

fn repositories(
    fields: &mut Fields<'_>,
    key: &'static str,
    decoder: &mut Decoder,
) -> Vec<Repository> {
    let mut repositories = Vec::new();
    for text in fields.or_default::<Vec<Spanned<String>>>(key, decoder) {
        match Repository::parse(text.trim_end_matches('/')) {
            Ok(repository) => repositories.push(repository),
            Err(refused) => error(
                decoder,
                "invalid-repository",
                text.span(),
                refused.to_string(),
                "write a folder or URL, or `@tag` and a folder or URL",
            ),
        }
    }
    repositories
}

impl Decode for Entrypoint {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Entrypoint> {
        let mut fields = Fields::of(node, "`entrypoint`", decoder)?;
        let kind = match fields.optional::<Spanned<String>>("type", decoder) {
            None => EntrypointKind::Plain,
            Some(kind) => match kind.as_str() {
                "" => EntrypointKind::Plain,
                "service-bundle" => EntrypointKind::ServiceBundle,
                other => {
                    error(
                        decoder,
                        "unknown-entrypoint-type",
                        kind.span(),
                        format!("`{other}` is no type of entrypoint"),
                        "the only type is `service-bundle`; leave the key out for a plain command",
                    );
                    EntrypointKind::Plain
                }
            },
        };
        let command = command_line(&mut fields, "command", decoder);
        let shell_fragment = fields.or_default("shell-fragment", decoder);
        let services: BTreeMap<String, String> = match fields.entry("services") {
            None => BTreeMap::new(),
            Some(entry) => {
                let services: BTreeMap<String, String> =
                    Decode::decode(&entry.value, decoder).unwrap_or_default();
                for name in services.keys() {
                    if !is_file_name(name) {
                        error(
                            decoder,
                            "service-name",
                            entry.key_span.clone(),
                            format!("{name:?} can't be the name of a service"),
                            "it becomes a folder of /sv: letters, digits, `_`, `.` and `-`",
                        );
                    }
                }
                services
            }
        };
        fields.finish(decoder);
        Some(Entrypoint {
            kind,
            command,
            shell_fragment,
            services,
        })
    }
}

impl Decode for Accounts {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Accounts> {
        let mut fields = Fields::of(node, "`accounts`", decoder)?;
        let run_as = fields.or_default("run-as", decoder);
        let users: Vec<Spanned<User>> = fields.or_default("users", decoder);
        let groups: Vec<Spanned<Group>> = fields.or_default("groups", decoder);
        fields.finish(decoder);
        let of_users = users
            .iter()
            .map(|user| (user.span(), user.name.as_str(), user.uid));
        each_once(of_users, "user", "uid", decoder);
        let of_groups = groups
            .iter()
            .map(|group| (group.span(), group.name.as_str(), group.gid));
        each_once(of_groups, "group", "gid", decoder);
        let users = users.into_iter().map(|user| user.value).collect();
        let groups = groups.into_iter().map(|group| group.value).collect();
        Some(Accounts {
            run_as,
            users,
            groups,
        })
    }
}

/// A name or number that stands twice is one account too many.
fn each_once<'a>(
    accounts: impl Iterator<Item = (Range<usize>, &'a str, u32)>,
    what: &'static str,
    key: &'static str,
    decoder: &mut Decoder,
) {
    let mut names: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    let mut numbers: BTreeMap<u32, Range<usize>> = BTreeMap::new();
    for (span, name, number) in accounts {
        let (message, first) = match (names.get(name), numbers.get(&number)) {
            (Some(first), _) => (format!("two {what}s are named `{name}`"), first.clone()),
            (None, Some(first)) => (
                format!("two {what}s have the {key} {number}"),
                first.clone(),
            ),
            (None, None) => {
                names.insert(name, span.clone());
                numbers.insert(number, span);
                continue;
            }
        };
        let problem = Problem::error("duplicate-account", message)
            .at(decoder.source(), span, "again here")
            .at(decoder.source(), first, "first here")
            .help(format!(
                "give each {what} its own name and {key}; files belong to a number"
            ));
        decoder.problem(problem);
    }
}

/// A name or path that becomes a field of /etc/passwd or /etc/group.
fn account_field(value: &Spanned<String>, what: &str, decoder: &mut Decoder) {
    if value.contains([':', ',']) || value.chars().any(char::is_control) {
        error(
            decoder,
            "account-field",
            value.span(),
            format!("{:?} can't be {what}", **value),
            "colons, commas and line breaks separate the fields of /etc/passwd and /etc/group",
        );
    }
}

impl Decode for User {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<User> {
        let mut fields = Fields::of(node, "a user", decoder)?;
        let name = fields.required::<Spanned<String>>("username", decoder);
        let uid = fields.required::<Spanned<u32>>("uid", decoder);
        let gid = fields.optional("gid", decoder);
        let shell = fields.optional::<Spanned<String>>("shell", decoder);
        let home = fields.optional::<Spanned<String>>("homedir", decoder);
        fields.finish(decoder);
        for (value, what) in [
            (&name, "a user's name"),
            (&shell, "a shell"),
            (&home, "a home"),
        ] {
            if let Some(value) = value {
                account_field(value, what, decoder);
            }
        }
        if let Some(home) = &home
            && home.as_str() != "/"
            && !home.is_empty()
            && let Err(refused) = ImagePath::parse(home)
        {
            error(
                decoder,
                "unsafe-path",
                home.span(),
                refused.to_string(),
                "write the path inside the image, such as `/home/nonroot`",
            );
        }
        if let Some(uid) = &uid
            && **uid == 0
        {
            error(
                decoder,
                "uid-0",
                uid.span(),
                "a user with uid 0 is root by another name",
                "give another uid; to run as root, write `run-as: 0`",
            );
        }
        if let Some(name) = &name
            && name.is_empty()
        {
            error(
                decoder,
                "account-field",
                name.span(),
                "a user's name is empty",
                "give it a name",
            );
        }
        let (name, uid) = (name?.value, uid?.value);
        let non_empty = |value: Option<Spanned<String>>| {
            value
                .map(|value| value.value)
                .filter(|value| !value.is_empty())
        };
        Some(User {
            uid,
            gid,
            shell: non_empty(shell).unwrap_or_default(),
            home: non_empty(home).unwrap_or_else(|| format!("/home/{name}")),
            name,
        })
    }
}

impl Decode for Group {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Group> {
        let mut fields = Fields::of(node, "a group", decoder)?;
        let name = fields.required::<Spanned<String>>("groupname", decoder);
        let gid = fields.required("gid", decoder);
        let members = fields.or_default::<Vec<Spanned<String>>>("members", decoder);
        fields.finish(decoder);
        if let Some(name) = &name {
            account_field(name, "a group's name", decoder);
            if name.is_empty() {
                error(
                    decoder,
                    "account-field",
                    name.span(),
                    "a group's name is empty",
                    "give it a name",
                );
            }
        }
        for member in &members {
            account_field(member, "a user's name", decoder);
        }
        Some(Group {
            name: name?.value,
            gid: gid?,
            members: members.into_iter().map(|member| member.value).collect(),
        })
    }
}

const PATH_KINDS: [&str; 5] = [
    "directory",
    "empty-file",
    "hardlink",
    "permissions",
    "symlink",
];

fn path_change(node: &Node, decoder: &mut Decoder) -> Option<PathChange> {
    let mut fields = Fields::of(node, "a path", decoder)?;
    let path = fields.required::<Spanned<String>>("path", decoder);
    let kind = fields.required::<Spanned<String>>("type", decoder);
    let uid = fields.optional("uid", decoder);
    let gid = fields.optional("gid", decoder);
    let permissions = fields.optional::<Spanned<u32>>("permissions", decoder);
    let source = fields
        .optional::<Spanned<String>>("source", decoder)
        .filter(|source| !source.is_empty());
    let recursive = fields.or_default("recursive", decoder);
    let span = fields.span();
    fields.finish(decoder);
    let image_path = |text: &Spanned<String>, decoder: &mut Decoder| match ImagePath::parse(text) {
        Ok(path) => Some(path),
        Err(refused) => {
            error(
                decoder,
                "unsafe-path",
                text.span(),
                refused.to_string(),
                "write the path inside the image, such as `/var/lib/service`",
            );
            None
        }
    };
    if let Some(permissions) = &permissions
        && **permissions > 0o7777
    {
        error(
            decoder,
            "permissions",
            permissions.span(),
            format!("{:#o} is more than permission bits", **permissions),
            "write an octal number up to 0o7777, such as 0o755; without the 0 in front it is decimal",
        );
    }
    let path = path.and_then(|path| image_path(&path, decoder));
    let kind = kind?;
    let default = match kind.as_str() {
        "directory" => Some("0755"),
        "empty-file" => Some("0644"),
        _ => None,
    };
    if let (None, Some(default)) = (&permissions, default) {
        let problem = Problem::warning(
            "permissions-left-out",
            format!(
                "`permissions` is left out: polpo makes the {} {default}, apko 0000",
                *kind
            ),
        )
        .at(decoder.source(), span.clone(), "")
        .help(format!(
            "write `permissions: 0o{}`",
            default.trim_start_matches('0')
        ));
        decoder.problem(problem);
    }
    if *kind.value == *"symlink" && (permissions.is_some() || uid.is_some() || gid.is_some()) {
        let problem = Problem::warning(
            "link-permissions",
            "mode and owner of a symbolic link: apko gives both to what it leads to, and fails \
             where that is missing; polpo gives the owner to the link itself",
        )
        .at(decoder.source(), span.clone(), "")
        .help("to change what the link leads to, add a path of type `permissions` that names it");
        decoder.problem(problem);
    }
    let needs_source = |decoder: &mut Decoder| {
        error(
            decoder,
            "missing-key",
            span.clone(),
            format!("a {} has no `source`", *kind),
            "`source` is what it points to",
        );
    };
    let kind = match kind.as_str() {
        "directory" => PathChangeKind::Directory,
        "empty-file" => PathChangeKind::EmptyFile,
        "permissions" => {
            if permissions.is_none() && uid.is_none() && gid.is_none() {
                error(
                    decoder,
                    "missing-key",
                    span,
                    "a path of type `permissions` changes nothing",
                    "give `permissions`, `uid` or `gid`",
                );
            }
            PathChangeKind::Permissions
        }
        "hardlink" => match &source {
            Some(source) => PathChangeKind::Hardlink {
                source: image_path(source, decoder)?,
            },
            None => {
                needs_source(decoder);
                return None;
            }
        },
        "symlink" => match &source {
            Some(source) if !source.chars().any(char::is_control) => PathChangeKind::Symlink {
                source: source.value.clone(),
            },
            Some(source) => {
                image_path(source, decoder);
                return None;
            }
            None => {
                needs_source(decoder);
                return None;
            }
        },
        other => {
            let help = match did_you_mean(other, PATH_KINDS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the types are {}", PATH_KINDS.join(", ")),
            };
            error(
                decoder,
                "unknown-path-type",
                kind.span(),
                format!("`{other}` is no type of path"),
                help,
            );
            return None;
        }
    };
    Some(PathChange {
        path: path?,
        kind,
        uid,
        gid,
        permissions: permissions.map(|permissions| permissions.value),
        recursive,
    })
}

impl Decode for Layering {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Layering> {
        let mut fields = Fields::of(node, "`layering`", decoder)?;
        let strategy = fields.optional::<Spanned<String>>("strategy", decoder);
        let budget = fields.optional("budget", decoder);
        fields.finish(decoder);
        let strategy = match strategy {
            None => None,
            Some(strategy) => match strategy.as_str() {
                "" => None,
                "origin" => Some(LayeringStrategy::Origin),
                "package" => Some(LayeringStrategy::Package),
                other => {
                    error(
                        decoder,
                        "unknown-layering",
                        strategy.span(),
                        format!("`{other}` is no way of splitting layers"),
                        "the strategies are `origin` and `package`; leave `layering` out for one layer",
                    );
                    None
                }
            },
        };
        Some(Layering { strategy, budget })
    }
}

impl Decode for Certificates {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Certificates> {
        let mut fields = Fields::of(node, "`certificates`", decoder)?;
        let additional = named_texts(&mut fields, "additional", "certificate", decoder);
        for entry in &additional {
            let count = entry.content.matches("-----BEGIN CERTIFICATE-----").count();
            let ended = entry.content.matches("-----END CERTIFICATE-----").count();
            if (count, ended) != (1, 1) {
                error(
                    decoder,
                    "invalid-certificate",
                    entry.span(),
                    format!("`{}` holds {count} certificates", entry.name),
                    "`content` is exactly one certificate in PEM; give each its own entry",
                );
            }
        }
        let providers = fields.or_default("providers", decoder);
        fields.finish(decoder);
        Some(Certificates {
            additional: additional.into_iter().map(|entry| entry.value).collect(),
            providers,
        })
    }
}

/// A list of `{name, content}` whose names become file names, so they are checked and unique.
fn named_texts(
    fields: &mut Fields<'_>,
    key: &'static str,
    what: &str,
    decoder: &mut Decoder,
) -> Vec<Spanned<NamedText>> {
    let mut texts: Vec<Spanned<NamedText>> = Vec::new();
    let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for node in fields.or_default::<Vec<Node>>(key, decoder) {
        let Some(mut fields) = Fields::of(&node, &format!("a {what}"), decoder) else {
            continue;
        };
        let name = fields.required::<Spanned<String>>("name", decoder);
        let content = fields.required::<Spanned<String>>("content", decoder);
        fields.finish(decoder);
        let (Some(name), Some(content)) = (name, content) else {
            continue;
        };
        if !is_file_name(&name) {
            error(
                decoder,
                "file-name",
                name.span(),
                format!("{:?} can't be the name of a {what}", *name),
                "it becomes a file's name: letters, digits, `_`, `.` and `-`, not starting with `.`",
            );
        } else if let Some(first) = seen.insert(name.value.clone(), name.span()) {
            let problem = Problem::error(
                "duplicate-name",
                format!("two {what}s are named `{}`", *name),
            )
            .at(decoder.source(), name.span(), "again here")
            .at(decoder.source(), first, "first here")
            .help("give each its own name");
            decoder.problem(problem);
        }
        texts.push(Spanned::new(
            NamedText {
                name: name.value,
                content: content.value.clone(),
            },
            name.start..name.end,
        ));
    }
    texts
}
