//! Condition types, reasons and how to set one.
//!
//! A reason is at once the condition's reason, the event's reason and the label of the error metric.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The summary: caches serve and nodes use them.
pub const READY: &str = "Ready";
/// True while the operator is on its way to the spec (abnormal-true, kstatus).
pub const RECONCILING: &str = "Reconciling";
/// True when it cannot get there without somebody's help (abnormal-true, kstatus).
pub const STALLED: &str = "Stalled";
/// Every cache of this cluster's regions answers.
pub const CACHES_AVAILABLE: &str = "CachesAvailable";
/// Every node's helper is at work.
pub const NODES_CONFIGURED: &str = "NodesConfigured";
/// Every cache has its volume.
pub const STORAGE_HEALTHY: &str = "StorageHealthy";

/// Reasons, each used for one thing only.
pub mod reasons {
    /// All is well.
    pub const AS_DESIRED: &str = "AsDesired";
    /// The operator has not looked at the object yet.
    pub const PENDING: &str = "Pending";
    /// Caches are coming up.
    pub const CACHES_PROGRESSING: &str = "CachesProgressing";
    /// Nodes are being configured.
    pub const NODES_PROGRESSING: &str = "NodesProgressing";
    /// A plan is tried on a share of the nodes.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// A cache that was ready is not any more.
    pub const CACHE_UNAVAILABLE: &str = "CacheUnavailable";
    /// A cache's image cannot be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// A cache's program ends again and again.
    pub const CRASH_LOOP: &str = "CrashLoop";
    /// The StorageClass does not exist.
    pub const STORAGE_CLASS_NOT_FOUND: &str = "StorageClassNotFound";
    /// A volume is not bound yet.
    pub const VOLUME_PENDING: &str = "VolumePending";
    /// The API server refused a change of a volume.
    pub const VOLUME_CHANGE_REFUSED: &str = "VolumeChangeRefused";
    /// No region of the spec is one of this cluster's.
    pub const NO_LOCAL_REGION: &str = "NoLocalRegion";
    /// An older RegistryCache has this upstream.
    pub const UPSTREAM_TAKEN: &str = "UpstreamTaken";
    /// The spec cannot be carried out.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// `spec.paused` is true.
    pub const PAUSED: &str = "Paused";
    /// The kill switch is on.
    pub const STOPPED: &str = "Stopped";
    /// The object is being deleted; nodes let go first.
    pub const WITHDRAWING: &str = "Withdrawing";
    /// The nodes are left alone, as the spec says.
    pub const NODES_OFF: &str = "NodesOff";
    /// Helpers only say what they would do.
    pub const OBSERVING: &str = "Observing";
    /// The API server said no: a permission is missing.
    pub const DENIED: &str = "Denied";
    /// The API server could not be asked.
    pub const API_ERROR: &str = "ApiError";
}

/// Sets the condition `type_`; its transition time changes only when its status does.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: Option<bool>,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since = conditions
        .iter()
        .find(|old| old.type_ == type_ && old.status == status)
        .map_or_else(|| Time(now), |old| old.last_transition_time.clone());
    let condition = Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|old| old.type_ == type_) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// The condition `type_`, if it was ever set.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_changes_only_with_the_status() {
        let (early, late) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            READY,
            Some(false),
            reasons::PENDING,
            "a",
            Some(1),
            early,
        );
        set(
            &mut conditions,
            READY,
            Some(false),
            reasons::CACHES_PROGRESSING,
            "b",
            Some(2),
            late,
        );
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(early));
        assert_eq!(
            (conditions[0].message.as_str(), conditions[0].observed_generation),
            ("b", Some(2))
        );
        set(
            &mut conditions,
            READY,
            Some(true),
            reasons::AS_DESIRED,
            "c",
            Some(2),
            late,
        );
        assert_eq!(conditions[0].last_transition_time, Time(late));
    }
}
