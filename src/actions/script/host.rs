//! Virtual host names (`<vhost>`): a script and everything that it starts live in a UTS namespace
//! of their own, so that gethostname(2), uname(2) and `hostname` answer the name that moves with
//! the application. SafeKit preloads a library for this; a namespace also reaches programs that
//! are linked statically or clear their environment. What another process starts on behalf of a
//! script (`systemctl start`, `docker run`) keeps the name of its own.
use super::Script;
use crate::model::Role;
use std::io;

/// Names by the `when=` of `<virtualhostname>`; the first of each counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames {
    pub prim: Option<String>,
    pub second: Option<String>,
    pub both: Option<String>,
}

impl HostNames {
    /// The name that this script sees; `None`: that of the node.
    ///
    /// ```text
    /// start_prim, stop_prim, applications           prim, else both
    /// start_second, stop_second                     second, else both
    /// start_both, stop_both, start_sec, stop_sec    both: they belong to both roles
    /// transition, checkers, programs of errd        as the role has it
    /// prestart, poststop, configuration             none: the module has no role
    /// ```
    pub(super) fn of(&self, script: &Script, role: Role) -> Option<&str> {
        let name = match script {
            Script::StartPrim | Script::StopPrim | Script::Application(_) => {
                self.prim.as_ref().or(self.both.as_ref())
            }
            Script::StartSecond | Script::StopSecond => self.second.as_ref().or(self.both.as_ref()),
            Script::StartBoth | Script::StopBoth | Script::StartSec | Script::StopSec => {
                self.both.as_ref()
            }
            Script::Transition | Script::Update | Script::State | Script::Level => self.role(role),
            Script::Other(_) => self.role(role),
            Script::Prestart
            | Script::Poststop
            | Script::Config
            | Script::Postconfig
            | Script::Deconfig
            | Script::Confcheck => None,
        };
        name.map(String::as_str)
    }

    fn role(&self, role: Role) -> Option<&String> {
        match role {
            Role::Alone | Role::Prim => self.prim.as_ref().or(self.both.as_ref()),
            Role::Second => self.second.as_ref().or(self.both.as_ref()),
            Role::Stop | Role::Wait => None,
        }
    }
}

/// Gives this process, and whatever it starts from now on, the name. Two system calls and nothing
/// else, so that a child may do it between fork and exec.
pub(super) fn take(name: &str) -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_sees_the_name_of_its_class() {
        let some = |name: &str| Some(name.to_owned());
        let all = HostNames { prim: some("p"), second: some("s"), both: some("b") };
        let of = |names: &HostNames, script: Script, role| {
            names.of(&script, role).unwrap_or("-").to_owned()
        };
        assert_eq!(of(&all, Script::StopPrim, Role::Wait), "p");
        assert_eq!(of(&all, Script::Application("ocf.db".into()), Role::Wait), "p");
        assert_eq!(of(&all, Script::StartSecond, Role::Second), "s");
        assert_eq!(of(&all, Script::StartBoth, Role::Alone), "b");
        assert_eq!(of(&all, Script::Other("check".into()), Role::Prim), "p");
        assert_eq!(of(&all, Script::Prestart, Role::Wait), "-");
        let both = HostNames { both: some("b"), ..HostNames::default() };
        assert_eq!(of(&both, Script::StartPrim, Role::Alone), "b");
        assert_eq!(of(&both, Script::StopSecond, Role::Wait), "b");
        let prim = HostNames { prim: some("p"), ..HostNames::default() };
        assert_eq!(of(&prim, Script::StartSecond, Role::Second), "-");
        assert_eq!(of(&prim, Script::Other("check".into()), Role::Second), "-");
    }
}
