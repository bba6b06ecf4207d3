//! Single values: text of an attribute into something checked, or a sentence of what was expected.
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The unit a duration has when none is written, and in which it may not round to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Unit {
    fn micros(self) -> u64 {
        match self {
            Unit::Milliseconds => 1_000,
            Unit::Seconds => 1_000_000,
            Unit::Minutes => 60 * 1_000_000,
            Unit::Hours => 3600 * 1_000_000,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Minutes => "m",
            Unit::Hours => "h",
        }
    }
}

/// Longest duration that is taken: ten years.
const MICROS_MAX: u64 = 10 * 366 * 24 * 3600 * 1_000_000;

/// `90`, `90s`, `2 m`; units `d h m s ms us`, without one the attribute's own. `name` is the
/// attribute, for the sentence.
pub(super) fn duration(text: &str, unit: Unit, name: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let micros = match suffix.trim() {
        "" => unit.micros(),
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60 * 1_000_000,
        "h" => 3600 * 1_000_000,
        "d" => 24 * 3600 * 1_000_000,
        _ => 0,
    };
    let shape = || {
        let own = unit.as_str();
        format!("a whole number with d, h, m, s, ms or us (expected time unit: '{own}')")
    };
    let number: u64 = number.parse().map_err(|_| shape())?;
    if micros == 0 {
        return Err(shape());
    }
    let total = number.checked_mul(micros).filter(|total| *total <= MICROS_MAX);
    let total = total.ok_or_else(|| "at most ten years".to_owned())?;
    if total > 0 && total / unit.micros() == 0 {
        let own = unit.as_str();
        return Err(format!(
            "at least 1{own}: invalid value '{text}' for the attribute {name} \
             (expected time unit: '{own}')"
        ));
    }
    Ok(Duration::from_micros(total))
}

/// `on`/`off`, and the `yes`/`no` of `proc service=`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "yes" => Ok(true),
        "off" | "no" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

pub(super) fn count(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let number = text.trim().parse::<i64>().ok();
    number.filter(|number| (min..=max).contains(number)).ok_or_else(|| match max {
        i64::MAX => format!("a whole number of at least {min}"),
        max => format!("a whole number from {min} to {max}"),
    })
}

/// An address as it may stand in either file: IPv4, IPv6, `[IPv6]` or a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

pub(super) fn host(text: &str) -> Result<Host, String> {
    let expected = "an IPv4 address, an IPv6 address or a host name";
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = inner.unwrap_or(text).parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    // Digits and dots only: somebody meant an IPv4 address.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
    };
    let name = !numeric && text.len() <= 253 && text.trim_end_matches('.').split('.').all(label);
    if inner.is_none() && name { Ok(Host::Name(text.to_owned())) } else { Err(expected.into()) }
}

/// An address that a host can have: not 0.0.0.0, not multicast, not broadcast.
pub(super) fn usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

/// `255.255.255.0`, `24` or `/24` as a prefix length.
pub(super) fn netmask(text: &str) -> Result<u8, String> {
    let expected = || "a network mask, e.g. 255.255.255.0 or 24".to_owned();
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = u32::from(mask);
        let prefix = bits.leading_ones();
        let whole = bits.checked_shl(prefix).unwrap_or(0) == 0 && prefix > 0;
        return if whole { Ok(prefix as u8) } else { Err(expected()) };
    }
    let prefix = text.strip_prefix('/').unwrap_or(text).parse::<u8>();
    prefix.ok().filter(|prefix| (1..=128).contains(prefix)).ok_or_else(expected)
}

/// An absolute path without `.`, `..`, doubled or trailing `/`.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    if text.as_bytes().get(1) == Some(&b':') || text.contains('\\') {
        return Err("an absolute path of this Linux system".to_owned());
    }
    let path = Path::new(text);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !text.starts_with('/') || !plain || text.contains('\0') {
        return Err("an absolute path without . or ..".to_owned());
    }
    Ok(path.components().collect())
}

/// A relative path that stays below its directory.
pub(super) fn relative_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text.strip_prefix("./").unwrap_or(text));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !plain || text.contains('\0') {
        return Err("a relative path without ..".to_owned());
    }
    Ok(path.components().collect())
}

/// A word without white space or control characters: idents, names of interfaces and lans.
pub(super) fn word(text: &str, length_max: usize) -> Result<(), String> {
    let plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if !text.is_empty() && plain && text.len() <= length_max {
        return Ok(());
    }
    Err(format!("a name without spaces, at most {length_max} bytes"))
}

/// A pattern in the sense of POSIX extended expressions.
pub(super) fn pattern(text: &str) -> Result<(), String> {
    let built = regex::RegexBuilder::new(text).size_limit(1 << 20).nest_limit(64).build();
    match built {
        Ok(_) => Ok(()),
        Err(error) => {
            let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            Err(format!("a regular expression ({last})"))
        }
    }
}

/// A name that an environment can hold.
pub(super) fn variable(text: &str) -> Result<(), String> {
    word(text, 128)
        .ok()
        .filter(|()| !text.contains('='))
        .ok_or_else(|| "a variable name: letters, digits and _, without spaces and =".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics_on_any_value(text in "\\PC{0,24}|[0-9]{1,25}[a-zé ]{0,3}") {
            let _ = (duration(&text, Unit::Hours, "x"), count(&text, -1, 5), host(&text));
            let _ = (netmask(&text), absolute_path(&text), relative_path(&text), pattern(&text));
        }
    }

    #[test]
    fn durations_take_units_and_refuse_what_rounds_to_nothing() {
        let read = |text, unit| duration(text, unit, "boot_delay");
        assert_eq!(read("700", Unit::Milliseconds), Ok(Duration::from_millis(700)));
        assert_eq!(read("24", Unit::Hours), Ok(Duration::from_secs(86_400)));
        assert_eq!(read("1d", Unit::Seconds), Ok(Duration::from_secs(86_400)));
        assert_eq!(read("2 m", Unit::Seconds), Ok(Duration::from_secs(120)));
        assert_eq!(read("1500ms", Unit::Seconds), Ok(Duration::from_millis(1500)));
        assert_eq!(read("0s", Unit::Seconds), Ok(Duration::ZERO));
        let error = read("500ms", Unit::Seconds).unwrap_err();
        let old = "invalid value '500ms' for the attribute boot_delay (expected time unit: 's')";
        assert!(error.contains(old), "{error}");
        for bad in ["", "s", "-1", "1.5", "3 weeks", "99999999999999999999", "99999d", "1é"] {
            assert!(read(bad, Unit::Seconds).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(host("[fd00::1]"), Ok(Host::Address(v6)));
        assert_eq!(host("fd00::1"), Ok(Host::Address(v6)));
        assert_eq!(host("db-1.example"), Ok(Host::Name("db-1.example".into())));
        for bad in ["10.0.0", "10.0.0.256", "a b", "", "-x", "[10", "[db]"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn masks_paths_and_patterns() {
        assert_eq!(netmask("255.255.254.0"), Ok(23));
        assert_eq!(netmask("/24"), Ok(24));
        assert_eq!(netmask("255.255.255.255"), Ok(32));
        assert!(netmask("255.0.255.0").is_err() && netmask("0.0.0.0").is_err());
        assert_eq!(absolute_path("/a//b/"), Ok("/a/b".into()));
        for bad in ["a", "/a/../b", "/a/./../b", "C:\\x", "", "%DIR%"] {
            assert!(absolute_path(bad).is_err(), "{bad}");
        }
        assert!(relative_path("pg_stat_tmp").is_ok() && relative_path("../x").is_err());
        assert!(pattern(r".*\.(log|tmp)$").is_ok() && pattern("(").is_err());
    }
}
