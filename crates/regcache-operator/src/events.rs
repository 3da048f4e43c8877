//! Kubernetes events, on transitions only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Classify as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// Longest note that the API server takes, in bytes.
const NOTE: usize = 1024;

/// Publishes events; one for the whole program, since it merges repeated ones.
pub struct Events {
    recorder: Recorder,
    last: Mutex<HashMap<(Option<String>, String), String>>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// True: something is wrong.
    pub warning: bool,
    /// A constant of `regcache_api::conditions::reasons`.
    pub reason: &'static str,
    /// What the operator was doing: `Reconcile`, `Withdraw`.
    pub action: &'static str,
    /// The thing and the next step.
    pub text: String,
}

impl Events {
    /// Events by `instance` (the pod's name).
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let controller = regcache_api::labels::MANAGER.to_owned();
        Self {
            recorder: Recorder::new(client, Reporter { controller, instance }),
            last: Mutex::default(),
        }
    }

    /// Tells `note` about `object`. An event that cannot be written is logged and no more: events are for people, and
    /// no work may depend on them.
    pub async fn publish(&self, object: &ObjectReference, note: Note) {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            note: Some(cut(note.text)),
            action: note.action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::warn!(error = error.words(), reason = note.reason, "cannot write an event");
        }
    }

    /// Tells `note` about `object` unless the last one on the same `topic` had the same reason. For things that have no
    /// condition to remember their state; the memory ends with the process.
    pub async fn on_change(&self, object: &ObjectReference, topic: &str, note: Note) {
        let key = (object.uid.clone().or_else(|| object.name.clone()), topic.to_owned());
        let before = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, note.reason.to_owned());
        if before.as_deref() != Some(note.reason) {
            self.publish(object, note).await;
        }
    }
}

/// At most [`NOTE`] bytes, cut between characters.
fn cut(mut text: String) -> String {
    if text.len() > NOTE {
        let end = (0..=NOTE - 3).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        let long = cut("ä".repeat(600));
        assert!(long.len() <= NOTE && long.ends_with("ä..."), "{}", long.len());
    }
}
