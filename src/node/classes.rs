//! Classes of watched processes that somebody switches: `errd enable CLASS`, `errd disable CLASS`.
//!
//! ```text
//! own name (class="backup")     not watched ── enable ──▶ watched while the module runs ── disable ──▶
//! prim, both, second, sec, pre  watched by state ── disable ──▶ not watched ── enable ──▶ by state
//! ```
//! It is the application's affair, so it is kept as long as the application is: in the control
//! memory, which outlives the daemon, and forgotten when the module stops or the machine starts
//! again. Whatever a script has not disabled is not watched while the module is being stopped:
//! nobody shall take the end of a process in `stop_prim` for a failure.
use super::handler::ended;
use super::module::{Control, Input, ModuleHandle};
use crate::api::response::code;
use crate::api::{Data, Exit, ProcessView, Response, Switch};
use crate::config::userconfig::{Proc, When};
use crate::logbook::texts;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// What was switched, by the class's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Switched(BTreeMap<String, bool>);

impl Switched {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `by_state`: a class without a name of its own would be watched now; `runs`: the module
    /// runs here and is not being started or stopped.
    pub fn holds(&self, class: &When, by_state: bool, runs: bool) -> bool {
        let switched = self.0.get(class.as_str()).copied();
        match class {
            When::Named(_) => runs && switched == Some(true),
            _ => by_state && switched != Some(false),
        }
    }

    /// `false`: it was so already.
    fn switch(&mut self, class: &When, on: bool) -> bool {
        let before = self.0.clone();
        match on == matches!(class, When::Named(_)) {
            true => self.0.insert(class.as_str().to_owned(), on),
            false => self.0.remove(class.as_str()),
        };
        self.0 != before
    }
}

/// `errd enable|disable`, asked of the module's task.
pub async fn switch(task: &ModuleHandle, name: String, value: Switch, by: String) -> Response {
    let (answer, answered) = oneshot::channel();
    let on = value == Switch::On;
    let _ = task.inputs.send(Input::Class { name, on, by, answer }).await;
    answered.await.unwrap_or_else(|_| ended())
}

/// `errd list`, asked of the module's task.
pub async fn list(task: &ModuleHandle) -> Response {
    let (answer, answered) = oneshot::channel();
    let _ = task.inputs.send(Input::Processes { answer }).await;
    answered.await.map_or_else(|_| ended(), |list| Response::data(Data::Processes(list)))
}

impl Control {
    /// `errd enable|disable`. Answered when it is on disk: the daemon may die right after it.
    pub(super) async fn switch_class(&mut self, name: &str, on: bool, caller: &str) -> Response {
        let module = self.site.active.name.clone();
        let verb = if on { "enable" } else { "disable" };
        let Some(class) = self.procs().map(|proc| &proc.class).find(|class| class.as_str() == name)
        else {
            let known: BTreeSet<&str> = self.procs().map(|proc| proc.class.as_str()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            let text = match known.as_slice() {
                [] => format!("module {module} watches no processes: it has no <errd>"),
                _ => format!(
                    "no <proc> of module {module} has class=\"{name}\"; there are: {}",
                    known.join(", ")
                ),
            };
            return Response::refused("no-class", text, Exit::Failed);
        };
        let class = class.clone();
        if on
            && matches!(class, When::Named(_))
            && self.machine.state() == crate::model::State::STOP
        {
            let text = format!("module {module} is stopped: a class is enabled while it runs");
            return Response::refused("wrong-state", text, Exit::Failed);
        }
        let mut switched = self.switched.clone();
        if !switched.switch(&class, on) {
            return Response::already(
                code::ALREADY_SWITCHED,
                format!("errd class {name} of module {module} is {verb}d already"),
            );
        }
        if let Err(reason) = self.switch_to(self.settings, switched).await {
            return Response::refused("failed", reason, Exit::Failed);
        }
        let action = format!("errd {verb} {name}");
        self.hands.journal.write("control", texts::action_called(&action, caller));
        Response::ok_with(format!("errd class {name} of module {module} is {verb}d"))
    }

    /// `errd list`
    pub(super) fn processes(&self) -> Vec<ProcessView> {
        let values = self.resources.all();
        let view = |proc: &Proc| {
            let resource = format!("proc.{}", proc.name);
            let known = values.iter().find(|value| value.name == resource);
            ProcessView {
                name: proc.name.clone(),
                service: proc.service,
                class: proc.class.as_str().to_owned(),
                action: proc.action.as_str().to_owned(),
                at_least: proc.at_least,
                at_most: proc.at_most,
                watched: self.watching.watches(&proc.class),
                value: known.map(|resource| resource.value.clone()),
            }
        };
        self.procs().map(view).collect()
    }

    fn procs(&self) -> impl Iterator<Item = &Proc> {
        self.site.active.config.errd.iter().flat_map(|errd| &errd.procs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_its_own_name_is_watched_from_enable_to_disable_while_the_module_runs() {
        let own = When::Named("backup".into());
        let mut switched = Switched::default();
        assert!(!switched.holds(&own, false, true));
        assert!(switched.switch(&own, true));
        assert!(!switched.switch(&own, true), "enabled already");
        assert!(switched.holds(&own, false, true));
        assert!(!switched.holds(&own, false, false), "not while it is being stopped");
        assert!(switched.switch(&own, false));
        assert!(!switched.switch(&own, false), "disabled already");
        assert!(!switched.holds(&own, false, true));
    }

    #[test]
    fn a_class_of_a_state_can_be_disabled_and_never_runs_ahead_of_its_state() {
        let mut switched = Switched::default();
        assert!(switched.holds(&When::Prim, true, true));
        assert!(!switched.switch(&When::Prim, true), "enabled by itself");
        assert!(switched.switch(&When::Prim, false));
        assert!(!switched.holds(&When::Prim, true, true));
        assert!(switched.switch(&When::Prim, true));
        assert!(switched.holds(&When::Prim, true, true));
        assert!(!switched.holds(&When::Prim, false, true), "start_prim has not ended");
        assert!(switched.is_empty());
    }

    #[tokio::test]
    async fn what_could_not_be_stored_is_not_in_force() {
        use crate::api::UserSetting;
        let inside = "<user/><errd><proc name='db' class='prim'/></errd>";
        let mut module = super::super::tests::Fixture::new(inside).await;
        let control = &mut module.control;
        // The folder of the memory cannot be made.
        let folder = control.site.paths.control_state(&control.site.active.name);
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::fs::write(&folder, "").unwrap();
        assert_eq!(control.switch_class("prim", false, "root").await.exit(), Exit::Failed);
        assert!(control.switched.is_empty(), "{:?}", control.switched);
        assert!(control.set(UserSetting::Errd, false).await.is_err());
        assert_eq!(control.settings.errd, None);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(control.switch_class("prim", false, "root").await.exit(), Exit::Done);
        assert!(control.set(UserSetting::Errd, false).await.is_ok());
        assert_eq!((control.switched.is_empty(), control.settings.errd), (false, Some(false)));
    }
}
