//! What was measured: rows of numbers, each with its pass mark for the engine, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::scenario::About;
use crate::server::Kind;

/// A larger share of processors taken by others is worth a remark.
const BUSY: f64 = 0.1;

/// What a number counts, which is how it is written.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Of things.
    Count,
    /// Times what it had to be.
    Factor,
    /// Seconds.
    Seconds,
    /// Processor seconds per GB (10^9 bytes).
    CpuPerGb,
    /// MiB.
    Mib,
    /// MB (10^6 bytes) in a second.
    MbPerSecond,
}

/// What the engine has to reach.
#[derive(Clone, Copy)]
pub enum Mark {
    /// Nothing: for comparison.
    None,
    /// No more than this.
    AtMost(f64),
    /// No more than so many times another column's.
    AtMostOf(f64, Kind),
    /// No less than another column's.
    AtLeastOf(Kind),
}

/// One kind of number of a scenario.
#[derive(Clone, Copy)]
pub struct Row {
    /// What it is.
    pub label: &'static str,
    /// How it counts.
    pub unit: Unit,
    /// What the engine has to reach.
    pub mark: Mark,
}

/// A scenario's rows, filled.
#[derive(Serialize)]
struct Section {
    name: String,
    title: &'static str,
    /// The share of the processors that others took just before.
    taken: f64,
    rows: Vec<Line>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    label: &'static str,
    unit: Unit,
    /// What the mark is, in words; empty for none.
    mark: String,
    /// Whether the engine reaches it; none when there is no mark or no number.
    reached: Option<bool>,
    values: BTreeMap<Kind, f64>,
}

/// All that was measured.
#[derive(Serialize)]
pub struct Table {
    /// The columns, from left to right.
    servers: Vec<Kind>,
    versions: Vec<String>,
    scenarios: Vec<Section>,
}

/// The numbers of one server in one scenario, by their rows' labels, and what has to be said about them.
#[derive(Default)]
pub struct Outcome {
    values: Vec<(&'static str, f64)>,
    notes: Vec<String>,
}

impl Outcome {
    /// Puts down a number.
    pub fn set(&mut self, label: &'static str, value: f64) {
        self.values.push((label, value));
    }

    /// Puts down a remark.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }
}

impl Table {
    /// An empty one.
    pub fn new(servers: Vec<Kind>, versions: Vec<String>) -> Self {
        Self {
            servers,
            versions,
            scenarios: Vec::new(),
        }
    }

    /// Adds a scenario and returns its text. `taken`: see [`crate::others::share`].
    pub fn add(&mut self, name: String, taken: f64, about: &About, outcomes: Vec<(Kind, Outcome)>) -> String {
        let mut lines: Vec<Line> = about.rows.iter().map(|row| line(row, &outcomes)).collect();
        lines.retain(|line| !line.values.is_empty());
        let mut notes: Vec<String> = outcomes
            .into_iter()
            .flat_map(|(kind, outcome)| {
                let say = move |note| format!("{}: {note}", kind.title());
                outcome.notes.into_iter().map(say)
            })
            .collect();
        if taken > BUSY {
            notes.push(format!(
                "before it began, {:.0} % of the processors were taken by others: walls, first bytes and throughput \
                 depend on that",
                taken * 100.0
            ));
        }
        let section = Section {
            name,
            title: about.title,
            taken,
            rows: lines,
            notes,
        };
        let text = section.text(&self.servers);
        self.scenarios.push(section);
        text
    }

    /// The line above the columns.
    pub fn heading(&self) -> String {
        let mut text = format!("{:<44}", "");
        for kind in &self.servers {
            let _ = write!(text, "{:>15}", kind.title());
        }
        format!("{}\n\n{text}  mark for regcache-proxy", self.versions.join("\n"))
    }

    /// How many marks the engine was measured against, and how many of them it missed.
    pub fn marks(&self) -> (usize, usize) {
        let reached: Vec<bool> = self
            .scenarios
            .iter()
            .flat_map(|section| &section.rows)
            .filter_map(|line| line.reached)
            .collect();
        (reached.len(), reached.iter().filter(|reached| !**reached).count())
    }
}

impl Section {
    fn text(&self, servers: &[Kind]) -> String {
        let mut text = format!("{} ({})\n", self.title, self.name);
        for line in &self.rows {
            let _ = write!(text, "  {:<42}", line.label);
            for kind in servers {
                let value = line.values.get(kind);
                let _ = write!(
                    text,
                    "{:>15}",
                    value.map_or("-".to_owned(), |value| line.unit.write(*value))
                );
            }
            let _ = match line.reached {
                _ if line.mark.is_empty() => writeln!(text),
                Some(true) => writeln!(text, "  ok      {}", line.mark),
                Some(false) => writeln!(text, "  MISSED  {}", line.mark),
                None => writeln!(text, "          {}", line.mark),
            };
        }
        for note in &self.notes {
            let _ = writeln!(text, "  * {note}");
        }
        text
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Factor => format!("{value:.2} x"),
            Self::Seconds if value < 0.1 => format!("{:.0} ms", value * 1000.0),
            Self::Seconds => format!("{value:.2} s"),
            Self::CpuPerGb => format!("{value:.3} s/GB"),
            Self::Mib => format!("{value:.1} MiB"),
            Self::MbPerSecond => format!("{value:.0} MB/s"),
        }
    }
}

/// A row with its numbers, judged.
fn line(row: &Row, outcomes: &[(Kind, Outcome)]) -> Line {
    let values: BTreeMap<Kind, f64> = outcomes
        .iter()
        .filter_map(|(kind, outcome)| {
            let (_, value) = outcome.values.iter().find(|(label, _)| *label == row.label)?;
            Some((*kind, *value))
        })
        .collect();
    let engine = values.get(&Kind::Regcache).copied();
    let judge = |limit: Option<f64>, most: bool| {
        let (engine, limit) = (engine?, limit?);
        Some(if most { engine <= limit } else { engine >= limit })
    };
    let (mark, reached) = match row.mark {
        Mark::None => (String::new(), None),
        Mark::AtMost(limit) => (format!("<= {}", row.unit.write(limit)), judge(Some(limit), true)),
        Mark::AtMostOf(times, kind) => {
            let limit = values.get(&kind).map(|value| value * times);
            (format!("<= {times} x {}", kind.title()), judge(limit, true))
        }
        Mark::AtLeastOf(kind) => (format!(">= {}", kind.title()), judge(values.get(&kind).copied(), false)),
    };
    Line {
        label: row.label,
        unit: row.unit,
        mark,
        reached,
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(mark: Mark, engine: Option<f64>, nginx: Option<f64>) -> Option<bool> {
        let row = Row {
            label: "wall",
            unit: Unit::Seconds,
            mark,
        };
        let outcome = |value: Option<f64>| Outcome {
            values: value.into_iter().map(|value| ("wall", value)).collect(),
            notes: Vec::new(),
        };
        let outcomes = [(Kind::Regcache, outcome(engine)), (Kind::Nginx, outcome(nginx))];
        line(&row, &outcomes).reached
    }

    #[test]
    fn marks_are_judged_by_the_engines_number() {
        assert_eq!(judged(Mark::AtMost(1.0), Some(1.0), None), Some(true));
        assert_eq!(judged(Mark::AtMost(1.0), Some(1.1), None), Some(false));
        assert_eq!(
            judged(Mark::AtMostOf(2.0, Kind::Nginx), Some(2.0), Some(1.0)),
            Some(true)
        );
        assert_eq!(judged(Mark::AtLeastOf(Kind::Nginx), Some(2.0), Some(3.0)), Some(false));
    }

    #[test]
    fn a_mark_without_its_numbers_is_not_judged() {
        assert_eq!(judged(Mark::AtMost(1.0), None, Some(1.0)), None);
        assert_eq!(judged(Mark::AtMostOf(1.0, Kind::Nginx), Some(1.0), None), None);
    }
}
