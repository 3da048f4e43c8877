//! The node table: what the helpers said with their last probes.
//!
//! Whoever may ask this cache may write into it. So it is bounded in every direction, it is shown to people, and
//! nothing here acts on it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use regcache_runtime::probe::Report;
use tokio::time::Instant;

/// How long a report is good; a helper sends one at least every 30 s.
const EXPIRY: Duration = Duration::from_secs(90);
/// Nodes at a time.
const MOST_NODES: usize = 5000;
/// All reports together, bytes. A usual one has 300.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Reports by node, in memory only.
#[derive(Debug, Default)]
pub struct Nodes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<String, Row>,
    bytes: usize,
    /// When the table was last swept because it was full: not for each report that does not fit.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    /// The report as JSON: a third of what its parts would take.
    report: Box<str>,
    at: Instant,
}

impl Nodes {
    /// Takes up the report in a probe's headers, if there is one.
    pub fn note(&self, headers: &HeaderMap) {
        let Some(report) = Report::from_headers(headers) else {
            return;
        };
        let Ok(text) = serde_json::to_string(&report) else {
            return;
        };
        self.table().insert(report.node, text.into_boxed_str(), Instant::now());
    }

    /// How many nodes have reported.
    pub fn count(&self) -> usize {
        let now = Instant::now();
        self.table().rows.values().filter(|row| row.is_good(now)).count()
    }

    /// `{"nodes":[{"ageSeconds":3,"node":"n1","plan":"…","upstreams":{…}},…]}`, in the order of their names.
    pub fn document(&self) -> String {
        let now = Instant::now();
        let table = self.table();
        let mut rows: Vec<_> = table.rows.iter().filter(|(_, row)| row.is_good(now)).collect();
        rows.sort_unstable_by_key(|(node, _)| *node);
        let mut document = String::with_capacity(table.bytes + rows.len() * 24 + 16);
        document.push_str("{\"nodes\":[");
        for (index, (_, row)) in rows.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let age = now.saturating_duration_since(row.at).as_secs();
            let fields = row.report.strip_prefix('{').unwrap_or("}");
            // Writing to a string cannot fail.
            let _ = write!(document, "{comma}{{\"ageSeconds\":{age},{fields}");
        }
        document.push_str("]}");
        document
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, node: String, report: Box<str>, now: Instant) {
        self.remove(&node);
        if !self.has_room(&node, &report) {
            self.sweep(now);
            if !self.has_room(&node, &report) {
                return;
            }
        }
        self.bytes += node.len() + report.len();
        self.rows.insert(node, Row { report, at: now });
    }

    fn has_room(&self, node: &str, report: &str) -> bool {
        self.rows.len() < MOST_NODES && self.bytes + node.len() + report.len() <= MOST_BYTES
    }

    fn remove(&mut self, node: &str) {
        if let Some(row) = self.rows.remove(node) {
            self.bytes -= node.len() + row.report.len();
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self
            .swept
            .is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1))
        {
            return;
        }
        self.swept = Some(now);
        self.rows.retain(|_, row| row.is_good(now));
        self.bytes = self.rows.iter().map(|(node, row)| node.len() + row.report.len()).sum();
    }
}

impl Row {
    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < EXPIRY
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use regcache_runtime::probe::UpstreamReport;

    use super::*;

    fn report(node: &str) -> HeaderMap {
        let (state, reason) = ("Skipped".to_owned(), "somebody else's \"hosts.toml\"".to_owned());
        let report = Report {
            node: node.to_owned(),
            plan: "0123".to_owned(),
            containerd: None,
            upstreams: BTreeMap::from([("docker.io".to_owned(), UpstreamReport { state, reason })]),
        };
        report.to_headers()
    }

    fn nodes(document: &str) -> Vec<serde_json::Value> {
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        document["nodes"].as_array().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn last_report_of_each_node_is_shown_with_its_age() {
        let table = Nodes::default();
        assert_eq!(table.document(), r#"{"nodes":[]}"#);
        table.note(&report("n2"));
        table.note(&report("n1"));
        tokio::time::advance(Duration::from_secs(7)).await;
        table.note(&report("n2"));
        let rows = nodes(&table.document());
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[0]["node"], &rows[0]["ageSeconds"]), (&"n1".into(), &7.into()));
        assert_eq!((&rows[1]["node"], &rows[1]["ageSeconds"]), (&"n2".into(), &0.into()));
        let read: Report = serde_json::from_value(rows[1].clone()).unwrap();
        assert_eq!(read.to_headers(), report("n2"));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_node_is_forgotten() {
        let table = Nodes::default();
        table.note(&report("n1"));
        tokio::time::advance(Duration::from_secs(60)).await;
        table.note(&report("n2"));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(table.count(), 1);
        assert_eq!(nodes(&table.document())[0]["node"], "n2");
    }

    #[tokio::test(start_paused = true)]
    async fn table_is_bounded_and_makes_room_when_others_expire() {
        let table = Nodes::default();
        for number in 0..MOST_NODES + 10 {
            table.note(&report(&format!("n{number}")));
        }
        assert_eq!(table.count(), MOST_NODES);
        // Those that are in stay in.
        table.note(&report("n0"));
        assert_eq!(table.count(), MOST_NODES);
        tokio::time::advance(EXPIRY).await;
        table.note(&report("late"));
        assert_eq!(table.count(), 1);
        assert!(table.table().bytes < 1000);
    }

    #[test]
    fn probe_without_a_report_changes_nothing() {
        let table = Nodes::default();
        table.note(&HeaderMap::new());
        assert_eq!(table.count(), 0);
    }
}
