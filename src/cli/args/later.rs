//! Commands of old scripts and habits that belong to a later version. They are answered plainly,
//! with exit code 3, instead of with "unknown command".

use std::ffi::OsString;

/// The words that a command line begins with (after its options), and what they are for.
const LATER: &[(&[&str], &str)] = &[
    (&["update"], "update of a running module; use stop, config, start"),
    (&["deconfig"], "deconfig; use module uninstall"),
    (&["cluster", "deconfig"], "leaving a cluster"),
    (&["cluster", "genkey"], "new keys of a cluster; they are made by cluster init"),
    (&["cluster", "delkey"], "traffic without keys"),
    (&["cluster", "create"], "cluster create; use cluster init and cluster join"),
    (&["module", "genkey"], "keys of a module; all traffic is encrypted with the node's keys"),
    (&["module", "delkey"], "traffic without keys"),
    (&["boot", "webon"], "web service"),
    (&["boot", "weboff"], "web service"),
    (&["boot", "webstatus"], "web service"),
    (&["wait"], "wait as a command; use stop"),
    (&["secondforce"], "secondforce; use second, it fetches only what changed"),
    (&["rfsverify"], "comparison on command; use second fullsync"),
    (&["rfsdiff"], "estimate of a return; state shows it while it runs"),
    (&["rfssync"], "seeding from a backup"),
    (&["logsave"], "logsave; use log, its output can be redirected"),
    (&["dump"], "dump; snapshot packs what there is"),
    (&["clean"], "clean"),
    (&["kill"], "kill by name"),
    (&["webserver"], "web service"),
    (&["webservercfg"], "web service"),
    (&["notification"], "notification; write watch.xml, then watch apply"),
    (&["uninstall"], "uninstall of the program; see the package manager"),
];

/// What a command line asks for that is known and not in this version.
pub fn later(words: &[OsString]) -> Option<&'static str> {
    let verbs = verbs_of(words);
    let said = |known: &[&str]| verbs.len() >= known.len() && verbs[..known.len()] == *known;
    LATER.iter().find(|(known, _)| said(known)).map(|(_, what)| *what)
}

/// The first words that are neither options nor values of options.
fn verbs_of(words: &[OsString]) -> Vec<&str> {
    let mut verbs = Vec::new();
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if ["-H", "--nodes", "-m", "--module", "-i", "--identity", "-E"].contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            verbs.push(word);
        }
    }
    verbs
}
