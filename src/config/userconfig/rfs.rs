//! `<rfs>`: the directories that are mirrored.
use super::read::Reader;
use super::*;
use crate::config::findings::quoted;
use crate::config::grammar::Node;
use crate::config::values;
use crate::model::ModuleName;

/// Never mirrored, nor anything below: the kernel's, and what ends with the boot.
const KERNEL_DIRS: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

/// What `syncat=` gives up.
const NOT_SYNCHRONOUS: &str = "replication is scheduled and not synchronous: what is acknowledged to the application between \
     two synchronisations is on the primary alone and is lost with it, and the other node does not \
     take over by itself";

impl Reader<'_> {
    pub(super) fn rfs(&mut self, service: Node<'_>, mode: Mode) -> Option<Rfs> {
        let node = service.child("rfs")?;
        if mode != Mode::Mirror {
            let expected = "<rfs> in mirror modules only";
            let remedy = "remove it, or write mode=\"mirror\"";
            self.findings.mistake(node.element.at, "rfs", expected, "one", remedy);
        }
        // An explicit level wins over the old word. async="second" promised that the peer has
        // received: memory. async="none" promised its disk: disk. Neither said: mirror.
        let level = match (node.given("level"), node.given("async")) {
            (Some(level), _) => level.parse().unwrap_or_default(),
            (None, Some("second")) => Level::Memory,
            (None, Some("none")) => Level::Disk,
            (None, _) => Level::Mirror,
        };
        let mut dirs: Vec<Dir> = Vec::new();
        for child in node.children("replicated") {
            let Some(dir) = self.dir(child) else { continue };
            self.check_place(child, &dir.path, &dirs);
            dirs.push(dir);
        }
        if node.child("replicated").is_none() && mode == Mode::Mirror {
            let remedy = "add <replicated dir=\"/…\"/>, or remove <rfs>";
            let expected = "at least one <replicated>";
            self.findings.mistake(node.element.at, "rfs", expected, "none", remedy);
        }
        let sync_at = node.given("syncat").and_then(|text| Schedule::parse(text).ok());
        if sync_at.is_some() {
            self.findings.note(node.element.at, "rfs", Some("syncat"), NOT_SYNCHRONOUS);
        }
        let kb = node.given("reiallowedbw").map(|_| node.count("reiallowedbw") as u64);
        Some(Rfs {
            dirs,
            level,
            flow: self.flow(node),
            return_bytes_per_second: kb.filter(|kb| *kb > 0).map(|kb| kb.saturating_mul(1024)),
            sync_at,
            // One minute or less is ignored, as ever.
            sync_delta: Some(node.time("syncdelta"))
                .filter(|delta| *delta > Duration::from_secs(60)),
            lock_timeout: node.time("locktimeout"),
            send_timeout: node.time("sendtimeout"),
            return_detail: node.switch("reidetail"),
            return_streams: node.count("nbrei") as u32,
            probe_interval: node.time("checkintv"),
            probe_limit: node.time("checktime"),
            callbacks: node.switch("scripts"),
        })
    }

    fn flow(&mut self, node: Node<'_>) -> Option<String> {
        let flow = node.child("flow")?;
        let name = flow.given("name").filter(|name| !name.trim().is_empty());
        let cluster = self.around.cluster.as_ref();
        if let (Some(name), Some(cluster)) = (name, cluster)
            && cluster.lan(name).is_none()
        {
            let names: Vec<&str> = cluster.lans.iter().map(|lan| lan.name.as_str()).collect();
            let expected = format!("a lan of cluster.xml ({})", names.join(", "));
            let remedy = "correct name=, or write ident=\"flow\" on a heartbeat instead";
            self.findings.mistake(flow.at("name"), "flow", expected, quoted(name), remedy);
        }
        name.map(str::to_owned)
    }

    fn dir(&mut self, node: Node<'_>) -> Option<Dir> {
        self.blank(node, "dir");
        let path = values::absolute_path(node.given("dir")?).ok()?;
        let own = node.given("level").and_then(|text| text.parse::<Level>().ok());
        let mut not_replicated = Vec::new();
        for child in node.children("notreplicated") {
            self.not_replicated(child, &mut not_replicated);
        }
        let mut tocheck = Vec::new();
        for child in node.children("tocheck") {
            let text = child.text("path");
            let parsed = values::relative_path(text).map(|below| path.join(below));
            match parsed.or_else(|_| values::absolute_path(text)) {
                Ok(found) => tocheck.push(found),
                Err(_) => {
                    let expected = "a path below the directory, or an absolute one";
                    let remedy = "correct path=";
                    let at = child.at("path");
                    self.findings.mistake(at, "tocheck", expected, quoted(text), remedy);
                }
            }
        }
        let read_only = node.given("mode").is_some();
        let line = self.findings.line(node.element.at);
        Some(Dir { path, line, level: own, read_only, not_replicated, tocheck })
    }

    fn not_replicated(&mut self, node: Node<'_>, into: &mut Vec<NotReplicated>) {
        if let Some(Ok(path)) = node.given("path").map(values::relative_path) {
            into.push(NotReplicated::Path(path));
        }
        let given = node.element.attribute("regexpath").map(|found| found.value.as_str());
        if let Some(text) = given {
            let (pattern, only) = match text.strip_prefix('!') {
                Some(rest) => (rest, true),
                None => (text, false),
            };
            match values::pattern(pattern) {
                Ok(()) if !pattern.is_empty() => {
                    into.push(NotReplicated::Pattern { pattern: pattern.to_owned(), only });
                }
                _ => {
                    let expected = "regexpath= to be a regular expression on names";
                    let at = node.at("regexpath");
                    let remedy = "correct regexpath=";
                    self.findings.mistake(at, "notreplicated", expected, quoted(text), remedy);
                }
            }
        } else if node.element.attribute("path").is_none() {
            let expected = "path= or regexpath=";
            let remedy = "add one of them";
            self.findings.mistake(node.element.at, "notreplicated", expected, "none", remedy);
        }
    }

    /// A directory that may be mirrored and that nobody else mirrors.
    fn check_place(&mut self, node: Node<'_>, path: &Path, known: &[Dir]) {
        let overlaps = |other: &Path| path.starts_with(other) || other.starts_with(path);
        let shown = path.display();
        let neighbours = self.around.neighbours.iter();
        let mut taken = neighbours.flat_map(|n| n.dirs.iter().map(move |dir| (&n.name, dir)));
        let taken: Option<(&ModuleName, &PathBuf)> = taken.find(|(_, dir)| overlaps(dir));
        let own = self.around.own_dirs.iter().find(|own| overlaps(own));
        let (expected, found) = if path == Path::new("/") {
            ("a directory other than /", "/".to_owned())
        } else if let Some(kernel) = KERNEL_DIRS.iter().find(|dir| path.starts_with(dir)) {
            ("a directory of a file system on disk", format!("{shown}, which is below {kernel}"))
        } else if let Some(own) = own {
            let expected = "a directory apart from Lockstep's own files";
            (expected, format!("{shown}, which overlaps {}", own.display()))
        } else if let Some(other) = known.iter().find(|other| overlaps(&other.path)) {
            let expected = "directories that do not overlap";
            (expected, format!("{shown}, which overlaps {}", other.path.display()))
        } else if let Some((module, dir)) = taken {
            let found = format!("{shown}, which overlaps {} of module {module}", dir.display());
            ("a directory of this module alone", found)
        } else {
            return;
        };
        let remedy = "choose another directory";
        self.findings.mistake(node.at("dir"), "replicated", expected, found, remedy);
    }
}
