//! `evtchn timeline`: draws a trace.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use evtchn_trace::{DrawError, Lines, draw};

use crate::file;
use crate::plain;
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  evtchn watch --record run.trace --events 100    record a trace
  evtchn timeline run.trace -o run.svg            a picture for a document
  evtchn timeline run.trace -o run.html           a page to zoom and pan in a browser, offline
  evtchn timeline run.trace -o run.json           for ui.perfetto.dev, for traces of any length
  evtchn timeline run.trace --format json -o /dev/stdout | gzip >run.json.gz

Exit code 0: success. 1: the output cannot be written. 2: the trace is refused, or wrong arguments.";

/// Draw a trace: the descriptor and each port, step by step.
///
/// Each lane shows the states of its port in the tables of the library, its wakes, latches and
/// notifies, what the other end sent, overflow and faults. The file name determines the format: .svg,
/// .html, or .json in the trace-event format of Chrome and Perfetto. The file is written completely or
/// not at all; a pipe or a device is written directly. If a trace was cut off, its complete lines are
/// drawn, and stderr says where it ends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Draw {
    /// The trace
    trace: PathBuf,
    /// The picture: FILE.svg, FILE.html or FILE.json
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The format, if the file name does not determine it
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A picture for a document
    Svg,
    /// A page to zoom and pan in a browser
    Html,
    /// Trace events for ui.perfetto.dev or chrome://tracing
    Json,
}

impl Draw {
    /// Draws it, and returns the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let Some(format) = self.format.or_else(|| format(&self.output)) else {
            let output = self.output.display();
            let message = format!(
                "cannot tell the format: {output} must end in .svg, .html or .json, or use --format"
            );
            crate::usage_error::<Draw>("evtchn timeline", ErrorKind::InvalidValue, message);
        };
        let Err(error) = self.draw(format) else {
            return ExitCode::SUCCESS;
        };
        if let Some(refused @ (DrawError::Load(_) | DrawError::Crowded { .. })) =
            error.downcast_ref()
        {
            plain::eprintln(format_args!("{}: {refused}", self.trace.display()));
            return ExitCode::from(2);
        }
        plain::eprintln(format_args!("{}: {error:#}", self.output.display()));
        ExitCode::from(1)
    }

    fn draw(&self, format: Format) -> Result<()> {
        let opened = File::open(&self.trace).and_then(|file| Ok((file.metadata()?, file)));
        let (read, file) = opened.map_err(|error| DrawError::Load(error.into()))?;
        let progress = progress::bytes(read.len());
        let file = progress.wrap_read(file);
        let trace = Lines::new(BufReader::with_capacity(1 << 16, file));
        let mut trace = trace.map_err(DrawError::from)?.salvaging();
        file::write(&self.output, Some(&read), |out| {
            Ok(draw(format.into(), &mut trace, out)?)
        })?;
        progress.finish_and_clear();
        if let Some(cut) = trace.cut() {
            plain::eprintln(format_args!("{}: {cut}", self.trace.display()));
        }
        Ok(())
    }
}

impl From<Format> for evtchn_trace::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Svg => Self::Svg,
            Format::Html => Self::Html,
            Format::Json => Self::Json,
        }
    }
}

/// The format that the name of a file determines.
pub(crate) fn format(file: &Path) -> Option<Format> {
    let end = file.extension().and_then(OsStr::to_str)?;
    Format::from_str(end, true).ok()
}
