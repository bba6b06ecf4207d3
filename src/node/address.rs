//! The virtual addresses of a module: held together, given up together.
use crate::actions::vip::{self, Held, Probe, Vip};
use crate::config::userconfig::UserConfig;
use std::net::IpAddr;
use std::time::Duration;

/// How long another holder that is just leaving is given.
const GRACE: Duration = Duration::from_millis(300);

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
    pub async fn take(&mut self, probe: Probe) -> Result<Vec<String>, String> {
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
        let _ = self.release().await;
        Err(refused.join("; "))
    }

    /// Gone from this node when this returns. Answers notes for the log.
    ///
    /// # Errors
    /// The kernel refused; one sentence.
    pub async fn release(&mut self) -> Result<Vec<String>, String> {
        self.held.clear();
        let mut notes = Vec::new();
        let mut failed = Vec::new();
        for vip in &self.wanted {
            if self.resets
                && let Err(error) = vip::reset_connections(vip.addr).await
            {
                // A kernel that cannot will not learn it: said once, and not tried again.
                self.resets = false;
                notes.push(error.to_string());
            }
            if let Err(error) = vip::release(vip.addr).await {
                failed.push(error.to_string());
            }
        }
        if failed.is_empty() { Ok(notes) } else { Err(failed.join("; ")) }
    }

    /// Says again who has them, at once: the network came back.
    pub fn announce(&self) {
        self.held.iter().for_each(Held::announce);
    }
}
