//! The grammar of what is named instead of scripts: `<ocf>` and `<unit>`. Both are ours.
use super::Kind::{Choice, Count, Text, Time, Variable, Word};
use super::Unit::Seconds;
use super::{AttributeRule, Rule, acting, attribute, many, required};

const ACTION: AttributeRule = attribute(
    "action",
    Choice(&["restart", "stopstart", "stop", "wait", "swap", "noaction"]),
    Some("restart"),
);
const IDENT: AttributeRule = attribute("ident", Word(64), None);
const START: AttributeRule = attribute("start_timeout", Time(Seconds, 1000), None);
const STOP: AttributeRule = attribute("stop_timeout", Time(Seconds, 1000), None);
const MONITOR: AttributeRule = attribute("monitor_timeout", Time(Seconds, 1000), None);
const INTERVAL: AttributeRule = attribute("interval", Time(Seconds, 1000), None);

pub static OCF: Rule = acting(
    "ocf",
    &[
        required("agent", Word(128)),
        IDENT,
        ACTION,
        START,
        STOP,
        MONITOR,
        INTERVAL,
        attribute("depth", Count(0, 100), None),
    ],
    &[many(&PARAM)],
);

static PARAM: Rule = acting("param", &[required("name", Variable), required("value", Text)], &[]);

pub static UNIT: Rule =
    acting("unit", &[required("name", Word(255)), IDENT, ACTION, START, STOP, INTERVAL], &[]);
