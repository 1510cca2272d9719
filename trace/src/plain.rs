//! Makes text of others safe for a terminal or a picture: strings of a trace, file names, arguments.
//!
//! A character that controls a terminal is written as an escape: the beginning of a control sequence
//! becomes `\u{1b}`, the end of a line `\n`.

use std::fmt::{self, Display, Formatter, Write as _};

use serde_json::Value;

/// Whether a terminal or a picture would not just show the character: control characters, line
/// separators, characters that reverse the direction of text, invisible characters, and
/// noncharacters, which XML forbids.
#[must_use]
pub fn is_escaped(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e007f}')
        || letter as u32 & 0xfffe == 0xfffe
}

/// Displays a value in one line, with escapes for each character that [`is_escaped`].
///
/// ```
/// use evtchn_trace::plain::Plain;
///
/// assert_eq!(Plain("one\ntwo").to_string(), "one\\ntwo");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Plain<T>(pub T);

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

/// A value as JSON in one line. A program that parses it gets the same strings.
#[must_use]
pub fn json(value: &Value) -> String {
    let mut safe = String::new();
    for letter in value.to_string().chars() {
        if is_escaped(letter) {
            // Such a letter is always in a string, where JSON writes each UTF-16 half as an escape.
            for half in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _written = write!(safe, "\\u{half:04x}");
            }
        } else {
            safe.push(letter);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped_and_others_are_kept() {
        let hostile = "a\u{1b}[31m\r\n\t\u{7f}\u{9b}\u{202e}\u{2066}\u{fffe}\u{1ffff}";
        let safe = "a\\u{1b}[31m\\r\\n\\t\\u{7f}\\u{9b}\\u{202e}\\u{2066}\\u{fffe}\\u{1ffff}";
        assert_eq!(Plain(hostile).to_string(), safe);
        let harmless = "Grüße, \u{65e5}\u{672c}, \u{627}\u{644}, \"quoted\" \\ \u{1f600}\u{fffd}";
        assert_eq!(Plain(harmless).to_string(), harmless);
    }

    #[test]
    fn json_is_the_same_value_without_characters_that_control_a_terminal() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}\n\u{202e}\u{e0001}\u{ffff}é\"\\"});
        let text = json(&value);
        assert!(!text.chars().any(is_escaped), "{text}");
        assert!(text.contains("\\u202e\\udb40\\udc01\\uffffé"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
