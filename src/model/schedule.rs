//! A line of a crontab, as far as it says when: `minute hour day month weekday`.
//!
//! Each field is `*`, a number, a name (`jan`, `mon`), a range `1-5`, any of them with a step `/2`,
//! or a list of all that. Sunday is 0 and 7. As cron does it: where day and weekday are both
//! restricted, either of them is enough. `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`,
//! `@yearly` and `@annually` are the usual short forms.
use std::fmt;

/// When something is done, to the minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Neither day nor weekday is `*`.
    either_day: bool,
}

/// A minute as clocks on the wall show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    pub minute: u8,
    pub hour: u8,
    pub day: u8,
    pub month: u8,
    /// Sunday is 0.
    pub weekday: u8,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// # Errors
    /// What was expected, without the value itself.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let text = text.trim();
        let line = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err("five fields of a crontab: minute hour day month weekday".to_owned());
        };
        let mut weekday_bits = bits("weekday", weekdays, 0, 7, &WEEKDAYS)?;
        weekday_bits |= weekday_bits >> 7 & 1;
        let schedule = Schedule {
            text: text.to_owned(),
            minutes: bits("minute", minutes, 0, 59, &[])?,
            hours: bits("hour", hours, 0, 23, &[])?,
            days: bits("day", days, 1, 31, &[])?,
            months: bits("month", months, 1, 12, &MONTHS)?,
            weekdays: weekday_bits,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        match schedule.ever() {
            true => Ok(schedule),
            false => Err("a day that comes: no month of these has it".to_owned()),
        }
    }

    /// It is due in this minute.
    pub fn holds(&self, at: Minute) -> bool {
        let day = has(self.days, at.day);
        let weekday = has(self.weekdays, at.weekday);
        let on_day = if self.either_day { day || weekday } else { day && weekday };
        has(self.minutes, at.minute)
            && has(self.hours, at.hour)
            && has(self.months, at.month)
            && on_day
    }

    /// Some day is meant (`30 2` never comes).
    fn ever(&self) -> bool {
        let longest = |month: u8| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        self.either_day
            || (1..=12).any(|month| {
                has(self.months, month) && (1..=longest(month)).any(|day| has(self.days, day))
            })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn has(bits: u64, number: u8) -> bool {
    bits >> number & 1 == 1
}

/// One field: the numbers that it names, as bits.
fn bits(what: &str, field: &str, low: u8, high: u8, names: &[&str]) -> Result<u64, String> {
    let expected = || format!("{what} to be *, {low} … {high}, a range, a list or a step");
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        // The first name of a field stands for its smallest number.
        let named = named.and_then(|at| u8::try_from(at).ok()).map(|at| at + low.min(1));
        named.or_else(|| text.parse().ok()).filter(|number| (low..=high).contains(number))
    };
    let mut bits = 0u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => {
                (number(from).ok_or_else(expected)?, number(to).ok_or_else(expected)?)
            }
            // `5/10`: from there on.
            None => {
                let from = number(range).ok_or_else(expected)?;
                (from, if step.is_some() { high } else { from })
            }
        };
        let step: usize = match step {
            Some(step) => step.parse().ok().filter(|step| *step > 0).ok_or_else(expected)?,
            None => 1,
        };
        if from > to {
            return Err(expected());
        }
        (from..=to).step_by(step).for_each(|number| bits |= 1 << number);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(line: &str, minute: u8, hour: u8, day: u8, month: u8, weekday: u8) -> bool {
        Schedule::parse(line).unwrap().holds(Minute { minute, hour, day, month, weekday })
    }

    #[test]
    fn a_line_means_what_cron_takes_it_for() {
        assert!(holds("01 0 * * *", 1, 0, 9, 9, 3) && !holds("01 0 * * *", 0, 1, 9, 9, 3));
        assert!(holds("*/15 * * * *", 45, 3, 1, 1, 0) && !holds("*/15 * * * *", 44, 3, 1, 1, 0));
        assert!(holds("5/20 8-18/5 * * *", 25, 13, 1, 1, 0));
        assert!(!holds("5/20 8-18/5 * * *", 25, 14, 1, 1, 0));
        assert!(holds("0 0 * jan,Dec MON-fri", 0, 0, 7, 12, 5));
        assert!(!holds("0 0 * jan,Dec MON-fri", 0, 0, 7, 11, 5));
        assert!(holds("0 0 * * 7", 0, 0, 1, 1, 0) && holds("0 0 * * sun", 0, 0, 1, 1, 0));
        assert!(holds("0 0 13 * fri", 0, 0, 13, 1, 2), "the day alone");
        assert!(holds("0 0 13 * fri", 0, 0, 12, 1, 5), "the weekday alone");
        assert!(!holds("0 0 13 * fri", 0, 0, 12, 1, 4));
        assert!(!holds("0 0 13 * *", 0, 0, 12, 1, 5), "a star restricts nothing");
        assert!(holds("@daily", 0, 0, 5, 5, 5) && !holds("@hourly", 1, 0, 5, 5, 5));
        assert_eq!(Schedule::parse(" @weekly ").unwrap().to_string(), "@weekly");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "0 0 * *",
            "0 0 * * * *",
            "60 0 * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "0 0 * foo *",
            "5-1 * * * *",
            "*/0 * * * *",
            "1, * * * *",
            "-1 * * * *",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "@never",
            "* * * * 1-",
            "\u{e9} * * * *",
        ] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Schedule::parse("0 0 29 2 *").is_ok());
    }
}
