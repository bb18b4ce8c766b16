use apk::repository::Repository;
use yaml::Item;

use super::{
    Accounts, Entrypoint, EntrypointKind, ImageConfiguration, NamedText, PathChange, oci_arch,
    redacted,
};

/// A mapping that leaves out what is empty.
#[derive(Default)]
struct Keys(Vec<(String, Item)>);

impl Keys {
    fn put(&mut self, key: &str, item: impl Into<Item>) {
        self.0.push((key.to_owned(), item.into()));
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    fn item(&mut self, key: &str, item: Item) {
        let is_empty = match &item {
            Item::List(items) => items.is_empty(),
            Item::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.put(key, item);
        }
    }
}

fn texts<T: ToString>(list: &[T]) -> Item {
    Item::List(
        list.iter()
            .map(|text| Item::Text(text.to_string()))
            .collect(),
    )
}

fn text_map(map: &std::collections::BTreeMap<String, String>) -> Item {
    Item::Map(
        map.iter()
            .map(|(name, value)| (name.clone(), Item::Text(value.clone())))
            .collect(),
    )
}

/// A key's path or URL, without credentials.
fn without_credentials(text: &str) -> String {
    if text.contains("://") {
        store::without_credentials(text)
    } else {
        text.to_owned()
    }
}

fn named_texts(list: &[NamedText]) -> Item {
    let one = |entry: &NamedText| {
        let mut keys = Keys::default();
        keys.text("name", &entry.name);
        keys.text("content", &entry.content);
        Item::Map(keys.0)
    };
    Item::List(list.iter().map(one).collect())
}

/// The image file with everything it includes, in YAML: the keys of `apko show-config` with its
/// values, without credentials in URLs.
pub fn shown(configuration: &ImageConfiguration) -> String {
    let contents = &configuration.contents;
    let repositories = |list: &[Repository]| {
        let shown: Vec<String> = list.iter().map(redacted).collect();
        texts(&shown)
    };
    let mut inner = Keys::default();
    inner.item(
        "build_repositories",
        repositories(&contents.build_repositories),
    );
    inner.item(
        "runtime_repositories",
        repositories(&contents.runtime_repositories),
    );
    inner.item("repositories", repositories(&contents.repositories));
    let keyring: Vec<String> = contents
        .keyring
        .iter()
        .map(|key| without_credentials(key))
        .collect();
    inner.item("keyring", texts(&keyring));
    inner.item("runtime_keyring", named_texts(&contents.runtime_keyring));
    let mut packages: Vec<&str> = contents
        .packages
        .iter()
        .map(|package| package.written.as_str())
        .collect();
    if configuration.entrypoint.kind == EntrypointKind::ServiceBundle {
        packages.push("s6");
    }
    inner.item("packages", texts(&packages));
    if let Some(base) = &contents.baseimage {
        let mut keys = Keys::default();
        keys.text("image", &base.image);
        keys.text("apkindex", &base.apkindex);
        inner.item("baseimage", Item::Map(keys.0));
    }
    let mut keys = Keys::default();
    keys.item("contents", Item::Map(inner.0));
    if configuration.entrypoint != Entrypoint::default() {
        keys.put("entrypoint", entrypoint(&configuration.entrypoint));
    }
    keys.text("cmd", &configuration.cmd);
    keys.text("stop-signal", &configuration.stop_signal);
    keys.text("work-dir", &configuration.work_dir);
    if configuration.accounts != Accounts::default() {
        keys.put("accounts", accounts(&configuration.accounts));
    }
    let archs: Vec<String> = configuration
        .archs
        .iter()
        .map(|arch| oci_arch(*arch))
        .collect();
    keys.item("archs", texts(&archs));
    keys.item("environment", text_map(&configuration.environment));
    keys.item(
        "paths",
        Item::List(configuration.paths.iter().map(path).collect()),
    );
    keys.text("vcs-url", &configuration.vcs_url);
    keys.item("annotations", text_map(&configuration.annotations));
    keys.text(
        "include",
        configuration.include.as_deref().unwrap_or_default(),
    );
    keys.item("volumes", texts(&configuration.volumes));
    if let Some(layering) = &configuration.layering {
        let mut inner = Keys::default();
        if let Some(strategy) = layering.strategy {
            inner.put("strategy", strategy.as_str());
        }
        if let Some(budget) = layering.budget.filter(|budget| *budget != 0) {
            inner.put("budget", budget);
        }
        keys.put("layering", Item::Map(inner.0));
    }
    keys.text(
        "format",
        configuration.format.map_or("", |format| format.as_str()),
    );
    if let Some(certificates) = &configuration.certificates {
        let mut inner = Keys::default();
        inner.item("additional", named_texts(&certificates.additional));
        inner.item("providers", texts(&certificates.providers));
        keys.put("certificates", Item::Map(inner.0));
    }
    yaml::to_string(&Item::Map(keys.0))
}

fn entrypoint(entrypoint: &Entrypoint) -> Item {
    let mut keys = Keys::default();
    let bundle = entrypoint.kind == EntrypointKind::ServiceBundle;
    keys.put("type", if bundle { "service-bundle" } else { "" });
    keys.put(
        "command",
        if bundle {
            "/bin/s6-svscan /sv"
        } else {
            entrypoint.command.as_str()
        },
    );
    keys.put("shell-fragment", entrypoint.shell_fragment.as_str());
    keys.put("services", text_map(&entrypoint.services));
    Item::Map(keys.0)
}

fn accounts(accounts: &Accounts) -> Item {
    let mut keys = Keys::default();
    keys.put("run-as", accounts.run_as.as_str());
    let users = accounts.users.iter().map(|user| {
        let mut keys = Keys::default();
        keys.put("username", user.name.as_str());
        keys.put("uid", user.uid);
        if let Some(gid) = user.gid {
            keys.put("gid", gid);
        }
        keys.put("shell", user.shell.as_str());
        keys.put("homedir", user.home.as_str());
        Item::Map(keys.0)
    });
    keys.put("users", Item::List(users.collect()));
    let groups = accounts.groups.iter().map(|group| {
        let mut keys = Keys::default();
        keys.put("groupname", group.name.as_str());
        keys.put("gid", group.gid);
        keys.put("members", texts(&group.members));
        Item::Map(keys.0)
    });
    keys.put("groups", Item::List(groups.collect()));
    Item::Map(keys.0)
}

fn path(change: &PathChange) -> Item {
    let mut keys = Keys::default();
    keys.put("path", change.path.written());
    keys.put("type", change.kind.as_str());
    for (key, number) in [("uid", change.uid), ("gid", change.gid)] {
        if let Some(number) = number {
            keys.put(key, number);
        }
    }
    keys.put("permissions", change.permissions.unwrap_or(0));
    keys.put("source", change.kind.source().unwrap_or_default());
    keys.put("recursive", change.recursive);
    Item::Map(keys.0)
}
