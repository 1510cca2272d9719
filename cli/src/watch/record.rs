//! The trace that `--record` asks for.

use std::cell::RefCell;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};
use evtchn::Trigger;
use evtchn::sim::Choice;
use evtchn_trace::{Header, Record, Sim, Source, Tape};

use crate::file::AtomicFile;

/// A trace that is written while the job runs, or none.
///
/// Its file replaces an old one when the job [begins](Self::begin), so a job that cannot begin keeps the
/// old recording. From then on the file has what was recorded so far.
pub(crate) struct Recording {
    tape: Tape,
    file: Option<RefCell<AtomicFile>>,
}

impl Recording {
    /// Of a run on the simulator.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn sim(file: Option<&Path>, seed: u64) -> Result<Recording> {
        let mut header = Header::new(Source::Sim, Trigger::Level);
        header.seed = Some(seed);
        Recording::new(file, &header)
    }

    /// Of a run on the real device.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn xen(file: Option<&Path>) -> Result<Recording> {
        let mut header = Header::new(Source::Xen, Trigger::Level);
        header.cpus = thread::available_parallelism().ok().map(usize::from);
        Recording::new(file, &header)
    }

    fn new(path: Option<&Path>, header: &Header) -> Result<Recording> {
        let Some(path) = path else {
            return Ok(Recording {
                tape: Tape::off(),
                file: None,
            });
        };
        let make = || {
            let file = AtomicFile::create(path, None)?;
            let tape = Tape::new(header, file.out()?);
            anyhow::Ok(Recording {
                tape,
                file: Some(RefCell::new(file)),
            })
        };
        make().with_context(|| path.display().to_string())
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
        let Some(file) = &self.file else {
            return Ok(());
        };
        let begun = self.tape.check();
        let begun = begun.and_then(|()| file.borrow_mut().put_in_place());
        begun.context(CANNOT_WRITE)
    }

    /// Ends the trace.
    ///
    /// # Errors
    /// If it could not be written.
    pub(crate) fn finish(self) -> Result<()> {
        let synced = |file: RefCell<AtomicFile>| file.into_inner().sync();
        let ended = self.tape.finish();
        let ended = ended.and_then(|()| self.file.map_or(Ok(()), synced));
        ended.context(CANNOT_WRITE)
    }
}

const CANNOT_WRITE: &str = "cannot write the trace";
