//! Text that others wrote, made safe for a terminal: file names, arguments, variables, and what
//! stands in a trace. All that the command prints of these goes through here.
//!
//! A character that a terminal acts on, instead of showing it, is written as an escape: the
//! beginning of a control sequence becomes `\u{1b}`, the end of a line `\n`.

use std::fmt::{self, Display, Formatter, Write as _};
use std::io::{self, Write};

use serde_json::Value;

/// Whether a terminal, or a picture, would do something else with it than show it: controls,
/// separators of lines, what turns the direction of text around or cannot be seen, and the code
/// points that are no characters, which XML forbids.
pub(crate) fn is_escaped(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e007f}')
        || letter as u32 & 0xfffe == 0xfffe
}

/// Something as it displays, in one line, with escapes for all that [`is_escaped`].
pub(crate) struct Plain<T>(pub(crate) T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| self.write_char(letter))
    }

    fn write_char(&mut self, letter: char) -> fmt::Result {
        if is_escaped(letter) {
            write!(self.0, "{}", letter.escape_default())
        } else {
            self.0.write_char(letter)
        }
    }
}

/// A value as JSON in one line. Its strings are the same for a program that reads it.
pub(crate) fn json(value: &Value) -> String {
    let mut safe = String::new();
    for letter in value.to_string().chars() {
        if is_escaped(letter) {
            // Only a string has such a letter, and there each half of it can be written so.
            for half in letter.encode_utf16(&mut [0; 2]) {
                // A String takes all that is written.
                let _written = write!(safe, "\\u{half:04x}");
            }
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Says a line on stderr, as the command begins them. One that quotes a line of megabytes is cut.
pub(crate) fn say(line: impl Display) {
    let mut line = Plain(line).to_string();
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push_str("...");
    }
    // A reader of stderr that is gone cannot be told.
    let _unheard = writeln!(io::stderr(), "evtchn: {line}");
}

/// The most letters that are said in a line. Two names of files fit.
const LONGEST: usize = 10_000;

/// Where the log goes, which has a line for each event. Its colors are its own: it escapes control
/// sequences of others itself.
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
            // As above.
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
    fn what_a_terminal_acts_on_is_an_escape_and_all_else_stays() {
        let hostile = "a\u{1b}[31m\r\n\t\u{7f}\u{9b}\u{202e}\u{2066}\u{fffe}\u{1ffff}";
        let safe = "a\\u{1b}[31m\\r\\n\\t\\u{7f}\\u{9b}\\u{202e}\\u{2066}\\u{fffe}\\u{1ffff}";
        assert_eq!(Plain(hostile).to_string(), safe);
        let harmless = "Grüße, \u{65e5}\u{672c}, \u{627}\u{644}, \"quoted\" \\ \u{1f600}\u{fffd}";
        assert_eq!(Plain(harmless).to_string(), harmless);
    }

    #[test]
    fn json_is_the_same_value_without_what_a_terminal_acts_on() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}\n\u{202e}\u{e0001}\u{ffff}é\"\\"});
        let text = json(&value);
        assert!(!text.chars().any(is_escaped), "{text}");
        assert!(text.contains("\\u202e\\udb40\\udc01\\uffffé"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

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
