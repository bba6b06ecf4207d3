//! A configured module on this node: what its files say, turned into what its parts need.
use super::copy::Remembered;
use super::hearts::millis;
use crate::actions::cgroup::ModuleGroup;
use crate::actions::script::{HostNames, ScriptSetup};
use crate::capture::{mount, unguarded};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::config::store::ActiveModule;
use crate::config::userconfig::{Boot, DefaultPrim as Configured, Dir, VirtualHost, When};
use crate::decide::{DefaultPrim, Policy};
use crate::history::MemoryFile;
use crate::model::{BootId, EngineConfig, NodeName, PeerAddress};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// First UDP port of the data links; each module has four.
const DATA_PORT: u32 = 5600;
const PORTS_PER_MODULE: u32 = 4;
/// An engine believes in a silent peer at most that long.
const LINK_TIMEOUT_MAX: Duration = Duration::from_millis(2_500);
const LINK_TIMEOUT_MIN: Duration = Duration::from_millis(300);
/// Earlier than the heartbeats by this much, so that a dead node is replaced when *they* say so.
const LINK_LEAD: Duration = Duration::from_millis(300);

/// Everything that stays while one configuration of the module is applied.
#[derive(Clone, Debug)]
pub struct Site {
    pub paths: Paths,
    pub node: NodeName,
    pub peer: NodeName,
    pub boot: BootId,
    pub active: ActiveModule,
    pub cluster: ClusterConfig,
}

impl Site {
    /// # Errors
    /// The module cannot run on this node; one sentence.
    pub fn new(
        paths: &Paths,
        node: &NodeName,
        boot: BootId,
        active: ActiveModule,
        cluster: &ClusterConfig,
    ) -> Result<Site, String> {
        active.config.startable()?;
        let peer = peer_of(&active, cluster, node)?;
        let site = Site {
            paths: paths.clone(),
            node: node.clone(),
            peer,
            boot,
            active,
            cluster: cluster.clone(),
        };
        site.engine_config()?;
        Ok(site)
    }

    pub fn policy(&self) -> Policy {
        let config = &self.active.config;
        Policy {
            module: self.active.name.clone(),
            own: self.node.clone(),
            peer: self.peer.clone(),
            replicates: config.rfs.is_some(),
            scripts: config.user.is_some(),
            callbacks: config.rfs.as_ref().is_some_and(|rfs| rfs.callbacks),
            failover: config.failover,
            defaultprim: match &config.defaultprim {
                Configured::Alone => DefaultPrim::Alone,
                Configured::LastPrim => DefaultPrim::LastPrim,
                Configured::Node(node) => DefaultPrim::Node(node.clone()),
            },
            maxloop: config.maxloop,
            loop_interval_ms: millis(config.loop_interval),
            silence_ms: millis(config.heart.timeout),
            link_detect_ms: millis(self.link_timeout()),
            witness: config.witness().is_some(),
            start_checked: config.start_checked,
            automatic_reboot: config.automatic_reboot,
        }
    }

    /// `rfs sendtimeout=` where it is shorter: nobody waits longer for a link that is silent.
    fn link_timeout(&self) -> Duration {
        let config = &self.active.config;
        let heart = config.heart.timeout.saturating_sub(LINK_LEAD);
        let send = config.rfs.as_ref().map_or(LINK_TIMEOUT_MAX, |rfs| rfs.send_timeout);
        heart.clamp(LINK_TIMEOUT_MIN, LINK_TIMEOUT_MAX).min(send)
    }

    /// Of the other node, on all lans.
    pub fn peer_addresses(&self) -> Vec<IpAddr> {
        self.cluster.lans.iter().filter_map(|lan| lan.address_of(&self.peer)).collect()
    }

    /// `None`: the module replicates nothing.
    pub fn engine_config(&self) -> Result<Option<EngineConfig>, String> {
        let config = &self.active.config;
        let Some(rfs) = &config.rfs else { return Ok(None) };
        let flow = config.heartbeats.iter().find(|heartbeat| heartbeat.flow);
        let name = flow.map(|heartbeat| heartbeat.lan.as_str());
        let lan = name.and_then(|name| self.cluster.lan(name));
        let lan = lan.ok_or("no lan of cluster.xml carries the replication flow")?;
        let port = u16::try_from(DATA_PORT + PORTS_PER_MODULE * self.active.id.saturating_sub(1));
        let port = port.map_err(|_| format!("module id {} leaves no port", self.active.id))?;
        let missing = |node| format!("node {node} has no address on lan {}", lan.name);
        let listen = lan.local_address_of(&self.node).ok_or_else(|| missing(&self.node))?;
        let data = lan.address_of(&self.peer).ok_or_else(|| missing(&self.peer))?;
        let module = &self.active.name;
        Ok(Some(EngineConfig {
            module: module.clone(),
            node: self.node.clone(),
            listen: SocketAddr::new(listen, port),
            peers: vec![PeerAddress { node: self.peer.clone(), data: SocketAddr::new(data, port) }],
            dirs: rfs.dirs.iter().map(Dir::replicated).collect(),
            level: rfs.level,
            state_dir: self.paths.engine_state(module),
            control_socket: self.paths.engine_socket(module),
            pki_dir: self.paths.pki(),
            link_timeout_ms: Some(millis(self.link_timeout())),
            return_bytes_per_second: rfs.return_bytes_per_second,
            return_detail: rfs.return_detail,
            ack_limit_ms: Some(millis(rfs.lock_timeout)),
        }))
    }

    /// Takes our covers from the replicated directories: an engine that died leaves them.
    ///
    /// # Errors
    /// A directory that stays covered, and what a person can do.
    pub fn uncover(&self) -> Result<(), String> {
        let rfs = self.active.config.rfs.iter();
        let covered = |dir: &Path| mount::covers(dir).is_ok_and(|covers| !covers.is_empty());
        let dirs: Vec<_> = rfs.flat_map(|rfs| &rfs.dirs).filter(|dir| covered(&dir.path)).collect();
        if dirs.is_empty() {
            return Ok(());
        }
        let state = self.paths.engine_state(&self.active.name);
        unguarded::leave(&state).map_err(|error| {
            format!("cannot mark in {} that no engine runs: {error}", state.display())
        })?;
        for dir in dirs {
            mount::uncover_all(&dir.path).map_err(|errno| {
                let dir = dir.path.display();
                format!(
                    "{dir} is still mounted over ({errno}): run `umount -l {dir}` until it is not"
                )
            })?;
        }
        Ok(())
    }

    pub fn script_setup(&self, group: ModuleGroup) -> ScriptSetup {
        let config = &self.active.config;
        ScriptSetup {
            module: self.active.name.clone(),
            node: self.node.clone(),
            peer: Some(self.peer.clone()),
            active_dir: self.active.dir.clone(),
            log_dir: self.paths.module_log_dir(&self.active.name),
            safe_dir: self.paths.safe(),
            var_dir: self.paths.log.clone(),
            vips: config.vips.iter().map(|vip| vip.addr).collect(),
            vars: config.vars.clone(),
            hosts: host_names(&config.virtual_hosts),
            enabled: config.user.is_some(),
            logging: config.user.as_ref().is_some_and(|user| user.logging),
            log_kib_max: config.user.as_ref().map_or(2048, |user| user.log_kb),
            group,
        }
    }

    /// Of a copy whose engine does not run: what its files say.
    pub fn copy_at_rest(&self) -> Option<Remembered> {
        let memory = MemoryFile::new(&self.paths.engine_state(&self.active.name)).load();
        let memory = memory.ok().flatten()?;
        let (copy, sole, lost_volatile) = (memory.copy, memory.sole, memory.lost_volatile);
        Some(Remembered { copy, sole, lost_volatile })
    }

    /// Whether the module is started when the node boots; `setting` is the `boot` command's.
    pub fn starts_at_boot(&self, setting: Option<bool>, ran: bool) -> bool {
        match self.active.config.boot {
            Boot::On => true,
            Boot::Off => false,
            Boot::Auto => ran,
            Boot::Ignore => setting.unwrap_or(false),
        }
    }
}

/// The first name of each class counts: a script has one host name.
fn host_names(hosts: &[VirtualHost]) -> HostNames {
    let first =
        |when: &When| hosts.iter().find(|host| host.when == *when).map(|host| host.name.clone());
    HostNames { prim: first(&When::Prim), second: first(&When::Second), both: first(&When::Both) }
}

/// The other node of the module: with two nodes in the cluster the other one, else the other one
/// on the module's heartbeat lans.
fn peer_of(
    active: &ActiveModule,
    cluster: &ClusterConfig,
    node: &NodeName,
) -> Result<NodeName, String> {
    let module = &active.name;
    let lans = active.config.heartbeats.iter().filter_map(|heart| cluster.lan(&heart.lan));
    let mut others: Vec<NodeName> = Vec::new();
    for (other, _) in lans.flat_map(|lan| &lan.addresses) {
        if other != node && !others.contains(other) {
            others.push(other.clone());
        }
    }
    match others.as_slice() {
        [peer] => Ok(peer.clone()),
        [] => Err(format!(
            "module {module} has no second node: its heartbeat lans in cluster.xml name only \
             {node}; add a node with `lockstep cluster join` there"
        )),
        _ => Err(format!(
            "module {module} mirrors between two nodes, and its heartbeat lans have {}: give it a \
             lan in cluster.xml that names two nodes",
            others.len() + 1
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;

    #[tokio::test]
    async fn the_shortest_of_heartbeat_sendtimeout_and_our_own_is_how_long_a_link_may_be_silent() {
        let dir = tempfile::tempdir().unwrap();
        for (attribute, link) in
            [("", 2500), ("sendtimeout='1s'", 1000), ("sendtimeout='9s'", 2500)]
        {
            let dir = dir.path().display();
            let inside =
                format!("<rfs {attribute} locktimeout='7'><replicated dir='{dir}'/></rfs>");
            let module = Fixture::new(&inside).await;
            let site = &module.control.site;
            let engine = site.engine_config().unwrap().unwrap();
            assert_eq!((engine.link_timeout_ms, engine.ack_limit_ms), (Some(link), Some(7000)));
            assert_eq!(site.policy().link_detect_ms, link, "{attribute}");
        }
    }
}
