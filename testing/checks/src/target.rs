//! What the fuzz targets do with any bytes, and how bytes that break are kept.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use evtchn_core::Trigger;
use evtchn_trace::{Header, Record, Source, Tape, Verdict};

use crate::handover::play_hand_over;
use crate::memory::{is_counted, within};
use crate::op::Op;
use crate::picture::play_timeline;
use crate::player::{caught, check, play};
use crate::raw::play_calls;
use crate::registrar::play_registrar;
use crate::replay::play_replay;
use crate::trace::kept;

/// A fuzz target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// [`check()`](crate::check()) of the script that the bytes mean.
    Calls,
    /// Any calls on open files of the simulator; the device is looked at after each.
    Driver,
    /// The table of a hand-over, read, written and adopted.
    HandOver,
    /// The file of a trace, read and played.
    Replay,
    /// The file of a trace, drawn in each format.
    Timeline,
    /// A program on an event loop that fails, panics, calls back and lies.
    Registrar,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 6] = [
        Target::Calls,
        Target::Driver,
        Target::HandOver,
        Target::Replay,
        Target::Timeline,
        Target::Registrar,
    ];

    /// By what it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Target::Calls => "calls",
            Target::Driver => "driver",
            Target::HandOver => "handover",
            Target::Replay => "replay",
            Target::Timeline => "timeline",
            Target::Registrar => "registrar",
        }
    }

    /// Bytes before the first step, and bytes of a step. `None` if a step is a line.
    const fn step(self) -> Option<(usize, usize)> {
        match self {
            Target::Calls => Some((1, 2)),
            Target::Driver => Some((1, 6)),
            Target::HandOver => Some((0, 1)),
            Target::Registrar => Some((1, 3)),
            Target::Replay | Target::Timeline => None,
        }
    }

    /// Does with these bytes what it does with any.
    ///
    /// # Panics
    /// If something breaks or panics, or takes more memory than it has [`room`](crate::room) for. The
    /// message has the command that plays it again.
    #[expect(clippy::panic, reason = "a test ends by panicking")]
    pub fn check(self, bytes: &[u8]) {
        let input = Input::new(self, bytes);
        let played = match self {
            // A script that breaks is printed as a test has it.
            Target::Calls => within(bytes.len(), || {
                let (trigger, script) = Op::decode(bytes);
                check(trigger, &script);
                Ok(())
            }),
            Target::Driver
            | Target::HandOver
            | Target::Replay
            | Target::Timeline
            | Target::Registrar => input.play(),
        };
        if let Err(what) = played {
            let short = input.shortest();
            let what = short.play().err().unwrap_or(what);
            panic!("{what}\n{}", short.keep(&std::env::temp_dir()));
        }
    }

    /// Lets a panic unwind where the hook of libFuzzer would end the process, so that what panics is
    /// made short and kept too. For a fuzz target, before its first input.
    ///
    /// # Panics
    /// If the process does not [count](crate::is_counted) the bytes that it allocates.
    pub fn set_up() {
        assert!(is_counted(), "the memory of an input is not counted");
        drop(std::panic::take_hook());
    }
}

/// What a fuzz target is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    target: Target,
    bytes: Vec<u8>,
}

impl Input {
    /// These bytes for that target.
    #[must_use]
    pub fn new(target: Target, bytes: &[u8]) -> Input {
        Input {
            target,
            bytes: bytes.to_vec(),
        }
    }

    /// How many steps it means.
    #[must_use]
    pub fn steps(&self) -> usize {
        match self.target.step() {
            Some((head, step)) => self.bytes.len().saturating_sub(head) / step,
            None => self.pieces().len(),
        }
    }

    /// The pieces that can be left out. The first piece cannot.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let Some((head, step)) = self.target.step() else {
            let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
            return lines.map(<[u8]>::to_vec).collect();
        };
        let (head, steps) = self.bytes.split_at(head.min(self.bytes.len()));
        let steps = steps.chunks(step).map(<[u8]>::to_vec);
        std::iter::once(head.to_vec()).chain(steps).collect()
    }

    /// Plays it.
    ///
    /// # Errors
    /// What breaks or panics.
    pub fn play(&self) -> Result<(), String> {
        let bytes = &self.bytes[..];
        caught(|| match self.target {
            Target::Calls => within(bytes.len(), || {
                let (trigger, script) = Op::decode(bytes);
                let played = play(trigger, &script);
                played.map(drop).map_err(|broken| broken.to_string())
            }),
            Target::Driver => within(bytes.len(), || play_calls(bytes)),
            Target::HandOver => play_hand_over(bytes),
            Target::Replay => play_replay(bytes),
            Target::Timeline => play_timeline(bytes),
            Target::Registrar => within(bytes.len(), || play_registrar(bytes)),
        })
    }

    /// The shortest input that still breaks, found by leaving steps out; of one that does.
    #[must_use]
    pub fn shortest(&self) -> Input {
        let of = |pieces: &[Vec<u8>]| Input::new(self.target, &pieces.concat());
        of(&shortest(1, self.pieces(), |pieces| {
            of(pieces).play().is_err()
        }))
    }

    /// Writes the trace of it to a file in `dir` that is named after it, and says how to play it
    /// again.
    #[must_use]
    pub fn keep(&self, dir: &Path) -> String {
        kept(dir, &(self.target.name(), &self.bytes), |path| {
            self.record(File::create(path)?)
        })
    }

    /// Plays it and writes the trace of it: the input, and what came of it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn record(&self, out: impl io::Write + Send + 'static) -> io::Result<()> {
        let tape = Tape::new(&Header::new(Source::Script, Trigger::Level), out);
        tape.put(|| Record::Input(self.line()));
        let verdict = match self.play() {
            Ok(()) => Verdict::Holds,
            Err(what) => Verdict::Broken { step: 0, what },
        };
        tape.put(|| Record::Verdict(verdict));
        tape.finish()
    }

    fn line(&self) -> evtchn_trace::Input {
        let mut bytes = String::new();
        for byte in &self.bytes {
            // A String takes all that is written.
            let _written = write!(bytes, "{byte:02x}");
        }
        evtchn_trace::Input {
            input: self.target.name().to_owned(),
            bytes,
        }
    }

    /// From its line. None where there is no such target, or where that are no bytes.
    pub(crate) fn from_line(line: &evtchn_trace::Input) -> Option<Input> {
        let mut targets = Target::ALL.into_iter();
        let target = targets.find(|target| target.name() == line.input)?;
        let digits = line.bytes.as_bytes();
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
        let bytes = pairs.iter().map(byte).collect::<Option<_>>()?;
        Some(Input { target, bytes })
    }
}

/// The fewest pieces that still break, found by leaving pieces out. The first `head` pieces stay.
fn shortest<T: Clone>(head: usize, pieces: Vec<T>, breaks: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut short = pieces;
    let mut row = short.len().next_power_of_two();
    while row > 0 {
        let mut at = head;
        while at < short.len() {
            let mut shorter = short.clone();
            shorter.drain(at..short.len().min(at + row));
            if breaks(&shorter) {
                short = shorter;
            } else {
                at += row;
            }
        }
        row /= 2;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::CheckTrace;

    /// A call on a file that is not open, after a byte for the machine.
    const NOTHING: [u8; 6] = [7, 3, 0, 0, 0, 0];

    #[test]
    fn an_input_that_was_kept_is_read_again() {
        for target in Target::ALL {
            let bytes: Vec<u8> = (0..=255).collect();
            let input = Input::new(target, &bytes);
            let kept = input.keep(&std::env::temp_dir());
            let path = kept.rsplit(' ').next().unwrap();
            let trace = evtchn_trace::Trace::load(path).unwrap();
            std::fs::remove_file(path).unwrap();
            assert_eq!(CheckTrace::try_from(&trace), Ok(CheckTrace::Input(input)));
        }
    }

    #[test]
    fn a_line_that_is_no_input_is_refused() {
        for (input, bytes) in [("driver", "0"), ("driver", "0g"), ("drive", "00")] {
            let line = evtchn_trace::Input {
                input: input.to_owned(),
                bytes: bytes.to_owned(),
            };
            assert_eq!(Input::from_line(&line), None);
        }
    }

    #[test]
    fn steps_are_counted_as_they_are_played() {
        let bytes = [&[0][..], &NOTHING, &NOTHING].concat();
        assert_eq!(Input::new(Target::Driver, &bytes).steps(), 2);
        assert_eq!(Input::new(Target::Registrar, &bytes).steps(), 4);
        assert_eq!(Input::new(Target::HandOver, &bytes).steps(), 13);
        assert_eq!(Input::new(Target::Calls, &[]).steps(), 0);
        assert_eq!(Input::new(Target::Replay, b"{}\n{}\n{").steps(), 3);
    }
}
