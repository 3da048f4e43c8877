//! A watch that tells only of changes that matter: shared by both controllers.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, Hash, RandomState};

use futures::{Stream, StreamExt as _};
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector::ObjectRef};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::error::watch_words;

/// A tick whenever an object came, went, or changed in what `looked_at` returns.
///
/// kube's predicates swallow the end of an object whose looked-at fields are as before, hence this. Errors are retried
/// with growing delays for ever; the objects that went meanwhile are noticed by the list that follows.
pub fn of<K, T>(
    api: Api<K>,
    config: watcher::Config,
    looked_at: impl Fn(&K) -> T + Send + 'static,
) -> impl Stream<Item = ()> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Hash,
{
    let mut seen = Seen::default();
    watcher(api, config).default_backoff().filter_map(move |event| {
        let matters = match event {
            Ok(event) => seen.matters(event, &looked_at),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), "watch failed, trying again: {}", watch_words(&error));
                false
            }
        };
        std::future::ready(matters.then_some(()))
    })
}

/// What was seen of each object last.
#[derive(Default)]
struct Seen {
    known: HashMap<String, u64>,
    /// While a list comes in: what it has shown so far.
    listed: HashMap<String, u64>,
    random: RandomState,
}

impl Seen {
    fn matters<K: Resource<DynamicType = ()>, T: Hash>(
        &mut self,
        event: Event<K>,
        looked_at: impl Fn(&K) -> T,
    ) -> bool {
        match event {
            Event::Apply(object) => {
                let hash = self.random.hash_one(looked_at(&object));
                self.known.insert(key(&object), hash) != Some(hash)
            }
            Event::Delete(object) => self.known.remove(&key(&object)).is_some(),
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(object) => {
                let hash = self.random.hash_one(looked_at(&object));
                self.listed.insert(key(&object), hash);
                false
            }
            Event::InitDone => {
                let before = std::mem::replace(&mut self.known, std::mem::take(&mut self.listed));
                before != self.known
            }
        }
    }
}

/// An object and not its name alone: one that was deleted and made anew is another.
fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", ObjectRef::from_obj(object), object.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;

    fn node(name: &str, region: &str, version: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node.metadata.resource_version = Some(version.into());
        node.metadata.labels = Some([("region".to_owned(), region.to_owned())].into());
        node
    }

    #[test]
    fn only_what_matters_ticks() {
        let mut seen = Seen::default();
        let mut matters = |event| seen.matters(event, |node: &Node| node.labels().get("region").cloned());
        for (event, expected) in vec![
            (Event::Init, false),
            (Event::InitApply(node("a", "x", "1")), false),
            (Event::InitDone, true),
            (Event::Apply(node("a", "x", "2")), false),
            (Event::Apply(node("a", "y", "3")), true),
            (Event::Apply(node("b", "y", "4")), true),
            (Event::Delete(node("b", "y", "4")), true),
            // The watch broke and nothing happened meanwhile.
            (Event::Init, false),
            (Event::InitApply(node("a", "y", "9")), false),
            (Event::InitDone, false),
            // The watch broke and the node went meanwhile.
            (Event::Init, false),
            (Event::InitDone, true),
        ] {
            let what = format!("{event:?}");
            assert_eq!(matters(event), expected, "{what}");
        }
    }
}
