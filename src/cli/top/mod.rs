//! `top`: roles, throughput, latency, lag and returns of all modules on all nodes, live.
//!
//! Two threads ask: one this node, one all of them, so that a node that does not answer holds up
//! nothing. Without a terminal, with `--once` or `--json`, everybody is asked for three seconds and
//! the result is printed once.
mod meter;
mod table;

use super::args::TopOptions;
use super::ask::refusal;
use super::context::Context;
use crate::api::client::{self, ClientError};
use crate::api::{Command, Data, ModuleView, Nodes, Refusal, Reply, Request, Response};
use crate::config::paths::Paths;
use crate::model::{ModuleName, NodeName};
use meter::{Meter, Rate};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between two questions to a node.
const LOOK: Duration = Duration::from_millis(250);
/// How long counters are looked at before they are printed once.
const ONCE: Duration = Duration::from_secs(3);
/// What a node said is shown so long after it fell silent.
const STALE: Duration = Duration::from_secs(5);

type Answers = Result<Vec<Reply>, ClientError>;

pub fn top(context: &mut Context<'_>, options: &TopOptions) -> Result<u8, Refusal> {
    let live = !options.once && !context.json && std::io::stdout().is_terminal();
    let mut picture = Picture::new(context.module.take());
    let (to, answers) = channel();
    match &context.nodes {
        Nodes::Local | Nodes::All => {
            ask(context, Nodes::Local, to.clone());
            ask(context, Nodes::All, to);
        }
        named => ask(context, named.clone(), to),
    }
    let every = if live { Duration::from_secs_f64(options.interval) } else { ONCE };
    if live {
        context.print("\x1b[2J");
    }
    loop {
        picture.listen(&answers, every)?;
        if !live {
            return Ok(once(context, &picture));
        }
        let head = picture.head(options.interval);
        if !context.still_read(&frame(&(head + &picture.text()))) {
            return Ok(0);
        }
    }
}

/// Asks again and again, until nobody listens.
fn ask(context: &Context<'_>, nodes: Nodes, to: Sender<Answers>) {
    let paths: Paths = context.paths.clone();
    let request = Request::new(context.origin.clone(), None, Command::State).on(nodes);
    std::thread::spawn(move || {
        while to.send(client::call(&paths, &request)).is_ok() {
            std::thread::sleep(LOOK);
        }
    });
}

/// Over the one before, without a flicker: lines that are too long are cut by the terminal.
fn frame(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\r\n");
    format!("\x1b[?7l\x1b[H{lines}\x1b[J\x1b[?7h")
}

fn once(context: &mut Context<'_>, picture: &Picture) -> u8 {
    let refused = picture.silent.values();
    let exit = refused.map(|refusal| context.exit_of(refusal)).find(|exit| *exit != 0);
    let exit = exit.unwrap_or(0);
    if context.json {
        let rows = picture.rows();
        let nodes: Vec<NodeName> = picture.nodes();
        let answers = nodes.iter().map(|node| match picture.silent.get(node) {
            Some(refusal) => super::json::refusal(Some(node), refusal),
            None => {
                let own = rows.iter().filter(|row| row.node == *node).map(table::Row::json);
                super::json::found(Some(node), own.collect())
            }
        });
        let answers = answers.collect();
        context.print_json(exit, answers);
        return exit;
    }
    context.print(&table::text(&picture.rows()));
    for refusal in picture.silent.values() {
        context.say(&format!("{}: {}", context.name.as_str(), refusal.text));
    }
    exit
}

/// What all have said.
struct Picture {
    begin: Instant,
    /// When the last answer came in.
    now: Duration,
    module: Option<ModuleName>,
    views: BTreeMap<(NodeName, ModuleName), Seen>,
    /// Nodes that do not answer, and how that is said.
    silent: BTreeMap<NodeName, Refusal>,
}

struct Seen {
    view: ModuleView,
    meter: Meter,
    at: Duration,
}

impl Picture {
    fn new(module: Option<ModuleName>) -> Picture {
        let (views, silent) = (BTreeMap::new(), BTreeMap::new());
        Picture { begin: Instant::now(), now: Duration::ZERO, module, views, silent }
    }

    /// Takes in what comes in this time.
    ///
    /// # Errors
    /// This node's daemon does not answer.
    fn listen(&mut self, answers: &Receiver<Answers>, time: Duration) -> Result<(), Refusal> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(Ok(replies)) => self.take(replies, self.begin.elapsed()),
                Ok(Err(error)) => return Err(refusal(&error)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take(&mut self, replies: Vec<Reply>, now: Duration) {
        self.now = now;
        for reply in replies {
            let Some(node) = reply.node else { continue };
            match reply.response {
                Response::Data { data: Data::Modules(views) } => {
                    self.silent.remove(&node);
                    self.views.retain(|(known, module), _| {
                        *known != node || views.iter().any(|view| view.module == *module)
                    });
                    views.into_iter().for_each(|view| self.see(view, now));
                }
                // A node without a cluster has no others.
                Response::Refused(refusal) if refusal.code != "no-cluster" => {
                    self.silent.insert(node, refusal);
                }
                _ => {}
            }
        }
    }

    fn see(&mut self, view: ModuleView, now: Duration) {
        if self.module.as_ref().is_some_and(|module| *module != view.module) {
            return;
        }
        let key = (view.node.clone(), view.module.clone());
        let mut meter = self.views.remove(&key).map(|seen| seen.meter).unwrap_or_default();
        match view.engine_status() {
            Some(status) => meter.look(now, status.operations, status.bytes),
            None => meter = Meter::default(),
        }
        self.views.insert(key, Seen { view, meter, at: now });
    }

    fn nodes(&self) -> Vec<NodeName> {
        let answering = self.views.keys().map(|(node, _)| node);
        let all: BTreeSet<_> = answering.chain(self.silent.keys()).collect();
        all.into_iter().cloned().collect()
    }

    fn rows(&self) -> Vec<table::Row> {
        // One that hangs neither answers nor is known to be silent yet.
        let answers =
            |seen: &&Seen| !self.silent.contains_key(&seen.view.node) && self.now < seen.at + STALE;
        let views: Vec<(ModuleView, Option<Rate>)> = self
            .views
            .values()
            .filter(answers)
            .map(|seen| (seen.view.clone(), seen.meter.rate()))
            .collect();
        let known: BTreeSet<&NodeName> = self.views.keys().map(|(node, _)| node).collect();
        let heard = |node: &NodeName| views.iter().any(|(view, _)| view.node == *node);
        let silent = known.into_iter().chain(self.silent.keys()).filter(|node| !heard(node));
        let silent: Vec<NodeName> = silent.cloned().collect();
        table::rows(&views, &silent)
    }

    fn text(&self) -> String {
        let mut text = table::text(&self.rows());
        for refusal in self.silent.values() {
            text.push_str(&format!("{}\n", refusal.text));
        }
        text
    }

    fn head(&self, interval: f64) -> String {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        format!("lockstep top  {now}  every {interval} s, Ctrl-C ends\n\n")
    }
}

#[cfg(test)]
mod tests;
