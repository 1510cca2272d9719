//! `evtchn timeline`: a trace as a picture.

mod build;
mod dense;
mod drive;
mod html;
mod lanes;
mod perfetto;
mod summary;
mod svg;
mod write;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use evtchn_trace::{Lines, LoadError};

const EXAMPLES: &str = "\
Examples:
  evtchn watch --record run.trace --events 100    a trace
  evtchn timeline run.trace -o run.svg            a picture, for a document
  evtchn timeline run.trace -o run.html           to zoom and pan in a browser; needs nothing else
  evtchn timeline run.trace -o run.json           for ui.perfetto.dev, however long the trace

Exit code 0: it is written. 1: it cannot be written. 2: the trace is refused, or wrong arguments.";

/// Draw what happened in a trace: the descriptor and each port, step by step.
///
/// Each lane shows the states of its port as the tables of the library have them, its wakes,
/// latches and notifies, what the other end sent, overflow and faults. The name of the file tells
/// the format: .svg, .html, or .json in the trace-event format of Chrome and Perfetto. The file is
/// written as a whole or not at all.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Draw {
    /// The trace
    trace: PathBuf,
    /// The picture: FILE.svg, FILE.html or FILE.json
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

type Trace = Lines<BufReader<File>>;

/// How a trace is drawn.
type Drawing = fn(&mut Trace, &mut dyn io::Write) -> Result<()>;

/// What can be drawn, by the ends of names.
const FORMATS: [(&str, Drawing); 3] = [
    ("svg", |trace, out| {
        Ok(svg::draw(&build::build(trace)?, out)?)
    }),
    ("html", |trace, out| {
        Ok(html::draw(&build::build(trace)?, out)?)
    }),
    ("json", |trace, out| perfetto::draw(trace, out)),
];

impl Draw {
    /// Draws it, and gives the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let Some(drawing) = drawing(&self.output) else {
            let output = self.output.display();
            let message = format!(
                "the name of the output tells its format, so {output} must end in .svg, .html or \
                 .json"
            );
            crate::wrong::<Draw>("evtchn timeline", ErrorKind::InvalidValue, message);
        };
        let Err(error) = self.draw(drawing) else {
            return ExitCode::SUCCESS;
        };
        // A reader of stderr that is gone has the exit code.
        let mut stderr = io::stderr();
        if let Some(refused) = error.downcast_ref::<LoadError>() {
            let _unheard = writeln!(stderr, "evtchn: {}: {refused}", self.trace.display());
            return ExitCode::from(2);
        }
        let _unheard = writeln!(stderr, "evtchn: {}: {error:#}", self.output.display());
        ExitCode::from(1)
    }

    fn draw(&self, drawing: Drawing) -> Result<()> {
        let mut trace = Lines::open(&self.trace)?;
        write::whole(&self.output, |out| drawing(&mut trace, out))
    }
}

fn drawing(file: &Path) -> Option<Drawing> {
    let end = file.extension().and_then(OsStr::to_str)?;
    let mut formats = FORMATS.iter();
    let found = formats.find(|(name, _)| end.eq_ignore_ascii_case(name));
    found.map(|(_, drawing)| *drawing)
}
