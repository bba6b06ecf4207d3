//! The grammar of `userconfig.xml`: everything that has ever been valid there, and ours.
use super::Kind::{
    AbsolutePath, Choice, Count, Host, Netmask, Pattern, RelativePath, Switch, Text, Time,
    Variable, Word,
};
use super::Unit::{Hours, Milliseconds, Minutes, Seconds};
use super::{
    AttributeRule, Rule, Standing, acting, attribute, blank, later, many, needless, once, required,
    waiting,
};

pub static SAFE: Rule = acting("safe", &[], &[many(&MACRO), once(&SERVICE)]);

static MACRO: Rule = acting("macro", &[required("name", Word(128)), required("value", Text)], &[]);

static SERVICE: Rule = acting(
    "service",
    &[
        required("mode", Choice(&["mirror", "farm", "light"])),
        attribute("boot", Choice(&["on", "off", "auto", "ignore"]), Some("ignore")),
        later(
            attribute("boot_delay", Time(Seconds, 0), Some("0s")),
            &["0s", "0"],
            "the start at boot is not delayed",
        ),
        attribute("failover", Switch, Some("on")),
        attribute("defaultprim", Text, Some("alone")),
        attribute("maxloop", Count(0, 1_000_000), Some("3")),
        attribute("loop_interval", Time(Hours, 0), Some("24h")),
        later(
            attribute("automatic_reboot", Switch, Some("off")),
            &["off", "no"],
            "a stopstart does not reboot the server",
        ),
        later(
            attribute(
                "quorum",
                Choice(&["both-alone", "preferred", "fence", "manual", "ping"]),
                Some("both-alone"),
            ),
            &["both-alone"],
            "both-alone is the only policy today: after a cut of all networks both nodes run ALONE",
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
            &["on", "off"],
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

const FARM_PORT: AttributeRule = attribute("port", Count(1, 65535), None);

static FARM: Rule = waiting(
    "farm",
    &[
        FARM_PORT,
        attribute("pulse", Time(Milliseconds, 10), None),
        attribute("mlost_count", Count(1, 10_000), None),
        attribute("slost_count", Count(1, 10_000), None),
    ],
    &[many(&FARM_LAN)],
    "farm modules are not started",
);

static FARM_LAN: Rule = acting("lan", &[blank("name", Word(64))], &[many(&FARM_NODE)]);
static FARM_NODE: Rule =
    acting("node", &[required("name", Word(64)), attribute("addr", Host, None)], &[]);

static VIP: Rule = acting(
    "vip",
    &[
        later(
            attribute("tcpreset", Switch, Some("on")),
            &["off", "no"],
            "connections from the virtual address are not reset when it is released",
        ),
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
        later(
            attribute("check", Switch, Some("on")),
            &["off", "no"],
            "the link of the interface is not watched",
        ),
        later(
            attribute("arpreroute", Switch, Some("off")),
            &["off", "no"],
            "the address is announced when it is taken, not again and again",
        ),
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
        later(
            attribute("check", Switch, Some("on")),
            &["off", "no"],
            "nobody watches that the address stays",
        ),
        later(
            attribute("connections", Switch, Some("off")),
            &["off", "no"],
            "connections are not counted",
        ),
        attribute("netmask", Netmask, None),
    ],
    &[],
);

static VIRTUAL_INTERFACE: Rule = waiting(
    "virtual_interface",
    &[required("type", Choice(&["vmac_directed", "vmac_invisible"]))],
    &[many(&FARM_ADDR)],
    "farm modules are not started",
);

static FARM_ADDR: Rule = acting(
    "virtual_addr",
    &[
        blank("addr", Host),
        attribute("where", Choice(&["alias", "one_side_alias", "one_side"]), Some("alias")),
        attribute("check", Switch, Some("on")),
        attribute("connections", Switch, Some("off")),
        attribute("netmask", Netmask, None),
    ],
    &[],
);

static LOADBALANCING_LIST: Rule =
    waiting("loadbalancing_list", &[], &[many(&GROUP)], "farm modules are not started");
static GROUP: Rule =
    acting("group", &[required("name", Word(64))], &[many(&GROUP_CLUSTER), many(&BALANCING)]);
static GROUP_CLUSTER: Rule = acting("cluster", &[], &[many(&GROUP_HOST)]);
static GROUP_HOST: Rule = acting(
    "host",
    &[blank("name", Word(64)), attribute("power", Count(0, 1_000_000), Some("1"))],
    &[],
);
static BALANCING: Rule = acting(
    "rule",
    &[
        attribute("virtual_addr", Text, None),
        blank("port", Word(64)),
        required("proto", Choice(&["udp", "tcp", "arp"])),
        required("filter", Choice(&["on_addr", "on_port", "on_ipid"])),
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
        later(
            attribute("nbrei", Count(1, 256), Some("6")),
            &["6", "3"],
            "the return chooses the number of its streams itself",
        ),
        needless(attribute("namespacepolicy", Count(0, 4), None), &["4"], ONLY_CHANGES),
        later(attribute("reitimeout", Time(Seconds, 1), None), &[], "a return has no time limit"),
        needless(
            attribute("reicommit", Count(0, i64::MAX), None),
            &["0"],
            "the return commits by itself",
        ),
        later(attribute("reidetail", Switch, None), &["off", "no"], "the log has no line per file"),
        later(
            attribute("reiallowedbw", Count(0, i64::MAX), None),
            &["0"],
            "the bandwidth of the return is not limited",
        ),
        later(
            attribute("locktimeout", Time(Seconds, 1), None),
            &[],
            "heart timeout= alone decides when the primary goes ALONE",
        ),
        later(
            attribute("sendtimeout", Time(Seconds, 1), None),
            &[],
            "heart timeout= alone decides when the primary goes ALONE",
        ),
        needless(attribute("iotimeout", Time(Seconds, 1), None), &[], WINDOWS),
        needless(
            attribute("nbremconn", Count(1, 1024), None),
            &["1"],
            "one connection carries all",
        ),
        later(
            attribute("checktime", Time(Milliseconds, 1), None),
            &[],
            "the replicated directories are not probed",
        ),
        later(
            attribute("checkintv", Time(Seconds, 1), None),
            &[],
            "the replicated directories are not probed",
        ),
        later(
            attribute("syncdelta", Time(Minutes, 0), None),
            &["0m", "0", "1", "1m"],
            "a copy that is not up to date never becomes primary by its age",
        ),
        later(attribute("syncat", Text, None), &[""], "replication is always in real time"),
        later(attribute("scripts", Switch, None), &["off", "no"], "_rfs_callback is not called"),
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

static NOTREPLICATED: Rule = waiting(
    "notreplicated",
    &[attribute("path", RelativePath, None), attribute("regexpath", Text, None)],
    &[],
    "this is mirrored like everything else in the directory",
);

static TOCHECK: Rule = acting("tocheck", &[required("path", Text)], &[]);

static ERRD: Rule = waiting(
    "errd",
    &[attribute("polltimer", Time(Seconds, 1), Some("30s"))],
    &[many(&PROC)],
    "processes and services are not watched",
);

static PROC: Rule = acting(
    "proc",
    &[
        blank("name", Text),
        attribute("service", Switch, Some("no")),
        attribute("nameregex", Pattern, None),
        attribute("argregex", Pattern, None),
        attribute("atleast", Count(0, 1_000_000), Some("1")),
        attribute("atmax", Count(-1, 1_000_000), Some("-1")),
        attribute("action", Word(128), Some("stopstart")),
        attribute("class", Word(64), Some("prim")),
        attribute("start_after", Count(0, 1_000_000), Some("0")),
        attribute("restart_services", Text, None),
    ],
    &[],
);

static CHECK: Rule = waiting(
    "check",
    &[],
    &[
        many(&TCP),
        many(&PING),
        many(&INTF),
        many(&IP),
        many(&CUSTOM),
        many(&MODULE),
        many(&SPLITBRAIN),
    ],
    "checkers do not run",
);

const WHEN: super::Kind = Choice(&["prim", "second", "both", "pre"]);
const ACTION: super::Kind = Choice(&["restart", "stopstart", "stop", "wait", "swap", "noaction"]);
const IDENT: AttributeRule = required("ident", Word(128));
const ADDR: AttributeRule = blank("addr", Host);
const INTERVAL: AttributeRule = attribute("interval", Time(Seconds, 1), Some("10s"));
const TIMEOUT: AttributeRule = attribute("timeout", Time(Seconds, 1), Some("5s"));
const FIXED_WAIT: AttributeRule = attribute("action", Choice(&["wait"]), Some("wait"));

const fn when(default: &'static str) -> AttributeRule {
    attribute("when", WHEN, Some(default))
}

static TCP: Rule =
    acting("tcp", &[IDENT, when("prim"), attribute("action", ACTION, None)], &[once(&TCP_TO)]);
static TCP_TO: Rule = acting("to", &[ADDR, blank("port", Count(1, 65535)), INTERVAL, TIMEOUT], &[]);

static PING: Rule =
    acting("ping", &[IDENT, when("pre"), attribute("action", ACTION, None)], &[once(&PING_TO)]);
static PING_TO: Rule = acting("to", &[ADDR, INTERVAL, TIMEOUT], &[]);

static INTF: Rule = acting("intf", &[IDENT, when("pre"), FIXED_WAIT], &[once(&INTF_TO)]);
static INTF_TO: Rule = acting("to", &[blank("local_addr", Host), INTERVAL], &[]);

static IP: Rule = acting(
    "ip",
    &[IDENT, when("prim"), attribute("action", Choice(&["stopstart"]), Some("stopstart"))],
    &[once(&IP_TO)],
);
static IP_TO: Rule = acting("to", &[ADDR, INTERVAL, TIMEOUT], &[]);

static CUSTOM: Rule = acting(
    "custom",
    &[
        IDENT,
        when("prim"),
        required("exec", Word(256)),
        attribute("arg", Text, Some("")),
        attribute("action", ACTION, Some("noaction")),
    ],
    &[],
);

static MODULE: Rule = acting(
    "module",
    &[required("name", Word(64)), attribute("ident", Word(128), None), when("pre"), FIXED_WAIT],
    &[once(&MODULE_TO)],
);
static MODULE_TO: Rule = acting(
    "to",
    &[
        attribute("addr", Host, None),
        attribute("port", Count(1, 65535), Some("9010")),
        INTERVAL,
        TIMEOUT,
        attribute("secure", Switch, Some("off")),
    ],
    &[],
);

static SPLITBRAIN: Rule = acting(
    "splitbrain",
    &[
        IDENT,
        attribute("when", Choice(&["pre"]), Some("pre")),
        attribute("exec", Word(256), Some("ping")),
        required("arg", Text),
    ],
    &[],
);

static FAILOVER: Rule = Rule {
    name: "failover",
    attributes: &[
        attribute("extends", Switch, Some("yes")),
        attribute("period", Time(Milliseconds, 1), Some("5000ms")),
        attribute("handle_time", Time(Milliseconds, 0), Some("15000ms")),
    ],
    children: &[],
    text: true,
    standing: Standing::Later { harmless: &[], text: "failover rules are not evaluated" },
};

static VHOST: Rule =
    waiting("vhost", &[], &[many(&VIRTUALHOSTNAME)], "scripts see the real host name");
static VIRTUALHOSTNAME: Rule = acting(
    "virtualhostname",
    &[
        blank("name", Word(253)),
        required("envfile", Word(256)),
        attribute("when", Choice(&["prim", "second", "both"]), Some("prim")),
    ],
    &[],
);

static USER: Rule = acting(
    "user",
    &[
        attribute("nicestoptimeout", Time(Seconds, 1), Some("300s")),
        attribute("forcestoptimeout", Time(Seconds, 1), Some("300s")),
        attribute("logging", Choice(&["userlog", "none"]), Some("userlog")),
        attribute("userlogsize", Count(1, 1 << 30), Some("2048")),
    ],
    &[many(&VAR)],
);

static VAR: Rule = acting("var", &[required("name", Variable), required("value", Text)], &[]);
