//! The grammar of `userconfig.xml`: everything that has ever been valid there, and ours.
use super::Kind::{
    AbsolutePath, Choice, Count, Crontab, Host, Netmask, RelativePath, Switch, Text, Time,
    Variable, Word,
};
use super::Unit::{Hours, Milliseconds, Minutes, Seconds};
use super::applications::{OCF, UNIT};
use super::checks::{CHECK, ERRD, FAILOVER, VHOST};
use super::farm::{FARM, LOADBALANCING_LIST, VIRTUAL_INTERFACE};
use super::{Rule, acting, attribute, blank, later, many, needless, once, required};

pub static SAFE: Rule = acting("safe", &[], &[many(&MACRO), once(&SERVICE)]);

static MACRO: Rule = acting("macro", &[required("name", Word(128)), required("value", Text)], &[]);

static SERVICE: Rule = acting(
    "service",
    &[
        required("mode", Choice(&["mirror", "farm", "light"])),
        attribute("boot", Choice(&["on", "off", "auto", "ignore"]), Some("ignore")),
        attribute("boot_delay", Time(Seconds, 0), Some("0s")),
        attribute("failover", Switch, Some("on")),
        attribute("defaultprim", Text, Some("alone")),
        attribute("maxloop", Count(0, 1_000_000), Some("3")),
        attribute("loop_interval", Time(Hours, 0), Some("24h")),
        attribute("automatic_reboot", Switch, Some("off")),
        later(
            attribute(
                "quorum",
                Choice(&["both-alone", "preferred", "fence", "manual", "ping"]),
                Some("both-alone"),
            ),
            &["both-alone"],
            "it chooses nothing yet: both-alone, or the witness where there is <splitbrain>",
        ),
        attribute("start", Choice(&["unchecked", "checked"]), Some("unchecked")),
    ],
    &[
        many(&MACRO),
        once(&HEART),
        once(&FARM),
        once(&VIP),
        once(&RFS),
        once(&ERRD),
        many(&CHECK),
        many(&FAILOVER),
        once(&VHOST),
        once(&USER),
    ],
);

static HEART: Rule = acting(
    "heart",
    &[
        needless(
            attribute("port", Count(1, 65535), None),
            &[],
            "heartbeats use the port of the daemons (lans port= of cluster.xml)",
        ),
        attribute("pulse", Time(Milliseconds, 10), Some("700ms")),
        attribute("timeout", Time(Milliseconds, 50), Some("30000ms")),
        needless(
            attribute("permanent_arp", Switch, Some("on")),
            &["off", "no"],
            "the peer's ARP entry is never pinned",
        ),
    ],
    &[many(&HEARTBEAT)],
);

static HEARTBEAT: Rule = acting(
    "heartbeat",
    &[
        // Required in the new form only; a heartbeat with <server> has none.
        attribute("name", Text, None),
        attribute("ident", Word(64), None),
        attribute("pulse", Time(Milliseconds, 10), None),
        attribute("timeout", Time(Milliseconds, 50), None),
    ],
    &[many(&SERVER)],
);

static SERVER: Rule = acting(
    "server",
    &[
        required("addr", Host),
        needless(attribute("name", Text, None), &[], "nodes are named in cluster.xml"),
    ],
    &[],
);

static VIP: Rule = acting(
    "vip",
    &[
        attribute("tcpreset", Switch, Some("on")),
        needless(
            attribute("scriptcontrol", Switch, Some("off")),
            &["off", "no"],
            "it is for farm modules only",
        ),
    ],
    &[many(&INTERFACE_LIST), once(&LOADBALANCING_LIST)],
);

static INTERFACE_LIST: Rule = acting("interface_list", &[], &[many(&INTERFACE)]);

static INTERFACE: Rule = acting(
    "interface",
    &[
        attribute("check", Switch, Some("on")),
        attribute("arpreroute", Switch, Some("off")),
        attribute("arpinterval", Time(Seconds, 1), Some("60s")),
        attribute("arpelapse", Time(Seconds, 0), Some("1200s")),
        attribute("name", Word(15), None),
    ],
    &[many(&REAL_INTERFACE), many(&VIRTUAL_INTERFACE)],
);

static REAL_INTERFACE: Rule = acting("real_interface", &[], &[many(&VIRTUAL_ADDR)]);

static VIRTUAL_ADDR: Rule = acting(
    "virtual_addr",
    &[
        blank("addr", Host),
        attribute("where", Choice(&["one_side_alias", "one_side"]), Some("one_side_alias")),
        attribute("check", Switch, Some("on")),
        attribute("connections", Switch, Some("off")),
        attribute("netmask", Netmask, None),
    ],
    &[],
);

const RENAMES: &str = "no directory is renamed";
const WINDOWS: &str = "it is for Windows only";
const PACKETS: &str = "replication does not travel as NFS packets";
const ONLY_CHANGES: &str = "a return always fetches only what changed";

static RFS: Rule = acting(
    "rfs",
    &[
        // Ours. Explicit level wins over async; without both the level is mirror.
        attribute("level", Choice(&["mirror", "memory", "disk"]), None),
        attribute("async", Choice(&["second", "none"]), None),
        needless(attribute("mountoversuffix", Text, None), &[], RENAMES),
        needless(attribute("mountover", Text, None), &["off", ""], RENAMES),
        needless(
            attribute("acl", Switch, None),
            &["on", "yes"],
            "access control lists are always mirrored",
        ),
        needless(attribute("packetsize", Count(0, i64::MAX), None), &[], PACKETS),
        needless(attribute("reipacketsize", Count(0, i64::MAX), None), &[], PACKETS),
        needless(
            attribute("ruzone_blocksize", Count(0, i64::MAX), None),
            &[],
            "the size of a zone is fixed",
        ),
        needless(
            attribute("nbrei", Count(1, 256), Some("6")),
            &["1"],
            "one ordered stream carries the return and what the application does",
        ),
        needless(attribute("namespacepolicy", Count(0, 4), None), &["4"], ONLY_CHANGES),
        needless(
            attribute("reitimeout", Time(Seconds, 1), None),
            &[],
            "a return has no time-out of its own: it goes on until its link is down",
        ),
        needless(
            attribute("reicommit", Count(0, i64::MAX), None),
            &["0"],
            "the return commits by itself",
        ),
        attribute("reidetail", Switch, None),
        attribute("reiallowedbw", Count(0, i64::MAX), None),
        attribute("locktimeout", Time(Seconds, 1), Some("100s")),
        attribute("sendtimeout", Time(Seconds, 1), Some("30s")),
        needless(attribute("iotimeout", Time(Seconds, 1), None), &[], WINDOWS),
        needless(
            attribute("nbremconn", Count(1, 1024), None),
            &["1"],
            "one connection carries all",
        ),
        attribute("checktime", Time(Milliseconds, 1), Some("220000ms")),
        attribute("checkintv", Time(Seconds, 1), Some("120s")),
        attribute("syncdelta", Time(Minutes, 0), Some("0m")),
        attribute("syncat", Crontab, None),
        attribute("scripts", Switch, None),
        needless(attribute("roflags", Text, None), &[], WINDOWS),
        needless(attribute("allocthreshold", Text, None), &[], WINDOWS),
        needless(attribute("nfsbox_options", Text, None), &[], WINDOWS),
        needless(attribute("smartwrite", Text, None), &[], WINDOWS),
    ],
    &[many(&REPLICATED), once(&FLOW)],
);

static FLOW: Rule = acting("flow", &[attribute("name", Text, None)], &[many(&SERVER)]);

static REPLICATED: Rule = acting(
    "replicated",
    &[
        blank("dir", AbsolutePath),
        attribute("mode", Choice(&["read_only"]), None),
        attribute("level", Choice(&["mirror", "memory", "disk"]), None),
    ],
    &[many(&NOTREPLICATED), many(&TOCHECK)],
);

static NOTREPLICATED: Rule = acting(
    "notreplicated",
    &[attribute("path", RelativePath, None), attribute("regexpath", Text, None)],
    &[],
);

static TOCHECK: Rule = acting("tocheck", &[required("path", Text)], &[]);

static USER: Rule = acting(
    "user",
    &[
        attribute("nicestoptimeout", Time(Seconds, 1), Some("300s")),
        attribute("forcestoptimeout", Time(Seconds, 1), Some("300s")),
        attribute("logging", Choice(&["userlog", "none"]), Some("userlog")),
        attribute("userlogsize", Count(1, 1 << 30), Some("2048")),
    ],
    &[many(&VAR), many(&OCF), many(&UNIT)],
);

static VAR: Rule = acting("var", &[required("name", Variable), required("value", Text)], &[]);
