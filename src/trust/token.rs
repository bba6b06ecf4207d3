//! Join tokens: one printable code that lets one new node in, once, for a short time.
//!
//! The code holds a 128-bit secret, the fingerprint of the cluster's authority and the address of
//! the first node, so that whoever carries it to the new machine carries everything. Stored is
//! only a digest of the secret. Time is measured by the kernel's clock since boot: neither a wrong
//! wall clock nor a restart of the daemon makes a token live longer; a reboot ends it.
//!
//! ```text
//! lockstepjoin BASE32( version 1 | secret 16 | fingerprint 32 | 4 or 6 | address | port 2 | crc32 4 )
//! join-tokens: "lockstep-join-tokens 1 CRC32\n" then one JSON object a line
//! ```
use super::pki::damaged;
use super::{Pki, TrustError, files};
use crate::model::BootId;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long a token can be used unless told otherwise.
pub const VALID_DEFAULT: Duration = Duration::from_secs(600);
/// Open tokens at a time; the oldest goes first.
const OPEN_MAX: usize = 32;
const PREFIX: &str = "lockstepjoin";
const VERSION: u8 = 1;
const FILE_NAME: &str = "join-tokens";
const FILE_MAGIC: &str = "lockstep-join-tokens 1";

/// What a new node needs to know, in one word that can be copied.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    pub secret: [u8; 16],
    /// blake3 of the authority's certificate.
    pub fingerprint: [u8; 32],
    /// Control port of the node that made the token.
    pub address: SocketAddr,
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not reach a log.
        write!(f, "JoinCode({})", self.address)
    }
}

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.fingerprint);
        match self.address.ip() {
            IpAddr::V4(ip) => {
                bytes.push(4);
                bytes.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.push(6);
                bytes.extend_from_slice(&ip.octets());
            }
        }
        bytes.extend_from_slice(&self.address.port().to_be_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        write!(f, "{PREFIX}{}", base32(&bytes))
    }
}

impl FromStr for JoinCode {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<JoinCode, TrustError> {
        let no = |why| TrustError::NotAToken { why };
        let digits = text.trim().strip_prefix(PREFIX).ok_or(no("it begins differently"))?;
        let bytes = from_base32(digits).ok_or(no("it holds a character that no token has"))?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(no("it is cut short"))?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return Err(no("it is cut short or mistyped"));
        }
        let (&version, rest) = body.split_first().ok_or(no("it is cut short"))?;
        if version != VERSION {
            return Err(no("it was made by another version of Lockstep"));
        }
        let (secret, rest) = rest.split_first_chunk::<16>().ok_or(no("it is cut short"))?;
        let (fingerprint, rest) = rest.split_first_chunk::<32>().ok_or(no("it is cut short"))?;
        let address = parse_address(rest).ok_or(no("it holds no address"))?;
        Ok(JoinCode { secret: *secret, fingerprint: *fingerprint, address })
    }
}

fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port): (IpAddr, &[u8]) = match bytes.split_first()? {
        (4, rest) => {
            let (ip, port) = rest.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*ip).into(), port)
        }
        (6, rest) => {
            let (ip, port) = rest.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*ip).into(), port)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?)))
}

/// A point of the kernel's clock: comparable only within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    boot: BootId,
    /// Since boot, suspended time included.
    ms: u64,
}

impl Moment {
    fn now() -> Result<Moment, TrustError> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let text = files::read(path)?;
        let boot = BootId::try_from(String::from_utf8_lossy(&text).into_owned())
            .map_err(|e| damaged(path, &e.to_string()))?;
        let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map_err(|e| TrustError::Crypto { why: format!("the clock cannot be read: {e}") })?;
        Ok(Moment { boot, ms: Duration::from(clock).as_millis() as u64 })
    }

    /// Not yet reached at `now`. A moment of another boot is over.
    fn is_after(self, now: Moment) -> bool {
        self.boot == now.boot && now.ms < self.ms
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenToken {
    /// Hexadecimal blake3 of the secret. The secret is random and long: no salt is needed.
    digest: String,
    until: Moment,
}

/// The open tokens of this node, in a file beside its keys. Command line and daemon both open it;
/// a lock on a file of its own keeps them apart.
#[derive(Clone, Debug)]
pub struct TokenStore {
    path: PathBuf,
}

impl TokenStore {
    /// `dir`: the directory of the keys.
    pub fn new(dir: &Path) -> TokenStore {
        TokenStore { path: dir.join(FILE_NAME) }
    }

    /// Makes a token for one node. `address`: where the new node reaches this one's control port.
    pub fn create(
        &self,
        pki: &Pki,
        address: SocketAddr,
        valid: Duration,
    ) -> Result<JoinCode, TrustError> {
        self.create_at(pki, address, valid, Moment::now()?)
    }

    /// Whether the token could be redeemed now; uses nothing up.
    pub fn check(&self, secret: &[u8; 16]) -> Result<(), TrustError> {
        let (wanted, now) = (digest(secret), Moment::now()?);
        match self.read()?.iter().find(|token| token.digest == wanted) {
            None => Err(TrustError::UnknownToken),
            Some(token) if token.until.is_after(now) => Ok(()),
            Some(_) => Err(TrustError::ExpiredToken),
        }
    }

    /// Uses a token up, durably, before anything is given for it.
    pub fn redeem(&self, secret: &[u8; 16]) -> Result<(), TrustError> {
        self.redeem_at(secret, Moment::now()?)
    }

    /// Whether any token could be redeemed now.
    pub fn any_open(&self) -> bool {
        let open = || -> Result<bool, TrustError> {
            let now = Moment::now()?;
            Ok(self.read()?.iter().any(|token| token.until.is_after(now)))
        };
        open().unwrap_or(false)
    }

    fn create_at(
        &self,
        pki: &Pki,
        address: SocketAddr,
        valid: Duration,
        now: Moment,
    ) -> Result<JoinCode, TrustError> {
        // Only the holder of the authority's key can answer a join.
        super::Authority::load(pki)?;
        let code = JoinCode { secret: rand::random(), fingerprint: pki.fingerprint(), address };
        let _lock = self.lock()?;
        let mut tokens = self.read()?;
        tokens.retain(|token| token.until.is_after(now));
        if tokens.len() >= OPEN_MAX {
            tokens.remove(0);
        }
        let until = Moment { ms: now.ms.saturating_add(valid.as_millis() as u64), ..now };
        tokens.push(OpenToken { digest: digest(&code.secret), until });
        self.write(&tokens)?;
        Ok(code)
    }

    fn redeem_at(&self, secret: &[u8; 16], now: Moment) -> Result<(), TrustError> {
        let _lock = self.lock()?;
        let mut tokens = self.read()?;
        let wanted = digest(secret);
        let index = tokens
            .iter()
            .position(|token| token.digest == wanted)
            .ok_or(TrustError::UnknownToken)?;
        let token = tokens.remove(index);
        self.write(&tokens)?;
        if token.until.is_after(now) { Ok(()) } else { Err(TrustError::ExpiredToken) }
    }

    fn lock(&self) -> Result<Flock<std::fs::File>, TrustError> {
        let path = self.path.with_extension("lock");
        let error = |source| TrustError::File { what: "lock", path: path.clone(), source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(error)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| error(errno.into()))
    }

    fn read(&self) -> Result<Vec<OpenToken>, TrustError> {
        // A damaged list only means that tokens are forgotten: nobody gets in, a new one is made.
        match files::read_list(&self.path, FILE_MAGIC) {
            Err(TrustError::Damaged { .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    fn write(&self, tokens: &[OpenToken]) -> Result<(), TrustError> {
        files::write_list(&self.path, FILE_MAGIC, tokens)
    }
}

fn digest(secret: &[u8; 16]) -> String {
    blake3::hash(secret).to_hex().to_string()
}

/// RFC 4648 without padding, in small letters: survives being read aloud.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0u32, 0);
    for &byte in bytes {
        held = (held << 8 | u32::from(byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0);
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|&a| a == digit.to_ascii_lowercase())?;
        held = (held << 5 | value as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeName;
    use crate::trust::init;

    fn code(address: &str) -> JoinCode {
        let address = address.parse().unwrap();
        JoinCode { secret: [7; 16], fingerprint: [9; 32], address }
    }

    #[test]
    fn a_code_survives_being_printed_and_no_single_mistake_is_accepted() {
        for address in ["10.0.0.1:4800", "[fd00::1]:4800"] {
            let text = code(address).to_string();
            assert_eq!(text.parse::<JoinCode>().unwrap(), code(address));
            assert_eq!(
                text.to_uppercase()
                    .replacen("LOCKSTEPJOIN", PREFIX, 1)
                    .parse::<JoinCode>()
                    .unwrap(),
                code(address)
            );
            for index in PREFIX.len()..text.len() - 1 {
                let mut bad = text.clone().into_bytes();
                bad[index] = if bad[index] == b'a' { b'b' } else { b'a' };
                let bad = String::from_utf8(bad).unwrap();
                assert!(bad.parse::<JoinCode>().is_err(), "{bad}");
            }
            assert!(text[..text.len() - 3].parse::<JoinCode>().is_err());
        }
        assert!("hello".parse::<JoinCode>().unwrap_err().to_string().contains("not a join token"));
    }

    #[test]
    fn a_token_opens_once_in_time_and_in_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        let pki = init(&dir.path().join("pki"), &NodeName::new("n1").unwrap(), false).unwrap();
        let store = TokenStore::new(pki.dir());
        let now = Moment { boot: BootId(1), ms: 5_000 };
        let at = "10.0.0.1:4800".parse().unwrap();
        let make = || store.create_at(&pki, at, VALID_DEFAULT, now).unwrap().secret;

        let secret = make();
        let last = Moment { ms: now.ms + 599_999, ..now };
        store.redeem_at(&secret, last).unwrap();
        assert!(matches!(store.redeem_at(&secret, last), Err(TrustError::UnknownToken)));

        let secret = make();
        let late = Moment { ms: now.ms + 600_000, ..now };
        assert!(matches!(store.redeem_at(&secret, late), Err(TrustError::ExpiredToken)));

        let secret = make();
        let rebooted = Moment { boot: BootId(2), ms: 5_001 };
        assert!(matches!(store.redeem_at(&secret, rebooted), Err(TrustError::ExpiredToken)));
        assert!(matches!(store.redeem_at(&[0; 16], now), Err(TrustError::UnknownToken)));
    }

    #[test]
    fn the_file_holds_no_secret_and_a_damaged_one_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let pki = init(&dir.path().join("pki"), &NodeName::new("n1").unwrap(), false).unwrap();
        let store = TokenStore::new(pki.dir());
        let code = store.create(&pki, "10.0.0.1:4800".parse().unwrap(), VALID_DEFAULT).unwrap();
        assert!(store.any_open());
        let text = std::fs::read_to_string(&store.path).unwrap();
        let hex: String = code.secret.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!text.contains(&hex) && text.contains(&digest(&code.secret)));
        std::fs::write(&store.path, text.replace("digest\":\"", "digest\":\"0")).unwrap();
        assert!(!store.any_open());
        assert!(matches!(store.redeem(&code.secret), Err(TrustError::UnknownToken)));
    }

    #[test]
    fn the_list_has_a_fixed_form() {
        let until = Moment { boot: BootId(1), ms: 600_000 };
        let tokens = [OpenToken { digest: "ab".into(), until }];
        let text = files::render_list(FILE_MAGIC, &tokens).unwrap();
        assert_eq!(
            text,
            "lockstep-join-tokens 1 5239f195\n{\"digest\":\"ab\",\"until\":{\"boot\":\
             \"00000000000000000000000000000001\",\"ms\":600000}}\n"
        );
        assert_eq!(files::parse_list::<OpenToken>(FILE_MAGIC, &text), Some(tokens.to_vec()));
    }
}
