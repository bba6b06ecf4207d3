//! Where everything lies on a node. One place, so that a move is one change.
//!
//! Four roots, fixed on a real system ([`Paths::system`]) and below a temporary directory in
//! tests ([`Paths::below`]). No environment variable changes them.
use crate::model::ModuleName;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What administrators edit: `/etc/lockstep`.
    pub etc: PathBuf,
    /// What Lockstep remembers: `/var/lib/lockstep`.
    pub lib: PathBuf,
    /// What people read afterwards: `/var/log/lockstep`.
    pub log: PathBuf,
    /// What ends with the boot: `/run/lockstep`.
    pub run: PathBuf,
}

impl Paths {
    pub fn system() -> Paths {
        Paths {
            etc: "/etc/lockstep".into(),
            lib: "/var/lib/lockstep".into(),
            log: "/var/log/lockstep".into(),
            run: "/run/lockstep".into(),
        }
    }

    /// The same tree below `root`; for tests only.
    pub fn below(root: &Path) -> Paths {
        Paths {
            etc: root.join("etc/lockstep"),
            lib: root.join("var/lib/lockstep"),
            log: root.join("var/log/lockstep"),
            run: root.join("run/lockstep"),
        }
    }

    pub fn cluster_xml(&self) -> PathBuf {
        self.etc.join("cluster.xml")
    }

    /// Who is told how the node and its modules stand; need not exist.
    pub fn watch_xml(&self) -> PathBuf {
        self.etc.join("watch.xml")
    }

    /// Certificates: `ca.crt ca.key node.crt node.key`.
    pub fn pki(&self) -> PathBuf {
        self.etc.join("pki")
    }

    pub fn modules_edited(&self) -> PathBuf {
        self.etc.join("modules")
    }

    /// The edited copy: `conf`, `bin`, `module.json`.
    pub fn module_edited(&self, module: &ModuleName) -> PathBuf {
        self.modules_edited().join(module.as_str())
    }

    pub fn modules_state(&self) -> PathBuf {
        self.lib.join("modules")
    }

    /// Everything Lockstep remembers of one module.
    pub fn module_state(&self, module: &ModuleName) -> PathBuf {
        self.modules_state().join(module.as_str())
    }

    /// The applied copy (`conf`, `bin`); scripts run from here.
    pub fn module_active(&self, module: &ModuleName) -> PathBuf {
        self.module_state(module).join("active")
    }

    /// The last three applied configurations, as archives.
    pub fn module_versions(&self, module: &ModuleName) -> PathBuf {
        self.module_state(module).join("versions")
    }

    /// The engine's lineage, memory and dirty set.
    pub fn engine_state(&self, module: &ModuleName) -> PathBuf {
        self.module_state(module).join("engine")
    }

    /// The daemon's memory of a module: user settings, loop counter, last role.
    pub fn control_state(&self, module: &ModuleName) -> PathBuf {
        self.module_state(module).join("control")
    }

    /// Archives of uninstalled modules.
    pub fn backup(&self) -> PathBuf {
        self.lib.join("backup")
    }

    /// `SAFE` and `SAFEBIN` of the scripts: holds the links `safekit` and `lockstep`.
    pub fn safe(&self) -> PathBuf {
        self.lib.join("safe")
    }

    pub fn module_log_dir(&self, module: &ModuleName) -> PathBuf {
        self.log.join("modules").join(module.as_str())
    }

    /// The module's log, one JSON object a line.
    pub fn module_log(&self, module: &ModuleName) -> PathBuf {
        self.module_log_dir(module).join("log.jsonl")
    }

    pub fn daemon_log(&self) -> PathBuf {
        self.log.join("daemon.log")
    }

    /// Local socket of the daemon, 0600.
    pub fn daemon_socket(&self) -> PathBuf {
        self.run.join("daemon.sock")
    }

    pub fn engines(&self) -> PathBuf {
        self.run.join("engines")
    }

    pub fn engine_socket(&self, module: &ModuleName) -> PathBuf {
        self.engines().join(format!("{module}.sock"))
    }

    /// How far the start of a module with `<ocf>` or `<unit>` has come.
    pub fn start_mark(&self, module: &ModuleName) -> PathBuf {
        self.run.join("starts").join(format!("{module}.json"))
    }

    /// The engine's configuration as JSON, written by the daemon before it starts the engine.
    pub fn engine_config(&self, module: &ModuleName) -> PathBuf {
        self.engines().join(format!("{module}.json"))
    }
}
