//! How far a command is: a line on a terminal that is written over, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A line on stderr for so many steps, where stderr is a terminal.
pub(crate) fn line(steps: u64, unit: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{pos}} of {{len}} {unit} {{elapsed}}");
    // However the command ends, the line goes.
    let bar = ProgressBar::new(steps).with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
