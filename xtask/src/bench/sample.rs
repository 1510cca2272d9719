//! The output of the guest's programs.

use anyhow::{Context, Result};

/// The cost of one part in one run.
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
    /// The samples of all lines of a boot.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_sample_or_an_error() {
        let samples = Sample::all("raw burst 16 drain 714.5\n").unwrap();
        let expected = Sample {
            implementation: "raw".to_owned(),
            case: "burst".to_owned(),
            channels: 16,
            part: "drain".to_owned(),
            cost: 714.5,
        };
        assert_eq!(samples, [expected]);
        for bad in [
            "raw burst 16 drain",
            "raw burst x drain 1",
            "raw burst 1 drain 1 1",
        ] {
            let error = Sample::all(bad).unwrap_err().to_string();
            assert_eq!(error, format!("no sample: {bad}"));
        }
    }
}
