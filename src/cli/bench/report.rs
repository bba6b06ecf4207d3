//! What was measured, as a table for people and as JSON (`src/docs/benchmark.md`).
use super::comeback::Comeback;
use super::measure::{self, Sample, medians};
use super::workload::Workload;
use crate::cli::state::bytes;
use crate::model::{ModuleName, NodeName};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// What was measured, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub module: ModuleName,
    pub node: NodeName,
    pub peer: NodeName,
    /// `mirror`, `memory` or `disk`.
    pub level: String,
    /// The mirrored directory in which was measured.
    pub directory: PathBuf,
    /// Type of the file system beneath it.
    pub file_system: String,
    /// Where the same was done without a mirror.
    pub plain: Option<PathBuf>,
    pub cpus: usize,
    pub kernel: String,
    /// Kernel features in use by the engine.
    pub features: Vec<String>,
    pub version: String,
    pub rounds: usize,
    pub seconds: f64,
    pub file_bytes: u64,
    pub rows: Vec<Row>,
    pub comeback: Option<Comeback>,
}

/// One workload, a sample for each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub workload: Workload,
    pub mirrored: Vec<Sample>,
    pub plain: Vec<Sample>,
}

impl Report {
    pub fn text(&self) -> String {
        let mut text = self.head();
        if !self.rows.is_empty() {
            self.table(&mut text);
        }
        if let Some(comeback) = &self.comeback {
            comeback_text(&mut text, comeback, &self.peer);
        }
        text
    }

    fn head(&self) -> String {
        let mut text = String::new();
        let (module, node, peer, level) = (&self.module, &self.node, &self.peer, &self.level);
        let _ = writeln!(text, "Module {module}, level {level}: primary {node}, secondary {peer}");
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<13} : {value}");
        };
        line("directory", &format!("{} on {}", self.directory.display(), self.file_system));
        if !self.rows.is_empty() {
            let plain = match &self.plain {
                Some(plain) => {
                    format!("{}, the same file system without a mirror", plain.display())
                }
                None => "none found: no directory of this file system is outside the mirror".into(),
            };
            line("plain", &plain);
        }
        let (version, kernel, cpus) = (&self.version, &self.kernel, self.cpus);
        line("node", &format!("lockstep {version}, Linux {kernel}, {cpus} CPUs"));
        let features = match self.features.is_empty() {
            true => "none told".to_owned(),
            false => self.features.join(", "),
        };
        line("features", &features);
        if !self.rows.is_empty() {
            let (rounds, seconds) = (self.rounds, self.seconds);
            let size = bytes(self.file_bytes);
            let how =
                format!("medians of {rounds} alternating rounds of {seconds} s, files of {size}");
            line("measured", &how);
        }
        line("note", "ratios of one run count; absolute figures change from day to day");
        text
    }

    fn table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{:<34} {:>16} {:>16} {:>6} {:>10} {:>10}",
            "WORKLOAD", "MIRRORED", "PLAIN", "RATIO", "P50 us", "P99 us"
        );
        for row in &self.rows {
            let Some(mirrored) = medians(&row.mirrored) else { continue };
            let unit = row.workload.unit();
            let rate = |sample: Sample| format!("{} {unit}", figure(Some(sample.rate)));
            let plain = medians(&row.plain).map_or_else(|| "-".to_owned(), rate);
            let ratio = measure::ratio(&row.mirrored, &row.plain);
            let _ = writeln!(
                text,
                "{:<34} {:>16} {plain:>16} {:>6} {:>10} {:>10}",
                row.workload.title(),
                rate(mirrored),
                ratio.map_or_else(|| "-".to_owned(), share),
                figure(mirrored.p50_us),
                figure(mirrored.p99_us)
            );
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "module": self.module,
            "node": self.node,
            "peer": self.peer,
            "level": self.level,
            "directory": self.directory.to_string_lossy(),
            "file_system": self.file_system,
            "plain_directory": self.plain.as_ref().map(|path| path.to_string_lossy()),
            "cpus": self.cpus,
            "kernel": self.kernel,
            "features": self.features,
            "version": self.version,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "file_bytes": self.file_bytes,
            "workloads": self.rows.iter().map(row_json).collect::<Value>(),
            "return": self.comeback.as_ref().map(comeback_json),
        })
    }
}

fn row_json(row: &Row) -> Value {
    let place = |samples: &[Sample]| {
        medians(samples).map(|middle| {
            json!({
                "rate": middle.rate,
                "p50_us": middle.p50_us,
                "p99_us": middle.p99_us,
                "rates": samples.iter().map(|sample| sample.rate).collect::<Vec<_>>(),
            })
        })
    };
    json!({
        "name": row.workload.name(),
        "unit": row.workload.unit(),
        "mirrored": place(&row.mirrored),
        "plain": place(&row.plain),
        "ratio": measure::ratio(&row.mirrored, &row.plain),
    })
}

fn comeback_json(comeback: &Comeback) -> Value {
    json!({
        "file_bytes": comeback.file_bytes,
        "changed_bytes": comeback.changed_bytes,
        "sent_bytes": comeback.sent_bytes,
        "ratio": comeback.ratio(),
        "seconds": comeback.seconds,
        "plan": comeback.plan,
    })
}

fn comeback_text(text: &mut String, comeback: &Comeback, peer: &NodeName) {
    let (file, changed) = (bytes(comeback.file_bytes), bytes(comeback.changed_bytes));
    let _ = writeln!(
        text,
        "\nreturn of {peer} after {changed} of {file} changed in random pages: Ready after {:.2} s",
        comeback.seconds
    );
    let plan = comeback.plan.as_deref().unwrap_or("unknown");
    let sent = match (comeback.sent_bytes, comeback.ratio()) {
        (Some(sent), Some(ratio)) => {
            // Digests and frames are a few per cent: the rest is somebody else's.
            let others = match ratio > 1.25 {
                true => " in the test file; the application changed data meanwhile, too",
                false => "",
            };
            format!("sent {}, {ratio:.2} x what changed{others}", bytes(sent))
        }
        _ => "the engine did not tell what it sent".to_owned(),
    };
    let _ = writeln!(text, "{sent} (plan {plan})");
}

/// Two digits that count.
fn share(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}

/// Four digits that count, and no more.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rates: [f64; 3], p50_us: Option<f64>) -> Vec<Sample> {
        let sample = |rate| Sample { rate, p50_us, p99_us: p50_us.map(|us| us * 4.5) };
        rates.into_iter().map(sample).collect()
    }

    fn report() -> Report {
        let row = |workload, p50_us| Row {
            workload,
            mirrored: samples([9000.0, 9500.4, 8000.0], p50_us),
            plain: samples([50_000.0, 48_000.0, 510_000.0], p50_us.map(|us| us / 30.0)),
        };
        Report {
            module: ModuleName::new("web").unwrap(),
            node: NodeName::new("n1").unwrap(),
            peer: NodeName::new("n2").unwrap(),
            level: "mirror".into(),
            directory: "/srv/web".into(),
            file_system: "ext4".into(),
            plain: Some("/var/lib/lockstep".into()),
            cpus: 2,
            kernel: "6.18.0".into(),
            features: vec!["io_uring".into(), "passthrough".into()],
            version: "0.1.0".into(),
            rounds: 3,
            seconds: 2.0,
            file_bytes: 64 << 20,
            rows: vec![row(Workload::Write1, Some(101.26)), row(Workload::Read, None)],
            comeback: Some(Comeback {
                file_bytes: 256 << 20,
                changed_bytes: 656 * 4096,
                seconds: 1.234,
                sent_bytes: Some(2_955_000),
                plan: Some("zones".into()),
            }),
        }
    }

    #[test]
    fn people_get_a_head_a_table_and_the_return() {
        insta::assert_snapshot!(report().text(), @"
        Module web, level mirror: primary n1, secondary n2
        directory     : /srv/web on ext4
        plain         : /var/lib/lockstep, the same file system without a mirror
        node          : lockstep 0.1.0, Linux 6.18.0, 2 CPUs
        features      : io_uring, passthrough
        measured      : medians of 3 alternating rounds of 2 s, files of 64.0 MiB
        note          : ratios of one run count; absolute figures change from day to day

        WORKLOAD                                   MIRRORED            PLAIN  RATIO     P50 us     P99 us
        random write 4 KiB, 1 writer             9000 ops/s      50000 ops/s   0.18        101        456
        random read 4 KiB, cached                9000 ops/s      50000 ops/s   0.18          -          -

        return of n2 after 2.5 MiB of 256.0 MiB changed in random pages: Ready after 1.23 s
        sent 2.8 MiB, 1.10 x what changed (plan zones)
        ");
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_never_a_zero() {
        let mut report = report();
        report.plain = None;
        report.features.clear();
        report.rows.iter_mut().for_each(|row| row.plain.clear());
        let comeback = report.comeback.as_mut().unwrap();
        (comeback.sent_bytes, comeback.plan) = (None, None);
        insta::assert_snapshot!(report.text(), @"
        Module web, level mirror: primary n1, secondary n2
        directory     : /srv/web on ext4
        plain         : none found: no directory of this file system is outside the mirror
        node          : lockstep 0.1.0, Linux 6.18.0, 2 CPUs
        features      : none told
        measured      : medians of 3 alternating rounds of 2 s, files of 64.0 MiB
        note          : ratios of one run count; absolute figures change from day to day

        WORKLOAD                                   MIRRORED            PLAIN  RATIO     P50 us     P99 us
        random write 4 KiB, 1 writer             9000 ops/s                -      -        101        456
        random read 4 KiB, cached                9000 ops/s                -      -          -          -

        return of n2 after 2.5 MiB of 256.0 MiB changed in random pages: Ready after 1.23 s
        the engine did not tell what it sent (plan unknown)
        ");
        let json = report.json();
        assert!(json["plain_directory"].is_null() && json["return"]["ratio"].is_null());
        report.rows.clear();
        assert!(!report.text().contains("plain") && !report.text().contains("rounds"));
        assert!(json["workloads"][0]["plain"].is_null() && json["workloads"][0]["ratio"].is_null());
    }

    #[test]
    fn programs_get_the_documented_fields() {
        insta::assert_snapshot!(format!("{:#}", report().json()));
    }

    #[test]
    fn four_digits_count() {
        for (value, shown) in [(0.123, "0.12"), (12.34, "12.3"), (99.96, "100.0"), (123.4, "123")] {
            assert_eq!(figure(Some(value)), shown);
        }
        assert_eq!((share(0.0184), share(0.184)), ("0.018".into(), "0.18".into()));
        assert_eq!(figure(None), "-");
    }
}
