//! A trace as a picture: the descriptor and each port, step by step.

mod build;
mod dense;
mod drive;
mod html;
mod lanes;
mod log;
mod packed;
mod perfetto;
mod summary;
mod svg;

use std::io::{self, BufRead, Write};

use crate::{Lines, LoadError};

/// The format of a picture.
///
/// ```
/// use evtchn_trace::{Format, Lines, draw};
///
/// let trace = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// {"call":"next_timeout"}
/// "#;
/// for format in [Format::Svg, Format::Html, Format::Json] {
///     draw(format, &mut Lines::new(&trace[..])?.salvaging(), &mut std::io::sink())?;
/// }
/// # Ok::<(), evtchn_trace::DrawError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// SVG: a picture for a document.
    Svg,
    /// HTML: a page to zoom and pan in a browser, without a network.
    Html,
    /// The trace-event format of Chrome, which Perfetto reads too.
    Json,
}

/// Why a trace is not drawn.
///
/// ```
/// use evtchn_trace::{DrawError, Format, Lines, draw};
///
/// let text = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// no trace
/// "#;
/// let mut trace = Lines::new(&text[..])?.salvaging();
/// let error = draw(Format::Json, &mut trace, &mut std::io::sink()).unwrap_err();
/// assert!(matches!(error, DrawError::Load(_)));
/// # Ok::<(), evtchn_trace::LoadError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// A line is refused, or the trace cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// More happens in the trace than a picture has room for: 2 MiB and three times its size. Draw it
    /// as [`Format::Json`].
    #[error(
        "line {line}: more happens up to here than a picture has room for; a .json has no such limit"
    )]
    Crowded {
        /// The first line without room.
        line: u32,
    },
    /// The picture cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Draws a trace, as `evtchn timeline` does: a lane for the descriptor and one for each port, with
/// its states in the tables of the library, its wakes, what the other end sent, overflow and faults.
///
/// [`Format::Json`] is written while the trace is read, so a trace can have any length.
///
/// # Errors
/// [`DrawError`]. What was written to `out` before is no whole picture then.
///
/// ```
/// use evtchn_trace::{Format, Lines, draw};
///
/// let trace = br#"{"trace":"evtchn","version":3,"source":"sim","trigger":"level"}
/// {"call":"next_timeout"}
/// "#;
/// let mut svg = Vec::new();
/// draw(Format::Svg, &mut Lines::new(&trace[..])?.salvaging(), &mut svg)?;
/// assert!(svg.starts_with(b"<svg "));
/// # Ok::<(), evtchn_trace::DrawError>(())
/// ```
pub fn draw(
    format: Format,
    trace: &mut Lines<impl BufRead>,
    out: &mut dyn Write,
) -> Result<(), DrawError> {
    match format {
        Format::Svg => Ok(svg::draw(&build::build(trace)?, out)?),
        Format::Html => Ok(html::draw(&build::build(trace)?, out)?),
        Format::Json => perfetto::draw(trace, out),
    }
}
