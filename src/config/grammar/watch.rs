//! The grammar of `watch.xml`: who is told how the node and its modules stand.
use super::Kind::{AbsolutePath, Choice, Count, Host, Text, Time};
use super::Unit::Seconds;
use super::{Rule, acting, attribute, many, once, required};

pub static WATCH: Rule =
    acting("watch", &[], &[once(&METRICS), many(&MAIL), many(&WEBHOOK), many(&COMMAND)]);

static METRICS: Rule = acting("metrics", &[required("listen", Text)], &[]);

static MAIL: Rule = acting(
    "mail",
    &[
        required("server", Host),
        attribute("port", Count(1, 65535), None),
        attribute("tls", Choice(&["none", "starttls", "tls"]), Some("starttls")),
        required("from", Text),
        required("to", Text),
        attribute("user", Text, None),
        attribute("password_file", AbsolutePath, None),
        attribute("ca", AbsolutePath, None),
    ],
    &[],
);

static WEBHOOK: Rule = acting(
    "webhook",
    &[
        required("url", Text),
        attribute("authorization_file", AbsolutePath, None),
        attribute("ca", AbsolutePath, None),
    ],
    &[],
);

static COMMAND: Rule = acting(
    "command",
    &[required("path", AbsolutePath), attribute("timeout", Time(Seconds, 1000), Some("30s"))],
    &[],
);
