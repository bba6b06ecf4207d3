//! A configuration for a module that runs: mistakes first, then what needs a stop, then it acts.
use super::context::usage;
use super::lists::short;
use super::offline::{lines, refusal};
use crate::api::response::code;
use crate::api::{Command, Exit, Refusal, Request, Response};
use crate::config::paths::Paths;
use crate::config::store::{Change, ModuleStore};
use crate::model::{ModuleName, State};

/// Carries out `config` or `-E` for a module that is in this state. A refusal has changed nothing.
pub fn configure(paths: &Paths, request: &Request, state: State) -> Response {
    let Some(module) = &request.module else {
        return Response::Refused(usage("the request names no module"));
    };
    let store = ModuleStore::new(paths.clone());
    look(&store, module, &request.command)
        .and_then(|change| apply(&store, module, &request.command, &change, state))
        .unwrap_or_else(Response::Refused)
}

fn look(store: &ModuleStore, module: &ModuleName, command: &Command) -> Result<Change, Refusal> {
    let Command::Import { package } = command else {
        return store.change(module).map_err(|error| refusal(&error));
    };
    let (name, change) = store.change_by(package).map_err(|error| refusal(&error))?;
    if name != *module {
        return Err(usage(format!("the package holds module {name}, and {module} was named")));
    }
    Ok(change)
}

fn apply(
    store: &ModuleStore,
    module: &ModuleName,
    command: &Command,
    change: &Change,
    state: State,
) -> Result<Response, Refusal> {
    if !change.needs_stop.is_empty() {
        let text = format!(
            "module {module} is {state}, and these changes need a stop: {}. Nothing was changed. \
             Stop it first (`lockstep stop -m {module}`, the secondary before the primary), then \
             do this again",
            change.needs_stop.join(", ")
        );
        return Err(Refusal { code: code::RUNNING.to_owned(), text, exit: Exit::Refused });
    }
    if let Command::Import { package } = command {
        store.import(package).map_err(|error| refusal(&error))?;
    }
    if change.nothing {
        return Ok(Response::ok_with(format!("module {module} runs with it already")));
    }
    let applied = store.configure_live(module).map_err(|error| refusal(&error))?;
    Ok(Response::ok_with(format!(
        "{}module {module} configured, digest {}, while it runs: nothing was restarted",
        lines(&applied.notes),
        short(&applied.digest)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Origin;
    use crate::model::{Readiness, Role};
    use std::fs;

    /// Mistakes are told although the module runs; what needs a stop is named; the rest is applied.
    #[test]
    fn mistakes_come_before_the_state_of_the_module() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let module = ModuleName::new("web").unwrap();
        let store = ModuleStore::new(paths.clone());
        store.install(&module, None, None, false).unwrap();
        let xml = paths.module_edited(&module).join("conf/userconfig.xml");
        let text = fs::read_to_string(&xml).unwrap();
        let text = text.replace("dir=\"\"", "dir=\"/srv/web\"");
        let text = text.replace("addr=\"\"", "addr=\"192.0.2.7\"");
        fs::write(&xml, &text).unwrap();
        store.configure(&module).unwrap();
        assert_eq!(store.active(&module).unwrap().config.startable(), Ok(()));
        let running = State::new(Role::Prim, Readiness::Ready);
        let config = Request::new(Origin::default(), Some(module.clone()), Command::Config);
        let asked = |text: &str| {
            fs::write(&xml, text).unwrap();
            configure(&paths, &config, running)
        };
        let digest = || store.active(&module).unwrap().digest;
        let before = digest();
        let wrong = asked(&text.replace("/srv/web", "srv/web"));
        assert_eq!((wrong.exit(), digest()), (Exit::Usage, before.clone()));
        let moved = asked(&text.replace("/srv/web", "/srv/elsewhere"));
        let Response::Refused(refusal) = &moved else { panic!("{moved:?}") };
        assert_eq!((refusal.exit, refusal.code.as_str()), (Exit::Refused, code::RUNNING));
        assert!(
            refusal.text.contains("PRIM Ready") && refusal.text.contains("<rfs>"),
            "{refusal:?}"
        );
        assert_eq!(digest(), before);
        // The same for what another node sends; its edited copy is not even put here.
        let package = store.export(&module).unwrap();
        fs::write(&xml, &text).unwrap();
        let sent = Command::Import { package };
        let sent = Request::new(Origin::default(), Some(module.clone()), sent);
        assert_eq!(configure(&paths, &sent, running).exit(), Exit::Refused);
        assert_eq!(fs::read_to_string(&xml).unwrap(), text);
        let watched = asked(&text.replace(
            "<user",
            "<errd><proc name=\"a\" class=\"prim\" \
             action=\"restart\"/></errd><user",
        ));
        let Response::Ok { text: Some(said) } = &watched else { panic!("{watched:?}") };
        assert!(said.ends_with("while it runs: nothing was restarted"), "{said}");
        assert_ne!(digest(), before);
    }
}
