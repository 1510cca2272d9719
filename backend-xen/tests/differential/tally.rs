//! Counts what a run has met, so that a run that met too little does not pass.

use std::collections::BTreeMap;
use std::fmt;

use evtchn_sim::abi::{PAGE, PollBits};
use evtchn_sim::{Errno, Platform, Policy};

use crate::op::{Bind, Kind, Memory, Op, Request, Word};
use crate::play::{Order, Seen};

/// From this many operations on, every case must have occurred.
const ENOUGH: u64 = 50_000;

macro_rules! rows {
    ($($row:ident $least:literal $what:literal;)*) => {
        /// What the device may do, in more detail than by errno.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Row { $($row),* }

        /// Each with how often it must be met.
        const ROWS: &[(Row, &str, u64)] = &[$((Row::$row, $what, $least)),*];
    };
}

rows! {
    VirqBound 100 "BIND_VIRQ: a port";
    VirqRestricted 100 "BIND_VIRQ: EACCES, restricted";
    VirqFault 100 "BIND_VIRQ: EFAULT";
    VirqInvalid 100 "BIND_VIRQ: EINVAL, no such one";
    VirqTaken 100 "BIND_VIRQ: EEXIST";
    InterdomainBound 100 "BIND_INTERDOMAIN: a port";
    InterdomainCut 100 "BIND_INTERDOMAIN: a port, the domid cut to 16 bits";
    InterdomainFault 100 "BIND_INTERDOMAIN: EFAULT";
    InterdomainFaultFirst 100 "BIND_INTERDOMAIN: EFAULT, though restricted";
    InterdomainRestricted 100 "BIND_INTERDOMAIN: EACCES, restricted";
    InterdomainWide 100 "BIND_INTERDOMAIN: EACCES, restricted to the same 16 bits";
    InterdomainNoDomain 100 "BIND_INTERDOMAIN: ESRCH";
    InterdomainInvalid 100 "BIND_INTERDOMAIN: EINVAL";
    UnboundBound 100 "BIND_UNBOUND_PORT: a port";
    UnboundNoDomain 100 "BIND_UNBOUND_PORT: a port, for no domain";
    UnboundRestricted 100 "BIND_UNBOUND_PORT: EACCES, restricted";
    UnboundFault 100 "BIND_UNBOUND_PORT: EFAULT";
    UnbindDone 100 "UNBIND: 0";
    UnbindFault 100 "UNBIND: EFAULT";
    UnbindInvalid 100 "UNBIND: EINVAL, out of range";
    UnbindForeign 100 "UNBIND: ENOTCONN";
    NotifyDone 100 "NOTIFY: 0";
    NotifyFault 100 "NOTIFY: EFAULT";
    NotifyForeign 100 "NOTIFY: ENOTCONN";
    ResetDone 100 "RESET: 0";
    RestrictDone 100 "RESTRICT_DOMID: 0";
    RestrictTwice 100 "RESTRICT_DOMID: EACCES, restricted";
    RestrictTwiceBad 100 "RESTRICT_DOMID: EACCES, the pointer bad";
    RestrictFault 100 "RESTRICT_DOMID: EFAULT";
    RestrictInvalid 100 "RESTRICT_DOMID: EINVAL";
    UnboundRefused 100 "BIND_UNBOUND_PORT: ESRCH, SILO";
    StaticUnknown 100 "BIND_STATIC: ENOSYS";
    StaticBound 100 "BIND_STATIC: 0";
    StaticAgain 20 "BIND_STATIC: EISCONN";
    StaticFault 100 "BIND_STATIC: EFAULT";
    Unknown 100 "unknown request: ENOSYS";
    UnknownBad 100 "unknown request: ENOSYS, the pointer bad";
    ReadNothing 100 "read of 0..3 bytes: 0";
    ReadNothingOverflow 100 "read of 0..3 bytes: 0, overflowed";
    ReadOdd 100 "read: the count rounded down";
    ReadPart 100 "read: as much as fits, and more is there";
    ReadPage 2 "read: a page of more";
    ReadOverflow 100 "read: EFBIG";
    ReadAgain 100 "read: EAGAIN";
    ReadAgainBad 100 "read: EAGAIN, the pointer bad";
    ReadFault 100 "read: EFAULT";
    WriteNothing 100 "write of 0..3 bytes: 0";
    WriteOdd 100 "write: the count rounded down";
    WritePage 100 "write: a page of more";
    WriteFault 100 "write: EFAULT";
    WriteDelivers 100 "write: what was pending comes";
    PollEmpty 100 "poll: writable";
    PollReady 100 "poll: readable and writable";
    PollOverflow 100 "poll: the error alone";
}

/// What cannot be met, and why.
const OUT_OF_REACH: [(&str, &str); 7] = [
    (
        "BIND_*: ENOMEM",
        "with memory exhausted this kernel may close a port twice, which is a BUG",
    ),
    (
        "BIND_*: ENOSPC",
        "131071 binds take Xen twenty minutes under emulation",
    ),
    ("BIND_INTERDOMAIN: EPERM", "needs an XSM policy"),
    (
        "BIND_VIRQ: EBUSY",
        "since Xen 4.21, where another domain handles the VIRQ",
    ),
    (
        "BIND_STATIC: what is no end of a static channel",
        "the kernel does not refuse each of them",
    ),
    ("read: EINTR", "every file is non-blocking"),
    (
        "read, write: EBADF",
        "every file is open for reading and writing",
    ),
];

impl Row {
    /// Whether a pair of Xen and Linux can do it.
    fn is_possible(self, pair: &Platform) -> bool {
        let statics: &[Row] = match pair.bind_static.value {
            true => &[Row::StaticUnknown],
            false => &[Row::StaticBound, Row::StaticAgain, Row::StaticFault],
        };
        let unbound = match pair.policy.value {
            Policy::Dummy => Row::UnboundRefused,
            Policy::Silo => Row::UnboundNoDomain,
        };
        self != unbound && !statics.contains(&self)
    }
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) operations: u64,
    /// Per kind, per errno (0 for success).
    results: [BTreeMap<i32, u64>; Kind::ALL.len()],
    rows: [u64; ROWS.len()],
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            operations: 0,
            results: std::array::from_fn(|_| BTreeMap::new()),
            rows: [0; ROWS.len()],
        }
    }
}

impl Tally {
    pub(crate) fn count(&mut self, op: &Op, seen: &Seen) {
        self.operations += 1;
        let errno = seen.answer.err().unwrap_or(0);
        *self.results[op.kind() as usize].entry(errno).or_default() += 1;
        let polled = match seen.polled[op.file()] {
            bits if bits == PollBits::WRITABLE.raw() => Some(Row::PollEmpty),
            bits if bits == PollBits::READABLE.raw() => Some(Row::PollReady),
            bits if bits == PollBits::ERROR.raw() => Some(Row::PollOverflow),
            _ => None,
        };
        let row = match op {
            Op::Open(_) | Op::Dup(_) | Op::Close(_) => None,
            Op::Bind(_, _, how, words, _) => bind(*how, words[0], seen),
            Op::Ioctl(_, request, _, memory) => ioctl(*request, *memory, seen),
            Op::Read(_, count, memory) => read(*count, *memory, seen, op.file()),
            Op::Write(_, words, odd, _) => write(words.0.len() * 4 + odd, seen, op.file()),
        };
        for row in polled.into_iter().chain(row) {
            self.rows[row as usize] += 1;
        }
    }

    /// What was met too rarely.
    pub(crate) fn missing(&self, order: Order, pair: &Platform) -> Vec<String> {
        if self.operations < ENOUGH {
            return Vec::new();
        }
        let kinds = Kind::ALL.into_iter().zip(&self.results);
        let kinds =
            kinds.filter(|(_, results)| results.values().sum::<u64>() * 100 < self.operations);
        let mut missing: Vec<String> = kinds
            .map(|(kind, _)| format!("{kind:?}: under 1 %"))
            .collect();
        let rows = ROWS.iter().zip(self.rows);
        let rows = rows.filter(|((row, _, least), met)| {
            order == Order::Exact && row.is_possible(pair) && met < least
        });
        missing.extend(rows.map(|((_, what, least), met)| format!("{what}: {met} of {least}")));
        missing
    }
}

fn bind(how: Bind, first: Word, seen: &Seen) -> Option<Row> {
    let restricted = seen.restricted_to.is_some();
    let first = match first {
        Word::Raw(word) => word,
        Word::Port(_) | Word::End(_) => 0,
    };
    Some(match (how, seen.answer.map_err(Errno::new)) {
        (Bind::Virq, Ok(_)) => Row::VirqBound,
        (Bind::Virq, Err(Errno::EACCES)) => Row::VirqRestricted,
        (Bind::Virq, Err(Errno::EFAULT)) => Row::VirqFault,
        (Bind::Virq, Err(Errno::EINVAL)) => Row::VirqInvalid,
        (Bind::Virq, Err(Errno::EEXIST)) => Row::VirqTaken,
        (Bind::Interdomain, Ok(_)) if first > 0xffff => Row::InterdomainCut,
        (Bind::Interdomain, Ok(_)) => Row::InterdomainBound,
        (Bind::Interdomain, Err(Errno::EFAULT)) if restricted => Row::InterdomainFaultFirst,
        (Bind::Interdomain, Err(Errno::EFAULT)) => Row::InterdomainFault,
        (Bind::Interdomain, Err(Errno::EACCES)) if seen.restricted_to == Some(first & 0xffff) => {
            Row::InterdomainWide
        }
        (Bind::Interdomain, Err(Errno::EACCES)) => Row::InterdomainRestricted,
        (Bind::Interdomain, Err(Errno::ESRCH)) => Row::InterdomainNoDomain,
        (Bind::Interdomain, Err(Errno::EINVAL)) => Row::InterdomainInvalid,
        (Bind::Unbound, Ok(_)) if !matches!(first & 0xffff, 0 | 0x7ff0) => Row::UnboundNoDomain,
        (Bind::Unbound, Ok(_)) => Row::UnboundBound,
        (Bind::Unbound, Err(Errno::EACCES)) => Row::UnboundRestricted,
        (Bind::Unbound, Err(Errno::EFAULT)) => Row::UnboundFault,
        (Bind::Unbound, Err(Errno::ESRCH)) => Row::UnboundRefused,
        (Bind::Static, Ok(_)) => Row::StaticBound,
        (Bind::Static, Err(Errno::EISCONN)) => Row::StaticAgain,
        (Bind::Static, Err(Errno::EFAULT)) => Row::StaticFault,
        (_, Err(_)) => return None,
    })
}

fn ioctl(request: Request, memory: Memory, seen: &Seen) -> Option<Row> {
    let is_bad = memory == Memory::Null;
    Some(match (request, seen.answer.map_err(Errno::new)) {
        (Request::Unbind, Ok(_)) => Row::UnbindDone,
        (Request::Unbind, Err(Errno::EFAULT)) => Row::UnbindFault,
        (Request::Unbind, Err(Errno::EINVAL)) => Row::UnbindInvalid,
        (Request::Unbind, Err(Errno::ENOTCONN)) => Row::UnbindForeign,
        (Request::Notify, Ok(_)) => Row::NotifyDone,
        (Request::Notify, Err(Errno::EFAULT)) => Row::NotifyFault,
        (Request::Notify, Err(Errno::ENOTCONN)) => Row::NotifyForeign,
        (Request::Reset, Ok(_)) => Row::ResetDone,
        (Request::Restrict, Ok(_)) => Row::RestrictDone,
        (Request::Restrict, Err(Errno::EACCES)) if is_bad => Row::RestrictTwiceBad,
        (Request::Restrict, Err(Errno::EACCES)) => Row::RestrictTwice,
        (Request::Restrict, Err(Errno::EFAULT)) => Row::RestrictFault,
        (Request::Restrict, Err(Errno::EINVAL)) => Row::RestrictInvalid,
        (Request::BindStatic, Err(Errno::ENOSYS)) => Row::StaticUnknown,
        (Request::BindStatic, Err(Errno::EFAULT)) => Row::StaticFault,
        (Request::Unknown(_), Err(Errno::ENOSYS)) if is_bad => Row::UnknownBad,
        (Request::Unknown(_), Err(Errno::ENOSYS)) => Row::Unknown,
        _ => return None,
    })
}

fn read(count: usize, memory: Memory, seen: &Seen, file: usize) -> Option<Row> {
    let more = seen.polled[file] == PollBits::READABLE.raw();
    let is_bad = memory != Memory::There;
    Some(match seen.answer.map_err(Errno::new) {
        Ok(_) if count < 4 && seen.before == PollBits::ERROR.raw() => Row::ReadNothingOverflow,
        Ok(_) if count < 4 => Row::ReadNothing,
        Ok(read) if count > PAGE && read as usize == PAGE => Row::ReadPage,
        Ok(_) if !count.is_multiple_of(4) => Row::ReadOdd,
        Ok(_) if more => Row::ReadPart,
        Err(Errno::EFBIG) => Row::ReadOverflow,
        Err(Errno::EAGAIN) if is_bad => Row::ReadAgainBad,
        Err(Errno::EAGAIN) => Row::ReadAgain,
        Err(Errno::EFAULT) => Row::ReadFault,
        _ => return None,
    })
}

fn write(count: usize, seen: &Seen, file: usize) -> Option<Row> {
    let came = seen.before == PollBits::WRITABLE.raw() && seen.polled[file] != seen.before;
    Some(match seen.answer.map_err(Errno::new) {
        Ok(_) if came => Row::WriteDelivers,
        Ok(_) if count < 4 => Row::WriteNothing,
        Ok(_) if count > PAGE => Row::WritePage,
        Ok(_) if !count.is_multiple_of(4) => Row::WriteOdd,
        Err(Errno::EFAULT) => Row::WriteFault,
        _ => return None,
    })
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, results) in Kind::ALL.into_iter().zip(&self.results) {
            let sum: u64 = results.values().sum();
            let permille = sum * 1000 / self.operations.max(1);
            write!(
                f,
                "{:<16}{sum:>9} {:>3}.{} %",
                format!("{kind:?}"),
                permille / 10,
                permille % 10
            )?;
            for (errno, met) in results {
                let name = Errno::new(*errno).name().unwrap_or("ok");
                write!(f, "  {name} {met}")?;
            }
            writeln!(f)?;
        }
        for ((_, what, _), met) in ROWS.iter().zip(self.rows) {
            writeln!(f, "{met:>10}  {what}")?;
        }
        for (what, why) in OUT_OF_REACH {
            writeln!(f, " not to be  {what}: {why}")?;
        }
        Ok(())
    }
}
