//! The part of a trace between the marks, counted.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};

use crate::play::{BEGIN, END};

/// How often each system call was made. One that failed has its errno behind its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Calls(BTreeMap<String, usize>);

impl Calls {
    /// Counts the calls that ended between the marks, of all threads.
    pub(super) fn read(text: &str) -> Result<Calls> {
        let mark = |word: &str| format!("write(1, \"{word}\\n\", ");
        let is_mark = |line: &str, word| line.contains(&mark(word));
        let mut lines = text.lines().skip_while(|line| !is_mark(line, BEGIN));
        lines.next().context("the trace has no beginning")?;
        let mut calls = BTreeMap::new();
        for line in lines {
            if is_mark(line, END) {
                return Ok(Calls(calls));
            }
            if let Some(name) = ended(line)? {
                *calls.entry(name).or_default() += 1;
            }
        }
        Err(anyhow::anyhow!("the trace has no end"))
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

/// The call that ends on a line, if one does.
fn ended(line: &str) -> Result<Option<String>> {
    let (_, call) = line.split_once(' ').context("a line without a thread")?;
    let call = call.trim_start();
    let starts_with_name = call.starts_with(|c: char| c.is_ascii_lowercase() || c == '<');
    if call.ends_with("<unfinished ...>") || !starts_with_name {
        return Ok(None);
    }
    let name = call.strip_prefix("<... ").unwrap_or(call);
    let name = name.split([' ', '(']).next().unwrap_or_default();
    // Its timeout is of another type, and all else is the same.
    let name = if name == "ppoll" { "poll" } else { name };
    let (_, outcome) = call
        .rsplit_once(" = ")
        .with_context(|| format!("a call without an outcome: {line}"))?;
    let errno = outcome
        .strip_prefix("-1 ")
        .and_then(|it| it.split(' ').next());
    Ok(Some(match errno {
        Some(errno) => format!("{name} {errno}"),
        None => name.to_owned(),
    }))
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"
10    execve("/guest/xenbench", ["xenbench"], 0x7ffe /* 3 vars */) = 0
10    write(1, "begin\n", 6)            = 6
10    ppoll([{fd=3, events=POLLIN}], 1, NULL, NULL, 0 <unfinished ...>
11    ioctl(4, _IOC(_IOC_NONE, 0x45, 0x4, 0x4), 0x7ffd) = 0
10    <... ppoll resumed>)              = 1 ([{fd=3, revents=POLLIN}])
10    read(4, "\20\0\0\0", 4096)        = 4
10    read(4, 0x5581, 4096)             = -1 EAGAIN (Resource temporarily unavailable)
11    +++ exited with 0 +++
10    write(4, "\20\0\0\0", 4)          = 4
10    write(1, "end\n", 4)              = 4
10    munmap(0x7f, 10)                  = 0
"#;

    #[test]
    fn calls_between_the_marks_are_counted_where_they_end() {
        let calls = Calls::read(TRACE).unwrap();
        assert_eq!(
            calls.to_string(),
            "ioctl 1, poll 1, read 1, read EAGAIN 1, write 1"
        );
        assert_eq!((calls.count("poll"), calls.count("munmap")), (1, 0));
    }

    #[test]
    fn a_trace_that_was_cut_off_is_an_error() {
        let error = |text: &str| Calls::read(text).unwrap_err().to_string();
        assert_eq!(error(""), "the trace has no beginning");
        let cut = &TRACE[..TRACE.find("10    write(1, \"end").unwrap()];
        assert_eq!(error(cut), "the trace has no end");
    }
}
