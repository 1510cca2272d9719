//! Faults are rules: which calls a rule looks at, which of those it hits, and what it does.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use evtchn_core::{DomId, Port};

use crate::choice::Choice;
use crate::device::Opener;
use crate::errno::Errno;
use crate::error::{Call, Calls};
use crate::world::World;

/// A rule that makes calls fail or do less.
///
/// It hits every call of its kind, unless it is limited to one call ([`nth`](Self::nth)) or to some
/// ([`once_in`](Self::once_in)). It is installed for the devices of one opener
/// ([`SimOpen::install`](crate::SimOpen::install)), for those of a machine
/// ([`Sim::install`](crate::Sim::install)) or for an event loop
/// ([`SimLoop::install`](crate::SimLoop::install)).
///
/// Rules are tried in the order in which they were installed, and the first one that hits a call
/// wins. What a rule does beside calls ([`overflow`](Self::overflow),
/// [`meanwhile`](Self::meanwhile), [`storm`](Self::storm)) happens anyway, before the call.
///
/// ```
/// use evtchn::sim::{Call, Errno, Fault, Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let opener = sim.open(DomId::DOM0);
/// opener.install(Fault::fail(Call::BindUnboundPort, Errno::EINTR).nth(2));
/// opener.install(Fault::fail([Call::Notify, Call::Unbind], Errno::EIO));
///
/// let ctx = Context::with_registrar(opener.clone(), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::DOM0)?;
/// assert!(ctx.bind_unbound_port(DomId::DOM0).is_err(), "the second bind");
/// assert!(channel.notify().is_err() && channel.notify().is_err());
/// opener.clear_faults();
/// channel.notify()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fault {
    calls: Calls,
    when: When,
    effect: Effect,
}

/// Which of the calls that a rule looks at it hits.
#[derive(Debug, Clone, Copy)]
enum When {
    Every,
    /// One call, after this many others; then the rule is used up.
    Once {
        skip: u64,
    },
    /// Where the choice says so.
    Chosen {
        times: usize,
    },
}

#[derive(Debug, Clone)]
enum Effect {
    Decide(Verdict),
    Beside(Beside),
}

/// The effect on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It fails with this errno and does nothing.
    Fail(Errno),
    /// It moves at most this many ports.
    Short(usize),
    /// It reports ready, whatever the devices show.
    Spurious,
}

/// What a rule does just before a call.
#[derive(Debug, Clone)]
pub(crate) enum Beside {
    /// The ring of the file overflows.
    Overflow,
    Meanwhile(Meanwhile),
}

/// An act of others on the machine.
#[derive(Clone)]
pub(crate) struct Meanwhile(Arc<Mutex<Act>>);

type Act = dyn FnMut(&mut World) + Send;

impl Meanwhile {
    pub(crate) fn happen(&self, world: &mut World) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)(world);
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

impl Fault {
    /// The call fails with this errno, and does nothing else.
    pub fn fail(calls: impl Into<Calls>, errno: Errno) -> Fault {
        Fault::new(calls, Effect::Decide(Verdict::Fail(errno)))
    }

    /// The call moves at most this many ports: for [`Call::Pending`] and [`Call::Unmask`],
    /// without effect on others.
    pub fn short(calls: impl Into<Calls>, ports: usize) -> Fault {
        Fault::new(calls, Effect::Decide(Verdict::Short(ports)))
    }

    /// An event loop reports that its devices are ready, whether they are or not.
    #[must_use]
    pub fn spurious() -> Fault {
        let effect = Effect::Decide(Verdict::Spurious);
        Fault::new([Call::Ready, Call::Sleep], effect)
    }

    /// The kernel has no memory left: opening, binding and unmasking fail with `ENOMEM`. Those are
    /// the calls for which Linux's driver allocates.
    #[must_use]
    pub fn out_of_memory() -> Fault {
        let calls = [
            Call::Open,
            Call::BindUnboundPort,
            Call::BindInterdomain,
            Call::BindVirq,
            Call::BindStatic,
            Call::Unmask,
        ];
        Fault::fail(calls, Errno::ENOMEM)
    }

    /// The domain has no port left: every bind that needs a new one fails with `ENOSPC`.
    /// [`DomainConfig::max_port`](crate::DomainConfig::max_port) has the same effect by counting.
    #[must_use]
    pub fn out_of_ports() -> Fault {
        let calls = [Call::BindUnboundPort, Call::BindInterdomain, Call::BindVirq];
        Fault::fail(calls, Errno::ENOSPC)
    }

    /// The ring of the device overflows just before the call.
    pub fn overflow(calls: impl Into<Calls>) -> Fault {
        Fault::new(calls, Effect::Beside(Beside::Overflow))
    }

    /// Others act on the machine just before the call: between two steps of the program, wherever
    /// those are. `act` must not use a handle or a device of the machine, which is locked. For an
    /// event loop it acts on the machine that the loop is [`on`](crate::SimLoop::on), if any.
    ///
    /// ```
    /// use evtchn::sim::{Call, Fault, Sim, SimLoop};
    /// use evtchn::{Context, DomId};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sim = Sim::new(1);
    /// let peer = sim.create_domain()?;
    /// sim.install(Fault::meanwhile(Call::Notify, move |world| {
    ///     let _dead_already = world.destroy_domain(peer);
    /// }));
    /// let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    /// let mut channel = ctx.bind_unbound_port(peer)?;
    /// channel.notify()?; // Xen sends no event when a peer dies.
    /// channel.unbind()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn meanwhile(
        calls: impl Into<Calls>,
        act: impl FnMut(&mut World) + Send + 'static,
    ) -> Fault {
        let act = Meanwhile(Arc::new(Mutex::new(act)));
        Fault::new(calls, Effect::Beside(Beside::Meanwhile(act)))
    }

    /// A guest that sends through a port of its own `times` times before every call of the
    /// program: as often as it can.
    #[must_use]
    pub fn storm(domid: DomId, port: Port, times: u32) -> Fault {
        Fault::meanwhile(Calls::ALL, move |world| {
            for _ in 0..times {
                // This can fail only where the guest is gone, which then sends no more.
                let _ = world.kernel_send(domid, port.as_raw());
            }
        })
    }

    /// Hits only the `nth` such call from now on; 1 is the next one. Where another rule has hit
    /// that one, it hits the call after it.
    #[must_use]
    pub fn nth(self, nth: u64) -> Fault {
        let skip = nth.saturating_sub(1);
        Fault {
            when: When::Once { skip },
            ..self
        }
    }

    /// Hits one call in so many, as the [`Choice`] decides.
    #[must_use]
    pub fn once_in(self, times: usize) -> Fault {
        Fault {
            when: When::Chosen { times },
            ..self
        }
    }

    fn new(calls: impl Into<Calls>, effect: Effect) -> Fault {
        Fault {
            calls: calls.into(),
            when: When::Every,
            effect,
        }
    }
}

/// The rules of a machine or of an event loop, in the order in which they were installed.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// The opener whose devices it is for; `None` for all devices.
    opener: Option<Weak<Opener>>,
    fault: Fault,
}

/// The combined effect of the rules on a call.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) verdict: Option<Verdict>,
    pub(crate) beside: Vec<Beside>,
}

impl Faults {
    /// Adds a rule, for the devices of one opener or for all.
    pub(crate) fn install(&mut self, opener: Option<&Arc<Opener>>, fault: Fault) {
        // A rule whose opener is gone can never hit anything again.
        self.rules.retain(|rule| {
            let opener = rule.opener.as_ref();
            opener.is_none_or(|opener| opener.strong_count() > 0)
        });
        let opener = opener.map(Arc::downgrade);
        self.rules.push(Rule { opener, fault });
    }

    /// Removes what was installed for this opener, or for all.
    pub(crate) fn clear(&mut self, opener: Option<&Arc<Opener>>) {
        self.rules.retain(|rule| !rule.is_of(opener));
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies the rules to a call.
    pub(crate) fn judge(
        &mut self,
        opener: Option<&Arc<Opener>>,
        call: Call,
        choice: &mut Choice,
    ) -> Judged {
        let mut judged = Judged::default();
        self.rules.retain_mut(|rule| {
            let looks = rule.opener.is_none() || rule.is_of(opener);
            if !looks || !rule.fault.calls.contains(call) {
                return true;
            }
            let decides = matches!(rule.fault.effect, Effect::Decide(_));
            let hits = match &mut rule.fault.when {
                When::Once { skip } if *skip > 0 => {
                    *skip -= 1;
                    false
                }
                _ if decides && judged.verdict.is_some() => false,
                When::Chosen { times } => choice.once_in(*times),
                When::Once { .. } | When::Every => true,
            };
            if !hits {
                return true;
            }
            match &rule.fault.effect {
                Effect::Decide(verdict) => judged.verdict = Some(*verdict),
                Effect::Beside(beside) => judged.beside.push(beside.clone()),
            }
            !matches!(rule.fault.when, When::Once { .. })
        });
        judged
    }

    /// How many rules for one call have not hit it yet.
    pub(crate) fn left(&self, opener: Option<&Arc<Opener>>) -> usize {
        let rules = self.rules.iter().filter(|rule| rule.is_of(opener));
        rules
            .filter(|rule| matches!(rule.fault.when, When::Once { .. }))
            .count()
    }
}

impl Rule {
    fn is_of(&self, opener: Option<&Arc<Opener>>) -> bool {
        self.opener.as_ref().map(Weak::as_ptr) == opener.map(Arc::as_ptr)
    }
}
