//! The environment of a script: what SafeKit promises, what we add, and nothing inherited.
use super::{ScriptCall, ScriptSetup};
use std::ffi::OsString;

const PATH_TAIL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names and values. Later entries win: a module's `<var>` may set `PATH` or `LANG`, but not
/// what the product says of itself.
pub(super) fn of(setup: &ScriptSetup, call: &ScriptCall) -> Vec<(OsString, OsString)> {
    let mut path = setup.safe_dir.clone().into_os_string();
    path.push(":");
    path.push(PATH_TAIL);
    let mut all: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path),
        ("HOME".into(), "/root".into()),
        ("USER".into(), "root".into()),
        ("LOGNAME".into(), "root".into()),
        ("SHELL".into(), "/bin/sh".into()),
        ("LANG".into(), std::env::var_os("LANG").unwrap_or_else(|| "C.UTF-8".into())),
    ];
    if let Some(zone) = std::env::var_os("TZ") {
        all.push(("TZ".into(), zone));
    }
    let vars = setup.vars.iter().filter(|(name, value)| is_usable(name, value));
    all.extend(vars.map(|(name, value)| (name.into(), value.into())));
    let vips: Vec<String> = setup.vips.iter().map(ToString::to_string).collect();
    let own: [(&str, OsString); 14] = [
        ("SAFE", setup.safe_dir.clone().into()),
        ("SAFEMODULE", setup.module.as_str().into()),
        ("SAFEBIN", setup.safe_dir.clone().into()),
        ("SAFEUSERBIN", setup.active_dir.join("bin").into()),
        ("SAFEUSERCONF", setup.active_dir.join("conf").into()),
        ("SAFEVAR", setup.var_dir.clone().into()),
        ("SAFEUSERVAR", setup.log_dir.clone().into()),
        ("LOCKSTEP_MODULE", setup.module.as_str().into()),
        ("LOCKSTEP_NODE", setup.node.as_str().into()),
        ("LOCKSTEP_PEER", setup.peer.as_ref().map_or("", |peer| peer.as_str()).into()),
        ("LOCKSTEP_ROLE", call.role.as_str().into()),
        ("LOCKSTEP_VIP", vips.join(" ").into()),
        ("LOCKSTEP_MODULE_DIR", setup.active_dir.clone().into()),
        ("LOCKSTEP_REASON", call.reason.replace('\0', " ").into()),
    ];
    all.extend(own.map(|(name, value)| (name.into(), value)));
    let more = call.variables.iter().filter(|(name, value)| is_usable(name, value));
    all.extend(more.map(|(name, value)| (name.into(), value.into())));
    all
}

/// The kernel cannot carry anything else.
fn is_usable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}
