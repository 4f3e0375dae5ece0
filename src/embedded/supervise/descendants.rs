//! Processes that left the group of the program they came from.
//!
//! A daemon starts a session of its own and is no longer reached by a signal to the group. On Linux the
//! supervisor asks to become the parent of whatever loses its parent below it, so that these can be found.

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

    /// How long it may take until all are gone; one in an uninterruptible call of the system may take longer.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(super) fn adopt() {
        // on a kernel that refuses, groups are still ended
        let _ = set_child_subreaper(Some(getpid()));
    }

    pub(super) fn end() {
        let start = Instant::now();
        loop {
            let children = children();
            if children.is_empty() || start.elapsed() > PATIENCE {
                return;
            }
            for child in children {
                let _ = kill_process(child, Signal::KILL);
            }
            // the children of what has just ended become ours in turn
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn children() -> Vec<Pid> {
        let own = getpid().as_raw_nonzero();
        let list = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

#[cfg(target_os = "linux")]
pub(super) fn adopt() {
    linux::adopt();
}

#[cfg(target_os = "linux")]
pub(super) fn end() {
    linux::end();
}

#[cfg(not(target_os = "linux"))]
pub(super) fn adopt() {}

#[cfg(not(target_os = "linux"))]
pub(super) fn end() {}
