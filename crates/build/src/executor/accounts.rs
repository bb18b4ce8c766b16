//! Whom steps run as.

use std::fs;

use super::ExecuteError;
use crate::guest::Layers;
use crate::recipe::Accounts;
use crate::sandbox::User;

/// The user and the group of `accounts.run-as`, by the recipe's accounts and by the guest's own.
pub(super) fn run_as(accounts: &Accounts, layers: &Layers) -> Result<User, ExecuteError> {
    let Some(wanted) = accounts.run_as.as_deref().filter(|name| *name != "root") else {
        return Ok(User::default());
    };
    let number = wanted.parse::<u32>().ok();
    if number == Some(0) {
        return Ok(User::default());
    }
    let is_wanted = |name: &str, uid: u32| number.map_or(name == wanted, |number| uid == number);
    let mut users = accounts.users.iter();
    if let Some(user) = users.find(|user| is_wanted(&user.name, user.uid)) {
        return Ok(User {
            uid: user.uid,
            gid: user.gid,
        });
    }
    let own = layers
        .find("etc/passwd")
        .and_then(|path| fs::read_to_string(path).ok());
    let own = own.unwrap_or_default();
    let mut own = own.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        let gid = fields.next()?.parse().ok()?;
        Some((name, User { uid, gid }))
    });
    own.find(|(name, user)| is_wanted(name, user.uid))
        .map(|(_, user)| user)
        .or_else(|| {
            number.map(|number| User {
                uid: number,
                gid: number,
            })
        })
        .ok_or_else(|| ExecuteError::NoUser(wanted.to_owned()))
}
