//! A batch as JSON for programs and as a mail for people.
use super::notification::{Notification, Severity};
use super::outbox::Batch;
use serde_json::{Value, json};

/// Version of the document; fields may be added without a new one.
pub const SCHEMA: u32 = 1;

/// What webhooks and commands get; described in `src/docs/json.md`.
pub fn document(batch: &Batch) -> Value {
    json!({
        "schema": SCHEMA,
        "id": batch.id,
        "dropped": batch.dropped,
        "events": batch.events,
    })
}

/// The gravest event, the first of several.
pub(super) fn subject(batch: &Batch) -> String {
    let gravest = |best: Option<&'_ Notification>, event: &Notification| {
        best.is_none_or(|best| event.severity > best.severity)
    };
    let mut head: Option<&Notification> = None;
    for event in &batch.events {
        if gravest(head, event) {
            head = Some(event);
        }
    }
    let Some(head) = head else { return "Lockstep".to_owned() };
    let more = match batch.events.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    // A subject is one short line.
    let text: String = head.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let short: String = text.chars().take(120).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("[{}] {}: {short}{cut}{more}", head.node, word(head.severity))
}

pub(super) fn body(batch: &Batch) -> String {
    let mut text = String::new();
    for event in &batch.events {
        let time = format!("{:.0}", event.time);
        text.push_str(&format!("{time}  {}  {}\n", word(event.severity), event.text));
        if !event.advice.is_empty() {
            text.push_str(&format!("    What to do: {}\n", event.advice));
        }
    }
    if batch.dropped > 0 {
        text.push_str(&format!("\n{} events before these could not be sent.\n", batch.dropped));
    }
    text.push_str(&format!("\nMessage {}\n", batch.id));
    text
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "information",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
