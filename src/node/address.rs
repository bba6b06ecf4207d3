//! The virtual addresses of a module: held together, given up together.
use crate::actions::vip::{self, Held, Probe, Vip, VipError};
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn only_a_kernel_that_cannot_is_not_asked_again() {
        let mut addresses = Addresses { resets: true, ..Addresses::default() };
        let late = VipError::NoReset(Error::from(ErrorKind::WouldBlock));
        assert!(addresses.not_reset(&late).contains("are not reset"));
        assert!(addresses.resets, "an answer that was late once comes the next time");
        addresses.not_reset(&VipError::NoReset(Error::from_raw_os_error(libc::EOPNOTSUPP)));
        assert!(!addresses.resets);
    }
}
