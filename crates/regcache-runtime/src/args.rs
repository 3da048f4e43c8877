//! Argument types.

use std::time::Duration;

/// Reads a duration as people write it: `500ms`, `60s`, `3m`, `1h30m`. For clap's `value_parser`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("\"{text}\" is not a duration: write for example 60s, 3m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| hint())?;
    Duration::try_from(parsed).map_err(|_| hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_refused() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "60", "-3s", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("60s"), "{wrong}");
        }
    }
}
