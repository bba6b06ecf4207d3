//! `top`
use clap::Args;

#[derive(Args, Clone, Debug, PartialEq)]
pub struct TopOptions {
    /// Print once and end, as without a terminal
    #[arg(long)]
    pub once: bool,
    /// Seconds between two pictures
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.2..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.2 to 3600".to_owned()),
    }
}
