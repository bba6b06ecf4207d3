//! What a daemon answers: requests of the command line, of scripts, and of other nodes.
use super::classes;
use super::daemon::{Daemon, Member};
use super::module::{Input, LoopCount, ModuleHandle};
use super::modules::{Entry, Modules};
use super::view;
use crate::api::response::code;
use crate::api::view::{LevelView, ModuleSummary};
use crate::api::{
    ClusterView, Command, Data, Exit, Handler, ModuleView, NodeView, Noted, Origin, PeerConfigView,
    PeerView, Remote, Replies, Request, Response, Switch, UserSetting,
};
use crate::cli::{live, offline};
use crate::config::checks::ready_to_start;
use crate::config::cluster::{ClusterConfig, resolve};
use crate::config::store::ModuleStore;
use crate::decide::{Asked, Caller, Refusal, StartKind, Wish};
use crate::logbook::texts;
use crate::metrics::open_metrics;
use crate::model::{ModuleName, NodeName, Role, State};
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The daemon as the local socket and the other nodes see it.
pub(super) struct Door(pub(super) Arc<Daemon>);

impl Handler for Door {
    fn handle(&self, request: Request, _replies: Replies) -> BoxFuture<'_, Response> {
        Box::pin(self.answer(request))
    }
}

impl Remote for Door {
    fn me(&self) -> Option<NodeName> {
        self.0.member().map(|member| member.node.clone())
    }

    fn nodes(&self) -> Vec<NodeName> {
        self.0.member().map(|member| member.cluster().nodes()).unwrap_or_default()
    }

    fn call(&self, node: NodeName, request: Request) -> BoxFuture<'_, Result<Response, String>> {
        Box::pin(async move {
            let member = self.0.member().ok_or("this node belongs to no cluster")?;
            member.peers.call(&node, request).await.map_err(|error| error.to_string())
        })
    }
}

impl Door {
    pub(super) async fn answer(&self, request: Request) -> Response {
        let noted = Noted::of(&request);
        let response = self.carry_out(request).await;
        if let Some(noted) = noted {
            noted.ended(&self.0.paths, &response);
        }
        response
    }

    async fn carry_out(&self, request: Request) -> Response {
        match &request.command {
            Command::Ping => Response::ok(),
            Command::Level => level(),
            Command::Metrics => Response::data(Data::Metrics(open_metrics(&self.0.picture()))),
            Command::WatchApply => self.0.apply_watch().await,
            Command::State => self.state(request.module.as_ref()),
            Command::Shutdown => self.shutdown(&request.origin).await,
            Command::ClusterState => self.cluster_state().await,
            Command::ClusterConfig { xml } => self.cluster_config(&request, xml.as_deref()).await,
            Command::ClusterRead => self.cluster_config(&request, None).await,
            Command::Config | Command::Import { .. } | Command::Uninstall => {
                self.configure(request).await
            }
            Command::ConfInfo => self.config_info(request).await,
            Command::Install { .. }
            | Command::Versions
            | Command::Restore { .. }
            | Command::ConfCheck
            | Command::ModuleList
            | Command::Preflight
            | Command::ClusterConfInfo
            | Command::Log { .. }
            | Command::CommandLog { .. }
            | Command::Print { .. } => self.in_files(request).await,
            _ => match self.task(&request) {
                Ok(task) => self.of_module(&task, request).await,
                Err(refused) => refused,
            },
        }
    }

    /// The task of the module that the request names.
    fn task(&self, request: &Request) -> Result<ModuleHandle, Response> {
        let Some(module) = &request.module else {
            return Err(Response::refused("usage", "the request names no module", Exit::Usage));
        };
        match self.0.modules.get(module) {
            Some(Entry::Task(task)) => Ok(task),
            Some(Entry::Unfit { reason, .. }) => Err(Response::unsafe_now("unfit", reason)),
            None => Err(Response::no_module(module)),
        }
    }

    fn state(&self, module: Option<&ModuleName>) -> Response {
        let Some(module) = module else {
            let all = self.0.modules.all();
            let views: Vec<ModuleView> =
                all.iter().map(|(_, entry)| (*entry.view()).clone()).collect();
            return Response::data(Data::Modules(views));
        };
        match self.0.modules.get(module) {
            Some(entry) => Response::data(Data::Module(Box::new((*entry.view()).clone()))),
            None => Response::no_module(module),
        }
    }

    async fn of_module(&self, task: &ModuleHandle, request: Request) -> Response {
        let caller = caller(&request.origin);
        let start = |kind| Wish::Start(kind);
        let wish = match request.command {
            Command::Start => start(StartKind::Normal),
            Command::Prim { force, .. } => start(StartKind::Prim { force }),
            Command::Second { discard, full } => start(StartKind::Second { discard, full }),
            Command::Stop => Wish::Stop,
            Command::Forcestop => Wish::ForceStop,
            Command::Stopstart => Wish::StopStart,
            Command::Restart => Wish::Restart,
            Command::Swap => Wish::Swap,
            Command::Set { setting: UserSetting::Failover, value } => {
                Wish::Failover(value == Switch::On)
            }
            Command::Maintain { ref owner, ref reason, seconds } => {
                let owner = owner.as_deref().unwrap_or(&request.origin.user);
                match Asked::new(owner, reason, seconds.saturating_mul(1_000)) {
                    Ok(asked) => Wish::Maintenance(Some(asked)),
                    Err(text) => return Response::refused("usage", text, Exit::Usage),
                }
            }
            Command::MaintainNoMore => Wish::Maintenance(None),
            Command::Set { setting, value } => return set(task, setting, value).await,
            Command::Class { name, value } => {
                return classes::switch(task, name, value, request.origin.caller()).await;
            }
            Command::Processes => return classes::list(task).await,
            Command::LoopIncrement => return count(task, LoopCount::Increment).await,
            Command::LoopReset => return count(task, LoopCount::Reset).await,
            Command::LoopCheck => return count(task, LoopCount::Check).await,
            Command::Settings => {
                return Response::data(Data::Settings(task.view.borrow().settings.clone()));
            }
            Command::ResourceGet { resource } => {
                let view = task.view.borrow().clone();
                let found = view::resources(&view, resource.as_deref());
                return match (found.is_empty(), resource) {
                    (true, Some(name)) => Response::refused(
                        "no-resource",
                        format!("module {} has no resource {name}", view.module),
                        Exit::Failed,
                    ),
                    _ => Response::data(Data::Resources(found)),
                };
            }
            Command::ResourceSet { resource, value } => {
                let (answer, answered) = oneshot::channel();
                let by = request.origin.caller();
                let input = Input::Resource { name: resource, value, by, answer };
                let _ = task.inputs.send(input).await;
                return answered.await.map_or_else(|_| ended(), |()| Response::ok());
            }
            other => return Response::not_in_this_version(other.verb()),
        };
        if let (Wish::Start(_), Role::Stop) = (&wish, task.role())
            && let Err(problems) = ready_to_start(&task.site.active.config, &task.site.active.dir)
        {
            let text =
                format!("module {} is not started: {}", task.site.active.name, problems.join("; "));
            task.journal.write("control", texts::action_refused(wish.name(), &problems.join("; ")));
            return Response::refused("not-ready", text, Exit::Failed);
        }
        let name = wish.name();
        let later = matches!(request.command, Command::Prim { full: true, .. });
        match wished(task, wish, caller).await {
            Some(Ok(text)) if later => Response::ok_with(format!(
                "{text}; to compare everything, start the other node with `second fullsync`"
            )),
            Some(Ok(text)) => Response::ok_with(text),
            Some(Err(refusal)) => refused(&refusal, name, task.role()),
            None => ended(),
        }
    }

    /// Every module, all at once; answered when each has begun to stop. Who asks waits for the end:
    /// only the caller knows for how long.
    async fn shutdown(&self, origin: &Origin) -> Response {
        let (mut stopping, mut refusals) = (Vec::new(), Vec::new());
        let wishes = self.0.modules.all().into_iter().filter_map(|(name, entry)| match entry {
            Entry::Task(task) if task.role() != Role::Stop => Some(async move {
                let answer = wished(&task, Wish::Shutdown, caller(origin)).await;
                (name, answer)
            }),
            _ => None,
        });
        for (name, answer) in join_all(wishes).await {
            match answer {
                Some(Ok(_) | Err(Refusal::AlreadyThere(_))) => stopping.push(name.to_string()),
                Some(Err(refusal)) => refusals.push(format!("module {name}: {refusal}")),
                None => {}
            }
        }
        match (refusals.is_empty(), stopping.is_empty()) {
            (false, _) => Response::refused("not-stopped", refusals.join("; "), Exit::Failed),
            (true, true) => Response::ok_with("all modules are stopped"),
            (true, false) => Response::ok_with(format!("stopping: {}", stopping.join(", "))),
        }
    }

    /// Changes the files of a module that is in STOP, and its task with them.
    async fn configure(&self, request: Request) -> Response {
        let Some(module) = request.module.clone() else {
            return Response::refused("usage", "the request names no module", Exit::Usage);
        };
        let removes = matches!(request.command, Command::Uninstall);
        if let Some(entry) = self.0.modules.get(&module) {
            let state = entry.view().state;
            if state.role != Role::Stop && !removes {
                return self.configure_running(request, &module, state).await;
            }
            if state.role != Role::Stop {
                let text = format!(
                    "module {module} is {state}: stop it first (`lockstep stop -m {module}`)"
                );
                return Response::refused(code::RUNNING, text, Exit::Refused);
            }
        }
        if removes {
            self.0.modules.remove(&module).await;
        }
        let response = self.in_files(request).await;
        if let (false, Exit::Done, Some(member)) = (removes, response.exit(), self.0.member()) {
            self.0.modules.reload(&self.0, &member, &module).await;
        }
        response
    }

    /// Changes what watches a module that runs; the application goes on.
    async fn configure_running(
        &self,
        request: Request,
        module: &ModuleName,
        state: State,
    ) -> Response {
        let before = self.digest(module);
        let (paths, caller) = (self.0.paths.clone(), request.origin.caller());
        let work = move || live::configure(&paths, &request, state);
        let mut response = match tokio::task::spawn_blocking(work).await {
            Ok(response) => response,
            Err(error) => return Response::refused("failed", error.to_string(), Exit::Failed),
        };
        let applied = ModuleStore::new(self.0.paths.clone()).active(module);
        let changed = applied.ok().filter(|active| Some(&active.digest) != before.as_ref());
        if let (Some(active), Some(member)) = (changed, self.0.member()) {
            if let Some(Entry::Task(task)) = self.0.modules.get(module) {
                let text = texts::configured_live(&active.digest, &caller);
                task.journal.write("control", text);
            }
            let taken_up = Modules::renew(self.0.clone(), member, module.clone()).await;
            if let (false, Response::Ok { text: Some(text) }) = (taken_up, &mut response) {
                text.push_str("; it is taken up when the transition under way has ended");
            }
        }
        response
    }

    /// Of the configuration that the module's task works with.
    fn digest(&self, module: &ModuleName) -> Option<String> {
        Some(self.0.modules.get(module)?.view().config_digest.clone())
    }

    /// What files say of this node, beside what the other nodes have told.
    async fn config_info(&self, request: Request) -> Response {
        let entry = request.module.as_ref().and_then(|module| self.0.modules.get(module));
        let mut response = self.in_files(request).await;
        if let (Response::Data { data: Data::Config(view) }, Some(entry)) = (&mut response, entry) {
            let peers = entry.view().peers.clone().into_iter();
            view.peers = peers
                .map(|peer| PeerConfigView { node: peer.node, applied_digest: peer.config_digest })
                .collect();
        }
        response
    }

    async fn in_files(&self, request: Request) -> Response {
        let paths = self.0.paths.clone();
        let verb = request.command.verb();
        let done = tokio::task::spawn_blocking(move || offline::answer(&paths, &request)).await;
        match done {
            Ok(Some(response)) => response,
            Ok(None) => Response::not_in_this_version(verb),
            Err(error) => Response::refused("failed", error.to_string(), Exit::Failed),
        }
    }

    async fn cluster_config(&self, request: &Request, xml: Option<&str>) -> Response {
        let Some(member) = self.0.member() else {
            if xml.is_some() {
                let response = self.in_files(request.clone()).await;
                if response.exit() != Exit::Done {
                    return response;
                }
            }
            return match self.0.join_cluster().await {
                Ok(true) => Response::ok(),
                Ok(false) => Response::ok_with("this node has no keys yet: init or join a cluster"),
                Err(reason) => Response::refused("cluster", reason, Exit::Failed),
            };
        };
        let text = match xml {
            Some(text) => text.to_owned(),
            None => match std::fs::read_to_string(self.0.paths.cluster_xml()) {
                Ok(text) => text,
                Err(error) => {
                    let text = format!("cannot read cluster.xml: {error}");
                    return Response::refused("cluster", text, Exit::Failed);
                }
            },
        };
        if let Some(refused) = self.would_part(&text).await {
            return Response::refused("node-in-use", refused, Exit::Refused);
        }
        match member.peers.apply_cluster(text).await {
            Ok(digest) => Response::ok_with(format!("cluster.xml {digest} is in use")),
            Err(error) => Response::refused("cluster", error.to_string(), Exit::Usage),
        }
    }

    /// A node that is alive and has modules together with this one keeps its name and its place.
    /// What cannot be read is refused by whoever applies it.
    async fn would_part(&self, text: &str) -> Option<String> {
        let (path, text) = (self.0.paths.cluster_xml(), text.to_owned());
        let read = move || ClusterConfig::parse(&path, &text, resolve).ok();
        let nodes = tokio::task::spawn_blocking(read).await.ok()??.nodes();
        let views: Vec<_> =
            self.0.modules.all().into_iter().map(|(_, entry)| entry.view()).collect();
        parted(&nodes, views.iter().map(|view| &**view))
    }

    async fn cluster_state(&self) -> Response {
        let Some(member) = self.0.member() else {
            let text = "this node belongs to no cluster yet; run `lockstep cluster init` or \
                        `lockstep cluster join` first";
            return Response::refused("no-cluster", text, Exit::Failed);
        };
        let list = Request::new(Origin::default(), None, Command::ModuleList);
        let modules = match self.in_files(list).await {
            Response::Data { data: Data::Installed(modules) } => modules,
            _ => Vec::new(),
        };
        Response::data(Data::Cluster(cluster_view(&member, &modules).await))
    }
}

/// Why this node may not go on with `nodes` only.
fn parted<'a>(nodes: &[NodeName], views: impl Iterator<Item = &'a ModuleView>) -> Option<String> {
    let running = views.filter(|view| view.state.role != Role::Stop);
    let lost = running.flat_map(|view| {
        let gone = |peer: &&PeerView| peer.alive && !nodes.contains(&peer.node);
        view.peers.iter().filter(gone).map(|peer| (&peer.node, &view.module))
    });
    let lost: Vec<_> = lost.collect();
    let (node, _) = lost.first()?;
    let of_node = lost.iter().filter(|(other, _)| other == node);
    let names: Vec<&str> = of_node.map(|(_, module)| module.as_str()).collect();
    Some(format!(
        "this cluster.xml has no node {node}, which is alive and runs with this node: {}; nothing \
         was changed: stop these modules on both nodes first (`lockstep -H '*' stop -m {}`), or \
         keep {node} in the file",
        names.join(", "),
        names[0]
    ))
}

async fn cluster_view(member: &Member, modules: &[ModuleSummary]) -> ClusterView {
    let cluster = member.cluster();
    let status = member.peers.status().await;
    let nodes = cluster.nodes().into_iter().map(|node| {
        let own = node == member.node;
        let links: Vec<_> = status.iter().filter(|link| link.node == node).collect();
        let addresses = cluster.lans.iter().filter_map(|lan| {
            let address = lan.address_of(&node)?;
            Some((lan.name.clone(), address.to_string()))
        });
        let digest = links.iter().find_map(|link| link.cluster_digest.clone());
        NodeView {
            addresses: addresses.collect(),
            reachable: own || links.iter().any(|link| link.connected),
            problems: links
                .iter()
                .filter_map(|link| Some((link.lan.clone(), link.problem.clone()?)))
                .collect(),
            version: if own {
                Some(env!("CARGO_PKG_VERSION").to_owned())
            } else {
                links.iter().find_map(|link| link.version.clone())
            },
            config_digest: if own { Some(member.peers.cluster_digest()) } else { digest },
            modules: if own { modules.to_vec() } else { Vec::new() },
            node,
        }
    });
    ClusterView { me: member.node.clone(), nodes: nodes.collect() }
}

fn level() -> Response {
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.map(|name| name.release().to_string_lossy().into_owned());
    Response::data(Data::Level(LevelView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        kernel: kernel.unwrap_or_default(),
    }))
}

fn caller(origin: &Origin) -> Caller {
    match &origin.identity {
        Some(identity) => Caller::Identity(identity.clone()),
        None => Caller::User(origin.caller()),
    }
}

/// `None`: the module's task has ended.
async fn wished(
    task: &ModuleHandle,
    wish: Wish,
    caller: Caller,
) -> Option<Result<String, Refusal>> {
    let (answer, answered) = oneshot::channel();
    task.inputs.send(Input::Wish { wish, caller, answer }).await.ok()?;
    answered.await.ok()
}

async fn count(task: &ModuleHandle, count: LoopCount) -> Response {
    let (answer, answered) = oneshot::channel();
    let _ = task.inputs.send(Input::Loop { count, answer }).await;
    match answered.await {
        Ok(true) if count != LoopCount::Reset => Response::refused(
            code::LOOP_LIMIT,
            "the limit of error-driven actions (maxloop) is reached",
            Exit::Failed,
        ),
        Ok(_) => Response::ok(),
        Err(_) => ended(),
    }
}

async fn set(task: &ModuleHandle, setting: UserSetting, value: Switch) -> Response {
    let (answer, answered) = oneshot::channel();
    let on = value == Switch::On;
    let _ = task.inputs.send(Input::Set { setting, on, answer }).await;
    match answered.await {
        Ok(Ok(())) => Response::ok(),
        Ok(Err(reason)) => Response::refused("failed", reason, Exit::Failed),
        Err(_) => ended(),
    }
}

pub(super) fn ended() -> Response {
    let text = "the module is being configured anew; ask again";
    Response::refused("busy", text, Exit::Failed)
}

fn refused(refusal: &Refusal, wish: &str, role: Role) -> Response {
    let text = refusal.to_string();
    match refusal {
        Refusal::AlreadyThere(_) => {
            let code = match (wish, role) {
                ("stop" | "forcestop", _) => code::ALREADY_STOPPED,
                ("prim" | "primforce", _) => code::ALREADY_PRIMARY,
                ("second", _) => code::ALREADY_SECONDARY,
                ("maintenance off", _) => code::ALREADY_SWITCHED,
                _ => code::ALREADY_STARTED,
            };
            Response::already(code, text)
        }
        Refusal::WrongState { .. } => Response::refused("wrong-state", text, Exit::Failed),
        Refusal::PeerPrimary(_) => Response::unsafe_now("peer-primary", text),
        Refusal::PeerNotPrimary(_) => Response::unsafe_now("peer-not-primary", text),
        Refusal::ReturnBegun { .. } => Response::unsafe_now("return-begun", text),
        Refusal::Maintained { .. } => Response::unsafe_now("maintenance", text),
        Refusal::WouldLose(_) => Response::unsafe_now("would-lose", text),
        Refusal::Incomplete(_) => Response::unsafe_now("incomplete", text),
        Refusal::NoLink(_) => Response::refused("no-link", text, Exit::NoPeer),
        Refusal::PeerSilent(_) => Response::refused("peer-silent", text, Exit::NoPeer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::fixture::{PRIM, view};
    use crate::model::State;

    #[test]
    fn a_living_node_with_running_modules_is_not_dropped() {
        let nodes = |names: &[&str]| -> Vec<NodeName> {
            names.iter().map(|name| NodeName::new(name).unwrap()).collect()
        };
        let said = |nodes: &[NodeName], view: &ModuleView| parted(nodes, [view].into_iter());
        let (both, renamed) = (nodes(&["n1", "n2"]), nodes(&["n7", "n2"]));
        assert_eq!(said(&both, &view(PRIM)), None);
        let text = said(&renamed, &view(PRIM)).unwrap();
        assert!(text.contains("no node n1") && text.contains("stop -m web"), "{text}");
        assert_eq!(said(&renamed, &view(State::STOP)), None);
        let mut dead = view(PRIM);
        dead.peers[0].alive = false;
        assert_eq!(said(&renamed, &dead), None);
    }
}
