//! How the types of the core are written in a trace.

use evtchn_core::{Cause, DomId, ErrorKind, Port, RemotePort, Slept, Status, Trigger, Virq};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An id that is written as its number.
pub(crate) trait Number: Copy + Sized {
    fn number(self) -> u32;
    /// # Errors
    /// What is wrong with the number.
    fn of(number: u32) -> Result<Self, String>;
}

impl Number for Port {
    fn number(self) -> u32 {
        self.as_raw()
    }

    fn of(number: u32) -> Result<Port, String> {
        Port::try_from(number).map_err(|bad| bad.to_string())
    }
}

impl Number for DomId {
    fn number(self) -> u32 {
        self.as_raw().into()
    }

    fn of(number: u32) -> Result<DomId, String> {
        DomId::try_from(number).map_err(|bad| bad.to_string())
    }
}

impl Number for Virq {
    fn number(self) -> u32 {
        self.as_raw()
    }

    fn of(number: u32) -> Result<Virq, String> {
        Ok(Virq::new(number))
    }
}

/// For `serde(with)`: an id by its number.
pub(crate) mod number {
    use super::{Deserialize, Deserializer, Number, Serializer};

    pub(crate) fn serialize<T: Number, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(id.number())
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        T::of(u32::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// For `serde(with)`: a list of ids by their numbers.
pub(crate) mod numbers {
    use super::{Deserialize, Deserializer, Number, Serializer};

    pub(crate) fn serialize<T: Number, S: Serializer>(ids: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(|id| id.number()))
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let numbers = Vec::<u32>::deserialize(from)?;
        let ids = numbers.into_iter().map(T::of);
        ids.collect::<Result<_, _>>()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a channel woke, by name.
///
/// ```
/// use evtchn::Cause;
/// use evtchn_trace::WakeCause;
///
/// assert_eq!(serde_json::to_string(&WakeCause(Cause::Overflow))?, r#""overflow""#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeCause(pub Cause);

const CAUSES: [(Cause, &str); 7] = [
    (Cause::Event, "event"),
    (Cause::Overflow, "overflow"),
    (Cause::PeerGone, "peer_gone"),
    (Cause::PeerConnected, "peer_connected"),
    (Cause::Adopted, "adopted"),
    (Cause::Gone, "gone"),
    (Cause::Resumed, "resumed"),
];

impl Serialize for WakeCause {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        named(&CAUSES, &self.0, to)
    }
}

impl<'de> Deserialize<'de> for WakeCause {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<WakeCause, D::Error> {
        by_name(&CAUSES, from).map(WakeCause)
    }
}

/// How a sleep ended, by name.
///
/// ```
/// use evtchn::Slept;
/// use evtchn_trace::SleepEnd;
///
/// let ended: SleepEnd = serde_json::from_str(r#""timed_out""#)?;
/// assert_eq!(ended, SleepEnd(Slept::TimedOut));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SleepEnd(pub Slept);

const ENDS: [(Slept, &str); 3] = [
    (Slept::Ready, "ready"),
    (Slept::Notified, "notified"),
    (Slept::TimedOut, "timed_out"),
];

impl Serialize for SleepEnd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        named(&ENDS, &self.0, to)
    }
}

impl<'de> Deserialize<'de> for SleepEnd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SleepEnd, D::Error> {
        by_name(&ENDS, from).map(SleepEnd)
    }
}

const KINDS: [(ErrorKind, &str); 14] = [
    (ErrorKind::NoDevice, "no_device"),
    (ErrorKind::NotPermitted, "not_permitted"),
    (ErrorKind::NoSuchDomain, "no_such_domain"),
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::NotBound, "not_bound"),
    (ErrorKind::InUse, "in_use"),
    (ErrorKind::NoSpace, "no_space"),
    (ErrorKind::NoMemory, "no_memory"),
    (ErrorKind::Overflow, "overflow"),
    (ErrorKind::Interrupted, "interrupted"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::Gone, "gone"),
    (ErrorKind::Resumed, "resumed"),
    (ErrorKind::Other, "other"),
];

/// For `serde(with)`: the kind of a failure by name. A kind without a name is written as "other".
pub(crate) mod kind {
    use super::{Deserializer, ErrorKind, KINDS, Serializer, by_name, named};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(kind: &ErrorKind, to: S) -> Result<S::Ok, S::Error> {
        named(&KINDS, kind, to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ErrorKind, D::Error> {
        by_name(&KINDS, from)
    }
}

const TRIGGERS: [(Trigger, &str); 2] = [(Trigger::Level, "level"), (Trigger::Edge, "edge")];

/// For `serde(with)`: the trigger of a loop by name.
pub(crate) mod trigger {
    use super::{Deserializer, Serializer, TRIGGERS, Trigger, by_name, named};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(trigger: &Trigger, to: S) -> Result<S::Ok, S::Error> {
        named(&TRIGGERS, trigger, to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Trigger, D::Error> {
        by_name(&TRIGGERS, from)
    }
}

fn named<T: PartialEq, S: Serializer>(
    names: &[(T, &str)],
    wanted: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    let found = names.iter().find(|(it, _)| it == wanted);
    to.serialize_str(found.map_or("other", |(_, name)| *name))
}

fn by_name<'de, T: Copy, D: Deserializer<'de>>(
    names: &[(T, &str)],
    from: D,
) -> Result<T, D::Error> {
    let name = String::deserialize(from)?;
    let found = names.iter().find(|(_, it)| **it == name);
    match found {
        Some((it, _)) => Ok(*it),
        None => Err(D::Error::custom(format!("unknown name {name:?}"))),
    }
}

/// The status of a port, as Xen reports it.
///
/// ```
/// use evtchn::DomId;
/// use evtchn_trace::RecordedStatus;
///
/// let status = RecordedStatus::Unbound { domid: DomId::new(1) };
/// assert_eq!(serde_json::to_string(&status)?, r#"{"state":"unbound","domid":1}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the variants of `Status`")]
pub enum RecordedStatus {
    Closed,
    Unbound {
        #[serde(with = "number")]
        domid: DomId,
    },
    Interdomain {
        #[serde(with = "number")]
        domid: DomId,
        #[serde(with = "number")]
        port: Port,
    },
    Pirq {
        pirq: u32,
    },
    Virq {
        #[serde(with = "number")]
        virq: Virq,
    },
    Ipi,
}

impl RecordedStatus {
    /// Returns `None` for a kind of port that this version does not know.
    pub(crate) const fn of(status: Status) -> Option<RecordedStatus> {
        Some(match status {
            Status::Closed => RecordedStatus::Closed,
            Status::Unbound { remote: domid } => RecordedStatus::Unbound { domid },
            Status::Interdomain {
                remote: RemotePort { domid, port },
            } => RecordedStatus::Interdomain { domid, port },
            Status::Pirq { pirq } => RecordedStatus::Pirq { pirq },
            Status::Virq { virq } => RecordedStatus::Virq { virq },
            Status::Ipi => RecordedStatus::Ipi,
            _ => return None,
        })
    }

    pub(crate) const fn status(self) -> Status {
        match self {
            RecordedStatus::Closed => Status::Closed,
            RecordedStatus::Unbound { domid: remote } => Status::Unbound { remote },
            RecordedStatus::Interdomain { domid, port } => Status::Interdomain {
                remote: RemotePort { domid, port },
            },
            RecordedStatus::Pirq { pirq } => Status::Pirq { pirq },
            RecordedStatus::Virq { virq } => Status::Virq { virq },
            RecordedStatus::Ipi => Status::Ipi,
        }
    }
}
