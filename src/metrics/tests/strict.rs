//! A reader of OpenMetrics that forgives nothing, for what we write of it.
use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    helped: bool,
}

pub fn read(text: &str) -> Result<Vec<Sample>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("does not end in # EOF")?;
    let (mut samples, mut seen, mut families) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut family: Option<Family> = None;
    for line in body.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or(wrong("no type"))?;
            if !families.insert(name.to_owned()) {
                return Err(wrong("a family twice"));
            }
            if !["gauge", "counter", "summary"].contains(&kind) || name.ends_with("_total") {
                return Err(wrong("type"));
            }
            name_is_plain(name)?;
            let (name, kind) = (name.to_owned(), kind.to_owned());
            family = Some(Family { name, kind, unit: None, helped: false });
            continue;
        }
        let family = family.as_mut().ok_or(wrong("before any family"))?;
        if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').ok_or(wrong("no unit"))?;
            if name != family.name || !name.ends_with(&format!("_{unit}")) || family.helped {
                return Err(wrong("unit"));
            }
            family.unit = Some(unit.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(wrong("no help"))?;
            if name != family.name || help.is_empty() || family.helped {
                return Err(wrong("help"));
            }
            family.helped = true;
        } else {
            let sample = sample(line).ok_or(wrong("not a sample"))?;
            check(&sample, family).map_err(|what| wrong(&what))?;
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(wrong("a sample twice"));
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn check(sample: &Sample, family: &Family) -> Result<(), String> {
    let suffix = if family.kind == "counter" { "_total" } else { "" };
    if sample.name != format!("{}{suffix}", family.name) || !family.helped {
        return Err("not of its family".into());
    }
    let base = ["seconds", "bytes"].into_iter().find(|unit| family.name.ends_with(unit));
    if family.unit.as_deref() != base {
        return Err("its unit is not told".into());
    }
    if family.kind == "counter" && sample.value < 0.0 {
        return Err("a counter below 0".into());
    }
    let names: BTreeSet<&String> = sample.labels.iter().map(|(name, _)| name).collect();
    if names.len() != sample.labels.len() {
        return Err("a label twice".into());
    }
    names.into_iter().try_for_each(|name| name_is_plain(name))?;
    if family.kind == "summary" && !sample.labels.iter().any(|(name, _)| name == "quantile") {
        return Err("a summary without quantile".into());
    }
    Ok(())
}

fn name_is_plain(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain && !name.is_empty() { Ok(()) } else { Err(format!("name {name}")) }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (text, after) = quoted(after)?;
            labels.push((label.to_owned(), text));
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',')?;
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Up to the closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            '\n' => return None,
            c => value.push(c),
        }
    }
    None
}

#[test]
fn the_reader_is_strict() {
    let good = "# TYPE a gauge\n# HELP a x\na{b=\"c\\\\\"} 1\n# EOF\n";
    assert_eq!(read(good).unwrap()[0].labels, [("b".to_owned(), "c\\".to_owned())]);
    for bad in [
        "# TYPE a gauge\n# HELP a x\na 1\n",
        "# TYPE a gauge\na 1\n# EOF\n",
        "# TYPE a counter\n# HELP a x\na 1\n# EOF\n",
        "# TYPE a_seconds gauge\n# HELP a_seconds x\na_seconds 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na 1\na 2\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\na{b=\"c} 1\n# EOF\n",
        "a 1\n# EOF\n",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
