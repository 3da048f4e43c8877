//! Looking into objects as kubectl prints them, without a panic on what is not there.

use serde_json::Value;

/// The value at a JSON pointer (`/status/phase`); null when there is none.
pub fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    object.pointer(pointer).unwrap_or(&NULL)
}

/// The text there; empty when it is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).as_str().unwrap_or_default()
}

/// The list there; empty when it is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_empty() {
        let pod = json!({"status": {"phase": "Running", "conditions": [1]}});
        assert_eq!(text(&pod, "/status/phase"), "Running");
        assert_eq!(text(&pod, "/spec/node"), "");
        assert_eq!(list(&pod, "/status/conditions").len(), 1);
        assert!(list(&pod, "/status/phase").is_empty() && at(&pod, "/x").is_null());
    }
}
