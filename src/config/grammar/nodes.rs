//! The grammar of `cluster.xml`.
use super::Kind::{Count, Host, Switch, Text, Time, Word};
use super::{AttributeRule, Rule, Unit, acting, attribute, many, needless, once, required};

const OLD: &str = "obsolete since SafeKit 8.2";

const fn old(name: &'static str) -> AttributeRule {
    needless(attribute(name, Text, None), &[], OLD)
}

pub static CLUSTER: Rule = acting("cluster", &[], &[once(&LANS)]);

static LANS: Rule = acting(
    "lans",
    &[
        attribute("port", Count(1, 65535), Some("4800")),
        attribute("pulse", Time(Unit::Milliseconds, 10), Some("100")),
        needless(
            attribute("mlost_count", Count(1, 10_000), Some("20")),
            &[],
            "no leader is elected between the daemons",
        ),
        needless(
            attribute("slost_count", Count(1, 10_000), Some("10")),
            &[],
            "no leader is elected between the daemons",
        ),
        old("console"),
        old("framework"),
        old("connect"),
    ],
    &[many(&LAN)],
);

static LAN: Rule = acting(
    "lan",
    &[
        required("name", Word(64)),
        attribute("command", Switch, Some("off")),
        old("console"),
        old("framework"),
        old("connect"),
    ],
    &[many(&NODE)],
);

static NODE: Rule = acting(
    "node",
    &[
        required("name", Word(64)),
        required("addr", Host),
        attribute("laddr", Host, None),
        old("console"),
        old("framework"),
        old("connect"),
    ],
    &[],
);
