//! Prints text of others: file names, arguments, variables, and strings of a trace. The command prints
//! these only through this module.

use std::env;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};

pub(crate) use evtchn_trace::plain::{Plain, json};

/// Prints a line on stderr, after the name of the command. A very long line is cut.
pub(crate) fn eprintln(line: impl Display) {
    let mut line = Plain(line).to_string();
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push_str("...");
    }
    // Nothing can report that stderr is closed.
    let _ignored = writeln!(io::stderr(), "evtchn: {line}");
}

/// Whether colors are shown there and wanted.
pub(crate) fn has_color(out: &impl IsTerminal) -> bool {
    let is_unwanted = env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    out.is_terminal() && !is_unwanted
}

/// The most characters of a line: two long file names fit.
const LONGEST: usize = 10_000;

/// Writes the log, a line for each event. The color sequences in it are those of tracing, which
/// escapes control sequences of others.
pub(crate) struct Log<W>(pub(crate) W);

impl<W: Write> Write for Log<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        let mut safe = String::new();
        for part in line.split_inclusive('\u{1b}') {
            let (part, color) = match part.strip_suffix('\u{1b}') {
                Some(part) => (part, "\u{1b}"),
                None => (part, ""),
            };
            // Writing to a String does not fail.
            let _written = write!(safe, "{}{color}", Plain(part));
        }
        self.0.write_all((safe + end).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_keeps_its_colors_and_is_one_line() {
        let mut log = Log(Vec::new());
        let line = "\u{1b}[2mDEBUG\u{1b}[0m opened\nFORGED \u{202e}\u{9b}2J\n";
        log.write_all(line.as_bytes()).unwrap();
        let text = String::from_utf8(log.0).unwrap();
        let safe = "\u{1b}[2mDEBUG\u{1b}[0m opened\\nFORGED \\u{202e}\\u{9b}2J\n";
        assert_eq!(text, safe);
    }
}
