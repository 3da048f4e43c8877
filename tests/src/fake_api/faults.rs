//! Failures on order.

use super::error::ApiError;
use super::request::Request;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 403: a permission is missing.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 500.
    Internal,
    /// The connection breaks before the server has seen the request.
    Timeout,
    /// The server does as asked, but its answer is lost.
    LostReply,
}

impl Fault {
    /// Every way to fail.
    pub const ALL: [Self; 6] = [
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Internal,
        Self::Timeout,
        Self::LostReply,
    ];

    /// The server's answer; nothing when there is none.
    pub fn refusal(self) -> Option<ApiError> {
        let message = "injected by the test";
        Some(match self {
            Self::Forbidden => ApiError::new(403, "Forbidden", message),
            Self::NotFound => ApiError::new(404, "NotFound", message),
            Self::Conflict => ApiError::new(409, "Conflict", message),
            Self::Internal => ApiError::new(500, "InternalError", message),
            Self::Timeout | Self::LostReply => return None,
        })
    }
}

#[derive(Clone, Debug)]
enum Trigger {
    /// The request with this number, once.
    Number(u64),
    /// Every request with this verb (empty: any) for this kind's plural (empty: any).
    Matching(String, String),
}

/// The failures on order.
#[derive(Debug, Default)]
pub struct Faults {
    orders: Vec<(Trigger, Fault)>,
}

impl Faults {
    /// Fails the request number `number`.
    pub fn number(&mut self, number: u64, fault: Fault) {
        self.orders.push((Trigger::Number(number), fault));
    }

    /// Fails every request with this verb and kind.
    pub fn matching(&mut self, verb: &str, plural: &str, fault: Fault) {
        self.orders.push((Trigger::Matching(verb.into(), plural.into()), fault));
    }

    /// No more failures.
    pub fn clear(&mut self) {
        self.orders.clear();
    }

    /// How `request`, the one with this number, fails.
    pub fn pick(&self, number: u64, request: &Request) -> Option<Fault> {
        let meant = |trigger: &Trigger| match trigger {
            Trigger::Number(wanted) => *wanted == number,
            Trigger::Matching(verb, plural) => {
                (verb.is_empty() || verb == request.verb) && (plural.is_empty() || plural == request.resource.plural)
            }
        };
        self.orders
            .iter()
            .find(|(trigger, _)| meant(trigger))
            .map(|(_, fault)| *fault)
    }
}
