//! The position of a replay in its trace. It compares each call and answer with the next line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Difference, Machine, Replayed, Tally};
use crate::failed::Failed;
use crate::line::{Answer, BackendAnswer, BackendCall, BackendRecord, Call, Line, Record};
use crate::refused::LoadError;

pub(crate) struct Cursor(Mutex<State>);

/// The lines after the first one, read as they are played.
type Lines = Box<dyn Iterator<Item = Result<Line, LoadError>> + Send>;

struct State {
    lines: Lines,
    /// The next line. `None` after the last one.
    next: Option<Arc<Line>>,
    /// The line before the next one.
    before: Option<Arc<Line>>,
    /// The number of the next line.
    number: usize,
    tally: Tally,
    machine: Option<Box<dyn Machine>>,
    difference: Option<Difference>,
    /// Why the next line could not be read.
    failed: Option<LoadError>,
    /// The trace was cut off, so the program did more than it says.
    is_cut: bool,
    /// Nothing more is compared.
    over: bool,
}

/// The recorded answer to a backend call.
pub(super) struct Recorded {
    pub(super) answer: Option<BackendAnswer>,
    pub(super) failed: Option<Box<Failed>>,
}

impl Cursor {
    pub(crate) fn new(lines: Lines, is_cut: bool, machine: Option<Box<dyn Machine>>) -> Cursor {
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
        Cursor(Mutex::new(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of the program, with its thread. Returns `None` at the end of the trace or after a
    /// difference.
    pub(super) fn next_call(&self) -> Option<(u32, Call)> {
        let mut state = self.state();
        let line = state.next_of_context()?;
        let Record::Call(call) = &line.record else {
            return state.differs("no call of the program is under way".into());
        };
        state.go_on();
        state.tally.calls += 1;
        Some((line.thread, call.clone()))
    }

    /// The context makes a backend call. Returns `None` if it is not the next one of the trace.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other line is a difference"
    )]
    pub(super) fn backend_call(&self, call: &BackendCall) -> Option<Recorded> {
        let mut state = self.state();
        let got = || text(&Record::Backend(BackendRecord::new(call.clone())));
        let Some(line) = state.next_of_context() else {
            return match state.over {
                true => None,
                false => state.differs(got()),
            };
        };
        match &line.record {
            Record::Backend(recorded) if recorded.call == *call => {
                let machine = state.machine.as_mut();
                if let Some(Err(got)) = machine.map(|it| it.act(&line.record)) {
                    return state.differs(got);
                }
                state.go_on();
                state.tally.backend_calls += 1;
                Some(Recorded {
                    answer: recorded.answer.clone(),
                    failed: recorded.failed.clone(),
                })
            }
            _ => state.differs(got()),
        }
    }

    /// A call of the program returns, or calls a callback.
    pub(super) fn answer(&self, answer: Answer) {
        let mut state = self.state();
        let answer = Record::Answer(answer);
        match state.next_of_context() {
            Some(line) if line.record == answer => state.go_on(),
            Some(_) => {
                state.differs::<()>(text(&answer));
            }
            None => {}
        }
    }

    /// A call cannot be made, because its channel, its round or its context does not exist.
    pub(super) fn cannot_call(&self, why: &str) {
        let mut state = self.state();
        // The difference is at the line of the call, not at the next one.
        state.go_back();
        state.differs::<()>(why.to_owned());
    }

    /// Whether the next line is the close of a device, outside of every call.
    pub(super) fn is_at_close(&self) -> bool {
        let line = self.state().next_of_context();
        line.is_some_and(|line| {
            line.record == Record::Backend(BackendRecord::new(BackendCall::Close))
        })
    }

    /// Whether the next line is a question what a port is.
    pub(super) fn is_at_status(&self) -> bool {
        let line = self.state().next_of_context();
        line.is_some_and(|line| {
            matches!(
                &line.record,
                Record::Backend(BackendRecord {
                    call: BackendCall::Status { .. },
                    ..
                })
            )
        })
    }

    /// Whether the present call is the first one.
    pub(super) fn is_first(&self) -> bool {
        self.state().tally.calls <= 1
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Nothing more is played or compared.
    pub(super) fn close(&self) {
        let mut state = self.state();
        // Does what others did after the last call.
        let _end = state.next_of_context();
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
    /// The next line that is a call of the program, an answer, or a backend call of the context. Does
    /// what others did before it.
    fn next_of_context(&mut self) -> Option<Arc<Line>> {
        while !self.over {
            let Some(line) = self.next.clone() else {
                self.over = self.is_cut;
                return None;
            };
            match &line.record {
                Record::Guest(_)
                | Record::Sim(_)
                | Record::Backend(BackendRecord { peer: Some(_), .. }) => {
                    let acted = self.machine.as_mut().map(|it| it.act(&line.record));
                    if let Some(Err(got)) = acted {
                        return self.differs(got);
                    }
                    self.go_on();
                }
                Record::Call(_)
                | Record::Answer(_)
                | Record::Backend(_)
                | Record::Op(_)
                | Record::Input(_)
                | Record::Schedule(_)
                | Record::Verdict(_) => return Some(line),
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
            let expected = self.next.as_ref().map(|line| text(&line.record));
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

pub(crate) fn text(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_default()
}
