//! How much memory the server may take, and returning freed memory to the kernel.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

/// Half of the memory that this process may use, in bytes: the machine's, or less by a limit on its
/// control group (`memory.max` and `memory.high` of cgroup v2, `memory.limit_in_bytes` of v1) or on
/// the addresses that it has left (RLIMIT_AS). The other half is for what is not counted, and for the commands.
pub(crate) fn half_of_memory() -> usize {
    // A limit that cannot be read counts as none.
    let addresses = getrlimit(Resource::RLIMIT_AS).map_or(u64::MAX, |(soft, _)| wide(soft));
    let root = Path::new("/");
    let addresses = addresses.saturating_sub(mapped(root));
    let limits = [machine(root), Some(addresses)].into_iter().flatten();
    let least = limits.chain(control_groups(root)).min().unwrap_or(u64::MAX);
    usize::try_from(least / 2).unwrap_or(usize::MAX)
}

/// `rlim_t` has 32 bits on some systems.
fn wide(limit: impl Into<u64>) -> u64 {
    limit.into()
}

/// What this process has mapped already, in bytes (`VmSize` of proc_pid_status(5), in KiB).
fn mapped(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    kib(&text, "VmSize:").unwrap_or(0)
}

/// The value of a line such as `MemTotal:  1024 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line?.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// `MemTotal` of proc_meminfo(5), which is in KiB.
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    kib(&text, "MemTotal:")
}

/// The limits of this process's control group and of all around it (cgroups(7)). A container sees its
/// own group as `/`, or under a path that does not exist inside; so the top is always looked at.
fn control_groups(root: &Path) -> Vec<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let memory = controllers.split(',').any(|it| it == "memory");
        let (top, name) = match (controllers, memory) {
            ("", _) => ("sys/fs/cgroup", &["memory.max", "memory.high"][..]),
            (_, true) => ("sys/fs/cgroup/memory", &["memory.limit_in_bytes"][..]),
            (_, false) => return None,
        };
        Some((
            root.join(top),
            path.trim_start_matches('/').to_owned(),
            name,
        ))
    });
    let limits = groups.flat_map(|(top, path, names)| {
        let group = top.join(path);
        let around = group.ancestors().take_while(|it| it.starts_with(&top));
        let files = around.flat_map(|it| names.iter().map(|name| it.join(name)));
        // "max" is no limit.
        let limits = files.filter_map(|it| {
            let text = fs::read_to_string(it).ok()?;
            text.trim().parse::<u64>().ok()
        });
        limits.collect::<Vec<_>>()
    });
    limits.collect()
}

/// Returns the free pages inside the heap (malloc_trim(3)). glibc by itself returns only those at
/// the end of the heap, where a single block in use keeps all others.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(super) fn release() {
    // SAFETY: it may be called at any time and does not touch memory in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return free pages by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn release() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::TestDir;

    /// A file system with these files, below a directory of its own.
    fn root(name: &str, files: &[(&str, &str)]) -> TestDir {
        let root = TestDir::new(name);
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_machines_memory_is_read_in_kib() {
        let root = root(
            "meminfo",
            &[(
                "proc/meminfo",
                "MemTotal:       24615472 kB\nMemFree:  1 kB\n",
            )],
        );
        assert_eq!(machine(root.path()), Some(24_615_472 * 1024));
        assert!(machine(Path::new("/")).is_some());
    }

    #[test]
    fn the_limits_of_all_groups_around_count() {
        let root = root(
            "groups-v2",
            &[
                ("proc/self/cgroup", "1:cpu:/\n0::/a.slice/b.service\n"),
                ("sys/fs/cgroup/a.slice/memory.max", "5000\n"),
                ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
                ("sys/fs/cgroup/a.slice/b.service/memory.high", "6000\n"),
            ],
        );
        assert_eq!(control_groups(root.path()), [6000, 5000]);
    }

    #[test]
    fn a_group_whose_path_is_not_visible_has_the_limit_of_the_top() {
        let root = root(
            "groups-v1",
            &[
                ("proc/self/cgroup", "4:cpuset,memory:/docker/0123\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n"),
            ],
        );
        assert_eq!(control_groups(root.path()), [7000]);
    }

    #[test]
    fn without_control_groups_there_is_no_limit() {
        assert!(control_groups(root("no-groups", &[]).path()).is_empty());
    }

    #[test]
    fn half_of_what_there_is_is_less_than_the_machine_has() {
        let half = half_of_memory() as u64;
        assert!(half > 0 && half <= machine(Path::new("/")).unwrap() / 2);
    }
}
