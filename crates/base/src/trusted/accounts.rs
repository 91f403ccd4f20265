//! Users and groups from /etc/passwd and /etc/group.
//!
//! Accounts of a directory service, such as LDAP, are not in these files. Looking them up safely
//! needs a C library.

use std::fs;

/// The two files, as text.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    pub(super) passwd: String,
    pub(super) group: String,
}

impl Accounts {
    /// The files of this machine. A missing file counts as empty, as in a container without users.
    pub(super) fn of_system() -> Self {
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self {
            passwd: text("/etc/passwd").unwrap_or_default(),
            group: text("/etc/group").unwrap_or_default(),
        }
    }

    /// Name, id and primary group of every user.
    fn users(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            Some((name, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    }

    /// Name, id and members of every group.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?, fields.next()?);
            Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }

    /// The name of a user, or the number where there is no name.
    pub(super) fn user(&self, id: u32) -> String {
        self.users()
            .find(|(_, known, _)| *known == id)
            .map_or_else(|| id.to_string(), |(name, ..)| name.into())
    }

    /// The name of a group, or the number where there is no name.
    pub(super) fn group(&self, id: u32) -> String {
        self.groups()
            .find(|(_, known, _)| *known == id)
            .map_or_else(|| id.to_string(), |(name, ..)| name.into())
    }

    /// Whether `group` is the primary group of `owner` and has no other member. If the group can
    /// write to a file, as under umask 002, that gives no other user access.
    ///
    /// An owner who is not in `/etc/passwd` owns the group with the owner's number.
    pub(super) fn is_own_group(&self, owner: u32, group: u32) -> bool {
        let names: Vec<&str> =
            self.users().filter(|(_, id, _)| *id == owner).map(|(name, ..)| name).collect();
        let is_primary = if names.is_empty() {
            owner == group
        } else {
            self.users().any(|(_, id, primary)| id == owner && primary == group)
        };
        // Group 0 does not count as shared: on Red Hat and Alpine it is also the primary group of
        // system users (sync, shutdown, operator).
        let shared = group != 0 && self.users().any(|(_, id, primary)| primary == group && id != owner);
        let is_other = |member: &str| !member.is_empty() && !names.contains(&member);
        let joined = self
            .groups()
            .filter(|(_, id, _)| *id == group)
            .any(|(_, _, members)| members.split(',').map(str::trim).any(is_other));
        is_primary && !shared && !joined
    }
}
