use crate::adb::compose::{entry_fields, put};
use crate::adb::schema::{
    ACL, DIRECTORIES, DIRECTORY, FILE, FILES, INSTALLED, PACKAGE, PACKAGES, SCRIPTS, TAGS, TEXTS,
    acl, directory, file, info, installed, package, scripts,
};
use crate::adb::{AdbError, Builder, Tag, Value};
use crate::dependency::Identity;
use crate::package::Script;

use super::{InstalledPackage, Permissions};

/// The names of owners by number, as the format has them.
pub trait Owners {
    /// A user's name.
    fn user(&self, number: u64) -> String;
    /// A group's name.
    fn group(&self, number: u64) -> String;
}

/// The scripts in the order in which apk keeps them.
const ORDER: [(Script, usize); 7] = [
    (Script::PreInstall, scripts::PRE_INSTALL),
    (Script::PostInstall, scripts::POST_INSTALL),
    (Script::PreDeinstall, scripts::PRE_DEINSTALL),
    (Script::PostDeinstall, scripts::POST_DEINSTALL),
    (Script::PreUpgrade, scripts::PRE_UPGRADE),
    (Script::PostUpgrade, scripts::POST_UPGRADE),
    (Script::Trigger, scripts::TRIGGER),
];

/// The payload of an installed database of format 3, as apk's `convdb` makes it out of one of
/// format 2; apk 3.0.6 reads none. What the older format doesn't know of files stays unsaid.
///
/// # Errors
/// It is larger than the format can hold.
pub fn to_adb(packages: &[InstalledPackage], owners: &dyn Owners) -> Result<Vec<u8>, AdbError> {
    let mut all = Builder::new();
    let mut items = Vec::new();
    for package in packages {
        let payload = one(package, owners)?;
        items.push(all.adb(&payload));
    }
    let packages = all.array(&PACKAGES, Tag::Object, items);
    let mut root = [Value::NULL; INSTALLED.fields.len()];
    put(&mut root, installed::PACKAGES, packages);
    let root = all.object(&root);
    all.set_root(root);
    all.finish()
}

/// The payload of a package. Values stand in the order of the lines of the older format.
fn one(installed: &InstalledPackage, owners: &dyn Owners) -> Result<Vec<u8>, AdbError> {
    let mut builder = Builder::new();
    let mut root = [Value::NULL; PACKAGE.fields.len()];
    let entry = &installed.entry;
    // What stands first in the older format: the identity, and by it the scripts.
    let hashes: &[u8] = match &entry.identity {
        Identity::Sha1(digest) => digest.as_bytes(),
        Identity::Sha256(digest) => digest.as_bytes(),
    };
    builder.blob(hashes);
    let mut values = [Value::NULL; SCRIPTS.fields.len()];
    for (script, field) in ORDER {
        if let Some(bytes) = installed.scripts.get(&script) {
            put(&mut values, field, builder.blob(bytes));
        }
    }
    let triggers = texts(&mut builder, &entry.info.triggers);
    let triggers = builder.array(&TEXTS, Tag::Object, triggers);
    put(&mut root, package::TRIGGERS, triggers);
    put(&mut root, package::SCRIPTS, builder.object(&values));
    let mut fields = entry_fields(&mut builder, entry);
    let tags = texts(&mut builder, &installed.tags);
    put(
        &mut fields,
        info::TAGS,
        builder.array(&TAGS, Tag::Object, tags),
    );
    let mut paths = Vec::new();
    for folder in &installed.directories {
        let mut values = [Value::NULL; DIRECTORY.fields.len()];
        put(
            &mut values,
            directory::NAME,
            builder.blob(folder.path.as_bytes()),
        );
        let owned = rights(&mut builder, &folder.permissions, 0o755, owners);
        put(&mut values, directory::ACL, owned);
        let files = folder
            .files
            .iter()
            .map(|one| {
                let mut values = [Value::NULL; FILE.fields.len()];
                put(&mut values, file::NAME, builder.blob(one.name.as_bytes()));
                let owned = rights(&mut builder, &one.permissions, 0o644, owners);
                put(&mut values, file::ACL, owned);
                let checksum = match &one.checksum {
                    Some(Identity::Sha1(digest)) => builder.blob(digest.as_bytes()),
                    Some(Identity::Sha256(digest)) => builder.blob(digest.as_bytes()),
                    None => Value::NULL,
                };
                put(&mut values, file::HASH, checksum);
                builder.object(&values)
            })
            .collect();
        let files = builder.array(&FILES, Tag::Object, files);
        put(&mut values, directory::FILES, files);
        paths.push(builder.object(&values));
    }
    put(&mut root, package::INFO, builder.object(&fields));
    let paths = builder.array(&DIRECTORIES, Tag::Object, paths);
    put(&mut root, package::PATHS, paths);
    if let Some(priority) = entry.info.replaces_priority {
        let priority = builder.integer(priority);
        put(&mut root, package::REPLACES_PRIORITY, priority);
    }
    let root = builder.object(&root);
    builder.set_root(root);
    builder.finish()
}

fn texts(builder: &mut Builder, texts: &[String]) -> Vec<Value> {
    texts
        .iter()
        .map(|text| builder.blob(text.as_bytes()))
        .collect()
}

/// Nothing for what needs no line in the older format.
fn rights(
    builder: &mut Builder,
    permissions: &Permissions,
    usual: u32,
    owners: &dyn Owners,
) -> Value {
    if permissions.uid == 0 && permissions.gid == 0 && permissions.mode == usual {
        return Value::NULL;
    }
    let mut fields = [Value::NULL; ACL.fields.len()];
    let user = owners.user(permissions.uid);
    put(&mut fields, acl::USER, builder.blob(user.as_bytes()));
    let group = owners.group(permissions.gid);
    put(&mut fields, acl::GROUP, builder.blob(group.as_bytes()));
    let mode = builder.integer(permissions.mode.into());
    put(&mut fields, acl::MODE, mode);
    builder.object(&fields)
}
