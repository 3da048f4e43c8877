//! What was asked of the server.

use std::fmt;

use super::request::Request;

/// One request and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Verb as RBAC names it.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Kind, as paths name it.
    pub resource: String,
    /// `status` or nothing.
    pub subresource: String,
    /// Namespace; empty outside namespaces.
    pub namespace: String,
    /// Name; empty for collections.
    pub name: String,
    /// HTTP status; 0 when there was no answer.
    pub code: u16,
    /// Whether the object came into being by it (an apply does that too, and needs `create` then).
    pub created: bool,
    /// Whether anything was changed by it.
    pub changed: bool,
    /// Whether it asks for a change.
    pub write: bool,
}

impl Action {
    /// `request`, not carried out yet.
    pub fn new(request: &Request, name: &str) -> Self {
        Self {
            verb: request.verb.into(),
            group: request.resource.group.into(),
            resource: request.resource.plural.into(),
            subresource: request.subresource.clone(),
            namespace: request.namespace.clone(),
            name: name.into(),
            code: 0,
            created: false,
            changed: false,
            write: request.is_write(),
        }
    }

    /// Whether it is `verb` on `resource`.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let Self {
            verb,
            resource,
            subresource,
            namespace,
            name,
            code,
            ..
        } = self;
        write!(f, "{verb} {resource}{slash}{subresource} {namespace}/{name} -> {code}")
    }
}
