//! The trace that `--record` asks for, and the picture of it that `--timeline` asks for.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result};
use evtchn::Trigger;
use evtchn::sim::Choice;
use evtchn_trace::{DrawError, Format, Header, Lines, Record, Sim, Source, Tape, draw};

use crate::exit::Exit;
use crate::file::{self, AtomicFile};

/// A trace that is written while the job runs, or none.
///
/// Its file replaces an old one when the job [begins](Self::begin), so a job that cannot begin keeps the
/// old recording. From then on the file has what was recorded so far.
pub(crate) struct Recording {
    tape: Tape,
    file: Option<RefCell<AtomicFile>>,
    picture: Option<Picture>,
    has_begun: Cell<bool>,
}

/// Where the user wants the trace, and the picture of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) record: Option<&'a Path>,
    pub(crate) timeline: Option<(&'a Path, Format)>,
}

/// The picture that is drawn at the end, and the trace that it is drawn from.
struct Picture {
    path: PathBuf,
    format: Format,
    trace: File,
}

/// Writes the trace to the file of the user and to that of the picture, where they are.
struct Outs(Vec<File>);

impl Write for Outs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.iter_mut().try_for_each(|out| out.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(File::flush)
    }
}

impl Recording {
    /// Of a run on the simulator.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn sim(wanted: Wanted<'_>, seed: u64) -> Result<Recording> {
        let mut header = Header::new(Source::Sim, Trigger::Level);
        header.seed = Some(seed);
        Recording::new(wanted, &header)
    }

    /// Of a run on the real device.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn xen(wanted: Wanted<'_>) -> Result<Recording> {
        let mut header = Header::new(Source::Xen, Trigger::Level);
        header.cpus = thread::available_parallelism().ok().map(usize::from);
        Recording::new(wanted, &header)
    }

    fn new(wanted: Wanted<'_>, header: &Header) -> Result<Recording> {
        let mut outs = Vec::new();
        let file = wanted.record.map(|path| {
            let mut create = || {
                let file = AtomicFile::create(path, None)?;
                outs.push(file.out()?);
                anyhow::Ok(RefCell::new(file))
            };
            create().with_context(|| path.display().to_string())
        });
        let file = file.transpose()?;
        let picture = wanted.timeline.map(|(path, format)| {
            let mut create = || {
                let trace = file::scratch(path)?;
                outs.push(trace.try_clone()?);
                io::Result::Ok(Picture {
                    path: path.to_owned(),
                    format,
                    trace,
                })
            };
            create().with_context(|| format!("{}: cannot be created", path.display()))
        });
        let picture = picture.transpose()?;
        let tape = match outs.is_empty() {
            true => Tape::off(),
            false => Tape::new(header, Outs(outs)),
        };
        Ok(Recording {
            tape,
            file,
            picture,
            has_begun: Cell::new(false),
        })
    }

    /// The tape, which records nothing if there is no file.
    pub(crate) const fn tape(&self) -> &Tape {
        &self.tape
    }

    /// The random decisions of the environment, which are recorded too.
    pub(crate) fn choice(&self, seed: u64) -> Choice {
        let tape = self.tape.clone();
        let record = move |way, of| tape.put(|| Record::Sim(Sim::Choice { way, of }));
        Choice::seeded(seed).observed(record)
    }

    /// Puts the file in its place, once everything is bound.
    ///
    /// # Errors
    /// If what was recorded so far could not be written. The old file is then kept.
    pub(crate) fn begin(&self) -> Result<()> {
        self.has_begun.set(true);
        let Some(file) = &self.file else {
            return Ok(());
        };
        let begun = self.tape.check();
        let begun = begun.and_then(|()| file.borrow_mut().put_in_place());
        begun.context(CANNOT_WRITE)
    }

    /// Ends the trace, and draws it if the job has begun.
    ///
    /// # Errors
    /// If it could not be written or drawn. An old picture is then kept.
    pub(crate) fn finish(self) -> Result<()> {
        let synced = |file: RefCell<AtomicFile>| file.into_inner().sync();
        let ended = self.tape.finish();
        let ended = ended.and_then(|()| self.file.map_or(Ok(()), synced));
        ended.context(CANNOT_WRITE)?;
        match self.picture {
            Some(picture) if self.has_begun.get() => picture.draw(),
            Some(_) | None => Ok(()),
        }
    }
}

impl Picture {
    fn draw(mut self) -> Result<()> {
        let path = self.path.display().to_string();
        let mut write = || {
            self.trace.rewind()?;
            let trace = BufReader::with_capacity(1 << 16, &self.trace);
            let mut trace = Lines::new(trace).map_err(DrawError::from)?.salvaging();
            file::write(&self.path, None, |out| {
                Ok(draw(self.format, &mut trace, out)?)
            })
        };
        write().map_err(|error: anyhow::Error| match error.downcast_ref() {
            Some(crowded @ DrawError::Crowded { .. }) => {
                Exit::Failed.because(format!("{path}: {crowded}"))
            }
            _ => error.context(path),
        })
    }
}

const CANNOT_WRITE: &str = "cannot write the trace";
