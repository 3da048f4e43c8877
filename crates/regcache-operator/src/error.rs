//! What kind of failure an error is, what it is called, and what people are told.

use kube::core::Status;

use regcache_api::conditions::reasons;

/// What has to happen before another attempt can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody has to change an object: trying again soon is of no use.
    Config,
    /// Somebody else wrote at the same time: look again and retry.
    Conflict,
    /// It may pass by itself: retry with growing delays.
    Transient,
    /// A permission (or a policy) stands in the way; the message names it.
    Denied,
}

/// Every error of a reconciliation says what it is called and what kind it is.
pub trait Classify: std::error::Error {
    /// A constant name: the label of the failure metric, and the reason of the event and the condition.
    fn reason(&self) -> &'static str;

    /// What has to happen before another attempt can succeed.
    fn class(&self) -> Class;

    /// What people read: the thing and the next step.
    fn words(&self) -> String {
        chain(self)
    }
}

impl Classify for kube::Error {
    fn reason(&self) -> &'static str {
        match self.class() {
            Class::Denied => reasons::DENIED,
            Class::Config => reasons::INVALID_SPEC,
            Class::Conflict | Class::Transient => reasons::API_ERROR,
        }
    }

    fn class(&self) -> Class {
        // By code: what stands between (a proxy, a path that is not served) writes codes and no reasons.
        match status(self).map(|status| status.code) {
            Some(403) => Class::Denied,
            Some(409) => Class::Conflict,
            Some(400 | 422) => Class::Config,
            // Not found: a namespace or CRD that is (still) missing. Everything else: servers and networks recover.
            _ => Class::Transient,
        }
    }

    fn words(&self) -> String {
        match status(self) {
            Some(status) if status.code == 403 => denied(&status.message),
            Some(status) if !status.message.is_empty() => status.message.clone(),
            Some(status) => format!("the API server answered {} {}", status.code, status.reason),
            // kube's own texts already contain their source.
            None => self.to_string(),
        }
    }
}

/// The API server's answer, when there was one.
pub fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// True when the object, or its whole kind, does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Why a watch failed; kube's own texts print whole structures.
pub fn watch_words(error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => error.words(),
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => error.to_string(),
    }
}

/// The API server's "forbidden" as a sentence that names the missing permission.
///
/// RBAC writes `… cannot VERB resource "R" in API group "G" …`; admission (quotas, Pod Security, policies) writes
/// something else, which is passed on as it is.
fn denied(message: &str) -> String {
    match message.split_once(" cannot ") {
        Some((_, permission)) => {
            format!(
                "a permission is missing, the operator may not {permission}: install the chart's RBAC of this version"
            )
        }
        None => format!("the API server refused: {message}"),
    }
}

/// True when RBAC stands in the way, and not an admission rule.
pub fn is_missing_permission(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 403 && status.message.contains(" cannot "))
}

/// An error and its sources, each said once: some (kube's) already repeat their source.
pub fn chain(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
        let kube = error.downcast_ref::<kube::Error>().or(boxed);
        let said = kube.map_or_else(|| error.to_string(), Classify::words);
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        // Behind kube's error there is nothing that its words do not say.
        source = if kube.is_some() { None } else { error.source() };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn answers_of_the_api_server_are_classified() {
        for (error, class, reason) in [
            (api(403, "Forbidden", "no"), Class::Denied, reasons::DENIED),
            (api(409, "Conflict", "no"), Class::Conflict, reasons::API_ERROR),
            (api(409, "AlreadyExists", "no"), Class::Conflict, reasons::API_ERROR),
            (api(422, "Invalid", "no"), Class::Config, reasons::INVALID_SPEC),
            (api(400, "BadRequest", "no"), Class::Config, reasons::INVALID_SPEC),
            (api(404, "NotFound", "no"), Class::Transient, reasons::API_ERROR),
            (api(500, "InternalError", "no"), Class::Transient, reasons::API_ERROR),
            (api(429, "TooManyRequests", "no"), Class::Transient, reasons::API_ERROR),
            (
                api(404, "Failed to parse error data", "404 page not found"),
                Class::Transient,
                reasons::API_ERROR,
            ),
            (api(403, "", "<html>"), Class::Denied, reasons::DENIED),
            (kube::Error::TlsRequired, Class::Transient, reasons::API_ERROR),
        ] {
            assert_eq!((error.class(), error.reason()), (class, reason), "{error}");
        }
    }

    #[test]
    fn a_denial_names_the_permission() {
        let rbac = r#"deployments.apps is forbidden: User "system:serviceaccount:regcache-system:regcache-operator" cannot create resource "deployments" in API group "apps" in the namespace "regcache-system""#;
        assert_eq!(
            api(403, "Forbidden", rbac).words(),
            r#"a permission is missing, the operator may not create resource "deployments" in API group "apps" in the namespace "regcache-system": install the chart's RBAC of this version"#
        );
        let quota = "exceeded quota: pods";
        assert_eq!(
            api(403, "Forbidden", quota).words(),
            "the API server refused: exceeded quota: pods"
        );
    }

    #[test]
    fn a_chain_says_each_error_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot list nodes")]
        struct Gather(#[source] kube::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("cannot apply")]
        struct Apply(#[source] Box<kube::Error>);
        let error = Gather(api(500, "InternalError", "etcd is away"));
        assert_eq!(chain(&error), "cannot list nodes: etcd is away");
        let error = Apply(Box::new(api(422, "Invalid", "too small")));
        assert_eq!(chain(&error), "cannot apply: too small");
    }
}
