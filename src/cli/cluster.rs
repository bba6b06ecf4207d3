//! `cluster …`: founding and joining, `cluster.xml`, and the nodes.
use super::args::ClusterVerb;
use super::context::{Context, failed, io_refusal, usage};
use super::offline;
use crate::api::{Command, Exit, Nodes, Refusal, Response};
use crate::config::cluster::ClusterConfig;
use crate::model::NodeName;
use crate::trust::{self, Pki, TokenStore, TrustError};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub fn carry_out(context: &mut Context<'_>, verb: ClusterVerb) -> Result<u8, Refusal> {
    match verb {
        ClusterVerb::Init { node, force, file } => init(context, node, force, file),
        ClusterVerb::Token { address } => token(context, address),
        ClusterVerb::Join { .. } => Err(later("cluster join")),
        ClusterVerb::Config { lock: Some(_), .. } => {
            Err(later("locking of cluster.xml; leave the word away"))
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

fn init(
    context: &mut Context<'_>,
    node: Option<NodeName>,
    force: bool,
    file: Option<PathBuf>,
) -> Result<u8, Refusal> {
    only_here(context)?;
    let path = context.paths.cluster_xml();
    if file.is_none() && !path.exists() {
        return Err(usage(format!(
            "{} does not exist: write it (nodes and their addresses), or name a file, \
             then run `lockstep cluster init` again",
            path.display()
        )));
    }
    let source = file.clone().unwrap_or_else(|| path.clone());
    offline::check_cluster(&source, &source)?;
    let cluster = load(&source)?;
    let node = own_name(&cluster, node)?;
    let pki = trust::init(&context.paths.pki(), &node, force).map_err(|error| refusal(&error))?;
    if file.is_some() {
        let xml = read(&source)?;
        let request = context.request(Command::ClusterConfig { xml: Some(xml) });
        if let Some(Response::Refused(refusal)) = offline::answer(&context.paths, &request) {
            return Err(refusal);
        }
    }
    let text = format!(
        "cluster {} begun, this node is {}; next: start the daemon, `lockstep cluster token` here, \
         `lockstep cluster join` on the other nodes",
        pki.cluster(),
        pki.node()
    );
    Ok(done(context, text))
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

fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

fn load(path: &Path) -> Result<ClusterConfig, Refusal> {
    ClusterConfig::load(path).map_err(|mistakes| usage(mistakes.to_string()))
}

fn read(path: &Path) -> Result<String, Refusal> {
    std::fs::read_to_string(path).map_err(|error| io_refusal("read", path, &error))
}

fn only_here(context: &Context<'_>) -> Result<(), Refusal> {
    if context.nodes == Nodes::Local {
        return Ok(());
    }
    Err(usage("this command works on the node where it is typed; leave -H away"))
}

fn later(what: &str) -> Refusal {
    match Response::not_in_this_version(what) {
        Response::Refused(refusal) => refusal,
        _ => failed(what),
    }
}

fn refusal(error: &TrustError) -> Refusal {
    let (code, exit) = match error {
        TrustError::AlreadyMember { .. } => ("already-member", Exit::Refused),
        TrustError::File { path, source, what } => return io_refusal(what, path, source),
        TrustError::NotAToken { .. } => ("usage", Exit::Usage),
        TrustError::UnknownToken | TrustError::ExpiredToken => ("token", Exit::NotAuthorised),
        _ => ("trust", Exit::Failed),
    };
    Refusal { code: code.to_owned(), text: error.to_string(), exit }
}

fn done(context: &mut Context<'_>, text: String) -> u8 {
    let reply = crate::api::Reply { node: None, last: true, response: Response::ok_with(text) };
    context.show(&[reply])
}
