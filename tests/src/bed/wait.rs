//! Waiting for a condition, in place of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long between two looks at a condition. A look is often a kubectl, which costs a tenth of a second of CPU.
const INTERVAL: Duration = Duration::from_millis(250);

/// What a look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// It holds; the wait ends with this value.
    Done(T),
    /// It does not hold yet; the text is the state, for the error message.
    NotYet(String),
}

/// Looks again and again until `look` is done. The error says what was awaited, for how long, and the last state.
///
/// An `Err` from `look` counts as "not yet", since most of what is looked at (an API server, a pod) comes and goes.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let state = match look() {
            Ok(Look::Done(value)) => return Ok(value),
            Ok(Look::NotYet(state)) => state,
            Err(error) => format!("{error:#}"),
        };
        super::interrupt::check()?;
        if started.elapsed() >= timeout {
            return Err(anyhow!("waited {timeout:?} in vain for {what}; last state: {state}"));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Waits until a plain condition holds. Goes on after Ctrl-C, since the cleaning itself waits with it.
pub fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() >= timeout {
            return Err(anyhow!("waited {timeout:?} in vain for {what}"));
        }
        std::thread::sleep(INTERVAL / 5);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_what_was_awaited_and_the_last_state() {
        let error = wait_for::<()>("the pod", Duration::ZERO, || Ok(Look::NotYet("Pending".to_owned()))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the pod") && text.contains("Pending"), "{text}");
    }

    #[test]
    fn an_error_while_looking_is_not_the_end() {
        let mut looks = 0;
        let value = wait_for("three looks", Duration::from_secs(5), || {
            looks += 1;
            if looks < 3 {
                Err(anyhow!("refused"))
            } else {
                Ok(Look::Done(looks))
            }
        });
        assert_eq!(value.unwrap(), 3);
    }
}
