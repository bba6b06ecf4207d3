//! The processes of a module without a cgroup: found by the marks that a script's environment
//! leaves in all that it starts, then by parent and session.
//!
//! A program that overwrites its environment, leaves its session and lost its parent is missed;
//! that is why a cgroup is preferred.
use crate::model::{ModuleName, NodeName};
use std::collections::HashSet;
use std::fs;

#[derive(Debug)]
pub(super) struct ProcessTree {
    marks: [String; 2],
}

/// What `/proc/PID/stat` says.
struct Process {
    pid: u32,
    state: char,
    parent: u32,
    session: u32,
}

impl ProcessTree {
    pub(super) fn new(node: &NodeName, module: &ModuleName) -> ProcessTree {
        ProcessTree {
            marks: [format!("LOCKSTEP_MODULE={module}"), format!("LOCKSTEP_NODE={node}")],
        }
    }

    /// Processes of the module, dead ones that nobody reaped left out.
    pub(super) fn members(&self) -> Vec<u32> {
        self.living().into_iter().map(|process| process.pid).collect()
    }

    /// Sends a signal to all.
    pub(super) fn signal(&self, signal: i32) {
        for process in self.living() {
            signal_pid(process.pid, signal);
        }
    }

    /// Sends a signal to those that are not stopped, and returns them.
    pub(super) fn signal_running(&self, signal: i32) -> Vec<u32> {
        let running: Vec<u32> =
            self.living().iter().filter(|p| p.state != 'T').map(|p| p.pid).collect();
        for pid in &running {
            signal_pid(*pid, signal);
        }
        running
    }

    fn living(&self) -> Vec<Process> {
        let mut all = processes();
        all.retain(|process| !matches!(process.state, 'Z' | 'X') && process.pid > 1);
        let mut ours: HashSet<u32> =
            all.iter().filter(|p| self.is_marked(p.pid)).map(|p| p.pid).collect();
        // Only sessions led by one of ours: a script is the leader of its own session.
        let sessions: HashSet<u32> = all
            .iter()
            .filter(|p| ours.contains(&p.pid) && p.session == p.pid)
            .map(|p| p.pid)
            .collect();
        loop {
            let before = ours.len();
            for process in &all {
                if ours.contains(&process.parent) || sessions.contains(&process.session) {
                    ours.insert(process.pid);
                }
            }
            if ours.len() == before {
                break;
            }
        }
        let own = std::process::id();
        all.retain(|process| ours.contains(&process.pid) && process.pid != own);
        all
    }

    fn is_marked(&self, pid: u32) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let has = |mark: &String| environment.split(|b| *b == 0).any(|e| e == mark.as_bytes());
        self.marks.iter().all(has)
    }
}

/// Of these processes, the ones that wait inside the kernel and cannot be stopped there.
pub(super) fn in_kernel_wait(pids: &[u32]) -> Vec<u32> {
    let waiting = |pid: &u32| process(*pid).is_some_and(|process| process.state == 'D');
    let found: Vec<u32> = pids.iter().copied().filter(waiting).collect();
    // A wait that a fatal signal may end shows as S: then nobody can tell them apart.
    if found.is_empty() { pids.to_vec() } else { found }
}

/// Sends a signal; a process that is gone needs none.
pub(super) fn signal_pid(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        // SAFETY: kill(2) takes two integers; the number is that of one process, never a group.
        unsafe { libc::kill(pid, signal) };
    }
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// `pid (comm) state ppid pgrp session …`; the name may hold spaces and brackets.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, state, parent, session })
}
