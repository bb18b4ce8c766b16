//! Users and groups: /etc/passwd, /etc/group, /etc/shadow and homes.

use std::collections::BTreeMap;

use archive::tree::Node;

use crate::configuration::{Accounts, ImagePath};
use crate::filesystem::{Filesystem, FilesystemError};

/// Accounts can't be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A package has the name with another number.
    #[error(
        "the image file gives {what} `{name}` the number {wanted}, but a package gave it {found}; use {found}, or another name"
    )]
    OtherNumber {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// As the image file says.
        wanted: u32,
        /// As the package says.
        found: String,
    },
    /// `run-as` names nobody.
    #[error(
        "`run-as: {name}` names no {what} of the image; it has {known}. Add it to `accounts`, or write a number"
    )]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A file can't be changed.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
}

/// A colon-separated file whose first field is a name: lines are kept as they are.
#[derive(Clone, Debug, Default)]
struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    fn read(filesystem: &Filesystem, path: &str) -> Result<Table, FilesystemError> {
        let bytes = filesystem.read(path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Ok(Table {
            lines: text
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| line.split(':').map(str::to_owned).collect())
                .collect(),
        })
    }

    fn find(&mut self, name: &str) -> Option<&mut Vec<String>> {
        self.lines
            .iter_mut()
            .find(|line| line.first().map(String::as_str) == Some(name))
    }

    fn number_of(&self, name: &str) -> Option<u32> {
        self.lines
            .iter()
            .find(|line| line.first().map(String::as_str) == Some(name))
            .and_then(|line| line.get(2)?.parse().ok())
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self
            .lines
            .iter()
            .filter_map(|line| line.first().map(String::as_str))
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.join(":"));
            text.push('\n');
        }
        text.into_bytes()
    }
}

/// The image's names of users and groups, by number and by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    users: BTreeMap<String, u64>,
    groups: BTreeMap<String, u64>,
}

impl Names {
    pub(crate) fn read(filesystem: &Filesystem) -> Result<Names, FilesystemError> {
        let numbers = |table: Table| {
            table
                .lines
                .iter()
                .rev()
                .filter_map(|line| Some((line.first()?.clone(), line.get(2)?.parse().ok()?)))
                .collect()
        };
        Ok(Names {
            users: numbers(Table::read(filesystem, "etc/passwd")?),
            groups: numbers(Table::read(filesystem, "etc/group")?),
        })
    }

    /// The owner and group of a package's entry, by apk's rule: what its names mean in the image,
    /// else its numbers.
    pub(crate) fn numbers(&self, user: &str, uid: u64, group: &str, gid: u64) -> (u64, u64) {
        (
            *self.users.get(user).unwrap_or(&uid),
            *self.groups.get(group).unwrap_or(&gid),
        )
    }

    /// Gives entries of packages the number that their owner's name has in the image, as apk does,
    /// and entries made by the image file the name that their owner's number has.
    pub(crate) fn apply(&self, filesystem: &mut Filesystem) {
        let name = |map: &BTreeMap<String, u64>, number: u64| {
            map.iter()
                .find(|(_, known)| **known == number)
                .map(|(name, _)| name.clone())
                .unwrap_or_default()
        };
        for (_, placed) in filesystem.iter_mut() {
            if placed.below {
                continue;
            }
            let node = &mut placed.node;
            if placed.owner.is_some() && placed.pristine {
                let (uid, gid) = self.numbers(&node.user, node.uid, &node.group, node.gid);
                if (uid, gid) != (node.uid, node.gid) {
                    (node.uid, node.gid) = (uid, gid);
                    placed.pristine = false;
                }
            } else {
                node.user = name(&self.users, node.uid);
                node.group = name(&self.groups, node.gid);
            }
        }
    }
}

/// Adds the image file's users and groups, makes the homes of all users, and says as whom the
/// image runs: `run-as` with its names as numbers.
pub(crate) fn add(
    filesystem: &mut Filesystem,
    accounts: &Accounts,
) -> Result<String, AccountError> {
    let mut groups = Table::read(filesystem, "etc/group")?;
    for group in &accounts.groups {
        match groups.find(&group.name) {
            None => groups.lines.push(vec![
                group.name.clone(),
                "x".to_owned(),
                group.gid.to_string(),
                group.members.join(","),
            ]),
            Some(line) => {
                same_number("group", &group.name, group.gid, line)?;
                line.resize(4, String::new());
                if let Some(members) = line.get_mut(3) {
                    let mut all: Vec<&str> =
                        members.split(',').filter(|name| !name.is_empty()).collect();
                    for member in &group.members {
                        if !all.contains(&member.as_str()) {
                            all.push(member);
                        }
                    }
                    *members = all.join(",");
                }
            }
        }
    }
    if !accounts.groups.is_empty() {
        filesystem.write("etc/group", groups.bytes(), 0o644)?;
    }

    let mut users = Table::read(filesystem, "etc/passwd")?;
    let mut shadow = Table::read(filesystem, "etc/shadow")?;
    for user in &accounts.users {
        let line = vec![
            user.name.clone(),
            "x".to_owned(),
            user.uid.to_string(),
            user.group().to_string(),
            "Account created by polpo".to_owned(),
            user.home.clone(),
            user.shell().to_owned(),
        ];
        match users.find(&user.name) {
            None => users.lines.push(line),
            Some(there) => {
                same_number("user", &user.name, user.uid, there)?;
                *there = line;
            }
        }
        if shadow.find(&user.name).is_none() {
            let mut line = vec![user.name.clone(), "!".to_owned()];
            line.resize(9, String::new());
            shadow.lines.push(line);
        }
    }
    // An image without /etc/passwd confuses the programs that look there, so there is one always.
    if !accounts.users.is_empty() || filesystem.read("etc/passwd")?.is_none() {
        filesystem.write("etc/passwd", users.bytes(), 0o644)?;
    }
    if !accounts.users.is_empty() {
        filesystem.write("etc/shadow", shadow.bytes(), 0o640)?;
    }
    make_homes(filesystem, &users)?;

    let (user, group) = match accounts.run_as.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (accounts.run_as.as_str(), None),
    };
    if user.is_empty() && group.is_none() {
        return Ok(String::new());
    }
    let mut run_as = number("user", user, &users)?;
    if let Some(group) = group {
        run_as.push(':');
        run_as.push_str(&number("group", group, &groups)?);
    }
    Ok(run_as)
}

fn number(what: &'static str, name: &str, table: &Table) -> Result<String, AccountError> {
    if let Some(number) = table.number_of(name) {
        return Ok(number.to_string());
    }
    if name.parse::<u32>().is_ok() {
        return Ok(name.to_owned());
    }
    Err(AccountError::Unknown {
        what,
        name: name.to_owned(),
        known: table.names(),
    })
}

fn same_number(
    what: &'static str,
    name: &str,
    wanted: u32,
    line: &[String],
) -> Result<(), AccountError> {
    match line.get(2) {
        Some(found) if found.parse() != Ok(wanted) => Err(AccountError::OtherNumber {
            what,
            name: name.to_owned(),
            wanted,
            found: found.clone(),
        }),
        _ => Ok(()),
    }
}

/// A home that is missing is made, 0700 and its user's. One that is there stays as it is: /, /bin
/// and the like are homes too.
fn make_homes(filesystem: &mut Filesystem, users: &Table) -> Result<(), FilesystemError> {
    for line in &users.lines {
        let [_, _, uid, gid, _, home, ..] = line.as_slice() else {
            continue;
        };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
            continue;
        };
        if home == "/dev/null" {
            continue;
        }
        // `/` and what no image can hold, in a package's passwd, need no home made.
        let Ok(home) = ImagePath::parse(home) else {
            continue;
        };
        let node = Node::directory().with_mode(0o700).with_owner(uid, gid);
        filesystem.make_directory(home.as_str(), node)?;
    }
    Ok(())
}
