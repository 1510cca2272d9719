//! Whether a trace can be replayed.

use std::collections::BTreeSet;

use crate::line::{AtSeam, Call, Got, Line, Seam, What};
use crate::refused::{BadTrace, Why};

/// As many ports as a domain can have, which no number of a port reaches.
const PORTS: u32 = 1 << 17;
/// As many threads as a trace can have.
const THREADS: u32 = 1024;

/// Looks at one line after the other: no call of the program may begin before the one before it has
/// come back, or has called the program back, and no number makes the context allocate more than a
/// domain can have.
pub(crate) struct Check {
    /// The line that comes next, counted from 1.
    at: usize,
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

    /// Looks at the next line.
    pub(crate) fn line(&mut self, line: &Line) {
        if self.bad.is_none()
            && let Err(why) = self.follows(line)
        {
            self.bad = Some(Why::Field(why).at(self.at));
        }
        self.at += 1;
    }

    /// Gives the threads. The last call of a trace that `is_cut` need not have come back.
    ///
    /// # Errors
    /// The first line that cannot be replayed.
    pub(crate) fn end(self, is_cut: bool) -> Result<BTreeSet<u32>, BadTrace> {
        match (self.bad, self.under_way) {
            (Some(bad), _) => Err(bad),
            (None, Some((begun, _))) if !is_cut => {
                Err(Why::Field("a call without its answer".into()).at(begun))
            }
            (None, _) => Ok(self.threads),
        }
    }

    fn follows(&mut self, line: &Line) -> Result<(), String> {
        if line.thread >= THREADS {
            return Err(format!("thread {} of at most {THREADS}", line.thread));
        }
        if let What::Seam(seam) = &line.what
            && let Some(port) = bound(seam).filter(|port| *port >= PORTS)
        {
            let why = format!("port {port}, but a domain has no more than {PORTS}");
            return Err(why);
        }
        if let What::Seam(AtSeam {
            call: Seam::Pending { room },
            ..
        }) = &line.what
            && *room > PORTS as usize
        {
            return Err(format!("no room for {room} ports"));
        }
        match (&line.what, self.under_way) {
            (What::Call(call), under_way) => self.call(call, line.thread, under_way),
            (What::Answer(_), Some((_, thread))) if thread == line.thread => {
                self.under_way = None;
                Ok(())
            }
            (What::Answer(_), _) => Err("an answer without its call".into()),
            // Of a device that was handed out.
            (What::Seam(seam), None) if *seam == AtSeam::new(Seam::Close) => Ok(()),
            (What::Seam(seam), under_way) if seam.peer.is_none() => {
                match under_way.is_some_and(|(_, thread)| thread == line.thread) {
                    true => Ok(()),
                    false => Err("a call at the seam outside of every call".into()),
                }
            }
            (What::Op(_) | What::Input(_) | What::Schedule(_) | What::Verdict(_), _) => {
                Err("a line of a check among those of a program".into())
            }
            (What::Seam(_) | What::Guest(_) | What::Sim(_), _) => Ok(()),
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
            let why = "a call begins while that of line";
            return Err(format!("{why} {begun} is under way: it has no one order"));
        }
        self.threads.insert(thread);
        self.under_way = Some((self.at, thread));
        if let Call::Fill { room } = call
            && *room > PORTS as usize
        {
            return Err(format!("no room for {room} wakes"));
        }
        if *call == (Call::Return { panics: true }) {
            return Err("a callback panics, which is not replayed".into());
        }
        Ok(())
    }
}

/// The port that a call at the seam gives the context.
fn bound(at: &AtSeam) -> Option<u32> {
    match (&at.call, &at.got) {
        (Seam::BindStatic { port }, _) => Some(port.as_raw()),
        (
            Seam::BindUnboundPort { .. } | Seam::BindInterdomain { .. } | Seam::BindVirq { .. },
            Some(Got::Number(port)),
        ) => Some(*port),
        _ => None,
    }
}
