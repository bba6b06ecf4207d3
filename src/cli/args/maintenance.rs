//! `maintenance …`
use clap::Subcommand;

#[derive(Subcommand, Debug, PartialEq)]
pub enum MaintenanceVerb {
    /// Begin, or change: no take-over, checkers and errd only report, on both nodes
    #[command(
        after_help = "Example: lockstep maintenance on -m web --reason 'new kernel' --for 2h"
    )]
    On {
        /// Why, one line; it stands in state and log of both nodes
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long: 90m, 2h, 1h30m, 3d; at most 30 days
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        length: u64,
        /// Who is to be asked; without it, the user who types
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
    },
    /// End it: what was only reported and still holds is acted on
    #[command(after_help = "Example: lockstep maintenance off -m web")]
    Off,
    /// Show who maintains the module, why and until when; without -m, of all modules
    #[command(after_help = "Example: lockstep maintenance status -m web")]
    Status,
}

/// `1h30m` in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "a time with its unit: 90m, 2h, 1h30m or 3d".to_owned();
    let (mut total, mut number) = (0u64, None::<u64>);
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            let more =
                number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit.into()));
            number = Some(more.ok_or_else(wrong)?);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let part = number.take().and_then(|number| number.checked_mul(unit));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if number.is_some() || total == 0 {
        return Err(wrong());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(seconds("2h"), Ok(7_200));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        assert_eq!(seconds("3d"), Ok(259_200));
        for wrong in ["", "2", "h", "2h3", "-1h", "2w", "99999999999999999999d", "0m"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
