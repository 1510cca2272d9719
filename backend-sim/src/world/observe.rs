//! Reports what happens on the machine to an observer.

use std::fmt;

use evtchn_core::{DomId, Virq};

use super::World;
use crate::errno::Errno;
use crate::error::Call;

/// Something that happened on the machine besides the calls on files. Failed calls do not count.
///
/// ```
/// use std::sync::mpsc;
///
/// use evtchn::DomId;
/// use evtchn::sim::{Happened, Sim};
///
/// let sim = Sim::new(1);
/// let (sender, receiver) = mpsc::channel();
/// sim.with(|world| world.observe(move |happened| drop(sender.send(happened))));
/// let domid = sim.create_domain()?;
/// let port = sim.guest(domid).alloc_unbound(DomId::DOM0)?;
/// let seen: Vec<_> = receiver.try_iter().collect();
/// assert!(matches!(seen[0], Happened::Create(created, _) if created == domid));
/// assert_eq!(seen[1], Happened::Alloc(domid, DomId::DOM0, port.as_raw()));
/// # Ok::<_, evtchn::sim::Errno>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// A domain was created, with this highest port.
    Create(DomId, u32),
    /// A domain was killed.
    Kill(DomId),
    /// The rest of a killed domain was removed.
    Remove(DomId),
    /// A kernel allocated a port that the second domain may bind to.
    Alloc(DomId, DomId, u32),
    /// A kernel bound to a port of the second domain: the port there, and its own.
    Bind(DomId, DomId, u32, u32),
    /// A kernel sent through a port.
    Send(DomId, u32),
    /// A kernel closed a port.
    Close(DomId, u32),
    /// A virtual interrupt was raised.
    Raise(DomId, Virq),
    /// The ring of a file overflowed.
    Overflow,
    /// An event reached its domain.
    Deliver {
        /// The domain.
        domid: DomId,
        /// The port there.
        port: u32,
        /// The event came before a call on a file returned.
        within: bool,
    },
    /// A fault made a call fail.
    Fail(Call, Errno),
    /// A fault lets a call move at most this many ports.
    Shorten(Call, usize),
    /// From now on events do not arrive at once.
    Held,
    /// Something else, named after the call.
    Other(&'static str),
}

pub(super) struct Observer(Box<dyn FnMut(Happened) + Send>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

impl World {
    /// From now on `report` is called with everything that happens, in order. It must not use the
    /// machine, which is locked meanwhile.
    pub fn observe(&mut self, report: impl FnMut(Happened) + Send + 'static) {
        self.observer = Some(Observer(Box::new(report)));
        if self.delivery != super::Delivery::Immediate {
            self.report(Happened::Held);
        }
    }

    #[inline]
    pub(super) fn report(&mut self, happened: Happened) {
        if let Some(Observer(report)) = &mut self.observer {
            report(happened);
        }
    }
}
