//! What the guest's programs print.

use anyhow::{Context, Result};

/// One run's cost of one part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) implementation: String,
    pub(super) case: String,
    pub(super) channels: u32,
    pub(super) part: String,
    /// Per event.
    pub(super) cost: f64,
}

impl Sample {
    /// Every line of a boot.
    pub(super) fn all(text: &str) -> Result<Vec<Sample>> {
        text.lines().map(Sample::parse).collect()
    }

    fn parse(line: &str) -> Result<Sample> {
        let parse = || {
            let mut words = line.split_whitespace();
            let mut word = || words.next().map(str::to_owned);
            let sample = Sample {
                implementation: word()?,
                case: word()?,
                channels: word()?.parse().ok()?,
                part: word()?,
                cost: word()?.parse().ok()?,
            };
            word().is_none().then_some(sample)
        };
        parse().with_context(|| format!("no sample: {line}"))
    }
}
