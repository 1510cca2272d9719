//! Checks whether a trace can be replayed.

use std::collections::BTreeSet;

use crate::line::{BackendAnswer, BackendCall, BackendRecord, Call, Line, Record};
use crate::refused::{BadTrace, BadTraceKind};

/// How many ports a domain can have. The number of a port is below this.
const PORTS: u32 = 1 << 17;
/// How many threads a trace can have. The number of a thread is below this.
const THREADS: u32 = 1024;

/// Checks a trace line by line.
///
/// A call of the program may begin only when the one before it has returned or has called a callback.
/// Numbers are limited, so the context allocates no more than for a domain with all its ports.
pub(crate) struct Check {
    /// The next line, counted from 1.
    at: usize,
    /// The call under way, with its line and its thread.
    under_way: Option<(usize, u32)>,
    threads: BTreeSet<u32>,
    /// The first line that cannot be replayed.
    bad: Option<BadTrace>,
}

impl Check {
    pub(crate) const fn new() -> Check {
        Check {
            at: 2,
            under_way: None,
            threads: BTreeSet::new(),
            bad: None,
        }
    }

    /// Checks the next line.
    pub(crate) fn line(&mut self, line: &Line) {
        if self.bad.is_none() {
            if let Err(why) = self.follows(line) {
                self.bad = Some(BadTraceKind::Field(why).at(self.at));
            }
        }
        self.at += 1;
    }

    /// Returns the threads. If the trace `is_cut`, its last call need not have returned.
    ///
    /// # Errors
    /// The first line that cannot be replayed.
    pub(crate) fn end(self, is_cut: bool) -> Result<BTreeSet<u32>, BadTrace> {
        match (self.bad, self.under_way) {
            (Some(bad), _) => Err(bad),
            (None, Some((begun, _))) if !is_cut => {
                Err(BadTraceKind::Field("a call without its answer".into()).at(begun))
            }
            (None, _) => Ok(self.threads),
        }
    }

    fn follows(&mut self, line: &Line) -> Result<(), String> {
        if line.thread >= THREADS {
            return Err(format!("thread {} of at most {THREADS}", line.thread));
        }
        if let Record::Backend(backend) = &line.record {
            if let Some(port) = bound(backend).filter(|port| *port >= PORTS) {
                let why = format!("port {port}, but a domain has no more than {PORTS}");
                return Err(why);
            }
        }
        if let Record::Backend(BackendRecord {
            call: BackendCall::Pending { room },
            ..
        }) = &line.record
        {
            if *room > PORTS as usize {
                return Err(format!("no room for {room} ports"));
            }
        }
        match (&line.record, self.under_way) {
            (Record::Call(call), under_way) => self.call(call, line.thread, under_way),
            (Record::Answer(_), Some((_, thread))) if thread == line.thread => {
                self.under_way = None;
                Ok(())
            }
            (Record::Answer(_), _) => Err("an answer without its call".into()),
            // A device that was handed over is closed.
            (Record::Backend(backend), None)
                if *backend == BackendRecord::new(BackendCall::Close) =>
            {
                Ok(())
            }
            (Record::Backend(backend), under_way) if backend.peer.is_none() => {
                match under_way.is_some_and(|(_, thread)| thread == line.thread) {
                    true => Ok(()),
                    false => Err("a backend call outside of every call of the program".into()),
                }
            }
            (Record::Op(_) | Record::Input(_) | Record::Schedule(_) | Record::Verdict(_), _) => {
                Err("a line of a check among those of a program".into())
            }
            (Record::Backend(_) | Record::Guest(_) | Record::Sim(_), _) => Ok(()),
        }
    }

    fn call(
        &mut self,
        call: &Call,
        thread: u32,
        under_way: Option<(usize, u32)>,
    ) -> Result<(), String> {
        if let Call::Other { what } = call {
            return Err(format!("{what}, which is not replayed"));
        }
        if let Call::Woken { .. } | Call::DropWoken { .. } = call {
            return Err("a task waits, which is not replayed".into());
        }
        if let Some((begun, _)) = under_way {
            return Err(format!(
                "a call begins while the call of line {begun} is under way: calls that overlap are not replayed"
            ));
        }
        self.threads.insert(thread);
        self.under_way = Some((self.at, thread));
        if let Call::Fill { room } = call {
            if *room > PORTS as usize {
                return Err(format!("no room for {room} wakes"));
            }
        }
        if *call == (Call::Return { panics: true }) {
            return Err("a callback panics, which is not replayed".into());
        }
        Ok(())
    }
}

/// The port that the context gets from a backend call.
fn bound(backend: &BackendRecord) -> Option<u32> {
    match (&backend.call, &backend.answer) {
        (BackendCall::BindStatic { port }, _) => Some(port.as_raw()),
        (
            BackendCall::BindUnboundPort { .. }
            | BackendCall::BindInterdomain { .. }
            | BackendCall::BindVirq { .. },
            Some(BackendAnswer::Number(port)),
        ) => Some(*port),
        _ => None,
    }
}
