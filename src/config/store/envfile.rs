//! The environment files of `<virtualhostname envfile=>`: scripts of SafeKit modules source them
//! from SAFEUSERBIN. The name itself is given to the script as a whole before it begins; the file
//! only says which one.
use super::*;
use crate::config::archive::Tree;
use crate::config::userconfig::VirtualHost;

/// Puts the files beside the scripts of the applied copy.
pub(super) fn put(
    hosts: &[VirtualHost],
    name: &ModuleName,
    active: &mut Tree,
) -> Result<(), StoreError> {
    for host in hosts {
        let file = format!("bin/{}", host.env_file);
        if active.get(&file).is_some_and(|entry| entry.mode & 0o111 != 0) {
            return Err(StoreError::Refused(format!(
                "module {name} has a program {file}, which <virtualhostname envfile=> would \
                 replace: choose another envfile="
            )));
        }
        active.put(&file, 0o644, text(&host.name).into_bytes());
    }
    Ok(())
}

/// A host name has no character that a shell knows.
fn text(name: &str) -> String {
    format!(
        "# Written by Lockstep when the module was configured, to be sourced by its scripts.\n\
         # A script of this class runs under the name already, with all that it starts.\n\
         HOSTNAME={name}\n\
         LOCKSTEP_VIRTUAL_HOSTNAME={name}\n\
         export HOSTNAME LOCKSTEP_VIRTUAL_HOSTNAME\n"
    )
}
