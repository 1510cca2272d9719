//! A script as a file: slots, trigger and a step on each line.

use std::fmt;
use std::str::FromStr;

use evtchn_core::Trigger;

use crate::op::Op;
use crate::player::{Broken, Played, play_caught, shrink};
use crate::text::NoStep;

/// A script and what it is played on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many channels it can hold.
    pub slots: u16,
    /// The trigger of its loop.
    pub trigger: Trigger,
    /// Its steps.
    pub steps: Vec<Op>,
}

/// A text that is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoScript {
    /// It does not begin as one.
    #[error("it does not begin with \"slots N\" and \"trigger level\" or \"trigger edge\"")]
    NoHead,
    /// A line is no step.
    #[error("line {line}: {why}")]
    Step {
        /// Which line, the first being 1.
        line: usize,
        /// Why not.
        why: NoStep,
    },
}

impl Script {
    /// Plays it.
    ///
    /// # Errors
    /// [`Broken`], also where something panics.
    pub fn play(&self) -> Result<Played, Broken> {
        play_caught(self.slots, self.trigger, &self.steps)
    }

    /// The shortest script that breaks, of one that does.
    #[must_use]
    pub fn shrink(&self) -> Script {
        let (slots, steps) = shrink(self.slots, self.trigger, &self.steps);
        Script {
            slots,
            trigger: self.trigger,
            steps,
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trigger = match self.trigger {
            Trigger::Level => "level",
            Trigger::Edge => "edge",
        };
        writeln!(f, "slots {}\ntrigger {trigger}", self.slots)?;
        self.steps.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl FromStr for Script {
    type Err = NoScript;

    /// Reads what is written so. Lines that begin with `#` and empty ones say nothing.
    fn from_str(text: &str) -> Result<Script, NoScript> {
        let lines = text.lines().enumerate();
        let mut lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let slots = lines
            .next()
            .and_then(|(_, line)| line.strip_prefix("slots "));
        let slots = slots.and_then(|slots| slots.parse().ok());
        let trigger = match lines.next() {
            Some((_, "trigger level")) => Some(Trigger::Level),
            Some((_, "trigger edge")) => Some(Trigger::Edge),
            Some(_) | None => None,
        };
        let (Some(slots), Some(trigger)) = (slots.filter(|slots| *slots > 0), trigger) else {
            return Err(NoScript::NoHead);
        };
        let step = |(index, line): (usize, &str)| {
            line.parse().map_err(|why| NoScript::Step {
                line: index + 1,
                why,
            })
        };
        Ok(Script {
            slots,
            trigger,
            steps: lines.map(step).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_was_written_of_it() {
        let script = Script {
            slots: 7,
            trigger: Trigger::Edge,
            steps: vec![Op::Next, Op::Wait(3)],
        };
        let text = script.to_string();
        assert_eq!(text, "slots 7\ntrigger edge\nnext\nwait 3\n");
        assert_eq!(text.parse(), Ok(script.clone()));
        assert_eq!(format!("# found\n\n{text}").parse(), Ok(script));
    }

    #[test]
    fn a_text_that_is_no_script_is_refused_with_the_line() {
        for text in [
            "",
            "slots 0\ntrigger edge\n",
            "slots 3\n",
            "slots 3\ntrigger up\n",
        ] {
            assert_eq!(text.parse::<Script>(), Err(NoScript::NoHead), "{text:?}");
        }
        let error = "slots 3\ntrigger edge\nnext\nnxt\n".parse::<Script>();
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("line 4: no step"), "{error}");
    }
}
