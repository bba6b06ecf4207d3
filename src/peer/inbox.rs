//! Requests that arrived, so that one sent again over another lan is carried out once.
//!
//! Plain bookkeeping: the caller carries requests out and brings the answers.
use super::message::{Answer, RequestId};
use crate::model::ModuleName;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// Answers remembered for each life of a peer's daemon.
const ANSWERS_MAX: usize = 256;
/// Lives of peers remembered. A peer that restarts does not repeat requests of its former life.
const LIVES_MAX: usize = 16;

/// What to do with a request that arrived.
pub(super) enum Arrival {
    /// Carry it out, then [`Inbox::answered`].
    Fresh,
    /// It was here before: wait until the answer is there.
    Repeated(watch::Receiver<Option<Arc<Answer>>>),
    /// So old that its answer is forgotten.
    Forgotten,
}

/// Whether a report says how things are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Newest,
    /// A newer message about the module was here before: it came by a slower way.
    Overtaken,
}

#[derive(Default)]
pub(super) struct Inbox {
    lives: HashMap<u64, Life>,
    /// Lives in the order of their first request.
    order: Vec<u64>,
}

#[derive(Default)]
struct Life {
    requests: BTreeMap<u64, watch::Sender<Option<Arc<Answer>>>>,
    answered: usize,
    /// Everything up to this number that is not in `requests` was answered and forgotten.
    forgotten: u64,
    /// Number of the newest message about each module.
    newest: HashMap<ModuleName, u64>,
}

impl Inbox {
    pub(super) fn arrive(&mut self, id: RequestId) -> Arrival {
        if !self.lives.contains_key(&id.incarnation) {
            if self.order.len() == LIVES_MAX {
                self.lives.remove(&self.order.remove(0));
            }
            self.order.push(id.incarnation);
        }
        let life = self.lives.entry(id.incarnation).or_default();
        if let Some(answer) = life.requests.get(&id.number) {
            return Arrival::Repeated(answer.subscribe());
        }
        if id.number <= life.forgotten {
            return Arrival::Forgotten;
        }
        life.requests.insert(id.number, watch::Sender::new(None));
        Arrival::Fresh
    }

    /// Notes a message about `module` that is about to be delivered.
    pub(super) fn deliver(&mut self, id: RequestId, module: &ModuleName) -> Age {
        let Some(life) = self.lives.get_mut(&id.incarnation) else { return Age::Newest };
        let newest = life.newest.entry(module.clone()).or_default();
        if id.number < *newest {
            return Age::Overtaken;
        }
        *newest = id.number;
        Age::Newest
    }

    pub(super) fn answered(&mut self, id: RequestId, answer: Arc<Answer>) {
        let Some(life) = self.lives.get_mut(&id.incarnation) else { return };
        let Some(request) = life.requests.get(&id.number) else { return };
        request.send_replace(Some(answer));
        life.answered += 1;
        while life.answered > ANSWERS_MAX {
            let oldest = life.requests.iter().find(|(_, answer)| answer.borrow().is_some());
            let Some((&number, _)) = oldest else { break };
            life.requests.remove(&number);
            life.forgotten = life.forgotten.max(number);
            life.answered -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PeerReply;

    fn id(number: u64) -> RequestId {
        RequestId { incarnation: 1, number }
    }

    fn done() -> Arc<Answer> {
        Arc::new(Answer::Module { reply: PeerReply::Done })
    }

    #[test]
    fn a_request_is_carried_out_once_however_often_it_arrives() {
        let mut inbox = Inbox::default();
        assert!(matches!(inbox.arrive(id(1)), Arrival::Fresh));
        let Arrival::Repeated(waiting) = inbox.arrive(id(1)) else { panic!("fresh twice") };
        assert!(waiting.borrow().is_none());
        inbox.answered(id(1), done());
        assert!(waiting.borrow().is_some());
        assert!(matches!(inbox.arrive(id(1)), Arrival::Repeated(_)));
        let restarted = RequestId { incarnation: 2, number: 1 };
        assert!(matches!(inbox.arrive(restarted), Arrival::Fresh));
    }

    #[test]
    fn a_message_that_was_overtaken_is_known() {
        let (mut inbox, web) = (Inbox::default(), ModuleName::new("web").unwrap());
        for number in [5, 7, 6] {
            inbox.arrive(id(number));
        }
        assert_eq!(inbox.deliver(id(5), &web), Age::Newest);
        assert_eq!(inbox.deliver(id(7), &web), Age::Newest);
        assert_eq!(inbox.deliver(id(6), &web), Age::Overtaken);
        assert_eq!(inbox.deliver(id(6), &ModuleName::new("db").unwrap()), Age::Newest);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_carried_out_again() {
        let mut inbox = Inbox::default();
        // One that takes long stays, whatever comes after it.
        assert!(matches!(inbox.arrive(id(1)), Arrival::Fresh));
        let many = ANSWERS_MAX as u64 + 10;
        for number in 2..=many {
            assert!(matches!(inbox.arrive(id(number)), Arrival::Fresh));
            inbox.answered(id(number), done());
        }
        assert!(matches!(inbox.arrive(id(1)), Arrival::Repeated(_)));
        assert!(matches!(inbox.arrive(id(2)), Arrival::Forgotten));
        assert!(matches!(inbox.arrive(id(many)), Arrival::Repeated(_)));
        assert!(inbox.lives[&1].requests.len() <= ANSWERS_MAX + 1);
        for incarnation in 10..10 + 2 * LIVES_MAX as u64 {
            inbox.arrive(RequestId { incarnation, number: 1 });
        }
        assert_eq!(inbox.lives.len(), LIVES_MAX);
    }
}
