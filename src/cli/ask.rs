//! One request: to the daemon, or answered from files where no daemon is needed.
use super::context::Context;
use super::offline;
use crate::api::client::{Client, ClientError};
use crate::api::{Command, Exit, Nodes, Noted, Refusal, Reply, Request, Response};

impl Context<'_> {
    pub fn request(&self, command: Command) -> Request {
        Request::new(self.origin.clone(), self.module.clone(), command).on(self.nodes.clone())
    }

    /// Asks the daemon. All answers, in the order of the nodes.
    pub fn ask(&mut self, command: Command) -> Result<Vec<Reply>, Refusal> {
        let request = self.request(command);
        self.send(&request).map_err(|error| refusal(&error))
    }

    pub fn send(&mut self, request: &Request) -> Result<Vec<Reply>, ClientError> {
        crate::api::client::call(&self.paths, request)
    }

    /// Asks the daemon where it runs; else, for this node alone, does it in files. For commands
    /// that a running module may forbid.
    pub fn ask_or_do(&mut self, command: Command) -> Result<Vec<Reply>, Refusal> {
        let request = self.request(command);
        match self.send(&request) {
            Err(ClientError::NotRunning(_)) if self.nodes == Nodes::Local => {
                self.in_files(&request)
            }
            other => other.map_err(|error| refusal(&error)),
        }
    }

    /// Does it in files; asks the daemons only where other nodes are meant.
    pub fn do_or_ask(&mut self, command: Command) -> Result<Vec<Reply>, Refusal> {
        if self.nodes != Nodes::Local {
            return self.ask(command);
        }
        let request = self.request(command);
        self.in_files(&request)
    }

    fn in_files(&self, request: &Request) -> Result<Vec<Reply>, Refusal> {
        let noted = Noted::of(request);
        match offline::answer(&self.paths, request) {
            Some(response) => {
                if let Some(noted) = noted {
                    noted.ended(&self.paths, &response);
                }
                Ok(vec![Reply::here(response)])
            }
            None => Err(refusal(&ClientError::NotRunning(self.paths.daemon_socket()))),
        }
    }

    /// Does what this program does by itself, without a request to anybody, and notes it.
    pub fn noting<T>(
        &mut self,
        command: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let noted = Noted::own(&self.request(Command::Ping), command);
        let done = work(self);
        let response = match &done {
            Ok(_) => Response::ok(),
            Err(refusal) => Response::Refused(refusal.clone()),
        };
        noted.ended(&self.paths, &response);
        done
    }

    /// Is a daemon there?
    pub fn daemon_answers(&self) -> bool {
        Client::connect(&self.paths.daemon_socket()).is_ok()
    }
}

pub fn refusal(error: &ClientError) -> Refusal {
    let (code, exit, text) = match error {
        ClientError::NotRunning(socket) => (
            "daemon-not-running",
            Exit::Failed,
            format!(
                "Error: lockstep daemon not running (nothing answers on {}); \
                 start it as root with `lockstep daemon`; if it ended by itself, daemon.log says why",
                socket.display()
            ),
        ),
        ClientError::NotAuthorised(_) => {
            ("not-authorised", Exit::NotAuthorised, format!("{error}; run the command as root"))
        }
        ClientError::TimedOut { pid, .. } => {
            let look = match pid {
                Some(pid) => format!(
                    "see `ps -o stat {pid}` (T: stopped, `kill -CONT {pid}` lets it go on) and \
                     daemon.log"
                ),
                None => "see `lockstep level` and daemon.log".to_owned(),
            };
            let text = format!("{error}; it is stopped or overloaded: {look}");
            ("daemon-silent", Exit::TimedOut, text)
        }
        other => {
            ("daemon-cut", Exit::Failed, format!("{other}; see `lockstep state` and daemon.log"))
        }
    };
    Refusal { code: code.to_owned(), text, exit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;
    use crate::cli::args::Common;
    use crate::cli::context::Name;
    use crate::config::paths::Paths;
    use crate::logbook::CommandEntry;

    #[test]
    fn a_command_is_noted_with_the_time_of_its_begin() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let output = Output { out: &mut out, err: &mut err };
        let context = Context::new(Name::Lockstep, &Common::default(), paths.clone(), output);
        let Ok(mut context) = context else { panic!("no context") };
        let during = context.noting("cluster join", |_| Ok(jiff::Timestamp::now())).unwrap();
        let noted = CommandEntry::last(&paths, 10, None).unwrap();
        assert!(noted[0].time <= during, "{} after {during}", noted[0].time);
    }
}
