//! Where a replay stands in its trace.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Difference, Machine, Replayed, Tally};
use crate::failed::Failed;
use crate::line::{Answer, AtSeam, Call, Got, Line, Seam, What};

pub(super) struct Script {
    lines: Vec<Line>,
    state: Mutex<State>,
}

struct State {
    /// The next line.
    next: usize,
    tally: Tally,
    machine: Option<Box<dyn Machine>>,
    difference: Option<Difference>,
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
    pub(super) fn new(lines: &[Line], is_cut: bool, machine: Option<Box<dyn Machine>>) -> Script {
        Script {
            lines: lines.to_vec(),
            state: Mutex::new(State {
                next: 0,
                tally: Tally::default(),
                machine,
                difference: None,
                is_cut,
                over: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of the program, with its thread. None at the end or after a difference.
    pub(super) fn next_call(&self) -> Option<(u32, Call)> {
        let mut state = self.state();
        let line = state.comes(&self.lines)?;
        let What::Call(call) = &line.what else {
            return state.differs(&self.lines, "a call of the program that never began".into());
        };
        state.next += 1;
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
        let Some(line) = state.comes(&self.lines) else {
            return match state.over {
                true => None,
                false => state.differs(&self.lines, got()),
            };
        };
        match &line.what {
            What::Seam(recorded) if recorded.call == *call => {
                let machine = state.machine.as_mut();
                if let Some(Err(got)) = machine.map(|it| it.act(&line.what)) {
                    return state.differs(&self.lines, got);
                }
                state.next += 1;
                state.tally.seam += 1;
                Some(Recorded {
                    got: recorded.got.clone(),
                    failed: recorded.failed.clone(),
                })
            }
            _ => state.differs(&self.lines, got()),
        }
    }

    /// A call of the program came back.
    pub(super) fn answer(&self, answer: Answer) {
        let mut state = self.state();
        let answer = What::Answer(answer);
        match state.comes(&self.lines) {
            Some(line) if line.what == answer => state.next += 1,
            Some(_) => {
                state.differs::<()>(&self.lines, text(&answer));
            }
            None => {}
        }
    }

    /// A call named a channel or a round that is not there.
    pub(super) fn cannot(&self, why: &str) {
        let mut state = self.state();
        // The line of the call, not of what would have come of it.
        state.next = state.next.saturating_sub(1);
        state.differs::<()>(&self.lines, why.to_owned());
    }

    /// Whether the next thing is that the device is closed, outside of every call.
    pub(super) fn closes(&self) -> bool {
        let mut state = self.state();
        let line = state.comes(&self.lines);
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
        let _end = state.comes(&self.lines);
        state.over = true;
    }

    pub(super) fn end(&self, threads: usize) -> Replayed {
        let state = self.state();
        match &state.difference {
            Some(difference) => Replayed::Differs(difference.clone()),
            None => Replayed::Same(Tally {
                threads,
                ..state.tally
            }),
        }
    }
}

impl State {
    /// The next line that is of the context, once what others did before it is done.
    fn comes<'a>(&mut self, lines: &'a [Line]) -> Option<&'a Line> {
        while !self.over {
            let Some(line) = lines.get(self.next) else {
                self.over = self.is_cut;
                return None;
            };
            match &line.what {
                What::Guest(_) | What::Sim(_) | What::Seam(AtSeam { peer: Some(_), .. }) => {
                    let acted = self.machine.as_mut().map(|it| it.act(&line.what));
                    if let Some(Err(got)) = acted {
                        return self.differs(lines, got);
                    }
                    self.next += 1;
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

    fn differs<T>(&mut self, lines: &[Line], got: String) -> Option<T> {
        if !self.over {
            let expected = lines.get(self.next).map(|line| text(&line.what));
            self.difference = Some(Difference {
                line: self.next + 2,
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
