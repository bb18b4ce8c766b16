//! What the slots of apk's objects mean: names, kinds and the order of arrays, as apk 3.0.6 has
//! them. Nothing of this stands in a file; the file's schema number alone does.
//!
//! Fields are counted from 1, as slots are: slot 0 is their number.

/// The schema number of a package: `pckg`.
pub const PACKAGE_ID: u32 = u32::from_le_bytes(*b"pckg");
/// The schema number of an index: `indx`.
pub const INDEX_ID: u32 = u32::from_le_bytes(*b"indx");
/// The schema number of an installed database: `idb`. apk 3.0.6 converts to it and reads none.
pub const INSTALLED_ID: u32 = u32::from_le_bytes(*b"idb\0");

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text, some bytes or a number.
    Scalar(Scalar),
    /// An object.
    Object(&'static ObjectSchema),
    /// An array.
    Array(&'static ArraySchema),
    /// An ADB block as a blob.
    Adb(&'static Schema),
}

/// A text, some bytes or a number, and how it is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text of one line.
    Text,
    /// A text of many lines: a script.
    Lines,
    /// The name of a package.
    Name,
    /// A version; compared as such.
    Version,
    /// Bytes, written in hex.
    Hex,
    /// An extended attribute: its name, a NUL and its value; written as the name, `=` and hex.
    Attribute,
    /// A number.
    Integer,
    /// Seconds since 1970-01-01 UTC.
    Time,
    /// A number that is written in octal.
    Octal,
    /// Bytes as a number; read with a unit too (`3 MiB`).
    Size,
}

impl Scalar {
    /// Whether it is stored as a number, not as a blob.
    pub fn is_number(self) -> bool {
        matches!(
            self,
            Scalar::Integer | Scalar::Time | Scalar::Octal | Scalar::Size
        )
    }
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in text.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// Texts that stand for whole objects or arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// A dependency, as in a world file: `name>=1`. As an array: several, spaces between them.
    Dependencies,
    /// Tags, spaces between them.
    Tags,
}

/// The fields of an object.
#[derive(Debug)]
pub struct ObjectSchema {
    /// Its name, for messages.
    pub name: &'static str,
    /// The fields; the first is number 1.
    pub fields: &'static [Field],
    /// How many of the first fields tell two objects of an array apart when one is looked up.
    pub compared: usize,
    /// The text that stands for the whole object.
    pub words: Option<Words>,
}

/// The items of an array.
#[derive(Debug)]
pub struct ArraySchema {
    /// What each item is.
    pub item: Kind,
    /// The order they stand in.
    pub order: Order,
    /// A text from which the whole array can be read.
    pub words: Option<Words>,
}

/// The order of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Given,
    /// Sorted by all their fields.
    Sorted,
    /// Sorted, and each once.
    SortedUnique,
}

/// A kind of file.
#[derive(Debug)]
pub struct Schema {
    /// The number in the file's header.
    pub id: u32,
    /// Its name with an article, for messages.
    pub name: &'static str,
    /// The object at the root.
    pub root: &'static ObjectSchema,
}

impl ObjectSchema {
    /// The number of the field with this name.
    pub fn field_by_name(&self, name: &str) -> Option<usize> {
        let place = self.fields.iter().position(|field| field.name == name)?;
        Some(place + 1)
    }

    /// The field of this number, counted from 1.
    pub fn field(&self, number: usize) -> Option<&'static Field> {
        self.fields.get(number.checked_sub(1)?)
    }
}

/// Every kind of file.
pub static ALL: [&Schema; 3] = [&INDEX_FILE, &INSTALLED_FILE, &PACKAGE_FILE];

/// The kind of file that has this number.
pub fn by_id(id: u32) -> Option<&'static Schema> {
    ALL.into_iter().find(|schema| schema.id == id)
}

/// A package.
pub static PACKAGE_FILE: Schema = Schema {
    id: PACKAGE_ID,
    name: "a package",
    root: &PACKAGE,
};

/// An index.
pub static INDEX_FILE: Schema = Schema {
    id: INDEX_ID,
    name: "an index",
    root: &INDEX,
};

/// An installed database.
pub static INSTALLED_FILE: Schema = Schema {
    id: INSTALLED_ID,
    name: "an installed database",
    root: &INSTALLED,
};

const fn scalar(name: &'static str, scalar: Scalar) -> Field {
    Field {
        name,
        kind: Kind::Scalar(scalar),
    }
}

const fn text(name: &'static str) -> Field {
    scalar(name, Scalar::Text)
}

const fn array(name: &'static str, array: &'static ArraySchema) -> Field {
    Field {
        name,
        kind: Kind::Array(array),
    }
}

const fn object(name: &'static str, object: &'static ObjectSchema) -> Field {
    Field {
        name,
        kind: Kind::Object(object),
    }
}

/// Fields of [`DEPENDENCY`].
pub mod dependency {
    /// The name.
    pub const NAME: usize = 1;
    /// The version, none for any.
    pub const VERSION: usize = 2;
    /// Which versions: 1 equal, 2 less, 4 greater, 8 fuzzy, 16 for a conflict, in sum; absent is
    /// equal.
    pub const MATCH: usize = 3;
}

/// A dependency, a name provided or replaced.
pub static DEPENDENCY: ObjectSchema = ObjectSchema {
    name: "dependency",
    fields: &[
        text("name"),
        scalar("version", Scalar::Version),
        scalar("match", Scalar::Integer),
    ],
    compared: dependency::NAME,
    words: Some(Words::Dependencies),
};

/// Dependencies.
pub static DEPENDENCIES: ArraySchema = ArraySchema {
    item: Kind::Object(&DEPENDENCY),
    order: Order::SortedUnique,
    words: Some(Words::Dependencies),
};

/// Tags.
pub static TAGS: ArraySchema = ArraySchema {
    item: Kind::Scalar(Scalar::Text),
    order: Order::Given,
    words: Some(Words::Tags),
};

/// Texts: triggers.
pub static TEXTS: ArraySchema = ArraySchema {
    item: Kind::Scalar(Scalar::Text),
    order: Order::Given,
    words: None,
};

/// Fields of [`INFO`].
pub mod info {
    /// The name.
    pub const NAME: usize = 1;
    /// The version.
    pub const VERSION: usize = 2;
    /// In an index, SHA-256 of the package's payload or its first 20 bytes; in a package, a unique
    /// id of 20 bytes: the first of SHA-256 of the payload with this id all zero.
    pub const HASHES: usize = 3;
    /// The description.
    pub const DESCRIPTION: usize = 4;
    /// The architecture.
    pub const ARCH: usize = 5;
    /// The licence.
    pub const LICENSE: usize = 6;
    /// The recipe's name.
    pub const ORIGIN: usize = 7;
    /// The maintainer.
    pub const MAINTAINER: usize = 8;
    /// The homepage.
    pub const URL: usize = 9;
    /// The recipe's commit, 20 bytes.
    pub const REPO_COMMIT: usize = 10;
    /// When it was built.
    pub const BUILD_TIME: usize = 11;
    /// Bytes of its files.
    pub const INSTALLED_SIZE: usize = 12;
    /// Bytes of the package file; in indexes only.
    pub const FILE_SIZE: usize = 13;
    /// Its priority among those that provide a name.
    pub const PROVIDER_PRIORITY: usize = 14;
    /// What it needs.
    pub const DEPENDS: usize = 15;
    /// What it provides.
    pub const PROVIDES: usize = 16;
    /// Whose files it may replace.
    pub const REPLACES: usize = 17;
    /// With what it is installed by itself.
    pub const INSTALL_IF: usize = 18;
    /// What goes well with it.
    pub const RECOMMENDS: usize = 19;
    /// The layer it is installed into: 0 the root, 1 a volume for what changes.
    pub const LAYER: usize = 20;
    /// Its tags.
    pub const TAGS: usize = 21;
}

/// What a package says of itself.
pub static INFO: ObjectSchema = ObjectSchema {
    name: "info",
    fields: &[
        scalar("name", Scalar::Name),
        scalar("version", Scalar::Version),
        scalar("hashes", Scalar::Hex),
        text("description"),
        text("arch"),
        text("license"),
        text("origin"),
        text("maintainer"),
        text("url"),
        scalar("repo-commit", Scalar::Hex),
        scalar("build-time", Scalar::Time),
        scalar("installed-size", Scalar::Size),
        scalar("file-size", Scalar::Size),
        scalar("provider-priority", Scalar::Integer),
        array("depends", &DEPENDENCIES),
        array("provides", &DEPENDENCIES),
        array("replaces", &DEPENDENCIES),
        array("install-if", &DEPENDENCIES),
        array("recommends", &DEPENDENCIES),
        scalar("layer", Scalar::Integer),
        array("tags", &TAGS),
    ],
    compared: info::HASHES,
    words: None,
};

/// The packages of an index.
pub static INFOS: ArraySchema = ArraySchema {
    item: Kind::Object(&INFO),
    order: Order::Sorted,
    words: None,
};

/// Fields of [`INDEX`].
pub mod index {
    /// What the repository is.
    pub const DESCRIPTION: usize = 1;
    /// Its packages.
    pub const PACKAGES: usize = 2;
    /// Where the package files lie: `${arch}/${name}-${version}.apk`.
    pub const PKGNAME_SPEC: usize = 3;
}

/// An index.
pub static INDEX: ObjectSchema = ObjectSchema {
    name: "index",
    fields: &[
        text("description"),
        array("packages", &INFOS),
        text("pkgname-spec"),
    ],
    compared: 0,
    words: None,
};

/// Fields of [`ACL`].
pub mod acl {
    /// Permission bits.
    pub const MODE: usize = 1;
    /// The owner's name.
    pub const USER: usize = 2;
    /// The group's name.
    pub const GROUP: usize = 3;
    /// Extended attributes.
    pub const XATTRS: usize = 4;
}

/// Extended attributes.
pub static XATTRS: ArraySchema = ArraySchema {
    item: Kind::Scalar(Scalar::Attribute),
    order: Order::Sorted,
    words: None,
};

/// Rights and owners.
pub static ACL: ObjectSchema = ObjectSchema {
    name: "acl",
    fields: &[
        scalar("mode", Scalar::Octal),
        text("user"),
        text("group"),
        array("xattrs", &XATTRS),
    ],
    compared: 0,
    words: None,
};

/// Fields of [`FILE`].
pub mod file {
    /// The name, without its directory.
    pub const NAME: usize = 1;
    /// Rights and owners.
    pub const ACL: usize = 2;
    /// Bytes.
    pub const SIZE: usize = 3;
    /// When it was modified.
    pub const MTIME: usize = 4;
    /// SHA-256 of the contents.
    pub const HASH: usize = 5;
    /// What it is if it has no contents of its own: the file type in 2 bytes, then a link's target or a device number.
    pub const TARGET: usize = 6;
}

/// A file.
pub static FILE: ObjectSchema = ObjectSchema {
    name: "file",
    fields: &[
        text("name"),
        object("acl", &ACL),
        scalar("size", Scalar::Integer),
        scalar("mtime", Scalar::Time),
        scalar("hash", Scalar::Hex),
        scalar("target", Scalar::Hex),
    ],
    compared: file::NAME,
    words: None,
};

/// The files of a directory.
pub static FILES: ArraySchema = ArraySchema {
    item: Kind::Object(&FILE),
    order: Order::Sorted,
    words: None,
};

/// Fields of [`DIRECTORY`].
pub mod directory {
    /// The whole path; absent for the root.
    pub const NAME: usize = 1;
    /// Rights and owners.
    pub const ACL: usize = 2;
    /// What lies in it, without directories.
    pub const FILES: usize = 3;
}

/// A directory.
pub static DIRECTORY: ObjectSchema = ObjectSchema {
    name: "directory",
    fields: &[text("name"), object("acl", &ACL), array("files", &FILES)],
    compared: directory::NAME,
    words: None,
};

/// The directories of a package.
pub static DIRECTORIES: ArraySchema = ArraySchema {
    item: Kind::Object(&DIRECTORY),
    order: Order::Sorted,
    words: None,
};

/// Fields of [`SCRIPTS`].
pub mod scripts {
    /// When directories changed.
    pub const TRIGGER: usize = 1;
    /// Before installation.
    pub const PRE_INSTALL: usize = 2;
    /// After installation.
    pub const POST_INSTALL: usize = 3;
    /// Before removal.
    pub const PRE_DEINSTALL: usize = 4;
    /// After removal.
    pub const POST_DEINSTALL: usize = 5;
    /// Before an upgrade.
    pub const PRE_UPGRADE: usize = 6;
    /// After an upgrade.
    pub const POST_UPGRADE: usize = 7;
}

/// Scripts.
pub static SCRIPTS: ObjectSchema = ObjectSchema {
    name: "scripts",
    fields: &[
        scalar("trigger", Scalar::Lines),
        scalar("pre-install", Scalar::Lines),
        scalar("post-install", Scalar::Lines),
        scalar("pre-deinstall", Scalar::Lines),
        scalar("post-deinstall", Scalar::Lines),
        scalar("pre-upgrade", Scalar::Lines),
        scalar("post-upgrade", Scalar::Lines),
    ],
    compared: 0,
    words: None,
};

/// Fields of [`PACKAGE`].
pub mod package {
    /// What it says of itself.
    pub const INFO: usize = 1;
    /// Its directories.
    pub const PATHS: usize = 2;
    /// Its scripts.
    pub const SCRIPTS: usize = 3;
    /// Patterns of directories that set off its trigger.
    pub const TRIGGERS: usize = 4;
    /// Its priority where packages replace each other's files.
    pub const REPLACES_PRIORITY: usize = 5;
}

/// A package.
pub static PACKAGE: ObjectSchema = ObjectSchema {
    name: "package",
    fields: &[
        object("info", &INFO),
        array("paths", &DIRECTORIES),
        object("scripts", &SCRIPTS),
        array("triggers", &TEXTS),
        scalar("replaces-priority", Scalar::Integer),
    ],
    compared: package::INFO,
    words: None,
};

/// Fields of [`INSTALLED`].
pub mod installed {
    /// The packages.
    pub const PACKAGES: usize = 1;
}

/// Packages as blobs. apk means to sort them by their roots, but compares them without trust, as
/// which they are empty: they stand as they come.
pub static PACKAGES: ArraySchema = ArraySchema {
    item: Kind::Adb(&PACKAGE_FILE),
    order: Order::Given,
    words: None,
};

/// An installed database.
pub static INSTALLED: ObjectSchema = ObjectSchema {
    name: "installed database",
    fields: &[array("packages", &PACKAGES)],
    compared: 0,
    words: None,
};
