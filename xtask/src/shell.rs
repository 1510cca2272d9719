//! Lines of shell for the guest.

/// A line of shell that calls `function` with these words. The shell interprets none of them.
pub(crate) fn call<W: AsRef<str>>(function: &str, words: impl IntoIterator<Item = W>) -> String {
    let mut line = function.to_owned();
    for word in words {
        line += " '";
        line += &word.as_ref().replace('\'', r"'\''");
        line += "'";
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_every_word_as_it_is() {
        let line = call("run_command", ["sh", "-c", "echo '$HOME' \"*\""]);
        assert_eq!(line, "run_command 'sh' '-c' 'echo '\\''$HOME'\\'' \"*\"'\n");
    }
}
