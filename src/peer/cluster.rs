//! `cluster.xml` as a value that all nodes share: its digest, a change of it, a node added to it.
use super::PeerError;
use super::context::{Context, Report};
use crate::config::cluster::ClusterConfig;
use crate::model::NodeName;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Hexadecimal blake3 of the file's bytes. Equal digests mean the same configuration.
pub fn digest(text: &[u8]) -> String {
    blake3::hash(text).to_hex().to_string()
}

/// The file of a cluster of one node, as `lockstep cluster init` writes it. Joins add the others.
pub fn first_cluster_xml(node: &NodeName, lans: &[(String, IpAddr)], port: u16) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<!-- Nodes and networks; the same file on every node. -->\n\
         <cluster>\n  <lans port=\"{port}\">\n"
    );
    for (index, (lan, address)) in lans.iter().enumerate() {
        let command = if index == 0 { " command=\"on\"" } else { "" };
        let node = node_element(node, *address);
        let lan = quick_xml::escape::escape(lan.as_str());
        text += &format!("    <lan name=\"{lan}\"{command}>\n      {node}\n    </lan>\n");
    }
    text + "  </lans>\n</cluster>\n"
}

fn node_element(node: &NodeName, address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => format!("<node name=\"{node}\" addr=\"{ip}\"/>"),
        IpAddr::V6(ip) => format!("<node name=\"{node}\" addr=\"[{ip}]\"/>"),
    }
}

/// `text` with `node` on each of `lans`, in place of an entry of the same name there. Everything
/// else, comments and layout included, stays as its author wrote it.
pub(super) fn with_node(
    text: &str,
    node: &NodeName,
    lans: &[(String, IpAddr)],
) -> Result<String, quick_xml::Error> {
    let mut out = String::with_capacity(text.len() + 100 * lans.len());
    let mut reader = Reader::from_str(text);
    let mut copied = 0;
    let mut lan: Option<String> = None;
    // The white space before the last node element: a new one is laid out like it.
    let mut layout = "\n      ".to_owned();
    loop {
        let before = reader.buffer_position() as usize;
        match reader.read_event()? {
            Event::Eof => break,
            Event::Start(tag) if tag.name().as_ref() == "lan" => lan = attribute(&tag, "name"),
            Event::Start(tag) | Event::Empty(tag) if tag.name().as_ref() == "node" => {
                let head = &text[..before];
                let start = head.trim_end().len();
                layout = head[start..].to_owned();
                let listed = lans.iter().any(|(name, _)| Some(name) == lan.as_ref());
                if listed && attribute(&tag, "name").as_deref() == Some(node.as_str()) {
                    out += &text[copied..start];
                    copied = reader.buffer_position() as usize;
                }
            }
            Event::End(tag) if tag.name().as_ref() == "lan" => {
                let entry = lans.iter().find(|(name, _)| Some(name) == lan.as_ref());
                if let Some((_, address)) = entry {
                    let end = text[..before].trim_end().len().max(copied);
                    out += &text[copied..end];
                    out += &layout;
                    out += &node_element(node, *address);
                    copied = end;
                }
                lan = None;
            }
            _ => {}
        }
    }
    Ok(out + &text[copied..])
}

fn attribute(tag: &quick_xml::events::BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.value.into_owned())
}

/// Parses `text` as `cluster.xml` would be; changes nothing.
pub(super) async fn check(context: &Arc<Context>, text: &str) -> Result<ClusterConfig, PeerError> {
    let _changing = context.changing.lock().await;
    let (context, text) = (context.clone(), text.to_owned());
    blocking(move || {
        let candidate = Candidate::write(&context.paths.cluster_xml(), text.as_bytes())?;
        candidate.load(&context.node)
    })
    .await
}

/// Makes `text` this node's configuration: checked, on disk, then in use. On an error the former
/// file is in place and in use.
pub(super) async fn apply(
    context: &Arc<Context>,
    text: String,
    by: &NodeName,
) -> Result<String, PeerError> {
    let _changing = context.changing.lock().await;
    apply_locked(context, text, by).await
}

/// As [`apply`], for a caller that holds `context.changing` already.
pub(super) async fn apply_locked(
    context: &Arc<Context>,
    text: String,
    by: &NodeName,
) -> Result<String, PeerError> {
    let digest = digest(text.as_bytes());
    if *context.digest.borrow() == digest {
        return Ok(digest);
    }
    let path = context.paths.cluster_xml();
    let before = fs::read(&path).ok();
    let (place, me) = (path.clone(), context.node.clone());
    let cluster = blocking(move || {
        let candidate = Candidate::write(&place, text.as_bytes())?;
        let cluster = candidate.load(&me)?;
        candidate.install(&place)?;
        Ok(cluster)
    })
    .await?;
    let (done, used) = oneshot::channel();
    let cluster = Box::new(cluster);
    let report = Report::Use { cluster, digest: digest.clone(), by: by.clone(), done };
    context.reports.send(report).await.map_err(|_| PeerError::Stopped)?;
    let used = used.await.map_err(|_| PeerError::Stopped)?;
    if let (Err(_), Some(before)) = (&used, before) {
        blocking(move || Candidate::write(&path, &before)?.install(&path)).await?;
    }
    used.map(|()| digest)
}

/// Writes `text` as the node's `cluster.xml` without a daemon (after a join).
pub(super) fn install(path: &Path, text: &str, me: &NodeName) -> Result<ClusterConfig, PeerError> {
    let candidate = Candidate::write(path, text.as_bytes())?;
    let cluster = candidate.load(me)?;
    candidate.install(path)?;
    Ok(cluster)
}

/// A file beside `cluster.xml` that is not in use yet; removed unless it is installed.
struct Candidate {
    path: std::path::PathBuf,
}

impl Candidate {
    fn write(place: &Path, bytes: &[u8]) -> Result<Candidate, PeerError> {
        let candidate = Candidate { path: place.with_extension("xml.new") };
        let write = || -> io::Result<()> {
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut options = OpenOptions::new();
            let mut file = options.create(true).truncate(true).write(true).open(&candidate.path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| cannot_write(&candidate.path, &e))?;
        Ok(candidate)
    }

    fn load(&self, me: &NodeName) -> Result<ClusterConfig, PeerError> {
        let cluster = ClusterConfig::load(&self.path)
            .map_err(|mistakes| PeerError::Cluster(mistakes.to_string()))?;
        if cluster.nodes().contains(me) {
            return Ok(cluster);
        }
        Err(PeerError::Cluster(format!(
            "the new cluster.xml does not name node {me}, on which it is to be used; nothing was \
             changed there"
        )))
    }

    fn install(self, place: &Path) -> Result<(), PeerError> {
        let install = || -> io::Result<()> {
            fs::rename(&self.path, place)?;
            match place.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        install().map_err(|e| cannot_write(place, &e))
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // After an install it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> PeerError {
    PeerError::Cluster(format!("cannot write {}: {error}", path.display()))
}

/// Files are synced off the tasks that carry heartbeats.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PeerError> + Send + 'static,
) -> Result<T, PeerError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PeerError::Stopped)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn lan(name: &str, address: &str) -> (String, IpAddr) {
        (name.to_owned(), address.parse().unwrap())
    }

    #[test]
    fn a_node_is_added_to_every_lan_and_nothing_else_changes() {
        let lans = [lan("default", "10.0.0.1"), lan("repli", "fd00::1")];
        let first = first_cluster_xml(&node("n1"), &lans, 4800);
        let lans = [lan("default", "10.0.0.2"), lan("repli", "fd00::2")];
        let both = with_node(&first, &node("n2"), &lans).unwrap();
        assert_eq!(
            both,
            "<?xml version=\"1.0\"?>\n\
             <!-- Nodes and networks; the same file on every node. -->\n\
             <cluster>\n  <lans port=\"4800\">\n    <lan name=\"default\" command=\"on\">\n      \
             <node name=\"n1\" addr=\"10.0.0.1\"/>\n      <node name=\"n2\" addr=\"10.0.0.2\"/>\n    \
             </lan>\n    <lan name=\"repli\">\n      <node name=\"n1\" addr=\"[fd00::1]\"/>\n      \
             <node name=\"n2\" addr=\"[fd00::2]\"/>\n    </lan>\n  </lans>\n</cluster>\n"
        );
        // Again with another address: the entry is replaced.
        let lans = [lan("default", "10.0.0.9"), lan("repli", "fd00::2")];
        let moved = with_node(&both, &node("n2"), &lans).unwrap();
        assert_eq!(moved, both.replace("10.0.0.2", "10.0.0.9"));
    }

    #[test]
    fn comments_old_forms_and_other_lans_stay() {
        let text = "<cluster><lans>\n<lan name='a'>\n\t<node name='n1' addr='h1'></node><!-- one \
                    -->\n</lan><lan name='b'><node name='n1' addr='h2'/></lan></lans></cluster>";
        let added = with_node(text, &node("n2"), &[lan("a", "10.0.0.2")]).unwrap();
        assert!(
            added.contains("<!-- one -->\n\t<node name=\"n2\" addr=\"10.0.0.2\"/>\n</lan>"),
            "{added}"
        );
        assert_eq!(added.replace("\n\t<node name=\"n2\" addr=\"10.0.0.2\"/>", ""), text);
        assert!(with_node("<cluster><lans></lan></cluster>", &node("n2"), &[]).is_err());
    }
}
