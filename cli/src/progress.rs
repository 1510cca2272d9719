//! How far a command is: a line on a terminal that is written over, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A line on stderr, where stderr is a terminal, for so many steps, or for as many as it takes.
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
    // However the command ends, the line goes.
    let bar = bar.with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
