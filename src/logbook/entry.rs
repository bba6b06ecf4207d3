//! One line of the log.
use super::texts::Text;
use crate::model::ModuleName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kind of an entry, the letter that administrators filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Level {
    /// What a person or program asked for.
    #[serde(rename = "U")]
    User,
    /// What happened: states, resources, decisions.
    #[serde(rename = "E")]
    Event,
    /// Somebody must look.
    #[serde(rename = "C")]
    Critical,
    /// A script was called, or ended badly.
    #[serde(rename = "S")]
    Script,
    #[serde(rename = "I")]
    Information,
    #[serde(rename = "W")]
    Warning,
    #[serde(rename = "D")]
    Debug,
}

impl Level {
    pub fn letter(self) -> char {
        match self {
            Level::User => 'U',
            Level::Event => 'E',
            Level::Critical => 'C',
            Level::Script => 'S',
            Level::Information => 'I',
            Level::Warning => 'W',
            Level::Debug => 'D',
        }
    }

    /// `I` for a letter that is not known: a newer engine's words are shown, not lost.
    pub fn from_letter(letter: char) -> Level {
        match letter.to_ascii_uppercase() {
            'U' => Level::User,
            'E' => Level::Event,
            'C' => Level::Critical,
            'S' => Level::Script,
            'W' => Level::Warning,
            'D' => Level::Debug,
            _ => Level::Information,
        }
    }

    /// Shown only by `log -A`.
    pub fn is_verbose(self) -> bool {
        matches!(self, Level::Information | Level::Warning | Level::Debug)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Wall clock, for people only.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    pub module: ModuleName,
    /// The part that speaks: `control`, `heart`, `rfs`, `vip`, `user`, a script's name.
    pub component: String,
    pub level: Level,
    /// Stable name of the text, see [`super::texts`].
    pub code: String,
    pub text: String,
    /// Why, for decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the epoch that was current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl Entry {
    /// An entry of this moment.
    pub fn now(module: &ModuleName, component: &str, text: Text) -> Entry {
        Entry {
            time: Timestamp::now(),
            module: module.clone(),
            component: component.to_owned(),
            level: text.level,
            code: text.code.to_owned(),
            text: text.text,
            reason: None,
            epoch: None,
        }
    }

    pub fn because(mut self, reason: impl Into<String>) -> Entry {
        self.reason = Some(reason.into());
        self
    }

    pub fn in_epoch(mut self, epoch: u64) -> Entry {
        self.epoch = Some(epoch);
        self
    }

    /// `date time.µs | component | level | text`, in the given time zone. Control characters in
    /// the text are shown as `?`: a log line is one line.
    pub fn to_line(&self, zone: &TimeZone) -> String {
        let time = self.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.6f");
        let text: String =
            self.text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
        format!("{time} | {} | {} | {text}", self.component, self.level.letter())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line(&TimeZone::system()))
    }
}

/// Time as RFC 3339 in UTC with microseconds.
pub(super) mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.6}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
