//! `cluster …`: founding and joining, `cluster.xml`, and the nodes.
use super::args::ClusterVerb;
use super::context::{Context, failed, io_refusal, usage};
use super::offline;
use crate::api::client::ClientError;
use crate::api::{Command, Exit, Nodes, Refusal, Reply, Response};
use crate::config::cluster::ClusterConfig;
use crate::model::NodeName;
use crate::peer::{self, JoinOptions, PeerError};
use crate::trust::{self, JoinCode, Pki, TokenStore, TrustError};
use crate::watch::own;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub fn carry_out(context: &mut Context<'_>, verb: ClusterVerb) -> Result<u8, Refusal> {
    match verb {
        verb @ ClusterVerb::Init { .. } => {
            context.noting("cluster init", |context| init(context, verb))
        }
        ClusterVerb::Token { address } => {
            context.noting("cluster token", |context| token(context, address))
        }
        verb @ ClusterVerb::Join { .. } => {
            context.noting("cluster join", |context| join(context, verb))
        }
        ClusterVerb::Config { lock: Some(_), .. } => {
            Err(Refusal::not_in_this_version("locking of cluster.xml; leave the word away"))
        }
        ClusterVerb::Config { file, lock: None } => config(context, file),
        ClusterVerb::Confcheck { file } => {
            let file = file.unwrap_or_else(|| context.paths.cluster_xml());
            let text = offline::check_cluster(&file, &file)?;
            Ok(done(context, text))
        }
        ClusterVerb::Confinfo => {
            context.module = None;
            let replies = context.do_or_ask(Command::ClusterConfInfo)?;
            Ok(context.show(&replies))
        }
        ClusterVerb::State => {
            context.module = None;
            let replies = context.ask(Command::ClusterState)?;
            Ok(context.show(&replies))
        }
    }
}

/// `-G`: this node's `cluster.xml` on every node that is meant.
pub fn distribute(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let path = context.paths.cluster_xml();
    offline::check_cluster(&path, &path)?;
    let xml = read(&path)?;
    context.module = None;
    let replies = context.ask_or_do(Command::ClusterConfig { xml: Some(xml) })?;
    Ok(context.show(&replies))
}

fn config(context: &mut Context<'_>, file: Option<PathBuf>) -> Result<u8, Refusal> {
    let xml = match &file {
        Some(file) => {
            offline::check_cluster(file, file)?;
            Some(read(file)?)
        }
        None => None,
    };
    context.module = None;
    let replies = context.ask_or_do(Command::ClusterConfig { xml })?;
    Ok(context.show(&replies))
}

fn init(context: &mut Context<'_>, verb: ClusterVerb) -> Result<u8, Refusal> {
    let ClusterVerb::Init { node, addresses, port, force, file } = verb else {
        return Err(usage("not an init"));
    };
    only_here(context)?;
    let path = context.paths.cluster_xml();
    let (node, xml) = if addresses.addresses.is_empty() {
        let source = file.unwrap_or_else(|| path.clone());
        if !source.exists() {
            return Err(usage(format!(
                "{} does not exist: name this node's address with --addr, or write the file \
                 (nodes and their addresses), then run `lockstep cluster init` again",
                source.display()
            )));
        }
        offline::check_cluster(&source, &source)?;
        (own_name(&load(&source)?, node)?, read(&source)?)
    } else {
        if path.exists() && !force {
            return Err(usage(format!(
                "{} exists already: leave --addr away to use it, or add --force to replace it",
                path.display()
            )));
        }
        let node = node.map_or_else(machine_name, Ok)?;
        let xml = peer::first_cluster_xml(&node, &addresses.addresses, port);
        (node, xml)
    };
    offline::check_cluster_text(&xml, &path)?;
    let pki = trust::init(&context.paths.pki(), &node, force).map_err(|error| refusal(&error))?;
    let request = context.request(Command::ClusterConfig { xml: Some(xml) });
    if let Some(Response::Refused(refusal)) = offline::answer(&context.paths, &request) {
        return Err(refusal);
    }
    let next = tell_daemon(context, force)?;
    let (cluster, node) = (pki.cluster(), pki.node());
    let text = format!(
        "cluster {cluster} begun, this node is {node}; {next}to add a node, run \
         `lockstep cluster token` here and `lockstep cluster join` there"
    );
    Ok(done(context, text))
}

fn join(context: &mut Context<'_>, verb: ClusterVerb) -> Result<u8, Refusal> {
    let ClusterVerb::Join { address, token, node, addresses, replace, force } = verb else {
        return Err(usage("not a join"));
    };
    only_here(context)?;
    let code: JoinCode = token.trim().parse().map_err(|error: TrustError| refusal(&error))?;
    let options = JoinOptions {
        address: Some(socket_address(&address, code.address.port())?),
        code,
        node: node.map_or_else(machine_name, Ok)?,
        addresses: addresses.addresses,
        replace,
        force,
        paths: context.paths.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("start the network part: {error}")))?;
    let joined = runtime.block_on(peer::join(options)).map_err(|error| peer_refusal(&error))?;
    let next = tell_daemon(context, force)?;
    let nodes: Vec<String> = joined.cluster.nodes().iter().map(NodeName::to_string).collect();
    let text = format!(
        "node {} joined cluster {} through {}; {next}nodes are: {}",
        joined.pki.node(),
        joined.pki.cluster(),
        joined.through,
        nodes.join(", ")
    );
    Ok(done(context, text))
}

/// `192.0.2.1`, `192.0.2.1:4800`, `2001:db8::1`, `[2001:db8::1]:4800`.
fn socket_address(text: &str, port: u16) -> Result<SocketAddr, Refusal> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip: IpAddr = bare
        .parse()
        .map_err(|_| usage(format!("{text:?} is not an IP address, e.g. 192.0.2.1")))?;
    Ok(SocketAddr::new(ip, port))
}

/// First part of the machine's name.
pub(super) fn machine_name() -> Result<NodeName, Refusal> {
    let name = nix::unistd::gethostname()
        .map_err(|error| failed(format!("read the machine's name: {error}; use --node")))?;
    let name = name.to_string_lossy().into_owned();
    let first = name.split('.').next().unwrap_or_default();
    NodeName::new(first)
        .map_err(|error| usage(format!("the machine's name is no node name: {error}; use --node")))
}

/// A daemon that runs already reads keys and `cluster.xml` now. Answers what is left to do.
/// `force`: it may run as a member of the cluster that was left.
fn tell_daemon(context: &mut Context<'_>, force: bool) -> Result<&'static str, Refusal> {
    let mut request = context.request(Command::ClusterRead);
    request.module = None;
    match context.send(&request) {
        Err(ClientError::NotRunning(_)) => Ok("start its daemon (`lockstep daemon`); "),
        // A daemon without keys may as well begin anew to read them.
        Err(ClientError::Cut | ClientError::Io(_)) => Ok(""),
        Err(error) => Err(super::ask::refusal(&error)),
        Ok(replies) => match replies.into_iter().last().map(|reply| reply.response) {
            Some(Response::Refused(refusal)) => Err(refusal),
            _ if force => Ok("restart its daemon: until then it serves the former cluster; "),
            _ => Ok(""),
        },
    }
}

/// The code goes to standard output alone, so that `join --token "$(…)"` works.
fn token(context: &mut Context<'_>, address: Option<IpAddr>) -> Result<u8, Refusal> {
    only_here(context)?;
    let pki = Pki::load(&context.paths.pki()).map_err(|error| refusal(&error))?;
    let cluster = load(&context.paths.cluster_xml())?;
    let ip = match address {
        Some(ip) => ip,
        None => {
            cluster.command_lan().and_then(|lan| lan.address_of(pki.node())).ok_or_else(|| {
                usage(format!(
                    "cluster.xml gives node {} no address; name one with --address",
                    pki.node()
                ))
            })?
        }
    };
    let store = TokenStore::new(&context.paths.pki());
    let code = store
        .create(&pki, SocketAddr::new(ip, cluster.port), trust::VALID_DEFAULT)
        .map_err(|error| refusal(&error))?;
    context.say(&format!(
        "valid for {} minutes and one node; on that node: lockstep cluster join {ip} --token CODE",
        trust::VALID_DEFAULT.as_secs() / 60
    ));
    Ok(done(context, code.to_string()))
}

/// The name that was given if it is in `cluster.xml`; else the one node of it with an address of
/// this machine.
fn own_name(cluster: &ClusterConfig, given: Option<NodeName>) -> Result<NodeName, Refusal> {
    let nodes = cluster.nodes();
    let known = nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    if let Some(node) = given {
        return match nodes.contains(&node) {
            true => Ok(node),
            false => Err(usage(format!("node {node} is not in cluster.xml; nodes are: {known}"))),
        };
    }
    let here = own_addresses();
    let mut mine: Vec<NodeName> = Vec::new();
    for lan in &cluster.lans {
        for (node, address) in lan.addresses.iter().chain(&lan.local_addresses) {
            if here.contains(address) && !mine.contains(node) {
                mine.push(node.clone());
            }
        }
    }
    match mine.as_slice() {
        [node] => Ok(node.clone()),
        [] => Err(usage(format!(
            "no address of this machine is in cluster.xml, so its name is not known; \
             name it with --node, one of: {known}"
        ))),
        several => Err(usage(format!(
            "this machine has addresses of {} nodes of cluster.xml; name it with --node, \
             one of: {known}",
            several.len()
        ))),
    }
}

/// Empty: the kernel did not say.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    own::addresses().into_iter().map(|(address, _)| address).collect()
}

fn load(path: &Path) -> Result<ClusterConfig, Refusal> {
    ClusterConfig::load(path).map_err(|mistakes| usage(mistakes.to_string()))
}

fn read(path: &Path) -> Result<String, Refusal> {
    std::fs::read_to_string(path).map_err(|error| io_refusal("read", path, &error))
}

pub(super) fn only_here(context: &Context<'_>) -> Result<(), Refusal> {
    if context.nodes == Nodes::Local {
        return Ok(());
    }
    Err(usage("this command works on the node where it is typed; leave -H away"))
}

fn refusal(error: &TrustError) -> Refusal {
    let (code, exit) = match error {
        TrustError::AlreadyMember { .. } => ("cluster-member", Exit::Refused),
        TrustError::File { path, source, what } => return io_refusal(what, path, source),
        TrustError::NotAToken { .. } => ("usage", Exit::Usage),
        TrustError::UnknownToken | TrustError::ExpiredToken => ("token", Exit::NotAuthorised),
        _ => ("trust", Exit::Failed),
    };
    Refusal { code: code.to_owned(), text: error.to_string(), exit }
}

fn peer_refusal(error: &PeerError) -> Refusal {
    match error {
        PeerError::Trust(error) => refusal(error),
        _ => Refusal { code: "join".to_owned(), text: error.to_string(), exit: Exit::Failed },
    }
}

pub(super) fn done(context: &mut Context<'_>, text: String) -> u8 {
    context.show(&[Reply::here(Response::ok_with(text))])
}
