//! The lines, states and marks of a timeline, as differences that take few bytes.

use std::io;

use super::lanes::{Kind, Look, Mark, Span, State, Text, Timeline};
use super::log::{Log, Store};

/// The line of each step.
#[derive(Debug, Default)]
pub(super) struct StepLines {
    log: Log<1>,
    /// For each block, its first step and the line before that.
    blocks: Vec<(u32, u32)>,
    steps: u32,
    last: u32,
}

impl StepLines {
    /// Adds the line of the next step, if it is a new one, and returns how many bytes that takes.
    ///
    /// # Errors
    /// It cannot be stored.
    pub(super) fn push(&mut self, line: u32, store: &mut Store) -> io::Result<usize> {
        if line <= self.last {
            return Ok(0);
        }
        let before = (self.steps, self.last);
        let bytes = self.log.push(store, [line - self.last])?;
        if self.blocks.len() <= self.log.last_block() {
            self.blocks.push(before);
        }
        (self.steps, self.last) = (self.steps + 1, line);
        Ok(bytes)
    }

    pub(super) const fn steps(&self) -> u32 {
        self.steps
    }

    /// The line of the last step.
    pub(super) fn last(&self) -> u32 {
        self.last.max(1)
    }

    /// The line of a step; behind the last step, the last line.
    ///
    /// # Errors
    /// It cannot be read back.
    pub(super) fn of(&self, step: u32, store: &Store) -> io::Result<u32> {
        if step >= self.steps {
            return Ok(self.last());
        }
        let block = self.blocks.partition_point(|(first, _)| *first <= step);
        let mut line = 1;
        self.each_in(block.saturating_sub(1), store, |at, its| {
            if at <= step {
                line = its;
            }
        })?;
        Ok(line)
    }

    /// The first step whose line is not before this one; none if every line is.
    ///
    /// # Errors
    /// It cannot be read back.
    pub(super) fn step_at(&self, line: u32, store: &Store) -> io::Result<Option<u32>> {
        let block = self.blocks.partition_point(|(_, before)| *before < line);
        let mut step = None;
        self.each_in(block.saturating_sub(1), store, |at, its| {
            if its >= line {
                step.get_or_insert(at);
            }
        })?;
        Ok(step)
    }

    /// Calls `each` with the steps of a block and their lines.
    fn each_in(
        &self,
        block: usize,
        store: &Store,
        mut each: impl FnMut(u32, u32),
    ) -> io::Result<()> {
        let (mut step, mut line) = self.blocks.get(block).copied().unwrap_or_default();
        self.log.each_in(block, store, |[more]| {
            line += more;
            each(step, line);
            step += 1;
            Ok(())
        })
    }

    /// Calls `each` with the difference of each line to the one before.
    ///
    /// # Errors
    /// Those of `each`, and a line cannot be read back.
    pub(super) fn differences(
        &self,
        store: &Store,
        each: impl FnMut([u32; 1]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.log.each(store, each)
    }
}

/// The distinct states of the lanes, by name and look.
#[derive(Debug, Default)]
pub(super) struct States(Vec<State>);

impl States {
    fn place(&mut self, state: State) -> u32 {
        let is_same = |it: &State| (it.name(), it.look()) == (state.name(), state.look());
        let place = self.0.iter().position(is_same).unwrap_or_else(|| {
            self.0.push(state);
            self.0.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    pub(super) fn all(&self) -> &[State] {
        &self.0
    }
}

/// The states of a lane, one after the other.
#[derive(Debug, Default)]
pub(super) struct Spans {
    log: Log<3>,
    count: usize,
    looks: [bool; Look::ALL.len()],
    last: u32,
}

impl Spans {
    /// Adds the next state, and returns how many bytes it takes.
    ///
    /// # Errors
    /// It cannot be stored.
    pub(super) fn push(
        &mut self,
        span: Span,
        states: &mut States,
        store: &mut Store,
    ) -> io::Result<usize> {
        let Span { from, to, state } = span;
        let packed = [from - self.last, to - from, states.place(state)];
        self.last = to;
        self.count += 1;
        self.looks[state.look() as usize] = true;
        self.log.push(store, packed)
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) const fn has(&self, look: Look) -> bool {
        self.looks[look as usize]
    }

    /// Calls `each` with every state, in order.
    ///
    /// # Errors
    /// Those of `each`, and a state cannot be read back.
    pub(super) fn each(
        &self,
        timeline: &Timeline,
        mut each: impl FnMut(Span) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last = 0;
        self.differences(&timeline.store, |[more, length, place]| {
            let from = last + more;
            last = from + length;
            let state = timeline.states.all().get(place as usize);
            state.map_or(Ok(()), |&state| {
                each(Span {
                    from,
                    to: last,
                    state,
                })
            })
        })
    }

    /// Calls `each` with every state: how long after the one before it begins, how long it lasts, and its
    /// place among all states.
    ///
    /// # Errors
    /// As [`Spans::each`].
    pub(super) fn differences(
        &self,
        store: &Store,
        each: impl FnMut([u32; 3]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.log.each(store, each)
    }
}

/// The marks of a lane, one after the other.
#[derive(Debug, Default)]
pub(super) struct Marks {
    log: Log<3>,
    counts: [usize; Kind::ALL.len()],
    last: u32,
}

impl Marks {
    /// Adds the next mark, and returns how many bytes it takes.
    ///
    /// # Errors
    /// It cannot be stored.
    pub(super) fn push(&mut self, mark: Mark, store: &mut Store) -> io::Result<usize> {
        let packed = [mark.at - self.last, mark.kind as u32, mark.text.place()];
        self.last = mark.at;
        self.counts[mark.kind as usize] += 1;
        self.log.push(store, packed)
    }

    pub(super) fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) const fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// Calls `each` with every mark, in order.
    ///
    /// # Errors
    /// Those of `each`, and a mark cannot be read back.
    pub(super) fn each(
        &self,
        timeline: &Timeline,
        mut each: impl FnMut(Mark) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = 0;
        self.differences(&timeline.store, |[more, kind, text]| {
            at += more;
            let text = Text::at(text);
            let kind = Kind::ALL.get(kind as usize);
            kind.map_or(Ok(()), |&kind| each(Mark { at, kind, text }))
        })
    }

    /// Calls `each` with every mark: how long after the one before it is, its kind and the place of its
    /// text.
    ///
    /// # Errors
    /// As [`Marks::each`].
    pub(super) fn differences(
        &self,
        store: &Store,
        each: impl FnMut([u32; 3]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.log.each(store, each)
    }
}
