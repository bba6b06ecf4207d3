//! `ping`: a machine answers ICMP echo requests, asked without an external program.
use super::echo::Echo;
use super::steady::{Check, Look};
use std::io;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;

pub(super) struct Ping {
    pub host: String,
    pub timeout: Duration,
}

impl Check for Ping {
    async fn look(&mut self) -> Look {
        let host = &self.host;
        match timeout(self.timeout, answered(host)).await {
            Ok(look) => look,
            Err(_) => {
                let limit = self.timeout.as_secs_f64();
                Look::Down(format!("{host} did not answer a ping within {limit} s"))
            }
        }
    }
}

/// Only the first address of a name is asked: as the program `ping` does.
async fn answered(host: &str) -> Look {
    let found = lookup_host((host, 0)).await.and_then(|mut all| {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        all.next().ok_or_else(none)
    });
    let to = match found {
        Ok(to) => to,
        Err(error) => return Look::failed(&format!("cannot resolve {host}"), &error),
    };
    // A socket for each look: it cannot hold late answers of an earlier one.
    let echo = match Echo::open(to.is_ipv6()) {
        Ok(echo) => echo,
        Err(error) => return Look::Unknown(format!("no socket to ping {host}: {error}")),
    };
    match echo.ask(to).await {
        Ok(()) => Look::Up,
        Err(error) => Look::failed(&format!("cannot ping {host}"), &error),
    }
}
