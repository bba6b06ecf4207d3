//! The grammar of `watch.xml`: who is told how the node and its modules stand.
use super::Kind::Text;
use super::{Rule, acting, once, required};

pub static WATCH: Rule = acting("watch", &[], &[once(&METRICS)]);

static METRICS: Rule = acting("metrics", &[required("listen", Text)], &[]);
