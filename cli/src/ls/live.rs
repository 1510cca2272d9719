//! Where dumps come from: a file, or Xen's log after `xl debug-keys e`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::dump::{Dump, Dumps};
use crate::exit::Exit;

/// More bytes than any log of Xen's console has.
const LIMIT: u64 = 16 << 20;

/// The last dump of a text with the one before it, and a note about lines that could not be read.
pub(super) struct Looks {
    pub(super) before: Option<Dump>,
    pub(super) last: Dump,
    pub(super) note: Option<String>,
}

fn read(text: &str) -> Option<Looks> {
    let dumps = Dumps::parse(text);
    let note = (dumps.unreadable > 0).then(|| {
        format!(
            "{} lines of ports are left out: they are not whole, or stand before the first domain",
            dumps.unreadable
        )
    });
    let (before, last) = dumps.last()?;
    Some(Looks { before, last, note })
}

/// The dumps in a file; `-` is stdin.
///
/// # Errors
/// If it cannot be read, is too long, or has no dump.
pub(super) fn from_file(path: &Path) -> Result<Looks> {
    let mut bytes = Vec::new();
    let got = match path == Path::new("-") {
        true => io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)),
    };
    let refused = |why: String| Exit::Usage.because(format!("{}: {why}", path.display()));
    got.map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > LIMIT {
        return Err(refused(format!(
            "longer than {LIMIT} bytes, so it is no log of Xen"
        )));
    }
    let text = String::from_utf8_lossy(&bytes);
    read(&text).ok_or_else(|| {
        refused(
            "it has no dump of the debug key e: `xl debug-keys e`, then `xl dmesg` writes one"
                .to_owned(),
        )
    })
}

/// A dump of now.
///
/// # Errors
/// If xl is not there, or fails, or Xen's log does not have the dump.
pub(super) fn look() -> Result<(Dump, Option<String>)> {
    xl(&["debug-keys", "e"])?;
    let log = xl(&["dmesg"])?;
    match read(&log) {
        Some(Looks { last, note, .. }) => Ok((last, note)),
        None => Err(Exit::Failed.because(
            "xl dmesg has no dump of the debug key e: a larger log may help (conring_size= of Xen)",
        )),
    }
}

/// Runs xl, and returns what it prints.
fn xl(arguments: &[&str]) -> Result<String> {
    let words = arguments.join(" ");
    let output = Command::new("xl")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        let advice = "--live needs xl in domain 0; ls --from FILE reads a dump made elsewhere";
        Exit::Failed.because(format!("cannot run xl {words}: {error}; {advice}"))
    })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = stderr.lines().last().unwrap_or("no message").to_owned();
        return Err(Exit::Failed.because(format!("xl {words} failed: {line}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
