use super::record::record;
use super::text::{Text, TextMap};

record! {
    /// A guest as written: apko's image configuration (`pkg/build/types/types.go`), of which builds
    /// and tests use the contents, the accounts and the environment.
    Environment as "environment" {
        /// What is installed, and where it comes from.
        value contents: ImageContents = "contents",
        /// Unused in a guest.
        optional entrypoint: Entrypoint = "entrypoint",
        /// Unused in a guest.
        optional cmd: Text = "cmd",
        /// Unused in a guest.
        optional stop_signal: Text = "stop-signal",
        /// Unused in a guest.
        optional work_dir: Text = "work-dir",
        /// Users and groups.
        value accounts: Accounts = "accounts",
        /// Unused in a guest.
        value archs: Vec<Text> = "archs",
        /// Environment variables.
        value environment: TextMap = "environment",
        /// Changes to files.
        value paths: Vec<PathMutation> = "paths",
        /// Unused in a guest.
        optional vcs_url: Text = "vcs-url",
        /// Unused in a guest.
        value annotations: TextMap = "annotations",
        /// Unused in a guest.
        optional include: Text = "include",
        /// Unused in a guest.
        value volumes: Vec<Text> = "volumes",
        /// Unused in a guest.
        optional layering: Layering = "layering",
        /// Unused in a guest.
        optional format: Text = "format",
        /// Certificates to trust.
        value certificates: Certificates = "certificates",
    }

    /// What is installed, and where it comes from.
    ImageContents as "contents" {
        /// Repositories used while building only.
        value build_repositories: Vec<Text> = "build_repositories",
        /// Repositories used at run time only: never in a guest.
        value runtime_repositories: Vec<Text> = "runtime_repositories",
        /// Repositories.
        value repositories: Vec<Text> = "repositories",
        /// Keys that sign them.
        value keyring: Vec<Text> = "keyring",
        /// Keys for run time only.
        value runtime_keyring: Vec<NamedContent> = "runtime_keyring",
        /// Packages, in apk's grammar.
        value packages: Vec<Text> = "packages",
        /// An image to build upon.
        optional baseimage: BaseImage = "baseimage",
    }

    /// A file given inline.
    NamedContent as "the entry" {
        /// Its name.
        value name: Text = "name",
        /// Its contents.
        value content: Text = "content",
    }

    /// An image to build upon.
    BaseImage as "baseimage" {
        /// An OCI layout.
        value image: Text = "image",
        /// The index of what it has installed.
        value apkindex: Text = "apkindex",
    }

    /// What an image runs.
    Entrypoint as "entrypoint" {
        /// `service-bundle`, or nothing.
        value kind: Text = "type",
        /// The command.
        value command: Text = "command",
        /// The command as a shell script.
        value shell_fragment: Text = "shell-fragment",
        /// Services of a bundle.
        value services: TextMap = "services",
    }

    /// Users and groups.
    Accounts as "accounts" {
        /// Whom steps run as.
        optional run_as: Text = "run-as",
        /// Users.
        value users: Vec<User> = "users",
        /// Groups.
        value groups: Vec<Group> = "groups",
    }

    /// A user.
    User as "the user" {
        /// The name.
        required username: Text = "username",
        /// The number.
        value uid: u32 = "uid",
        /// The primary group's number; the user's own when absent.
        optional gid: u32 = "gid",
        /// The login shell.
        value shell: Text = "shell",
        /// The home.
        value homedir: Text = "homedir",
    }

    /// A group.
    Group as "the group" {
        /// The name.
        required groupname: Text = "groupname",
        /// The number.
        value gid: u32 = "gid",
        /// Users that belong to it.
        value members: Vec<Text> = "members",
    }

    /// A change to a file.
    PathMutation as "the path" {
        /// The file.
        value path: Text = "path",
        /// What is done.
        value kind: Text = "type",
        /// The owner.
        optional uid: u32 = "uid",
        /// The group.
        optional gid: u32 = "gid",
        /// The permissions.
        value permissions: u32 = "permissions",
        /// Where a link points.
        value source: Text = "source",
        /// Whether it goes for everything beneath.
        value recursive: bool = "recursive",
    }

    /// How an image is layered.
    Layering as "layering" {
        /// The way.
        value strategy: Text = "strategy",
        /// How many layers.
        optional budget: i64 = "budget",
    }

    /// Certificates to trust.
    Certificates as "certificates" {
        /// Given inline.
        value additional: Vec<NamedContent> = "additional",
        /// Given by providers.
        value providers: Vec<Text> = "providers",
    }
}
