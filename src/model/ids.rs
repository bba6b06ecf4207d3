//! Names and numbers. A value of one of these types has been checked; nothing is checked later.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a name or number was refused: what was expected, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not valid: {expected}")]
pub struct IdError {
    pub what: &'static str,
    pub found: String,
    pub expected: String,
}

fn checked(what: &'static str, text: &str, length_max: usize) -> Result<String, IdError> {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if first && rest && text.len() <= length_max {
        Ok(text.to_owned())
    } else {
        let expected = format!(
            "at most {length_max} letters, digits, '-', '_' and '.', first a letter or digit"
        );
        Err(IdError { what, found: text.chars().take(80).collect(), expected })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text`; at most the documented number of bytes of ASCII.
            pub fn new(text: &str) -> Result<Self, IdError> {
                checked($what, text, $max).map(Self)
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Name of an application module; a file name and an environment value. At most 64 bytes.
    ModuleName, "module name", 64
);
name_type!(
    /// Name of a node as `cluster.xml` gives it. At most 64 bytes.
    NodeName, "node name", 64
);

/// Number of an operation in the one sequence of a module. The first operation ever is 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u128);

        impl $name {
            /// A fresh random value: two draws never meet.
            pub fn random() -> Self {
                Self(rand::random())
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                let hex: String = text.chars().filter(|c| *c != '-').collect();
                u128::from_str_radix(hex.trim(), 16).map(Self).map_err(|_| IdError {
                    what: stringify!($name),
                    found: text,
                    expected: "32 hexadecimal digits".to_owned(),
                })
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                format!("{:032x}", id.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}…", self.0 >> 96)
            }
        }
    };
}

random_id!(
    /// One change of the right to write, never reused.
    EpochId
);
random_id!(
    /// One boot of a node's kernel, `/proc/sys/kernel/random/boot_id`.
    BootId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_say_what_they_expected() {
        assert!(ModuleName::new("postgresql").is_ok());
        for bad in ["", "../x", "a/b", "-m", ".x", "a b", "é"] {
            let error = ModuleName::new(bad).unwrap_err();
            assert!(error.to_string().contains("letters, digits"), "{bad}: {error}");
        }
        let long = ModuleName::new(&"m".repeat(500)).unwrap_err().to_string();
        assert!(long.contains("at most 64 letters"), "{long}");
    }

    #[test]
    fn ids_round_trip_as_text() {
        let id = EpochId::random();
        assert_eq!(EpochId::try_from(String::from(id)), Ok(id));
        assert!(BootId::try_from("6fd0c4b0-3f66-4d4c-8f2f-1f4f9c1d2e3f".to_owned()).is_ok());
    }
}
