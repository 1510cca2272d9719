//! `evtchn timeline`: a trace as a picture.

mod dense;
mod drive;
mod html;
mod lanes;
mod perfetto;
mod svg;
mod write;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use evtchn_trace::Trace;

use lanes::Timeline;

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

/// How a timeline is drawn.
type Drawing = fn(&Timeline, &mut dyn io::Write) -> io::Result<()>;

/// What can be drawn, by the ends of names.
const FORMATS: [(&str, Drawing); 3] = [
    ("svg", svg::draw),
    ("html", html::draw),
    ("json", perfetto::draw),
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
        let (file, code, error) = match Trace::load(&self.trace) {
            Err(error) => (&self.trace, 2, anyhow::Error::from(error)),
            Ok(trace) => match self.draw(&trace, drawing) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (&self.output, 1, error),
            },
        };
        // A reader of stderr that is gone has the exit code.
        let _unheard = writeln!(io::stderr(), "evtchn: {}: {error:#}", file.display());
        ExitCode::from(code)
    }

    fn draw(&self, trace: &Trace, drawing: Drawing) -> Result<()> {
        let timeline = drive::drive(trace);
        write::whole(&self.output, |out| drawing(&timeline, out))
    }
}

fn drawing(file: &Path) -> Option<Drawing> {
    let end = file.extension().and_then(OsStr::to_str)?;
    let mut formats = FORMATS.iter();
    let found = formats.find(|(name, _)| end.eq_ignore_ascii_case(name));
    found.map(|(_, drawing)| *drawing)
}
