//! The grammar of `<errd>`, `<check>`, `<failover>` and `<vhost>`: watching, and what follows.
use super::Kind::{Choice, Count, Host, Pattern, Switch, Text, Time, Word};
use super::Unit::{Milliseconds, Seconds};
use super::{
    AttributeRule, Rule, Standing, acting, attribute, blank, many, needless, once, required,
};

pub(super) static ERRD: Rule =
    acting("errd", &[attribute("polltimer", Time(Seconds, 1), Some("30s"))], &[many(&PROC)]);

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

pub(super) static CHECK: Rule = acting(
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
static INTF_TO: Rule = acting(
    "to",
    &[
        blank("local_addr", Host),
        needless(INTERVAL, &[], "the kernel tells of a link when it changes"),
    ],
    &[],
);

static IP: Rule = acting(
    "ip",
    &[IDENT, when("prim"), attribute("action", Choice(&["stopstart"]), Some("stopstart"))],
    &[once(&IP_TO)],
);
static IP_TO: Rule = acting(
    "to",
    &[ADDR, INTERVAL, needless(TIMEOUT, &[], "the kernel is asked, which answers at once")],
    &[],
);

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

pub(super) static FAILOVER: Rule = Rule {
    name: "failover",
    attributes: &[
        attribute("extends", Switch, Some("yes")),
        attribute("period", Time(Milliseconds, 1), Some("5000ms")),
        attribute("handle_time", Time(Milliseconds, 0), Some("15000ms")),
    ],
    children: &[],
    text: true,
    standing: Standing::Acts,
};

pub(super) static VHOST: Rule = acting("vhost", &[], &[many(&VIRTUALHOSTNAME)]);
static VIRTUALHOSTNAME: Rule = acting(
    "virtualhostname",
    &[
        // The kernel's own limit of a host name.
        blank("name", Word(64)),
        required("envfile", Word(256)),
        attribute("when", Choice(&["prim", "second", "both"]), Some("prim")),
    ],
    &[],
);
