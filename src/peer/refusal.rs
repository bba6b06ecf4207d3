//! Why a connection was not made, in words: most failures are only silence, some are a refusal
//! that a person must look at.
use crate::trust::ALPN_PEER;
use quinn::{ConnectionError, TransportErrorCode};

/// Who found the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// This node refused the peer.
    Us,
    /// The peer refused this node.
    Them,
}

/// One sentence if `error` is a refusal; `None` for silence, a restart or an ordinary end, after
/// which dialling again is all there is to do. `who`: the peer as people know it.
pub(super) fn sentence(who: &str, error: &ConnectionError) -> Option<String> {
    let (by, code, text) = match error {
        ConnectionError::TransportError(error) => (By::Us, error.code, error.reason.clone()),
        ConnectionError::ConnectionClosed(close) => {
            (By::Them, close.error_code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::VersionMismatch => {
            return Some(format!(
                "{who} speaks another version of QUIC: install the same release of Lockstep on \
                 both nodes"
            ));
        }
        _ => return None,
    };
    Some(describe(who, by, alert(code)?, &text))
}

/// The TLS alert in a QUIC error code, if it is one (RFC 9001 section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then_some((code & 0xff) as u8)
}

fn describe(who: &str, by: By, alert: u8, text: &str) -> String {
    let protocol = String::from_utf8_lossy(ALPN_PEER);
    match (alert, by) {
        (120, _) => format!(
            "{who} does not speak {protocol}: install the same release of Lockstep on both nodes"
        ),
        (_, By::Us) if text.contains("OtherAuthority") => format!(
            "{who} belongs to another cluster than the token: check the address, or get a token \
             from a node of that cluster"
        ),
        (_, By::Us) if text.contains("not valid for name") => format!(
            "{who} is another node than cluster.xml says: correct the address in cluster.xml"
        ),
        (48, By::Us) => format!(
            "{who} shows a certificate of another cluster: join it to this cluster with a token \
             (`lockstep cluster token` here, `lockstep cluster join` there)"
        ),
        (48, By::Them) => format!(
            "{who} refuses this node's certificate, which is of another cluster: join this node \
             with a token from there (`lockstep cluster join ADDRESS --token TOKEN`)"
        ),
        (45, By::Us) => format!(
            "{who} shows a certificate that is not valid today by this node's clock ({}): correct \
             the clock, or renew the certificate by joining again",
            today()
        ),
        (45, By::Them) => format!(
            "{who} says that this node's certificate is not valid today: compare both clocks \
             (here {}), or renew the certificate by joining again",
            today()
        ),
        (116, By::Us) => format!("{who} shows no certificate: it has not joined this cluster"),
        (_, By::Us) => format!("{who} was refused: {text}"),
        (_, By::Them) => format!("{who} refuses this node's certificate (TLS alert {alert})"),
    }
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
