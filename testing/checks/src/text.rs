//! Steps as lines of text, written and read: `bind 3 unbound`, `many wait 0 300`, `fail-nth unmask 2`.

use std::fmt;
use std::str::{FromStr, SplitAsciiWhitespace};

use crate::op::{Each, Failing, Op, Source};

/// A line that is not a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a step of a script: {line:?}: {why}")]
pub struct BadStep {
    line: String,
    why: BadStepKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadStepKind {
    #[error("there is no {what} {word:?}")]
    Unknown { what: &'static str, word: String },
    #[error("the {0} is missing")]
    Missing(&'static str),
    #[error("{word:?} is not a {what} between 0 and 65535")]
    NoNumber { what: &'static str, word: String },
    #[error("{0:?} is too much")]
    Trailing(String),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Op::Bind(slot, source) => write!(f, "bind {slot} {source}"),
            Op::Unbind(slot) => write!(f, "unbind {slot}"),
            Op::Drop(slot) => write!(f, "drop {slot}"),
            Op::Wait(slot) => write!(f, "wait {slot}"),
            Op::WaitEach(slot) => write!(f, "wait-each {slot}"),
            Op::Cancel(slot) => write!(f, "cancel {slot}"),
            Op::Block(slot) => write!(f, "block {slot}"),
            Op::Await(slot) => write!(f, "await {slot}"),
            Op::Signal(slot) => write!(f, "signal {slot}"),
            Op::Notify(slot) => write!(f, "notify {slot}"),
            Op::Many(Each::Binds(source), first, count) => {
                write!(f, "many bind {first} {count} {source}")
            }
            Op::Many(each, first, count) => write!(f, "many {} {first} {count}", each.name()),
            Op::Storm(slot, times) => write!(f, "storm {slot} {times}"),
            Op::Begin(budget) => write!(f, "begin {budget}"),
            Op::Next => f.write_str("next"),
            Op::NextMany(wakes) => write!(f, "next-many {wakes}"),
            Op::Finish => f.write_str("finish"),
            Op::Leave => f.write_str("leave"),
            Op::Turn => f.write_str("turn"),
            Op::Serve => f.write_str("serve"),
            Op::Callback(slot) => write!(f, "callback {slot}"),
            Op::Calls => f.write_str("calls"),
            Op::HandOver => f.write_str("hand-over"),
            Op::Spurious => f.write_str("spurious"),
            Op::Overflow => f.write_str("overflow"),
            Op::Fail(failing) => write!(f, "fail {failing}"),
            Op::FailNth(failing, nth) => write!(f, "fail-nth {failing} {nth}"),
            Op::Short(ports) => write!(f, "short {ports}"),
            Op::Teardown => f.write_str("teardown"),
        }
    }
}

impl FromStr for Op {
    type Err = BadStep;

    fn from_str(line: &str) -> Result<Op, BadStep> {
        Words(line.split_ascii_whitespace())
            .step()
            .map_err(|why| BadStep {
                line: line.to_owned(),
                why,
            })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Unbound => "unbound",
            Source::Interdomain => "interdomain",
            Source::Virq => "virq",
        })
    }
}

impl Failing {
    /// Its name in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Failing::Opening => "open",
            Failing::Binding => "bind",
            Failing::Unbinding => "unbind",
            Failing::Unmasking => "unmask",
            Failing::ShortUnmask => "short-unmask",
            Failing::Interrupted => "interrupted",
            Failing::Reading => "read",
            Failing::Registering => "register",
            Failing::Deregistering => "deregister",
            Failing::Resetting => "reset",
            Failing::Notifying => "notify",
            Failing::Sleeping => "sleep",
        }
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Each {
    const fn name(self) -> &'static str {
        match self {
            Each::Binds(_) => "bind",
            Each::Unbinds => "unbind",
            Each::Drops => "drop",
            Each::Waits => "wait",
            Each::Cancels => "cancel",
            Each::Signals => "signal",
            Each::Notifies => "notify",
        }
    }
}

/// The words of a line that were not read yet.
struct Words<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn step(mut self) -> Result<Op, BadStepKind> {
        let op = match self.word("step")? {
            "bind" => Op::Bind(self.number("slot")?, self.source()?),
            "unbind" => Op::Unbind(self.number("slot")?),
            "drop" => Op::Drop(self.number("slot")?),
            "wait" => Op::Wait(self.number("slot")?),
            "wait-each" => Op::WaitEach(self.number("slot")?),
            "cancel" => Op::Cancel(self.number("slot")?),
            "block" => Op::Block(self.number("slot")?),
            "await" => Op::Await(self.number("slot")?),
            "signal" => Op::Signal(self.number("slot")?),
            "notify" => Op::Notify(self.number("slot")?),
            "many" => self.many()?,
            "storm" => Op::Storm(self.number("slot")?, self.number("count")?),
            "begin" => Op::Begin(self.number("budget")?),
            "next" => Op::Next,
            "next-many" => Op::NextMany(self.number("count")?),
            "finish" => Op::Finish,
            "leave" => Op::Leave,
            "turn" => Op::Turn,
            "serve" => Op::Serve,
            "callback" => Op::Callback(self.number("slot")?),
            "calls" => Op::Calls,
            "hand-over" => Op::HandOver,
            "spurious" => Op::Spurious,
            "overflow" => Op::Overflow,
            "fail" => Op::Fail(self.failing()?),
            "fail-nth" => Op::FailNth(self.failing()?, self.number("count")?),
            "short" => Op::Short(self.number("count")?),
            "teardown" => Op::Teardown,
            word => return Err(unknown("step", word)),
        };
        match self.0.next() {
            None => Ok(op),
            Some(word) => Err(BadStepKind::Trailing(word.to_owned())),
        }
    }

    fn many(&mut self) -> Result<Op, BadStepKind> {
        let name = self.word("step for each")?;
        let (first, count) = (self.number("slot")?, self.number("count")?);
        let each = match name {
            "bind" => Each::Binds(self.source()?),
            "unbind" => Each::Unbinds,
            "drop" => Each::Drops,
            "wait" => Each::Waits,
            "cancel" => Each::Cancels,
            "signal" => Each::Signals,
            "notify" => Each::Notifies,
            word => return Err(unknown("step for each", word)),
        };
        Ok(Op::Many(each, first, count))
    }

    fn word(&mut self, what: &'static str) -> Result<&'a str, BadStepKind> {
        self.0.next().ok_or(BadStepKind::Missing(what))
    }

    fn number(&mut self, what: &'static str) -> Result<u16, BadStepKind> {
        let word = self.word(what)?;
        word.parse().map_err(|_| BadStepKind::NoNumber {
            what,
            word: word.to_owned(),
        })
    }

    fn source(&mut self) -> Result<Source, BadStepKind> {
        self.named("source", Source::ALL)
    }

    fn failing(&mut self) -> Result<Failing, BadStepKind> {
        self.named("call that can fail", Failing::ALL)
    }

    /// Reads the next word as one of these.
    fn named<T: fmt::Display, const N: usize>(
        &mut self,
        what: &'static str,
        all: [T; N],
    ) -> Result<T, BadStepKind> {
        let word = self.word(what)?;
        let found = all.into_iter().find(|one| one.to_string() == word);
        found.ok_or_else(|| unknown(what, word))
    }
}

fn unknown(what: &'static str, word: &str) -> BadStepKind {
    BadStepKind::Unknown {
        what,
        word: word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> impl Strategy<Value = Source> {
        prop::sample::select(Source::ALL.to_vec())
    }

    fn failing() -> impl Strategy<Value = Failing> {
        prop::sample::select(Failing::ALL.to_vec())
    }

    fn each() -> impl Strategy<Value = Each> {
        prop_oneof![
            source().prop_map(Each::Binds),
            Just(Each::Unbinds),
            Just(Each::Drops),
            Just(Each::Waits),
            Just(Each::Cancels),
            Just(Each::Signals),
            Just(Each::Notifies),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        let one = prop_oneof![
            (any::<u16>(), source()).prop_map(|(slot, source)| Op::Bind(slot, source)),
            any::<u16>().prop_map(Op::Unbind),
            any::<u16>().prop_map(Op::Drop),
            any::<u16>().prop_map(Op::Wait),
            any::<u16>().prop_map(Op::WaitEach),
            any::<u16>().prop_map(Op::Cancel),
            any::<u16>().prop_map(Op::Block),
            any::<u16>().prop_map(Op::Await),
            any::<u16>().prop_map(Op::Signal),
            any::<u16>().prop_map(Op::Notify),
            any::<u16>().prop_map(Op::Callback),
            any::<u16>().prop_map(Op::Begin),
        ];
        let many = prop_oneof![
            (each(), any::<u16>(), any::<u16>())
                .prop_map(|(each, first, count)| Op::Many(each, first, count)),
            (any::<u16>(), any::<u16>()).prop_map(|(slot, times)| Op::Storm(slot, times)),
            any::<u16>().prop_map(Op::NextMany),
            failing().prop_map(Op::Fail),
            (failing(), any::<u16>()).prop_map(|(failing, nth)| Op::FailNth(failing, nth)),
            any::<u16>().prop_map(Op::Short),
        ];
        let bare = prop::sample::select(vec![
            Op::Next,
            Op::Finish,
            Op::Leave,
            Op::Turn,
            Op::Serve,
            Op::Calls,
            Op::HandOver,
            Op::Spurious,
            Op::Overflow,
            Op::Teardown,
        ]);
        prop_oneof![one, many, bare]
    }

    proptest! {
        #[test]
        fn a_step_is_read_as_it_was_written(op in op()) {
            let line = op.to_string();
            prop_assert_eq!(line.parse::<Op>(), Ok(op));
            prop_assert_eq!(line.lines().count(), 1);
        }

        #[test]
        fn any_line_is_read_as_a_step_or_refused(line in "[a-z0-9 -]{0,20}|\\PC*") {
            if let Ok(op) = line.parse::<Op>() {
                prop_assert_eq!(op.to_string().parse::<Op>(), Ok(op));
            }
        }
    }

    #[test]
    fn steps_are_written_as_in_the_documents() {
        for (op, line) in [
            (Op::Bind(3, Source::Unbound), "bind 3 unbound"),
            (Op::Many(Each::Waits, 0, 300), "many wait 0 300"),
            (
                Op::Many(Each::Binds(Source::Virq), 1, 2),
                "many bind 1 2 virq",
            ),
            (Op::FailNth(Failing::Unmasking, 2), "fail-nth unmask 2"),
            (Op::Fail(Failing::ShortUnmask), "fail short-unmask"),
            (Op::NextMany(7), "next-many 7"),
            (Op::Teardown, "teardown"),
        ] {
            assert_eq!(op.to_string(), line);
            assert_eq!(line.parse(), Ok(op));
        }
    }

    #[test]
    fn a_line_that_is_not_a_step_is_refused_with_the_reason() {
        for (line, why) in [
            ("", "the step is missing"),
            ("bnd 3", r#"there is no step "bnd""#),
            ("bind 3", "the source is missing"),
            ("bind 3 loopback", r#"there is no source "loopback""#),
            ("wait 70000", r#""70000" is not a slot between 0 and 65535"#),
            ("wait -1", r#""-1" is not a slot between 0 and 65535"#),
            ("turn 3", r#""3" is too much"#),
            ("many turn 0 3", r#"there is no step for each "turn""#),
        ] {
            let error = line.parse::<Op>().unwrap_err();
            let expected = format!("not a step of a script: {line:?}: {why}");
            assert_eq!(error.to_string(), expected);
        }
    }
}
