//! Resources of a module, `class.id`: what parts and scripts set, and since when.
use super::copy::Copy;
use super::module::Control;
use super::view;
use crate::api::ResourceView;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Resources(BTreeMap<String, ResourceView>);

impl Resources {
    /// Keeps the time of the first assignment of a value. `false`: it had this value.
    pub fn set(&mut self, name: &str, value: &str, by: &str) -> bool {
        if self.0.get(name).is_some_and(|known| known.value == value) {
            return false;
        }
        let view = ResourceView {
            name: name.to_owned(),
            value: value.to_owned(),
            since: Some(format!("{:.6}", jiff::Timestamp::now())),
            by: Some(by.to_owned()),
        };
        self.0.insert(name.to_owned(), view);
        true
    }

    /// Nobody looks after it any more.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|known| known.value.as_str())
    }

    pub fn all(&self) -> Vec<ResourceView> {
        self.0.values().cloned().collect()
    }
}

impl Control {
    /// What the node itself says of the module, before anybody looks: rules, the peer, people.
    pub(super) fn keep_states(&mut self) {
        let peer = view::peer(self);
        let remote = peer.map_or("UNKNOWN [Unknown]".to_owned(), |report| report.state.to_string());
        let up_to_date = view::copy(self, peer) == Copy::UpToDate;
        let settings = view::settings(self);
        let state = self.machine.state().to_string();
        self.resources.set("state.local", &state, "control");
        self.resources.set("state.remote", &remote, "heart");
        if self.site.active.config.rfs.is_some() {
            self.resources.set("rfs.uptodate", if up_to_date { "up" } else { "down" }, "rfs");
        }
        for (name, on) in [
            ("usersetting.boot", settings.boot),
            ("usersetting.failover", settings.failover),
            ("usersetting.errd", settings.errd),
            ("usersetting.checker", settings.checker),
        ] {
            self.resources.set(name, if on { "on" } else { "off" }, "control");
        }
    }
}
