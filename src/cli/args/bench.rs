//! `bench`
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What is measured together and asked for by one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum BenchGroup {
    /// 4 KiB overwrites by 1 and 4 writers, 1 MiB sequential writes
    Write,
    /// 4 KiB writes that must be on both disks
    Barrier,
    /// Small files: create, stat, unlink
    Files,
    /// 4 KiB reads from the cache
    Read,
    /// The secondary goes and comes back: what a return costs
    Return,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct BenchOptions {
    /// Measure in this directory of the mirror; without it, in the module's first one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Length of each measurement
    #[arg(long, value_name = "SECONDS", value_parser = span, default_value = "2")]
    pub seconds: f64,
    /// Size of a test file; all together needs up to 23 times that here, 14 on the other node
    #[arg(
        long,
        value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(1..=16_384),
        default_value_t = 64
    )]
    pub file_mb: u64,
    /// Only these, with commas between them; without it, all but return
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub only: Vec<BenchGroup>,
    /// Measure the return too: the secondary is stopped for a moment
    #[arg(long)]
    pub with_return: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

impl BenchOptions {
    /// What is wished, each once, in the order in which it is measured.
    pub fn groups(&self) -> Vec<BenchGroup> {
        let mut groups = match self.only.is_empty() {
            true => {
                vec![BenchGroup::Write, BenchGroup::Barrier, BenchGroup::Files, BenchGroup::Read]
            }
            false => self.only.clone(),
        };
        if self.with_return {
            groups.push(BenchGroup::Return);
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

fn span(text: &str) -> Result<f64, String> {
    match super::seconds(text) {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.01 to 600 seconds".to_owned()),
    }
}
