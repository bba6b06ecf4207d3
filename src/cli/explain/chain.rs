//! What led to the state of a module: the entries of its log that are causes, since it was last
//! well. Pure: a list of entries in, a shorter one out.
//!
//! Well is PRIM or SECOND Ready, and STOP where a person asked for it. If the module is well now,
//! the chain says how it became so since it was well before.
use crate::logbook::{Entry, Level};
use std::collections::BTreeMap;

/// More does not explain, it tells.
const LINKS_MAX: usize = 10;

/// One cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Link<'a> {
    pub entry: &'a Entry,
    pub because: Option<&'a str>,
    /// How often it happened in this chain; the last time is shown.
    pub times: usize,
}

impl Link<'_> {
    pub fn what(&self) -> String {
        let text = &self.entry.text;
        if self.times > 1 { format!("{text} ({} times)", self.times) } else { text.clone() }
    }
}

/// Oldest first.
pub fn of(entries: &[Entry]) -> Vec<Link<'_>> {
    let well = healthy(entries);
    let state = |entry: &Entry| entry.code == "local-state";
    let now = entries.iter().rposition(state);
    let begin = match well.as_slice() {
        [.., (_, before), (_, last)] if Some(*last) == now => before + 1,
        [(_, last)] if Some(*last) == now => 0,
        [.., (_, last)] => last + 1,
        [] => 0,
    };
    let part = &entries[begin..];
    let last_state = part.iter().rposition(state);
    let causes = part.iter().enumerate().filter(|(at, entry)| {
        let intermediate = state(entry) && entry.text.ends_with("Transient");
        is_cause(entry) && (!intermediate || Some(*at) == last_state)
    });
    shorten(merge(causes.map(|(_, entry)| entry)))
}

/// Where the module became well, and where it said so last: a daemon that begins again says it
/// once more, and nothing has happened.
fn healthy(entries: &[Entry]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let (mut asked, mut stays) = (false, "");
    for (at, entry) in entries.iter().enumerate() {
        let text = entry.text.as_str();
        match entry.code.as_str() {
            "action-called" => {
                let stops = ["stop", "forcestop", "shutdown"];
                asked = stops.iter().any(|stop| text.starts_with(&format!("Action {stop} ")));
            }
            "local-state" => {
                let role = text.split(' ').nth(2).unwrap_or_default();
                let ready = text.ends_with("PRIM Ready") || text.ends_with("SECOND Ready");
                match (ready || role == "STOP" && asked, found.last_mut()) {
                    (true, Some(last)) if stays == role => last.1 = at,
                    (true, _) => found.push((at, at)),
                    (false, _) if stays == role => {}
                    (false, _) => {
                        stays = "";
                        continue;
                    }
                }
                stays = role;
            }
            // Something stopped it in the meantime.
            _ if entry.level == Level::Critical => asked = false,
            _ => {}
        }
    }
    found
}

fn is_cause(entry: &Entry) -> bool {
    match entry.code.as_str() {
        "copied"
        | "copied-progress"
        | "updating-tree"
        | "reintegration-ended"
        | "uptodate"
        | "script-called"
        | "vip-set"
        | "vip-unset" => false,
        "resource-set" => entry.text.contains(" set to down "),
        "remote-state" => !entry.text.ends_with("Transient"),
        "print" => entry.level != Level::Information,
        _ => !entry.level.is_verbose(),
    }
}

/// The reason of an entry, where it is the entry's own: others carry what the module was doing.
fn because(entry: &Entry) -> Option<&str> {
    let foreign = ["remote-state", "swap-begin", "return-plan", "engine"];
    let own = !foreign.contains(&entry.code.as_str()) && !entry.code.starts_with("action-");
    let reason = entry.reason.as_deref()?;
    (own && !entry.text.contains(reason)).then_some(reason)
}

/// What happened again and again is one link, at its last place.
fn merge<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Link<'a>> {
    let mut merged: Vec<Link<'a>> = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        let times = seen.entry(&entry.text).or_insert(0);
        *times += 1;
        merged.retain(|link| link.entry.text != entry.text);
        merged.push(Link { entry, because: because(entry), times: *times });
    }
    merged
}

/// The weightiest stay, in their order; of equal ones the newer.
fn shorten(mut links: Vec<Link<'_>>) -> Vec<Link<'_>> {
    while links.len() > LINKS_MAX {
        let last = links.len() - 1;
        let lightest = (0..last).min_by_key(|at| (weight(links[*at].entry), *at));
        links.remove(lightest.unwrap_or(0));
    }
    links
}

fn weight(entry: &Entry) -> u8 {
    match (entry.level, entry.code.as_str()) {
        (Level::Critical, _) => 4,
        (Level::User, _) => 3,
        (_, code) if code.starts_with("action-") || code.starts_with("alone-") => 3,
        (_, "local-state") => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logbook::{Text, texts};
    use crate::model::{ModuleName, Readiness, Role, State};

    fn entry(text: Text) -> Entry {
        Entry::now(&ModuleName::new("web").unwrap(), "control", text)
    }

    fn state(role: Role, readiness: Readiness, reason: &str) -> Entry {
        let text = format!("Local state {}", State::new(role, readiness));
        decided("local-state", Level::Event, &text).because(reason)
    }

    /// As the automaton says it.
    fn decided(code: &'static str, level: Level, text: &str) -> Entry {
        entry(texts::other(code, level, text))
    }

    fn called(action: &str) -> Entry {
        decided("action-called", Level::User, &format!("Action {action} called by root"))
    }

    fn told(entries: &[Entry]) -> Vec<String> {
        of(entries).iter().map(Link::what).collect()
    }

    #[test]
    fn who_leads_alone_reads_how_the_other_was_lost() {
        let entries = [
            called("start"),
            state(Role::Prim, Readiness::Ready, "secondary is up to date"),
            entry(texts::resource_set("heartbeat.default", "down", "heart")),
            decided(
                "alone-no-heartbeat",
                Level::Event,
                "Action alone called by heart: no heartbeat",
            ),
            state(Role::Alone, Readiness::Transient, "no heartbeat"),
            entry(texts::script_called("start_prim", None, "userlog")),
            state(Role::Alone, Readiness::Ready, "no heartbeat from n2"),
        ];
        assert_eq!(
            told(&entries),
            [
                "Resource heartbeat.default set to down by heart",
                "Action alone called by heart: no heartbeat",
                "Local state ALONE Ready"
            ]
        );
        let because: Vec<_> = of(&entries).iter().map(|link| link.because).collect();
        assert_eq!(because, [None, None, Some("no heartbeat from n2")]);
    }

    #[test]
    fn a_stop_by_maxloop_is_no_wish_of_a_person_and_repeats_are_counted() {
        let mut entries = vec![
            state(Role::Prim, Readiness::Ready, "primary"),
            called("stop"),
            state(Role::Stop, Readiness::NotReady, "stop asked for"),
            called("start"),
        ];
        for _ in 0..3 {
            entries.push(entry(texts::process(false, "Process nginx not running")));
            let text = "Action restart called by errd";
            entries.push(decided("action-by", Level::Event, text));
            entries.push(state(Role::Alone, Readiness::Ready, "restarted"));
        }
        let text = "Action stop called by maxloop";
        entries.push(decided("stop-maxloop", Level::Critical, text));
        entries.push(state(Role::Stop, Readiness::NotReady, "maxloop"));
        assert_eq!(
            told(&entries),
            [
                "Action start called by root",
                "Process nginx not running (3 times)",
                "Action restart called by errd (3 times)",
                "Local state ALONE Ready (3 times)",
                "Action stop called by maxloop",
                "Local state STOP NotReady"
            ]
        );
    }

    #[test]
    fn ten_lines_are_enough_and_the_weighty_ones_stay() {
        let fault = "Action stop called by heart : local fault";
        let mut entries = vec![decided("stop-local-fault", Level::Critical, fault)];
        for number in 0..40 {
            entries.push(entry(texts::resource_set(&format!("tcp.{number}"), "down", "tcpcheck")));
        }
        entries.push(state(Role::Wait, Readiness::NotReady, "a person decides"));
        let told = told(&entries);
        assert_eq!(told.len(), LINKS_MAX);
        assert_eq!(told[0], fault);
        assert_eq!(told[LINKS_MAX - 1], "Local state WAIT NotReady");
        assert_eq!(told[1], "Resource tcp.32 set to down by tcpcheck", "the newest of the light");
    }

    #[test]
    fn a_daemon_that_begins_again_is_no_beginning() {
        let entries = [
            state(Role::Second, Readiness::Ready, "secondary"),
            decided("alone-remote-stop", Level::Event, "Action alone called by heart: remote stop"),
            state(Role::Prim, Readiness::Ready, "secondary is up to date"),
            state(Role::Prim, Readiness::Transient, "secondary is up to date"),
            state(Role::Prim, Readiness::Ready, "secondary is up to date"),
        ];
        let whole =
            ["Action alone called by heart: remote stop", "Local state PRIM Ready (2 times)"];
        assert_eq!(told(&entries), whole);
    }

    #[test]
    fn an_empty_log_and_a_first_life_have_a_chain_too() {
        assert_eq!(told(&[]), [""; 0]);
        let first = [called("prim"), state(Role::Prim, Readiness::Ready, "primary")];
        assert_eq!(told(&first), ["Action prim called by root", "Local state PRIM Ready"]);
    }
}
