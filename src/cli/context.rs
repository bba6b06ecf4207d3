//! What every command knows: who calls, for which module and nodes, and where to write.
use super::Output;
use super::args::Common;
use crate::api::{Exit, Nodes, Origin, Refusal, response::code};
use crate::config::paths::Paths;
use crate::model::{ModuleName, NodeName};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;

/// The name the program was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Lockstep,
    /// The old name: old form of the answers of several nodes, old exit code of `stop`.
    Safekit,
}

impl Name {
    pub fn of(program: &OsString) -> Name {
        let file = Path::new(program).file_name().unwrap_or_default();
        if file.to_string_lossy().ends_with("safekit") { Name::Safekit } else { Name::Lockstep }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Name::Lockstep => "lockstep",
            Name::Safekit => "safekit",
        }
    }
}

pub struct Context<'a> {
    pub name: Name,
    pub paths: Paths,
    pub origin: Origin,
    pub nodes: Nodes,
    pub module: Option<ModuleName>,
    pub json: bool,
    output: Output<'a>,
}

impl<'a> Context<'a> {
    /// Checks the options that all commands share; gives `output` back with a refusal.
    pub fn new(
        name: Name,
        common: &Common,
        paths: Paths,
        output: Output<'a>,
    ) -> Result<Context<'a>, (Refusal, Output<'a>)> {
        let checked = nodes_of(common.nodes.as_deref()).and_then(|nodes| {
            let module = common.module.clone().map_or_else(module_of_environment, |m| Ok(Some(m)));
            module.map(|module| (nodes, module))
        });
        let (nodes, module) = match checked {
            Ok(checked) => checked,
            Err(refusal) => return Err((refusal, output)),
        };
        let origin = origin(common.identity.clone());
        Ok(Context { name, paths, origin, nodes, module, json: common.json, output })
    }

    pub fn needed_module(&self) -> Result<ModuleName, Refusal> {
        self.module.clone().ok_or_else(|| {
            usage(format!(
                "which module? name it with -m, or set SAFEMODULE; \
                 `{} module list` shows the installed ones",
                self.name.as_str()
            ))
        })
    }

    /// Writes to standard output. A reader that has gone away (`| head`) is no error.
    pub fn print(&mut self, text: &str) {
        let _ = self.output.out.write_all(text.as_bytes());
        let _ = self.output.out.flush();
    }

    /// As `print`; `false` when nobody reads any more.
    pub fn still_read(&mut self, text: &str) -> bool {
        let written = self.output.out.write_all(text.as_bytes());
        written.and_then(|()| self.output.out.flush()).is_ok()
    }

    /// Writes a line to standard error.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.output.err, "{text}");
    }

    /// Says a refusal and answers its exit code.
    pub fn refuse(&mut self, refusal: &Refusal) -> u8 {
        let exit = self.exit_of(refusal);
        if self.json {
            let answer = super::json::refusal(None, refusal);
            self.print_json(exit, vec![answer]);
        }
        if exit != 0 || !self.json {
            self.say(&format!("{}: {}", self.name.as_str(), refusal.text));
        }
        exit
    }

    /// What is so already is no failure, except where the old program called it one.
    pub fn exit_of(&self, refusal: &Refusal) -> u8 {
        let old_failure = self.name == Name::Safekit && refusal.code == code::ALREADY_STOPPED;
        if refusal.code.starts_with(code::ALREADY) && !old_failure {
            return Exit::Done as u8;
        }
        refusal.exit as u8
    }

    /// The one JSON document of a command.
    pub fn print_json(&mut self, exit: u8, answers: Vec<serde_json::Value>) {
        let document = super::json::document(exit, answers);
        self.print(&format!("{document:#}\n"));
    }
}

pub fn usage(text: impl Into<String>) -> Refusal {
    Refusal { code: "usage".to_owned(), text: text.into(), exit: Exit::Usage }
}

pub fn failed(text: impl Into<String>) -> Refusal {
    Refusal { code: "failed".to_owned(), text: text.into(), exit: Exit::Failed }
}

/// An error of the file system: not being root is told apart.
pub fn io_refusal(action: &str, path: &Path, error: &std::io::Error) -> Refusal {
    let text = format!("{action} {}: {error}", path.display());
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Refusal {
            code: "not-authorised".to_owned(),
            text: format!("{text}; run the command as root"),
            exit: Exit::NotAuthorised,
        };
    }
    failed(text)
}

/// `*`, or names with commas between them.
fn nodes_of(text: Option<&str>) -> Result<Nodes, Refusal> {
    let Some(text) = text else { return Ok(Nodes::Local) };
    if text == "*" {
        return Ok(Nodes::All);
    }
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with('[') {
            continue; // `[http:9500],a,b`: the transport of the old program, ours has one.
        }
        let node = NodeName::new(part)
            .map_err(|error| usage(format!("-H takes \"*\" or node names with commas: {error}")))?;
        if !named.contains(&node) {
            named.push(node);
        }
    }
    if named.is_empty() {
        return Err(usage("-H takes \"*\" or node names with commas, e.g. -H n1,n2"));
    }
    Ok(Nodes::Named(named))
}

fn module_of_environment() -> Result<Option<ModuleName>, Refusal> {
    match std::env::var("SAFEMODULE") {
        Ok(text) if !text.is_empty() => ModuleName::new(&text)
            .map(Some)
            .map_err(|error| usage(format!("variable SAFEMODULE: {error}"))),
        _ => Ok(None),
    }
}

fn origin(identity: Option<String>) -> Origin {
    let uid = nix::unistd::getuid();
    let user = match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let tty = std::io::stdin().is_terminal().then(|| std::fs::read_link("/proc/self/fd/0").ok());
    let tty = tty.flatten().map(|path| {
        let path = path.to_string_lossy().into_owned();
        path.strip_prefix("/dev/").map(str::to_owned).unwrap_or(path)
    });
    Origin { user, tty, node: None, identity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_a_star_or_a_list() {
        let node = |name| NodeName::new(name).unwrap();
        assert_eq!(nodes_of(None).unwrap(), Nodes::Local);
        assert_eq!(nodes_of(Some("*")).unwrap(), Nodes::All);
        let two = Nodes::Named(vec![node("n1"), node("n2")]);
        assert_eq!(nodes_of(Some("n1,n2")).unwrap(), two);
        assert_eq!(nodes_of(Some("[http:9500], n1 ,n2,n1")).unwrap(), two);
        for bad in ["", ",", "a/b", "n1,http://n2"] {
            assert_eq!(nodes_of(Some(bad)).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn the_name_is_the_end_of_the_program_file() {
        for (program, name) in [
            ("lockstep", Name::Lockstep),
            ("/var/lib/lockstep/safe/safekit", Name::Safekit),
            ("/var/lib/lockstep/safe/lockstep", Name::Lockstep),
            ("", Name::Lockstep),
        ] {
            assert_eq!(Name::of(&program.into()), name, "{program}");
        }
    }
}
