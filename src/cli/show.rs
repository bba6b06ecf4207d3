//! The answers of one or more nodes, as text or as one JSON document.
use super::context::{Context, Name};
use super::{json, state};
use crate::api::{Data, Reply, Response};

impl Context<'_> {
    /// Shows what was answered; the exit code is the first one that is not 0.
    pub fn show(&mut self, replies: &[Reply]) -> u8 {
        self.show_with(replies, |data| state::text(data, false))
    }

    /// As `show`, with the text of data made by `text`.
    pub fn show_with(&mut self, replies: &[Reply], text: impl Fn(&Data) -> String) -> u8 {
        self.show_at(replies, 0, text)
    }

    /// As `show_with`; where every node has answered, `answered` is the exit code.
    pub fn show_at(
        &mut self,
        replies: &[Reply],
        answered: u8,
        text: impl Fn(&Data) -> String,
    ) -> u8 {
        let replies: Vec<&Reply> =
            replies.iter().filter(|r| !matches!(r.response, Response::Progress { .. })).collect();
        let exit = replies.iter().map(|reply| self.exit_of_reply(reply)).find(|code| *code != 0);
        let exit = exit.unwrap_or(answered);
        if self.json {
            self.print_json(exit, replies.iter().map(|reply| json::answer(reply)).collect());
        }
        let several = self.nodes != crate::api::Nodes::Local;
        for reply in replies {
            self.show_one(reply, several, &text);
        }
        exit
    }

    fn exit_of_reply(&self, reply: &Reply) -> u8 {
        match &reply.response {
            Response::Refused(refusal) => self.exit_of(refusal),
            _ => 0,
        }
    }

    fn show_one(&mut self, reply: &Reply, several: bool, text: &impl Fn(&Data) -> String) {
        let node = reply.node.as_ref().map_or("local", |node| node.as_str());
        if let Response::Refused(refusal) = &reply.response {
            if several && self.name == Name::Safekit && !self.json {
                self.print(&format!("{}\n", header(node)));
            }
            let place = if several { format!("{node}: ") } else { String::new() };
            let sentence = format!("{}: {place}{}", self.name.as_str(), refusal.text);
            self.say(&sentence);
            return;
        }
        if self.json {
            return;
        }
        let body = match &reply.response {
            Response::Ok { text } => text.clone().unwrap_or_default(),
            Response::Data { data } => text(data),
            Response::Refused(_) | Response::Progress { .. } => String::new(),
        };
        let body = body.trim_end();
        let shown = match (several, self.name) {
            (false, _) if body.is_empty() => String::new(),
            (false, _) => format!("{body}\n"),
            (true, Name::Safekit) if body.is_empty() => format!("{}\nSuccess\n", header(node)),
            (true, Name::Safekit) => format!("{}\n{body}\nSuccess\n", header(node)),
            (true, Name::Lockstep) if body.is_empty() => format!("{node}: done\n"),
            (true, Name::Lockstep) if !body.contains('\n') => format!("{node}: {body}\n"),
            (true, Name::Lockstep) => format!("{node}:\n{body}\n"),
        };
        self.print(&shown);
    }
}

/// What scripts of the old program split its output by.
fn header(node: &str) -> String {
    format!("---------------- Server={node} ----------------")
}
