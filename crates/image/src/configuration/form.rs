//! What may be written in an image file, as a table: for the JSON Schema and the reference.

use serde_json::Value;
use yaml::{FieldForm, Form};

const fn field(key: &'static str, about: &'static [&'static str], form: fn() -> Form) -> FieldForm {
    FieldForm {
        key,
        about,
        is_required: false,
        form,
    }
}

const fn required(
    key: &'static str,
    about: &'static [&'static str],
    form: fn() -> Form,
) -> FieldForm {
    FieldForm {
        is_required: true,
        ..field(key, about, form)
    }
}

fn text() -> Form {
    Form::Text
}

fn texts() -> Form {
    Form::List(text)
}

fn text_map() -> Form {
    Form::Map(text)
}

fn integer() -> Form {
    Form::Integer
}

fn flag() -> Form {
    Form::Flag
}

const IMAGE: &[FieldForm] = &[
    field("contents", &["Packages and where they come from."], || {
        Form::Record(CONTENTS)
    }),
    field("entrypoint", &["The command that runs."], || {
        Form::Record(ENTRYPOINT)
    }),
    field("cmd", &["Its arguments, a line of shell words."], text),
    field(
        "stop-signal",
        &["The signal that asks the command to end."],
        text,
    ),
    field(
        "work-dir",
        &["The directory in which the command runs."],
        text,
    ),
    field("accounts", &["Users and groups."], || {
        Form::Record(ACCOUNTS)
    }),
    field(
        "archs",
        &["The architectures it is made for, in apk's or OCI's words; left out, all."],
        texts,
    ),
    field("environment", &["Environment variables."], text_map),
    field("paths", &["Changes of paths, done in order."], || {
        Form::List(|| Form::Record(PATH))
    }),
    field(
        "vcs-url",
        &["Where the file is kept: `url@revision`."],
        text,
    ),
    field(
        "annotations",
        &["Annotations of the manifest, and labels of the configuration."],
        text_map,
    ),
    field(
        "include",
        &["Another image file that this one adds to."],
        text,
    ),
    field("volumes", &["Folders that the runtime keeps apart."], texts),
    field(
        "layering",
        &["How the files are split into layers."],
        || Form::Record(LAYERING),
    ),
    field("format", &["What layers are: left out, tar."], || {
        Form::Choice(&["tar", "erofs"])
    }),
    field("certificates", &["Certificates to trust."], || {
        Form::Record(CERTIFICATES)
    }),
];

const CONTENTS: &[FieldForm] = &[
    field(
        "build_repositories",
        &["Repositories to build from only: folders or URLs, an `@tag` before."],
        texts,
    ),
    field(
        "runtime_repositories",
        &["Repositories named in the image only."],
        texts,
    ),
    field(
        "repositories",
        &["Repositories to build from, also named in the image."],
        texts,
    ),
    field(
        "keyring",
        &["Public keys that sign the repositories: paths or URLs."],
        texts,
    ),
    field(
        "runtime_keyring",
        &["Keys that only the image itself trusts."],
        || Form::List(|| Form::Record(NAMED_TEXT)),
    ),
    field(
        "packages",
        &["What must be installed: `name`, `name=1.2-r3`, `name>=1.2`, `!name`, `name@tag`."],
        texts,
    ),
    field(
        "baseimage",
        &["The image that this one is built upon."],
        || Form::Record(BASE_IMAGE),
    ),
];

const BASE_IMAGE: &[FieldForm] = &[
    required("image", &["Folder of an OCI layout."], text),
    field(
        "apkindex",
        &["Folder of `ARCH/APKINDEX`: what is installed in it; left out, its own database says."],
        text,
    ),
];

const ENTRYPOINT: &[FieldForm] = &[
    field(
        "type",
        &["`service-bundle`: s6 supervises the services."],
        || Form::Choice(&["service-bundle"]),
    ),
    field("command", &["The command, a line of shell words."], text),
    field(
        "shell-fragment",
        &["A script for `/bin/sh -c` in place of the command."],
        text,
    ),
    field(
        "services",
        &["Commands that s6 keeps running, by name."],
        text_map,
    ),
];

const ACCOUNTS: &[FieldForm] = &[
    field(
        "run-as",
        &["The user as whom the command runs: a name or a number."],
        text,
    ),
    field("users", &["Users to add."], || {
        Form::List(|| Form::Record(USER))
    }),
    field("groups", &["Groups to add."], || {
        Form::List(|| Form::Record(GROUP))
    }),
];

const USER: &[FieldForm] = &[
    required("username", &["The name."], text),
    required("uid", &["The number, never 0."], integer),
    field(
        "gid",
        &["The first group's number; left out, that of the user."],
        integer,
    ),
    field("shell", &["The shell; left out, /bin/sh."], text),
    field(
        "homedir",
        &["The home directory; left out, /home/NAME."],
        text,
    ),
];

const GROUP: &[FieldForm] = &[
    required("groupname", &["The name."], text),
    required("gid", &["The number."], integer),
    field("members", &["Names of users."], texts),
];

const PATH: &[FieldForm] = &[
    required("path", &["What is changed."], text),
    required("type", &["How."], || {
        Form::Choice(&[
            "directory",
            "empty-file",
            "hardlink",
            "permissions",
            "symlink",
        ])
    }),
    field(
        "uid",
        &["The owner; left alone where neither it nor `gid` is given."],
        integer,
    ),
    field(
        "gid",
        &["The group; root's where `uid` alone is given."],
        integer,
    ),
    field(
        "permissions",
        &["Permission bits, such as 0o755; left out, 0755 for directories and 0644 for files."],
        integer,
    ),
    field("source", &["What a link points to."], text),
    field(
        "recursive",
        &["Whether it covers everything beneath."],
        flag,
    ),
];

const LAYERING: &[FieldForm] = &[
    field(
        "strategy",
        &[
            "By what files are split: the recipe that packages were built by, or each package on its own.",
            "Left out, there is one layer.",
        ],
        || Form::Choice(&["origin", "package"]),
    ),
    field(
        "budget",
        &[
            "The most layers of packages; the smallest share the last. By `package`, as many as engines run without it.",
        ],
        integer,
    ),
];

const CERTIFICATES: &[FieldForm] = &[
    field("additional", &["Written here, one in each."], || {
        Form::List(|| Form::Record(NAMED_TEXT))
    }),
    field(
        "providers",
        &["Names whose providers among the packages carry certificates."],
        texts,
    ),
];

const NAMED_TEXT: &[FieldForm] = &[
    required("name", &["The file's name."], text),
    required("content", &["Its text, in PEM."], text),
];

/// What may be written in an image file.
pub fn form() -> Form {
    Form::Record(IMAGE)
}

/// The JSON Schema (draft 2020-12) of image files as text, two spaces a level, a newline at the end.
/// What only makes sense together, [`super::load`] checks.
pub fn schema() -> String {
    let schema: Value =
        yaml::json_schema(form(), "image", "Image", "An image made of apk packages.");
    format!("{schema:#}\n")
}
