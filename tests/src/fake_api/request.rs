//! A request as the server understands it: verb, address, options.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::error::ApiError;
use super::resources::{self, ResourceType};

/// One request.
#[derive(Debug)]
pub struct Request {
    /// The verb as RBAC names it.
    pub verb: &'static str,
    /// What kind it is about.
    pub resource: &'static ResourceType,
    /// Its namespace; empty for kinds outside namespaces and for all namespaces.
    pub namespace: String,
    /// The object; empty for collections.
    pub name: String,
    /// `status` or nothing.
    pub subresource: String,
    /// Options.
    pub query: BTreeMap<String, String>,
    /// What kind of patch it is.
    pub content_type: String,
    /// Who asks.
    pub user_agent: String,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Reads a request.
    pub fn parse(parts: &Parts, body: Bytes) -> Result<Self, ApiError> {
        let path = parts.uri.path();
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiError::not_found(path)),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && *rest != ["status"] => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Err(ApiError::not_found(path)),
        };
        let resource = resources::find(group, version, plural).ok_or_else(|| ApiError::not_found(path))?;
        if !subresource.is_empty() && (subresource != "status" || !resource.status) {
            return Err(ApiError::not_found(path));
        }
        let query: BTreeMap<String, String> = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        let watch = query.get("watch").is_some_and(|value| value == "true" || value == "1");
        let verb = match (&parts.method, name.is_empty()) {
            (&Method::GET, true) if watch => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, true) => "create",
            (&Method::PUT, false) => "update",
            (&Method::PATCH, false) => "patch",
            (&Method::DELETE, false) => "delete",
            (&Method::DELETE, true) => "deletecollection",
            _ => {
                return Err(ApiError::new(
                    405,
                    "MethodNotAllowed",
                    format!("{} {path}", parts.method),
                ));
            }
        };
        let header = |name| {
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Self {
            verb,
            resource,
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
            query,
            content_type: header(http::header::CONTENT_TYPE),
            user_agent: header(http::header::USER_AGENT),
            body,
        })
    }

    /// An option's value, or nothing.
    pub fn option(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }

    /// Who owns the fields that it writes.
    pub fn manager(&self) -> String {
        match (self.option("fieldManager"), self.user_agent.as_str()) {
            ("", "") => "unknown".into(),
            ("", agent) => agent.into(),
            (manager, _) => manager.into(),
        }
    }
}
