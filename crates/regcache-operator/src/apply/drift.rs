//! Whether a live object has all that we would apply: a walk over both, with the server's habits in mind.

use serde_json::Value;

/// Keys that identify the elements of lists which the API server merges by key.
const KEYS: [&str; 6] = ["uid", "name", "mountPath", "containerPort", "port", "ip"];

/// True when every field of `desired` is in `live` with the same value.
///
/// * Maps: others may have added keys.
/// * Lists of named things (containers, ports, variables …): each of ours is there; others may have added some, which
///   an apply of ours would not remove either. All other lists: equal, in order.
/// * What the server leaves out (empty text, list or map, `false`, 0) equals nothing at all.
/// * Quantities: `1024Mi` is what the server writes as `1Gi`.
pub fn contains(live: &Value, desired: &Value) -> bool {
    walk(live, desired, false)
}

/// `quantities`: the values of this map are quantities.
fn walk(live: &Value, desired: &Value, quantities: bool) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, desired)| match live.get(key) {
            Some(live) => walk(
                live,
                desired,
                matches!(key.as_str(), "requests" | "limits") || quantities && !desired.is_object(),
            ),
            None => is_nothing(desired),
        }),
        (Value::Array(live), Value::Array(desired)) => match desired.iter().map(key).collect::<Option<Vec<_>>>() {
            Some(keys) if !keys.is_empty() => keys.iter().zip(desired).all(|((name, key), desired)| {
                live.iter()
                    .any(|live| live.get(name) == Some(*key) && walk(live, desired, false))
            }),
            _ => {
                live.len() == desired.len()
                    && live
                        .iter()
                        .zip(desired)
                        .all(|(live, desired)| walk(live, desired, false))
            }
        },
        (Value::String(live), Value::String(desired)) if quantities => {
            live == desired || matches!((quantity(live), quantity(desired)), (Some(a), Some(b)) if a == b)
        }
        (live, desired) => live == desired || is_nothing(live) && is_nothing(desired),
    }
}

/// What identifies an element of a list that is merged by key.
fn key(element: &Value) -> Option<(&'static str, &Value)> {
    KEYS.iter().find_map(|name| Some((*name, element.get(*name)?)))
}

/// What the server leaves out when it writes an object.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        // `emptyDir: {}` is kept by the server, and then `live` has it; a map of nothings may be left out.
        Value::Object(value) => value.values().all(is_nothing),
    }
}

/// A Kubernetes quantity in thousandths; nothing for what is none, or too large or fine to be compared.
pub fn quantity(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (numerator, denominator): (i128, i128) = match suffix {
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1000_i128.pow(2), 1),
        "G" => (1000_i128.pow(3), 1),
        "T" => (1000_i128.pow(4), 1),
        "P" => (1000_i128.pow(5), 1),
        "E" => (1000_i128.pow(6), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(denominator)?;
    let thousandths = digits.checked_mul(numerator)?.checked_mul(1000)?;
    // Finer than a thousandth is rounded up, as the server does.
    Some(thousandths.div_euclid(scale) + i128::from(thousandths.rem_euclid(scale) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_servers_habits_are_no_drift() {
        for (live, desired) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1})),
            (
                json!({}),
                json!({"a": false, "b": "", "c": [], "d": {}, "e": null, "f": 0}),
            ),
            (
                json!({"containers": [{"name": "injected"}, {"name": "a", "image": "i", "terminationMessagePath": "/x"}]}),
                json!({"containers": [{"name": "a", "image": "i"}]}),
            ),
            (
                json!({"resources": {"requests": {"cpu": "50m", "memory": "1Gi"}}}),
                json!({"resources": {"requests": {"cpu": "0.05", "memory": "1024Mi"}}}),
            ),
            (
                json!({"ports": [{"port": 5000, "protocol": "TCP"}, {"port": 5001, "protocol": "TCP"}]}),
                json!({"ports": [{"port": 5001}, {"port": 5000}]}),
            ),
        ] {
            assert!(contains(&live, &desired), "{live} has {desired}");
        }
    }

    #[test]
    fn drift_is_found() {
        for (live, desired) in [
            (json!({"a": 2}), json!({"a": 1})),
            (json!({"a": true}), json!({"a": false})),
            (json!({}), json!({"a": 1})),
            (json!({"args": ["a", "b"]}), json!({"args": ["a"]})),
            (json!({"args": ["b", "a"]}), json!({"args": ["a", "b"]})),
            (
                json!({"containers": [{"name": "a", "image": "other"}]}),
                json!({"containers": [{"name": "a", "image": "i"}]}),
            ),
            (
                json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "r"}]}, {}]}),
                json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "r"}]}]}),
            ),
            (json!({"requests": {"cpu": "51m"}}), json!({"requests": {"cpu": "50m"}})),
            // Only quantities are compared as such.
            (json!({"data": {"k": "1Gi"}}), json!({"data": {"k": "1024Mi"}})),
        ] {
            assert!(!contains(&live, &desired), "{live} lacks {desired}");
        }
    }

    #[test]
    fn quantities_are_read_as_the_server_reads_them() {
        for (text, thousandths) in [
            ("1", Some(1000)),
            ("50m", Some(50)),
            ("0.05", Some(50)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("2E", Some(2_000_000_000_000_000_000_000)),
            ("0.0001", Some(1)),
            ("-1", Some(-1000)),
            ("", None),
            ("Gi", None),
            ("1 Gi", None),
            ("1Gb", None),
        ] {
            assert_eq!(quantity(text), thousandths, "{text}");
        }
    }
}
