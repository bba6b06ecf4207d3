//! The configured modules of this node and their tasks.
use super::daemon::{Daemon, Member, lock};
use super::module::{self, Former, Input, ModuleHandle};
use super::site::Site;
use crate::api::ModuleView;
use crate::checkers::Neighbour;
use crate::config::store::{ActiveModule, ModuleStore};
use crate::model::{BootId, ModuleName, NodeName, PeerMessage, PeerReply, Role};
use crate::peer::Reply;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the answer to a change waits for a transition to end.
const RENEW_PATIENCE: Duration = Duration::from_secs(20);
const RENEW_PAUSE: Duration = Duration::from_millis(100);

/// A configured module.
#[derive(Clone)]
pub enum Entry {
    Task(ModuleHandle),
    /// It cannot run here; one sentence.
    Unfit {
        view: Arc<ModuleView>,
        reason: String,
    },
}

impl Entry {
    pub fn view(&self) -> Arc<ModuleView> {
        match self {
            Entry::Task(task) => task.view.borrow().clone(),
            Entry::Unfit { view, .. } => view.clone(),
        }
    }
}

impl ModuleHandle {
    pub async fn message(&self, message: PeerMessage, reply: Reply<PeerReply>) {
        let _ = self.inputs.send(Input::Message { message, reply }).await;
    }

    pub fn role(&self) -> Role {
        self.view.borrow().state.role
    }
}

/// All of them, by name.
#[derive(Default)]
pub struct Modules(Arc<Mutex<BTreeMap<ModuleName, Entry>>>);

impl Modules {
    /// Starts a task for each configured module.
    pub async fn load(&self, daemon: &Daemon, member: &Member, boot_start: bool) {
        let store = ModuleStore::new(daemon.paths.clone());
        let installed = match store.list() {
            Ok(installed) => installed,
            Err(error) => {
                tracing::error!(%error, "the modules cannot be listed");
                return;
            }
        };
        for module in installed.into_iter().filter(|module| module.applied.is_some()) {
            match store.active(&module.name) {
                Ok(active) => self.begin(daemon, member, active, boot_start, None).await,
                Err(error) => tracing::error!(module = %module.name, %error, "cannot be read"),
            }
        }
    }

    /// `former`: what the last task of a module that runs hands over.
    async fn begin(
        &self,
        daemon: &Daemon,
        member: &Member,
        active: ActiveModule,
        boot: bool,
        former: Option<Former>,
    ) {
        let name = active.name.clone();
        let unfit = super::view::unfit(&member.node, &active);
        let site = Site::new(&daemon.paths, &member.node, daemon.boot, active, &member.cluster());
        let spawned = site.and_then(|site| {
            let peers = member.peers.clone();
            module::spawn(site, peers, &daemon.program, self.neighbour(), boot, former)
        });
        let entry = match spawned {
            Ok(task) => {
                if let Some(boot) = member.linked(&task.site.peer) {
                    let _ = task.inputs.send(Input::Connected { boot }).await;
                }
                Entry::Task(task)
            }
            Err(reason) => {
                tracing::warn!(module = %name, reason, "cannot run here");
                let view = ModuleView { reason: reason.clone(), ..unfit };
                Entry::Unfit { view: Arc::new(view), reason }
            }
        };
        lock(&self.0).insert(name, entry);
    }

    /// How a module asks for the state of another one.
    fn neighbour(&self) -> Neighbour {
        // Not a hold on the tasks' inputs: they end when nobody else has one.
        let modules = Arc::downgrade(&self.0);
        Arc::new(move |name| {
            let name = ModuleName::new(name).ok()?;
            let entry = lock(&*modules.upgrade()?).get(&name).cloned();
            entry.map(|entry| entry.view().state)
        })
    }

    /// The applied configuration changed (or the cluster): a new task. Only for a module in STOP.
    pub async fn reload(&self, daemon: &Daemon, member: &Member, module: &ModuleName) {
        self.remove(module).await;
        match ModuleStore::new(daemon.paths.clone()).active(module) {
            Ok(active) => self.begin(daemon, member, active, false, None).await,
            Err(error) => tracing::error!(%module, %error, "cannot be read"),
        }
    }

    /// The applied configuration of a module that runs changed: a new task takes engine, scripts
    /// and addresses over, as a new daemon would, as soon as no transition is under way. `false`:
    /// one still is after [`RENEW_PATIENCE`].
    pub async fn renew(daemon: Arc<Daemon>, member: Arc<Member>, module: ModuleName) -> bool {
        let renewed = tokio::spawn(async move {
            let (modules, store) = (&daemon.modules, ModuleStore::new(daemon.paths.clone()));
            while let Some(Entry::Task(task)) = modules.get(&module) {
                let active = match store.active(&module) {
                    // Another change was quicker, and its task has read this one as well.
                    Ok(active) if active.digest == task.site.active.digest => return,
                    Ok(active) => active,
                    Err(error) => return tracing::error!(%module, %error, "cannot be read"),
                };
                let (answer, answered) = oneshot::channel();
                let _ = task.inputs.send(Input::HandOver { answer }).await;
                match answered.await {
                    Ok(Some(former)) => {
                        modules.begin(&daemon, &member, active, false, Some(former)).await;
                    }
                    // A transition is under way, or another change takes the task over just now.
                    Ok(None) | Err(_) => tokio::time::sleep(RENEW_PAUSE).await,
                }
            }
        });
        tokio::time::timeout(RENEW_PATIENCE, renewed).await.is_ok()
    }

    /// Ends the task of a stopped module.
    pub async fn remove(&self, module: &ModuleName) {
        let entry = lock(&self.0).remove(module);
        if let Some(Entry::Task(task)) = entry {
            let (done, ended) = oneshot::channel();
            let _ = task.inputs.send(Input::Quit { done }).await;
            let _ = ended.await;
        }
    }

    /// Addresses may have changed: stopped modules take them at once, others when they stop.
    pub async fn follow_cluster(&self, daemon: &Daemon, member: &Member) {
        let stopped: Vec<ModuleName> = self
            .all()
            .into_iter()
            .filter(|(_, entry)| entry.view().state.role == Role::Stop)
            .map(|(name, _)| name)
            .collect();
        for module in stopped {
            self.reload(daemon, member, &module).await;
        }
    }

    #[cfg(test)]
    pub(super) fn put(&self, task: ModuleHandle) {
        lock(&self.0).insert(task.site.active.name.clone(), Entry::Task(task));
    }

    pub fn all(&self) -> Vec<(ModuleName, Entry)> {
        lock(&self.0).iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    pub fn get(&self, module: &ModuleName) -> Option<Entry> {
        lock(&self.0).get(module).cloned()
    }

    /// The task of a module that is mirrored with this node.
    pub fn task(&self, module: &ModuleName, peer: &NodeName) -> Option<ModuleHandle> {
        match self.get(module)? {
            Entry::Task(task) if task.site.peer == *peer => Some(task),
            Entry::Task(_) | Entry::Unfit { .. } => None,
        }
    }

    fn tasks_with(&self, peer: &NodeName) -> Vec<ModuleHandle> {
        let of_entry = |(_, entry)| match entry {
            Entry::Task(task) if task.site.peer == *peer => Some(task),
            Entry::Task(_) | Entry::Unfit { .. } => None,
        };
        self.all().into_iter().filter_map(of_entry).collect()
    }

    pub async fn connected(&self, node: &NodeName, boot: BootId) {
        for task in self.tasks_with(node) {
            let _ = task.inputs.send(Input::Connected { boot }).await;
        }
    }

    pub async fn disconnected(&self, node: &NodeName) {
        for task in self.tasks_with(node) {
            let _ = task.inputs.send(Input::Disconnected).await;
        }
    }

    pub async fn reborn(&self, node: &NodeName, boot: BootId) {
        for task in self.tasks_with(node) {
            let _ = task.inputs.send(Input::BootChanged { boot }).await;
        }
    }

    /// A heartbeat that finds a full queue is dropped: there are more.
    pub fn heard(&self, node: &NodeName, lan: &str, boot: BootId) {
        for task in self.tasks_with(node) {
            let _ = task.inputs.try_send(Input::Heard { lan: lan.to_owned(), boot });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task asks for its neighbours and must see the end of those who ask it.
    #[test]
    fn who_asks_for_a_neighbour_keeps_no_task_alive() {
        let modules = Modules::default();
        let ask = modules.neighbour();
        let map = Arc::downgrade(&modules.0);
        drop(modules);
        assert!(map.upgrade().is_none());
        assert!(ask("web").is_none());
    }
}
