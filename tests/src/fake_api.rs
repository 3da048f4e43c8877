//! A Kubernetes API server in memory, for tests of the operator without a cluster.
//!
//! A request goes `request` (what is asked) -> `faults` (fail it on order) -> `verbs` (carry it out, with `ssa`,
//! `defaults` and `selector`) -> `store` (objects, versions, watches) -> `log`. `controllers` plays the rest of the
//! cluster when a test says so: nothing here happens by itself or by the clock.
//!
//! It answers as the real server does where a client can tell: defaults are filled in, field ownership decides what an
//! apply removes, a write without effect changes no version, immutable fields are refused, finalizers hold objects.

pub mod controllers;
pub mod defaults;
pub mod error;
pub mod faults;
pub mod fields;
pub mod log;
pub mod request;
pub mod resources;
pub mod selector;
pub mod ssa;
pub mod store;
pub mod verbs;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Resource;
use kube::client::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use faults::Fault;
pub use log::Action;

use controllers::Broken;
use error::ApiError;
use faults::Faults;
use request::Request;
use resources::{Key, ResourceType};
use store::Store;
use verbs::Reply;

type ResponseBody = BoxBody<Bytes, Infallible>;

/// The server. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    faults: Faults,
    broken: Broken,
    log: Vec<Action>,
}

impl FakeApi {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another server with the same objects, an empty log and no failures on order: to try several futures of one past.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock();
        let (store, broken) = (state.store.fork(), state.broken.clone());
        let state = State {
            store,
            broken,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of this server. Needs a running tokio runtime.
    pub fn client(&self, namespace: &str) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let api = api.clone();
            async move { api.serve(request).await }
        });
        kube::Client::new(service, namespace)
    }

    async fn serve(&self, request: http::Request<Body>) -> Result<http::Response<ResponseBody>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let answer = match Request::parse(&parts, body) {
            Ok(request) => self.lock().answer(&request),
            Err(error) => Err(Some(error)),
        };
        match answer {
            Ok(Reply::Document { code, body }) => Ok(document(code, &body)),
            Ok(Reply::Watch(events)) => {
                let frames = events.map(|line| Ok::<_, Infallible>(Frame::data(line)));
                Ok(http::Response::new(BodyExt::boxed(StreamBody::new(frames))))
            }
            Err(Some(error)) => Ok(document(error.code, &error.status())),
            Err(None) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "injected: no answer")),
        }
    }
}

fn document(code: u16, body: &Value) -> http::Response<ResponseBody> {
    let mut response = http::Response::new(BodyExt::boxed(Full::new(Bytes::from(body.to_string()))));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

impl State {
    /// Nothing as the error: the connection broke.
    fn answer(&mut self, request: &Request) -> Result<Reply, Option<ApiError>> {
        let number = self.log.len() as u64;
        let fault = self.faults.pick(number, request);
        let mut action = Action::new(request, &request.name);
        let answer = match fault {
            Some(Fault::LostReply) => {
                // Its result is nobody's to know.
                let _lost = self.carry_out(request, &mut action);
                Err(None)
            }
            Some(fault) => Err(fault.refusal()),
            None => self.carry_out(request, &mut action).map_err(Some),
        };
        action.code = match &answer {
            Ok(Reply::Document { code, .. }) => *code,
            Ok(Reply::Watch(_)) => 200,
            Err(Some(error)) => error.code,
            Err(None) => 0,
        };
        self.log.push(action);
        answer
    }

    fn carry_out(&mut self, request: &Request, action: &mut Action) -> Result<Reply, ApiError> {
        let before = self.store.version();
        let reply = verbs::run(&mut self.store, request)?;
        action.changed = self.store.version() != before;
        action.created = matches!(&reply, Reply::Document { code: 201, .. });
        if let (true, Reply::Document { body, .. }) = (action.name.is_empty() && action.created, &reply) {
            body.pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .clone_into(&mut action.name);
        }
        Ok(reply)
    }
}

/// The test's own hands: never failed on order, never logged.
impl FakeApi {
    /// Puts `object` in place as it is, status included.
    pub fn put<K: Resource<DynamicType = ()> + Serialize>(&self, object: &K) {
        let (Some(resource), Ok(value)) = (type_of::<K>(), serde_json::to_value(object)) else {
            return;
        };
        let meta = object.meta();
        let (name, namespace) = (
            meta.name.clone().unwrap_or_default(),
            meta.namespace.clone().unwrap_or_default(),
        );
        let key = Key::new(resource, &namespace, &name);
        let mut state = self.lock();
        let mut value = value;
        let old = state.store.get(&key).cloned();
        let base = old.unwrap_or_else(|| serde_json::json!({"metadata": {}}));
        if let (Some(new), Some(old)) = (
            value.get_mut("metadata").and_then(Value::as_object_mut),
            base.get("metadata").and_then(Value::as_object),
        ) {
            for kept in [
                "uid",
                "creationTimestamp",
                "generation",
                "resourceVersion",
                "managedFields",
            ] {
                if let Some(value) = old.get(kept) {
                    new.entry(kept).or_insert_with(|| value.clone());
                }
            }
        }
        ssa::update(resource.kind, &base, &mut value, "test", "");
        state.store.commit(resource, &key, value);
    }

    /// One object.
    pub fn get<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, namespace: &str, name: &str) -> Option<K> {
        let value = self
            .lock()
            .store
            .get(&Key::new(type_of::<K>()?, namespace, name))
            .cloned()?;
        serde_json::from_value(value).ok()
    }

    /// All objects of a kind.
    pub fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Vec<K> {
        let Some(resource) = type_of::<K>() else {
            return Vec::new();
        };
        let all = self.lock().store.list(resource, "");
        all.into_iter()
            .filter_map(|(_, value)| serde_json::from_value(value).ok())
            .collect()
    }

    /// Changes an object as its user would. False when there is none.
    pub fn edit<K>(&self, namespace: &str, name: &str, change: impl FnOnce(&mut K)) -> bool
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let Some(mut object) = self.get::<K>(namespace, name) else {
            return false;
        };
        change(&mut object);
        self.put(&object);
        true
    }

    /// Deletes an object as its user would: finalizers hold it.
    pub fn delete<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) {
        let Some(resource) = type_of::<K>() else { return };
        let request = Request {
            verb: "delete",
            resource,
            namespace: namespace.into(),
            name: name.into(),
            subresource: String::new(),
            query: std::collections::BTreeMap::new(),
            content_type: String::new(),
            user_agent: String::new(),
            body: Bytes::new(),
        };
        // Deleting what is not there is no mistake of a test.
        let _absent = verbs::run(&mut self.lock().store, &request);
    }

    /// Every object, without what changes from run to run: `kind namespace/name` and the object.
    pub fn snapshot(&self) -> Vec<(String, Value)> {
        let state = self.lock();
        let tidy = |value: &Value| {
            let mut value = value.clone();
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|name, _| {
                    !matches!(
                        name.as_str(),
                        "resourceVersion" | "uid" | "creationTimestamp" | "managedFields" | "generation"
                    )
                });
            }
            value
        };
        let objects = state.store.all();
        objects
            .map(|(key, value)| (format!("{} {}/{}", key.plural, key.namespace, key.name), tidy(value)))
            .collect()
    }

    /// How many requests there were.
    pub fn mark(&self) -> usize {
        self.lock().log.len()
    }

    /// The requests since `mark`.
    pub fn actions_since(&self, mark: usize) -> Vec<Action> {
        self.lock().log.iter().skip(mark).cloned().collect()
    }

    /// The requests since `mark` that ask for a change, whether or not it came about.
    pub fn writes_since(&self, mark: usize) -> Vec<Action> {
        self.actions_since(mark)
            .into_iter()
            .filter(|action| action.write)
            .collect()
    }

    /// Fails the request that is number `k` (from 0) from now on.
    pub fn fail_number(&self, k: u64, fault: Fault) {
        let mut state = self.lock();
        let now = state.log.len() as u64;
        state.faults.number(now + k, fault);
    }

    /// Fails every request with this verb (empty: any) for this kind's plural (empty: any).
    pub fn fail_every(&self, verb: &str, plural: &str, fault: Fault) {
        self.lock().faults.matching(verb, plural, fault);
    }

    /// No more failures.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Ends every watch.
    pub fn end_watches(&self) {
        self.lock().store.end_watches();
    }

    /// Binds claims.
    pub fn settle_claims(&self) {
        controllers::claims(&mut self.lock().store);
    }

    /// Makes Deployments available.
    pub fn settle_deployments(&self) {
        let state = &mut *self.lock();
        controllers::deployments(&mut state.store, &state.broken);
    }

    /// Gives DaemonSets their pods on the nodes that there are, and their numbers.
    pub fn settle_daemonsets(&self) {
        let state = &mut *self.lock();
        controllers::daemon_sets(&mut state.store, &state.broken);
    }

    /// Takes away what has no owner any more.
    pub fn gc(&self) {
        controllers::collect_garbage(&mut self.lock().store);
    }

    /// One turn of every simulated controller.
    pub fn settle(&self) {
        self.gc();
        self.settle_claims();
        self.settle_deployments();
        self.settle_daemonsets();
    }

    /// From the next turn on this Deployment is (not) available.
    pub fn break_deployment(&self, name: &str, broken: bool) {
        let set = &mut self.lock().broken.deployments;
        if broken {
            set.insert(name.into())
        } else {
            set.remove(name)
        };
    }

    /// From the next turn on the pods on this node are not ready, since that time; nothing: they are well.
    pub fn break_node(&self, name: &str, since: Option<jiff::Timestamp>) {
        let nodes = &mut self.lock().broken.nodes;
        match since {
            Some(since) => nodes.insert(name.into(), since),
            None => nodes.remove(name),
        };
    }
}

fn type_of<K: Resource<DynamicType = ()>>() -> Option<&'static ResourceType> {
    resources::find(&K::group(&()), &K::version(&()), &K::plural(&()))
}
