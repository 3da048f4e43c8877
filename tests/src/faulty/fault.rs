//! What can go wrong, and for which requests.

use serde::{Deserialize, Serialize};

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Takes the request and never answers.
    Silent,
    /// Sends the headers, and then no body.
    HeadersOnly,
    /// Sends half of the body, and then nothing more.
    HalfStall,
    /// Sends half of the body and resets the connection.
    HalfReset,
    /// Sends half of the body and closes the connection orderly.
    HalfFin,
    /// A body of the right size with a wrong byte in its middle.
    WrongBytes,
    /// Answers with the status in [`Fault::status`].
    Status,
    /// Sends [`Fault::bytes_per_second`].
    Trickle,
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Blobs.
    Blobs,
    /// Manifests, by tag or digest.
    Manifests,
    /// Every request but the readiness probe of `/`.
    #[default]
    All,
}

/// A fault as it is set over the debug port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// To which requests.
    #[serde(default, rename = "match")]
    pub class: Class,
    /// To how many; none: to all.
    #[serde(default)]
    pub count: Option<u64>,
    /// Only to answers with a body of at least this size.
    #[serde(default)]
    pub min_bytes: u64,
    /// Only to requests of this repository.
    #[serde(default)]
    pub repository: Option<String>,
    /// The status of [`Kind::Status`]; 503 if absent.
    #[serde(default)]
    pub status: Option<u16>,
    /// The speed of [`Kind::Trickle`]; 1024 if absent.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// Also to the readiness probe of `/`.
    #[serde(default)]
    pub probes: bool,
}

impl Fault {
    /// A fault for all requests.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            class: Class::All,
            count: None,
            min_bytes: 0,
            repository: None,
            status: None,
            bytes_per_second: None,
            probes: false,
        }
    }

    /// A fault for blobs of at least `min_bytes`.
    pub fn of_blobs(kind: Kind, min_bytes: u64) -> Self {
        Self {
            class: Class::Blobs,
            min_bytes,
            ..Self::new(kind)
        }
    }

    /// Every request gets this status.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::new(Kind::Status)
        }
    }

    /// The same for the first `count` requests only.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    /// Whether the answer has to be known before the fault can be chosen.
    fn needs_answer(&self) -> bool {
        self.min_bytes > 0 || !matches!(self.kind, Kind::Silent | Kind::Status)
    }

    fn fits(&self, asked: &Asked<'_>) -> bool {
        let is_body_fault = !matches!(self.kind, Kind::Silent | Kind::Status);
        let fits_class = match self.class {
            Class::Blobs => asked.path.contains("/blobs/"),
            Class::Manifests => asked.path.contains("/manifests/"),
            Class::All => asked.path != "/" || self.probes,
        };
        let fits_repository = self
            .repository
            .as_ref()
            .is_none_or(|name| asked.path.starts_with(&format!("/v2/{name}/")));
        let has_body = asked.method == "GET" && asked.body.is_some_and(|size| size > 0);
        fits_class
            && fits_repository
            && (!is_body_fault || has_body)
            && (self.min_bytes == 0 || asked.body.is_some_and(|size| size >= self.min_bytes))
    }
}

/// A request, as far as a fault cares.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `GET`.
    pub method: &'a str,
    /// Without query.
    pub path: &'a str,
    /// Size of the honest answer's body; none: not known yet.
    pub body: Option<u64>,
}

/// The faults that are set; the first that fits counts.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Replaces all.
    pub fn set(&mut self, faults: Vec<Fault>) {
        self.0 = faults;
    }

    /// Those that are left.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }

    /// The fault for a request, counted. Called before the answer is known (`body` none) and again after.
    pub fn take(&mut self, asked: &Asked<'_>) -> Option<Fault> {
        let is_due = |fault: &Fault| fault.count != Some(0) && (asked.body.is_some() || !fault.needs_answer());
        let fault = self.0.iter_mut().find(|fault| is_due(fault) && fault.fits(asked))?;
        if let Some(count) = &mut fault.count {
            *count -= 1;
        }
        Some(fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &'static str, path: &'static str, body: Option<u64>) -> Asked<'static> {
        Asked { method, path, body }
    }

    #[test]
    fn a_counted_fault_wears_off() {
        let mut faults = Faults::default();
        faults.set(vec![Fault::of_blobs(Kind::HalfReset, 1000).times(1)]);
        let blob = asked("GET", "/v2/a/blobs/sha256:0", Some(5000));
        assert_eq!(
            faults.take(&asked("GET", "/v2/a/blobs/sha256:1", Some(10))),
            None,
            "too small"
        );
        assert!(faults.take(&blob).is_some());
        assert_eq!(faults.take(&blob), None);
    }

    #[test]
    fn readiness_probes_are_spared_unless_asked_for() {
        let mut faults = Faults::default();
        faults.set(vec![Fault::new(Kind::Silent)]);
        assert_eq!(faults.take(&asked("GET", "/", None)), None);
        assert!(faults.take(&asked("GET", "/v2/", None)).is_some());
        faults.set(vec![Fault {
            probes: true,
            ..Fault::new(Kind::Silent)
        }]);
        assert!(faults.take(&asked("GET", "/", None)).is_some());
    }

    #[test]
    fn faults_of_bodies_wait_for_the_body_and_spare_head() {
        let mut faults = Faults::default();
        faults.set(vec![Fault::new(Kind::HeadersOnly)]);
        assert_eq!(faults.take(&asked("GET", "/v2/a/blobs/sha256:0", None)), None);
        assert_eq!(faults.take(&asked("HEAD", "/v2/a/blobs/sha256:0", Some(9))), None);
        assert!(faults.take(&asked("GET", "/v2/a/blobs/sha256:0", Some(9))).is_some());
    }

    #[test]
    fn the_wire_form_is_plain_and_typos_are_refused() {
        let fault: Fault =
            serde_json::from_str(r#"{"kind": "half-stall", "match": "blobs", "count": null, "min_bytes": 7}"#).unwrap();
        assert_eq!(fault, Fault::of_blobs(Kind::HalfStall, 7));
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "silent", "macth": "blobs"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "slient"}"#).is_err());
    }
}
