//! Changing the user and group of the server (`--user`, `--group`): [`Account`].
//!
//! Names are looked up in `/etc/passwd` and `/etc/group` directly. The C library's functions may
//! load name-service libraries at run time, which a static binary cannot do.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Uid, getegid, geteuid, getresgid, getresuid, setgid, setgroups, setresgid, setresuid,
    setuid,
};

/// A user that the server can become, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    uid: Uid,
    gid: Gid,
    /// Its supplementary groups (credentials(7)), `gid` among them.
    groups: Vec<Gid>,
    /// Its name; `None`: `/etc/passwd` does not list it.
    name: Option<String>,
    /// Its home directory; `/` if it has none.
    home: String,
}

impl Account {
    /// The account of this user and this group, each a name or a number. `None`: neither is given.
    /// The default user is the present one; the default group is the user's own.
    ///
    /// # Errors
    /// The user or group does not exist, or the server may not become it: one line that names the
    /// option and the remedy.
    pub(crate) fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Account>, String> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let databases = Databases::read();
        let account = databases.account(user, group, geteuid(), getegid())?;
        if !geteuid().is_root() && !account.is_present() {
            return Err(format!(
                "{} takes a server that was started as root, and this one runs as {}: \
                 start it as root, or leave the option out",
                match user {
                    Some(user) => format!("--user={user}"),
                    None => format!("--group={}", group.unwrap_or_default()),
                },
                databases.user_name(geteuid()),
            ));
        }
        Ok(Some(account))
    }

    /// Changes the user and groups of the process for good.
    ///
    /// # Errors
    /// The system refuses the change, or the change could be undone. The server must not
    /// continue then.
    pub(crate) fn assume(&self) -> io::Result<()> {
        if geteuid().is_root() {
            // The groups first: after the change of user they cannot be changed any more.
            setgroups(&self.groups)?;
            setresgid(self.gid, self.gid, self.gid)?;
            setresuid(self.uid, self.uid, self.uid)?;
        }
        self.check()
    }

    /// The environment variables that describe the user, as `login(1)` sets them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, &str)> {
        let mut variables = vec![("HOME", self.home.as_str())];
        if let Some(name) = &self.name {
            variables.extend([("USER", name.as_str()), ("LOGNAME", name)]);
        }
        variables
    }

    /// Whether the process has this user and group already. Supplementary groups are not compared:
    /// only root could change them.
    fn is_present(&self) -> bool {
        (self.uid, self.gid) == (geteuid(), getegid())
    }

    /// Checks that the change has taken effect, and that the process cannot undo it.
    fn check(&self) -> io::Result<()> {
        let (uids, gids) = (getresuid()?, getresgid()?);
        let is_user = [uids.real, uids.effective, uids.saved] == [self.uid; 3];
        let is_group = [gids.real, gids.effective, gids.saved] == [self.gid; 3];
        if !is_user || !is_group {
            return Err(io::Error::other("the change had no effect"));
        }
        if self.uid.is_root() {
            return Ok(());
        }
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        // A process can be configured to keep its capabilities (capabilities(7), securebits). It
        // could then become root again.
        let is_back = setuid(root.0) != Err(Errno::EPERM)
            || self.gid != root.1 && setgid(root.1) != Err(Errno::EPERM)
            || setgroups(&[root.1]) != Err(Errno::EPERM);
        if is_back {
            return Err(io::Error::other(
                "the way back to root stays open; drop the capabilities of the server",
            ));
        }
        Ok(())
    }
}

/// The name of the server's user, or its number if it has none.
pub(crate) fn own_user_name() -> String {
    Databases::read().user_name(geteuid())
}

/// The text of `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
struct Databases {
    passwd: String,
    group: String,
}

/// A line of `/etc/passwd`.
struct UserEntry<'a> {
    name: &'a str,
    uid: Uid,
    gid: Gid,
    home: &'a str,
}

/// A line of `/etc/group`.
struct GroupEntry<'a> {
    name: &'a str,
    gid: Gid,
    members: &'a str,
}

impl Databases {
    /// Reads both files. A missing file counts as empty: small containers have none.
    fn read() -> Databases {
        let read = |path| {
            let bytes = fs::read(path).unwrap_or_default();
            // Real names may be in any encoding.
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Databases {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// As [`Account::find`], for a server with the present user and group.
    fn account(
        &self,
        user: Option<&str>,
        group: Option<&str>,
        present_uid: Uid,
        present_gid: Gid,
    ) -> Result<Account, String> {
        let (uid, entry) = match user {
            None => (present_uid, self.users().find(|it| it.uid == present_uid)),
            Some(user) => self.user(user)?,
        };
        let gid = match (group, &entry) {
            (Some(group), _) => self.group(group)?,
            (None, Some(entry)) => entry.gid,
            (None, None) if user.is_none() => present_gid,
            (None, None) => {
                return Err(format!(
                    "--user={uid}: /etc/passwd does not say its group: add --group=GID"
                ));
            }
        };
        let name = entry.as_ref().map(|entry| entry.name);
        let mut groups = vec![gid];
        for entry in self.groups() {
            let is_member = name.is_some_and(|name| entry.members.split(',').any(|it| it == name));
            if is_member && !groups.contains(&entry.gid) {
                groups.push(entry.gid);
            }
        }
        let home = entry.as_ref().map(|entry| entry.home);
        Ok(Account {
            uid,
            gid,
            groups,
            name: name.map(str::to_owned),
            home: home
                .filter(|home| !home.is_empty())
                .unwrap_or("/")
                .to_owned(),
        })
    }

    /// A user by name, otherwise by number. A number needs no entry.
    fn user(&self, text: &str) -> Result<(Uid, Option<UserEntry<'_>>), String> {
        if let Some(entry) = self.users().find(|entry| entry.name == text) {
            return Ok((entry.uid, Some(entry)));
        }
        let missing = || {
            format!("--user={text}: there is no such user in /etc/passwd: name one, or a number")
        };
        let uid = Uid::from_raw(id(text).ok_or_else(missing)?);
        Ok((uid, self.users().find(|entry| entry.uid == uid)))
    }

    fn group(&self, text: &str) -> Result<Gid, String> {
        if let Some(entry) = self.groups().find(|entry| entry.name == text) {
            return Ok(entry.gid);
        }
        id(text).map(Gid::from_raw).ok_or_else(|| {
            format!("--group={text}: there is no such group in /etc/group: name one, or a number")
        })
    }

    fn user_name(&self, uid: Uid) -> String {
        match self.users().find(|entry| entry.uid == uid) {
            Some(entry) => entry.name.to_owned(),
            None => format!("user {uid}"),
        }
    }

    fn users(&self) -> impl Iterator<Item = UserEntry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some(UserEntry {
                name: fields.next().filter(|name| is_name(name))?,
                // Skipped: the password.
                uid: Uid::from_raw(id(fields.nth(1)?)?),
                gid: Gid::from_raw(id(fields.next()?)?),
                // Skipped: the real name.
                home: fields.nth(1)?,
            })
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some(GroupEntry {
                name: fields.next().filter(|name| is_name(name))?,
                // Skipped: the password.
                gid: Gid::from_raw(id(fields.nth(1)?)?),
                members: fields.next().unwrap_or_default(),
            })
        })
    }
}

/// Whether the first field of a line is a name. It may be a comment or an instruction for NIS.
fn is_name(field: &str) -> bool {
    !field.is_empty() && !field.starts_with(['#', '+', '-'])
}

/// The number of a user or group. The largest is refused: to setresuid(2) it means "unchanged", and
/// the server would stay root.
fn id(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_plain && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use nix::unistd::getgroups;

    use super::*;

    fn databases() -> Databases {
        Databases {
            passwd: "root:x:0:0:root:/root:/bin/sh\n\
                     # nobody:x:1:1::/:\n\
                     broken:x:12\n\
                     over:x:4294967295:1::/:/bin/sh\n\
                     www:x:33:34:W\u{fffd}b:/var/www:/bin/false\n\
                     homeless:x:35:34:::\n\
                     1000:x:77:78::/home/digits:/bin/sh\n\
                     user:x:1000:1001::/home/user:/bin/sh\n"
                .to_owned(),
            group: "root:x:0:\n\
                    web:x:34:\n\
                    logs:x:4:other,www\n\
                    wwwx:x:5:wwwx,xwww\n\
                    again:x:34:www\n\
                    short:x:6\n\
                    dial:x:20:www,user\n"
                .to_owned(),
        }
    }

    fn account(user: Option<&str>, group: Option<&str>) -> Result<(u32, u32, Vec<u32>), String> {
        let present = (Uid::from_raw(1000), Gid::from_raw(9));
        let account = databases().account(user, group, present.0, present.1)?;
        let groups = account.groups.iter().map(|gid| gid.as_raw()).collect();
        Ok((account.uid.as_raw(), account.gid.as_raw(), groups))
    }

    #[test]
    fn accounts_are_found_with_their_own_groups() {
        let cases = [
            ((Some("root"), None), (0, 0, vec![0])),
            ((Some("www"), None), (33, 34, vec![34, 4, 20])),
            ((Some("33"), None), (33, 34, vec![34, 4, 20])),
            ((Some("www"), Some("logs")), (33, 4, vec![4, 34, 20])),
            (
                (Some("www"), Some("9999")),
                (33, 9999, vec![9999, 4, 34, 20]),
            ),
            ((Some("1000"), None), (77, 78, vec![78])),
            ((Some("4711"), Some("web")), (4711, 34, vec![34])),
            ((None, Some("short")), (1000, 6, vec![6, 20])),
            ((Some("0033"), None), (33, 34, vec![34, 4, 20])),
        ];
        for ((user, group), expected) in cases {
            assert_eq!(account(user, group), Ok(expected), "{user:?} {group:?}");
        }
    }

    #[test]
    fn a_missing_user_or_group_is_named_with_its_remedy() {
        let cases = [
            (
                (Some("nobody"), None),
                "--user=nobody: there is no such user",
            ),
            (
                (Some("broken"), None),
                "--user=broken: there is no such user",
            ),
            ((Some("over"), None), "--user=over: there is no such user"),
            ((Some("4294967295"), None), "no such user"),
            ((Some("-1"), Some("0")), "no such user"),
            ((Some("+5"), Some("0")), "no such user"),
            ((Some("# nobody"), None), "no such user"),
            ((Some("4711"), None), "add --group=GID"),
            (
                (Some("www"), Some("none")),
                "--group=none: there is no such group",
            ),
            ((None, Some("4294967295")), "no such group"),
        ];
        for ((user, group), says) in cases {
            let message = account(user, group).unwrap_err();
            assert!(message.contains(says), "{user:?} {group:?}: {message}");
            assert_eq!(message.lines().count(), 1);
        }
    }

    #[test]
    fn a_user_has_a_name_and_a_home() {
        let variables = |user, group| {
            let present = (Uid::from_raw(0), Gid::from_raw(0));
            let account = databases().account(Some(user), group, present.0, present.1);
            account
                .unwrap()
                .variables()
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(variables("www", None), "HOME=/var/www USER=www LOGNAME=www");
        assert_eq!(
            variables("homeless", None),
            "HOME=/ USER=homeless LOGNAME=homeless"
        );
        assert_eq!(variables("4711", Some("1")), "HOME=/");
        assert_eq!(databases().user_name(Uid::from_raw(33)), "www");
        assert_eq!(databases().user_name(Uid::from_raw(7)), "user 7");
    }

    #[test]
    fn the_default_is_no_change() {
        assert_eq!(Account::find(None, None), Ok(None));
    }

    #[test]
    fn becoming_the_present_user_changes_nothing() {
        if geteuid().is_root() {
            return;
        }
        let (user, group) = (geteuid().to_string(), getegid().to_string());
        let groups = getgroups().unwrap();
        let account = Account::find(Some(&user), Some(&group)).unwrap().unwrap();
        account.assume().unwrap();
        assert_eq!(getgroups().unwrap(), groups);
        let refused = Account::find(Some("0"), Some("0")).unwrap_err();
        assert!(refused.contains("started as root"), "{refused}");
    }
}
