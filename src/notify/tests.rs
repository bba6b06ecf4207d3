//! Goal: what is an event, what goes into a batch and when, and that each kind of receiver gets it.
mod delivery;
mod observing;
mod outbox;

use super::*;
use crate::metrics::tests::{at, node};

fn event(text: &str, severity: Severity) -> Notification {
    Notification {
        code: Code::State,
        severity,
        time: at(1000),
        node: node("n1"),
        module: crate::model::ModuleName::new("web").ok(),
        text: text.to_owned(),
        advice: "look".to_owned(),
    }
}

fn batch(texts: &[&str]) -> Batch {
    let events = texts.iter().map(|text| event(text, Severity::Info)).collect();
    Batch { id: "n1-1-mail-1-1".to_owned(), events, dropped: 2 }
}

#[test]
fn the_document_is_as_described() {
    let expected = serde_json::json!({
        "schema": 1, "id": "n1-1-mail-1-1", "dropped": 2,
        "events": [{
            "code": "state", "severity": "info", "time": "1970-01-01T00:16:40.000Z",
            "node": "n1", "module": "web", "text": "a", "advice": "look",
        }],
    });
    assert_eq!(document(&batch(&["a"])), expected);
}

#[test]
fn a_mail_is_headed_by_the_gravest() {
    let mut batch = batch(&["first"]);
    batch.events.push(event("grave\nline", Severity::Critical));
    batch.events.push(event("grave too", Severity::Critical));
    assert_eq!(message::subject(&batch), "[n1] critical: grave line (and 2 more)");
    let body = message::body(&batch);
    for part in ["1970-01-01T00:16:40Z", "first", "What to do: look", "2 events before these"] {
        assert!(body.contains(part), "{part}: {body}");
    }
}
