//! Shows progress: a line on a terminal that is overwritten, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Progress in a file of so many bytes, 0 if that is not known, in the same way.
pub(crate) fn bytes(all: u64) -> ProgressBar {
    let (bar, template) = match all {
        0 => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} read {elapsed}",
        ),
        all => (
            ProgressBar::new(all),
            "{wide_bar} {bytes} of {total_bytes} {elapsed}",
        ),
    };
    styled(bar, template)
}

/// A line on stderr if that is a terminal, for a known or an unknown number of steps.
pub(crate) fn line(steps: Option<u64>, unit: &str) -> ProgressBar {
    let (bar, template) = match steps {
        Some(steps) => (
            ProgressBar::new(steps),
            format!("{{wide_bar}} {{pos}} of {{len}} {unit} {{elapsed}}"),
        ),
        None => (
            ProgressBar::new_spinner(),
            format!("{{spinner}} {{pos}} {unit} {{elapsed}}"),
        ),
    };
    styled(bar, &template)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // The line is removed however the command ends.
    let bar = bar.with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ").tick_chars("|/-\\ ")),
        Err(_) => bar,
    }
}
