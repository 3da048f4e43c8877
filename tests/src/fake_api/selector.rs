//! Label selectors, field selectors and node selector terms.

use serde_json::Value;

/// A parsed `labelSelector` and `fieldSelector`.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: &[&str]) -> Self {
        Self {
            key: key.trim().into(),
            operator,
            values: values.iter().map(|value| value.trim().to_owned()).collect(),
        }
    }

    fn parse(text: &str) -> Self {
        let text = text.trim();
        let list = |rest: &str| -> Vec<String> {
            let inner = rest.trim().trim_start_matches('(').trim_end_matches(')');
            inner.split(',').map(|value| value.trim().to_owned()).collect()
        };
        if let Some((key, rest)) = text.split_once(" notin ") {
            return Self {
                values: list(rest),
                ..Self::new(key, Operator::NotIn, &[])
            };
        }
        if let Some((key, rest)) = text.split_once(" in ") {
            return Self {
                values: list(rest),
                ..Self::new(key, Operator::In, &[])
            };
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Self::new(key, Operator::NotIn, &[value]);
        }
        if let Some((key, value)) = text.split_once('=') {
            return Self::new(key, Operator::In, &[value.trim_start_matches('=')]);
        }
        match text.strip_prefix('!') {
            Some(key) => Self::new(key, Operator::DoesNotExist, &[]),
            None => Self::new(text, Operator::Exists, &[]),
        }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let named = value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value));
        match self.operator {
            Operator::In => named,
            Operator::NotIn => !named,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Reads both texts.
    pub fn parse(labels: &str, fields: &str) -> Self {
        let read = |text: &str| split(text).iter().map(|part| Requirement::parse(part)).collect();
        Self {
            labels: read(labels),
            fields: read(fields),
        }
    }

    /// Whether `object` is meant.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|map| map.get(key)).and_then(Value::as_str);
        let field = |path: &str| {
            let found = object.pointer(&format!("/{}", path.replace('.', "/")));
            Some(found.and_then(Value::as_str).unwrap_or_default())
        };
        self.labels.iter().all(|one| one.matches(label(&one.key)))
            && self.fields.iter().all(|one| one.matches(field(&one.key)))
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_u32);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Whether `node` meets the required node affinity of the pods of `workload`.
pub fn node_matches(workload: &Value, node: &Value) -> bool {
    let terms = workload.pointer(
        "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    let Some(terms) = terms.and_then(Value::as_array) else {
        return true;
    };
    let label = |key: &str| {
        node.pointer("/metadata/labels")
            .and_then(|map| map.get(key))
            .and_then(Value::as_str)
    };
    let meets = |term: &Value| {
        let expressions = term.get("matchExpressions").and_then(Value::as_array);
        expressions.into_iter().flatten().all(|expression| {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                _ => Operator::DoesNotExist,
            };
            let values = expression.get("values").and_then(Value::as_array);
            let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
            Requirement::new(text("key"), operator, &values).matches(label(text("key")))
        })
    };
    terms.iter().any(meets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_pick_as_the_real_server_does() {
        let object = json!({"metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}});
        for (labels, fields, wanted) in [
            ("", "", true),
            ("a=1,b==2", "", true),
            ("a in (1,3),b", "metadata.name=x", true),
            ("a notin (1)", "", false),
            ("!c,a!=2", "metadata.name!=y", true),
            ("c", "", false),
            ("", "metadata.name=y", false),
        ] {
            assert_eq!(
                Selector::parse(labels, fields).matches(&object),
                wanted,
                "{labels} {fields}"
            );
        }
    }
}
