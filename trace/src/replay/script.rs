//! Where a replay stands in its trace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Difference, Machine, Replayed, Tally};
use crate::failed::Failed;
use crate::line::{Answer, AtSeam, Call, Got, Line, Seam, What};
use crate::refused::LoadError;

pub(crate) struct Script(Mutex<State>);

/// The lines after the first one, read as they are played.
type Lines = Box<dyn Iterator<Item = Result<Line, LoadError>> + Send>;

struct State {
    lines: Lines,
    /// The next line, none after the last one, and the one before it.
    next: Option<Arc<Line>>,
    before: Option<Arc<Line>>,
    /// The number of the next line.
    number: usize,
    tally: Tally,
    machine: Option<Box<dyn Machine>>,
    difference: Option<Difference>,
    /// Why the next line could not be read.
    failed: Option<LoadError>,
    /// More was done after the last line, which is not on the trace.
    is_cut: bool,
    /// Nothing is compared any more.
    over: bool,
}

/// What the trace says that a call at the seam came to.
pub(super) struct Recorded {
    pub(super) got: Option<Got>,
    pub(super) failed: Option<Box<Failed>>,
}

impl Script {
    pub(crate) fn new(lines: Lines, is_cut: bool, machine: Option<Box<dyn Machine>>) -> Script {
        let mut state = State {
            lines,
            next: None,
            before: None,
            number: 1,
            tally: Tally::default(),
            machine,
            difference: None,
            failed: None,
            is_cut,
            over: false,
        };
        state.go_on();
        Script(Mutex::new(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of the program, with its thread. None at the end or after a difference.
    pub(super) fn next_call(&self) -> Option<(u32, Call)> {
        let mut state = self.state();
        let line = state.comes()?;
        let What::Call(call) = &line.what else {
            return state.differs("a call of the program that never began".into());
        };
        state.go_on();
        state.tally.calls += 1;
        Some((line.thread, call.clone()))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other line is another one"
    )]
    /// The context makes a call at the seam. None where it is not the next one of the trace.
    pub(super) fn seam(&self, call: &Seam) -> Option<Recorded> {
        let mut state = self.state();
        let got = || text(&What::Seam(AtSeam::new(call.clone())));
        let Some(line) = state.comes() else {
            return match state.over {
                true => None,
                false => state.differs(got()),
            };
        };
        match &line.what {
            What::Seam(recorded) if recorded.call == *call => {
                let machine = state.machine.as_mut();
                if let Some(Err(got)) = machine.map(|it| it.act(&line.what)) {
                    return state.differs(got);
                }
                state.go_on();
                state.tally.seam += 1;
                Some(Recorded {
                    got: recorded.got.clone(),
                    failed: recorded.failed.clone(),
                })
            }
            _ => state.differs(got()),
        }
    }

    /// A call of the program came back.
    pub(super) fn answer(&self, answer: Answer) {
        let mut state = self.state();
        let answer = What::Answer(answer);
        match state.comes() {
            Some(line) if line.what == answer => state.go_on(),
            Some(_) => {
                state.differs::<()>(text(&answer));
            }
            None => {}
        }
    }

    /// A call named a channel or a round that is not there.
    pub(super) fn cannot(&self, why: &str) {
        let mut state = self.state();
        // The line of the call, not of what would have come of it.
        state.go_back();
        state.differs::<()>(why.to_owned());
    }

    /// Whether the next thing is that the device is closed, outside of every call.
    pub(super) fn closes(&self) -> bool {
        let line = self.state().comes();
        line.is_some_and(|line| line.what == What::Seam(AtSeam::new(Seam::Close)))
    }

    /// Whether no call came before the present one.
    pub(super) fn is_first(&self) -> bool {
        self.state().tally.calls <= 1
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Nothing more is played or compared.
    pub(super) fn close(&self) {
        let mut state = self.state();
        // What others did after the last call.
        let _end = state.comes();
        state.over = true;
    }

    /// # Errors
    /// The trace could not be read to its end.
    pub(super) fn end(&self, threads: usize) -> Result<Replayed, LoadError> {
        let mut state = self.state();
        if let Some(failed) = state.failed.take() {
            return Err(failed);
        }
        Ok(match state.difference.take() {
            Some(difference) => Replayed::Differs(difference),
            None => Replayed::Same(Tally {
                threads,
                ..state.tally
            }),
        })
    }
}

impl State {
    /// The next line that is of the context, once what others did before it is done.
    fn comes(&mut self) -> Option<Arc<Line>> {
        while !self.over {
            let Some(line) = self.next.clone() else {
                self.over = self.is_cut;
                return None;
            };
            match &line.what {
                What::Guest(_) | What::Sim(_) | What::Seam(AtSeam { peer: Some(_), .. }) => {
                    let acted = self.machine.as_mut().map(|it| it.act(&line.what));
                    if let Some(Err(got)) = acted {
                        return self.differs(got);
                    }
                    self.go_on();
                }
                What::Call(_)
                | What::Answer(_)
                | What::Seam(_)
                | What::Op(_)
                | What::Input(_)
                | What::Schedule(_)
                | What::Verdict(_) => return Some(line),
            }
        }
        None
    }

    /// Reads the next line.
    fn go_on(&mut self) {
        self.number += 1;
        self.before = self.next.take();
        match self.lines.next() {
            Some(Ok(line)) => self.next = Some(Arc::new(line)),
            Some(Err(error)) => {
                self.failed = Some(error);
                self.over = true;
            }
            None => {}
        }
    }

    /// Goes back to the line before, from which nothing goes on.
    fn go_back(&mut self) {
        self.number -= 1;
        self.next = self.before.take();
    }

    fn differs<T>(&mut self, got: String) -> Option<T> {
        if !self.over {
            let expected = self.next.as_ref().map(|line| text(&line.what));
            self.difference = Some(Difference {
                line: self.number,
                expected: expected.unwrap_or_else(|| "the end".to_owned()),
                got,
            });
            self.over = true;
        }
        None
    }
}

pub(crate) fn text(what: &What) -> String {
    serde_json::to_string(what).unwrap_or_default()
}
