//! The grammar of farm modules: read and checked, never started.
use super::Kind::{Choice, Count, Host, Netmask, Switch, Text, Time, Word};
use super::Unit::Milliseconds;
use super::{AttributeRule, Rule, acting, attribute, blank, many, required, waiting};

const FARM_PORT: AttributeRule = attribute("port", Count(1, 65535), None);

pub(super) static FARM: Rule = waiting(
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

pub(super) static VIRTUAL_INTERFACE: Rule = waiting(
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

pub(super) static LOADBALANCING_LIST: Rule =
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
