//! The machine: rights, kernel, disks, addresses, certificate.
use super::super::cluster::own_addresses;
use crate::api::{Finding, Grade};
use crate::capture::ring::Ring;
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::trust::{self, CERTIFICATE_DAYS, Pki, days_left, renewal};
use jiff::Timestamp;
use std::fs::OpenOptions;
use std::path::Path;

/// Memory and logs of all modules fit into this much for a long time.
const STATE_BYTES_LOW: u64 = 256 << 20;
/// Less, and the next checkpoint may not be written.
const STATE_BYTES_MIN: u64 = 16 << 20;

pub fn look(paths: &Paths) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(rights());
    findings.extend(fuse(Path::new("/dev/fuse")));
    findings.extend(ring());
    for dir in [&paths.lib, &paths.log] {
        findings.extend(room(dir, STATE_BYTES_LOW, STATE_BYTES_MIN));
    }
    membership(paths, &mut findings);
    findings
}

fn rights() -> Option<Finding> {
    let uid = nix::unistd::geteuid();
    let text = format!("is being looked at by user {uid}, who may not see or do everything");
    let remedy = "run preflight as root, as the daemon must be";
    (!uid.is_root()).then(|| Finding::new(Grade::Failure, "not-root", "this node", &text, remedy))
}

fn fuse(device: &Path) -> Option<Finding> {
    let error = OpenOptions::new().read(true).write(true).open(device).err()?;
    let text = format!("cannot be opened: {error}; no directory can be mirrored");
    let remedy = "modprobe fuse; in a container, give it the device /dev/fuse";
    Some(Finding::new(Grade::Failure, "fuse", &device.display().to_string(), &text, remedy))
}

fn ring() -> Option<Finding> {
    let error = Ring::new().err()?;
    let text = format!("is not allowed here ({error}); replication works without it, slower");
    let remedy = "sysctl kernel.io_uring_disabled=0; in a container, allow its system calls";
    Some(Finding::new(Grade::Warning, "io-uring", "io_uring", &text, remedy))
}

/// Free space of the file system that `dir` is on, or would be made on.
pub fn room(dir: &Path, low: u64, min: u64) -> Option<Finding> {
    let there = dir.ancestors().find(|dir| dir.exists())?;
    let stat = nix::sys::statvfs::statvfs(there).ok()?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let grade = match free {
        free if free < min => Grade::Failure,
        free if free < low => Grade::Warning,
        _ => return None,
    };
    let text = format!("has only {} free", super::super::state::bytes(free));
    let remedy = "make room there, or move it to a larger file system";
    Some(Finding::new(grade, "room", &dir.display().to_string(), &text, remedy))
}

fn membership(paths: &Paths, findings: &mut Vec<Finding>) {
    let path = paths.cluster_xml();
    let cluster = match ClusterConfig::load(&path) {
        Ok(cluster) => cluster,
        Err(mistakes) => {
            let place = path.display().to_string();
            let text = format!("cannot be used: {mistakes}");
            let remedy = "lockstep cluster confcheck, or cluster init / cluster join first";
            findings.push(Finding::new(Grade::Failure, "cluster", &place, &text, remedy));
            return;
        }
    };
    let pki = match Pki::load(&paths.pki()) {
        Ok(pki) => pki,
        Err(error) => {
            let place = paths.pki().display().to_string();
            let text = error.to_string();
            findings.push(Finding::new(Grade::Failure, "certificate", &place, &text, ""));
            return;
        }
    };
    let left = days_left(pki.expires(), Timestamp::now());
    let remedy = renewal(pki.node(), trust::keeps_key(pki.dir()));
    findings.extend(certificate(&paths.pki().join("node.crt"), left, &remedy));
    let own = own_addresses();
    for lan in &cluster.lans {
        let place = format!("lan {} in {}", lan.name, path.display());
        let Some(address) = lan.local_address_of(pki.node()) else { continue };
        if !own.is_empty() && !own.contains(&address) {
            let text = format!("gives node {} {address}, which it does not have", pki.node());
            let remedy = "set the address up, or correct cluster.xml and run: lockstep -H '*' -G";
            findings.push(Finding::new(Grade::Failure, "address", &place, &text, remedy));
        }
    }
}

fn certificate(path: &Path, days: i64, remedy: &str) -> Option<Finding> {
    let (grade, text) = match days {
        days if days < 0 => (Grade::Failure, "has expired: no node talks to this one".to_owned()),
        days if days < CERTIFICATE_DAYS => (Grade::Warning, format!("expires in {days} days")),
        _ => return None,
    };
    Some(Finding::new(grade, "certificate", &path.display().to_string(), &text, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_mentioned_a_month_before_its_end() {
        let grade = |days| certificate(Path::new("c"), days, "").map(|finding| finding.grade);
        assert_eq!(grade(-1), Some(Grade::Failure));
        assert_eq!(grade(29), Some(Grade::Warning));
        assert_eq!(grade(30), None);
    }

    /// A remedy that the command line refuses is none.
    #[test]
    fn a_certificate_is_renewed_by_a_command_that_there_is() {
        let node = crate::model::NodeName::new("n1").unwrap();
        for keeps_key in [true, false] {
            let text = renewal(&node, keeps_key);
            assert_eq!(text.contains("copy ca.key and certified"), keeps_key, "{text}");
            let (_, join) = text.split_once("here lockstep ").unwrap();
            let join = join.split(',').next().unwrap().replace("ADDRESS", "192.0.2.1");
            let words = join.split_whitespace().map(Into::into);
            let parsed = crate::cli::args::parse("lockstep", words);
            assert!(parsed.is_ok(), "{join}: {:?}", parsed.err());
        }
    }

    #[test]
    fn room_is_looked_for_where_a_directory_would_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/yet");
        assert_eq!(room(&deep, 0, 0), None);
        let found = room(&deep, u64::MAX, 0).unwrap();
        assert_eq!((found.grade, found.place), (Grade::Warning, deep.display().to_string()));
        assert_eq!(room(&deep, u64::MAX, u64::MAX).unwrap().grade, Grade::Failure);
    }

    #[test]
    fn a_device_that_is_not_there_is_a_failure() {
        assert_eq!(fuse(Path::new("/nonexistent")).unwrap().grade, Grade::Failure);
    }
}
