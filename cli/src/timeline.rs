//! `evtchn timeline`: a trace as a picture.

mod build;
mod dense;
mod drive;
mod html;
mod lanes;
mod perfetto;
mod summary;
mod svg;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use evtchn_trace::{Lines, LoadError};

use crate::file;
use crate::plain;

const EXAMPLES: &str = "\
Examples:
  evtchn watch --record run.trace --events 100    a trace
  evtchn timeline run.trace -o run.svg            a picture, for a document
  evtchn timeline run.trace -o run.html           to zoom and pan in a browser; needs nothing else
  evtchn timeline run.trace -o run.json           for ui.perfetto.dev, however long the trace
  evtchn timeline run.trace --format json -o /dev/stdout | gzip >run.json.gz

Exit code 0: it is written. 1: it cannot be written. 2: the trace is refused, or wrong arguments.";

/// Draw what happened in a trace: the descriptor and each port, step by step.
///
/// Each lane shows the states of its port as the tables of the library have them, its wakes,
/// latches and notifies, what the other end sent, overflow and faults. The name of the file tells
/// the format: .svg, .html, or .json in the trace-event format of Chrome and Perfetto. The file is
/// written as a whole or not at all; a pipe or a device is written as it goes. Of a trace that was
/// cut off, every whole line is drawn, and stderr says where it ends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Draw {
    /// The trace
    trace: PathBuf,
    /// The picture: FILE.svg, FILE.html or FILE.json
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The format, where the name does not tell it
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A picture, for a document
    Svg,
    /// A page to zoom and pan in a browser
    Html,
    /// Trace events for ui.perfetto.dev or chrome://tracing
    Json,
}

impl Draw {
    /// Draws it, and gives the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let Some(format) = self.format.or_else(|| format(&self.output)) else {
            let output = self.output.display();
            let message = format!(
                "the name of the output tells its format, so {output} must end in .svg, .html or \
                 .json, or --format be given"
            );
            crate::wrong::<Draw>("evtchn timeline", ErrorKind::InvalidValue, message);
        };
        let Err(error) = self.draw(format) else {
            return ExitCode::SUCCESS;
        };
        if let Some(refused) = error.downcast_ref::<LoadError>() {
            plain::say(format_args!("{}: {refused}", self.trace.display()));
            return ExitCode::from(2);
        }
        if let Some(crowded) = error.downcast_ref::<build::Crowded>() {
            plain::say(format_args!("{}: {crowded}", self.trace.display()));
            return ExitCode::from(2);
        }
        plain::say(format_args!("{}: {error:#}", self.output.display()));
        ExitCode::from(1)
    }

    fn draw(&self, format: Format) -> Result<()> {
        let file = File::open(&self.trace).map_err(LoadError::from)?;
        let read = file.metadata().map_err(LoadError::from)?;
        let mut trace = Lines::new(BufReader::with_capacity(1 << 16, file))?.salvaging();
        file::write(&self.output, Some(&read), |out| {
            write(format, &mut trace, out)
        })?;
        if let Some(cut) = trace.cut() {
            plain::say(format_args!("{}: {cut}", self.trace.display()));
        }
        Ok(())
    }
}

/// Draws the file of a trace as `evtchn timeline` does, in a format: `svg`, `html` or `json`.
///
/// # Errors
/// There is no such format; those of `out`; [`LoadError`] where a line is refused, and where more
/// happens in the trace than a picture has room for.
pub fn draw(format: &str, trace: &[u8], out: &mut dyn Write) -> Result<()> {
    let format = Format::from_str(format, true).map_err(anyhow::Error::msg)?;
    write(format, &mut Lines::new(trace)?.salvaging(), out)
}

fn write(format: Format, trace: &mut Lines<impl BufRead>, out: &mut dyn Write) -> Result<()> {
    match format {
        Format::Svg => Ok(svg::draw(&build::build(trace)?, out)?),
        Format::Html => Ok(html::draw(&build::build(trace)?, out)?),
        Format::Json => perfetto::draw(trace, out),
    }
}

fn format(file: &Path) -> Option<Format> {
    let end = file.extension().and_then(OsStr::to_str)?;
    Format::from_str(end, true).ok()
}
