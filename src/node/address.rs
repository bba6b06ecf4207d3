//! The virtual addresses of a module: held together, given up together.
use super::journal::Journal;
use crate::actions::vip::{self, Claim, Held, Probe, Vip, VipError};
use crate::config::userconfig::UserConfig;
use crate::logbook::texts;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;

/// How long another holder that is just leaving is given.
const GRACE: Duration = Duration::from_millis(300);
/// So many machines that claim one address are named.
const CLAIMANTS_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Addresses {
    wanted: Vec<Vip>,
    held: Vec<Held>,
    /// Clients are told by a reset that an address goes (`vip tcpreset=`).
    resets: bool,
}

impl Addresses {
    pub fn new(config: &UserConfig) -> Addresses {
        let wanted = config.vips.iter().map(|address| Vip {
            addr: address.addr,
            interface: address.interface.clone(),
            prefix: address.prefix,
            one_side: address.one_side,
            refresh: address.arpreroute,
            elapse: address.arp_elapse,
        });
        Addresses { wanted: wanted.collect(), held: Vec::new(), resets: config.tcp_reset }
    }

    pub fn held(&self) -> Vec<IpAddr> {
        self.held.iter().map(|held| held.addr).collect()
    }

    /// Takes all, or none: one that is refused gives the others back. Answers notes for the log.
    ///
    /// # Errors
    /// One sentence for each address that was refused.
    pub async fn take(&mut self, probe: &Probe) -> Result<Vec<String>, String> {
        let mut notes = Vec::new();
        let mut refused = Vec::new();
        self.held.clear();
        for result in vip::take_all(&self.wanted, probe, GRACE).await {
            match result {
                Ok(held) => {
                    notes.extend(held.notes.iter().cloned());
                    self.held.push(held);
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        if refused.is_empty() {
            return Ok(notes);
        }
        match self.release().await {
            Ok(notes) => refused.extend(notes),
            Err(reason) => refused.push(reason),
        }
        Err(refused.join("; "))
    }

    /// Says once of each machine that claims a held address that it does, until the address is
    /// given back or taken anew.
    pub fn tell_claims(&self, journal: &Journal) {
        for held in &self.held {
            let (addr, interface) = (held.addr.to_string(), held.interface.clone());
            tokio::spawn(tell(addr, interface, held.foreign_claims(), journal.clone()));
        }
    }

    /// Gone from this node when this returns. Answers notes for the log.
    ///
    /// # Errors
    /// The kernel refused; one sentence.
    pub async fn release(&mut self) -> Result<Vec<String>, String> {
        self.held.clear();
        let mut notes = Vec::new();
        let mut failed = Vec::new();
        let wanted: Vec<IpAddr> = self.wanted.iter().map(|vip| vip.addr).collect();
        for addr in wanted {
            if self.resets
                && let Err(error) = vip::reset_connections(addr).await
            {
                notes.push(self.not_reset(&error));
            }
            if let Err(error) = vip::release(addr).await {
                failed.push(error.to_string());
            }
        }
        if failed.is_empty() { Ok(notes) } else { Err(failed.join("; ")) }
    }

    /// A kernel that cannot will not learn it: said once, and not tried again.
    fn not_reset(&mut self, error: &VipError) -> String {
        self.resets = !error.is_lasting();
        error.to_string()
    }

    /// Says again who has them, at once: the network came back.
    pub fn announce(&self) {
        self.held.iter().for_each(Held::announce);
    }
}

/// Ends with the announcements.
async fn tell(addr: String, interface: String, mut claims: watch::Receiver<Claim>, book: Journal) {
    let mut known = BTreeSet::new();
    while claims.changed().await.is_ok() {
        let Some(mac) = *claims.borrow_and_update() else { continue };
        if known.len() < CLAIMANTS_MAX && known.insert(mac) {
            let text = texts::virtual_address_claimed(&addr, &mac.to_string(), &interface);
            book.write("vip", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::vip::frames::Mac;
    use crate::config::paths::Paths;
    use crate::logbook::Logbook;
    use crate::model::ModuleName;
    use std::io::Error;

    #[test]
    fn only_a_kernel_that_cannot_is_not_asked_again() {
        let mut addresses = Addresses { resets: true, ..Addresses::default() };
        let (addr, reason) = ("192.0.2.9".parse().unwrap(), "no answer".to_owned());
        let late = VipError::LeftOpen { addr, left: "the".to_owned(), reason };
        assert!(addresses.not_reset(&late).contains("were not reset"));
        assert!(addresses.resets, "an answer that was late once comes the next time");
        addresses.not_reset(&VipError::NoReset(Error::from_raw_os_error(libc::EPROTONOSUPPORT)));
        assert!(!addresses.resets);
    }
    #[tokio::test]
    async fn who_else_claims_an_address_is_said_once_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, module) = (Paths::below(dir.path()), ModuleName::new("m").unwrap());
        let book = Journal::new(&module, Logbook::open(&paths, &module).unwrap());
        let (claim, claims) = watch::channel(None);
        let telling = tokio::spawn(tell("10.0.0.9".into(), "eth0".into(), claims, book));
        let said = || {
            let entries = crate::logbook::last(&paths.module_log_dir(&module), 10, true).unwrap();
            entries.into_iter().filter(|entry| entry.code == "vip-claimed").count()
        };
        for (last, expected) in [(1, 1), (2, 2), (1, 2), (3, 3)] {
            claim.send_replace(Some(Mac([2, 0, 0, 0, 0, last])));
            let waited = tokio::time::timeout(Duration::from_secs(5), async {
                tokio::task::yield_now().await;
                while said() < expected {
                    tokio::task::yield_now().await;
                }
            });
            assert!(waited.await.is_ok(), "{last}: {}", said());
        }
        drop(claim);
        telling.await.unwrap();
        assert_eq!(said(), 3);
    }
}
