//! Duplicate address detection before an address is taken.
//!
//! RFC 5227 waits 4 to 9 seconds and the kernel's detection for IPv6 one; a take-over has 250 ms.
//! So: three probes 70 ms apart, the answer awaited 70 ms after the last. A holder on the same
//! link answers within a millisecond; three tries cover a lost frame. A node that takes the peer's
//! place asks faster: the address was in use until now, so that nobody else will have it, and
//! clients wait.
//!
//! Two nodes that probe at the same moment see each other's probes; the lower hardware address
//! goes on, the other one refuses, so that exactly one gets the address.
use super::VipError;
use super::frames::{self, Claim, Mac};
use super::packet::PacketSocket;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Probes are sent at such distances; after the last one the answer is awaited as long.
pub const GAP: Duration = Duration::from_millis(70);
pub const GAP_SUCCESSOR: Duration = Duration::from_millis(25);
const PROBES: u32 = 3;

/// Asks the link who holds `addr`; `None` after three times `gap` of silence, an answer at once.
pub async fn holder(
    index: u32,
    own: Mac,
    addr: IpAddr,
    gap: Duration,
) -> Result<Option<Mac>, VipError> {
    let socket = PacketSocket::open(index, addr)?;
    let question = frames::probe(own, addr);
    for _ in 0..PROBES {
        socket.send(&question).await.map_err(VipError::Socket)?;
        let until = Instant::now() + gap;
        while let Ok(frame) = timeout_at(until, socket.receive()).await {
            let frame = frame.map_err(VipError::Socket)?;
            match frames::claim_in(&frame, own, addr) {
                Some(Claim::Held(mac)) => return Ok(Some(mac)),
                Some(Claim::Probing(mac)) if mac < own => return Ok(Some(mac)),
                _ => {}
            }
        }
    }
    Ok(None)
}
