//! Resources of a module, `class.id`: what parts and scripts set, and since when.
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
