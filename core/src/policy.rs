//! Unmask policies: when the context waits again for a port whose wake was handed out, and so
//! unmasks it.
//!
//! Until then the port is masked: what its peer sends sets one bit in Xen and costs this domain
//! nothing. So the policy of a port limits how often its peer can wake this domain.
//!
//! | policy | unmasked |
//! | --- | --- |
//! | [`BeforeHandler`] | before the handler runs |
//! | [`AfterHandler`] | when the handler has returned, with all ports of the round |
//! | [`OnEoi`] | when the handler's [`Eoi`](crate::Eoi) is completed or dropped, on any thread |
//! | [`RateLimit`] | as `AfterHandler` while a token is left; otherwise when the next token is due |
//!
//! A policy has no clock: its caller passes the time. A program can implement
//! [`UnmaskPolicy`] itself. [`Handlers`](crate::Handlers) runs rounds under policies.

use alloc::boxed::Box;
use core::time::Duration;

/// When to unmask a port whose wake is about to be handled, as a policy decides it.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::{BeforeHandler, RateLimit, Unmask, UnmaskPolicy};
///
/// let (now, second) = (Duration::ZERO, Duration::from_secs(1));
/// assert_eq!(BeforeHandler.woke(now), Unmask::BeforeHandler);
/// assert_eq!(RateLimit::new(1, second)?.woke(now), Unmask::NotBefore(second));
/// # Ok::<_, evtchn::BadLimit>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmask {
    /// Unmask the port before the handler runs.
    BeforeHandler,
    /// Unmask the port when the handler has returned.
    AfterHandler,
    /// Unmask the port when the handler's [`Eoi`](crate::Eoi) is completed.
    OnEoi,
    /// Unmask the port at this time, but not before the handler has returned.
    NotBefore(Duration),
}

/// Decides for one port, wake by wake, when it is unmasked again.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::{Unmask, UnmaskPolicy};
///
/// /// Waits longer after each wake.
/// struct Backoff(Duration);
///
/// impl UnmaskPolicy for Backoff {
///     fn woke(&mut self, now: Duration) -> Unmask {
///         self.0 *= 2;
///         Unmask::NotBefore(now + self.0)
///     }
/// }
///
/// let mut policy = Backoff(Duration::from_millis(1));
/// assert_eq!(policy.woke(Duration::ZERO), Unmask::NotBefore(Duration::from_millis(2)));
/// assert_eq!(policy.woke(Duration::ZERO), Unmask::NotBefore(Duration::from_millis(4)));
/// ```
pub trait UnmaskPolicy: Send {
    /// The port woke and is masked; its handler runs next. `now` is the time since some start.
    ///
    /// [`Handlers`](crate::Handlers) passes times that never go back. Other callers may pass any
    /// time.
    fn woke(&mut self, now: Duration) -> Unmask;
}

impl<P: UnmaskPolicy + ?Sized> UnmaskPolicy for Box<P> {
    fn woke(&mut self, now: Duration) -> Unmask {
        (**self).woke(now)
    }
}

/// Unmasks the port before its handler runs: an event that comes meanwhile is in the driver's ring
/// when the handler returns. It costs one write for each wake.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{BeforeHandler, Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// let mut handlers = ctx.handlers();
/// handlers.add(channel.id(), BeforeHandler, |call| println!("port {}", call.wake().port()))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BeforeHandler;

/// Unmasks the port when its handler has returned, in one write with the other ports of the round.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{AfterHandler, Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// let mut handlers = ctx.handlers();
/// handlers.add(channel.id(), AfterHandler, |call| println!("port {}", call.wake().port()))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AfterHandler;

/// Unmasks the port when the handler's [`Eoi`](crate::Eoi) is completed, which may be much later
/// and on another thread.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// use evtchn::{Context, DomId, OnEoi};
/// # use evtchn::sim::{Sim, SimLoop};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// let (to_worker, work) = mpsc::channel();
/// let mut handlers = ctx.handlers();
/// handlers.add(channel.id(), OnEoi, move |call| {
///     let _gone = to_worker.send(call.take_eoi());
/// })?;
/// guest.send(theirs)?;
/// handlers.round(Duration::ZERO)?;
///
/// // A worker, when it has done what the wake was about. Until then the port is masked.
/// for eoi in work.try_iter().flatten() {
///     eoi.complete();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnEoi;

impl UnmaskPolicy for BeforeHandler {
    fn woke(&mut self, _now: Duration) -> Unmask {
        Unmask::BeforeHandler
    }
}

impl UnmaskPolicy for AfterHandler {
    fn woke(&mut self, _now: Duration) -> Unmask {
        Unmask::AfterHandler
    }
}

impl UnmaskPolicy for OnEoi {
    fn woke(&mut self, _now: Duration) -> Unmask {
        Unmask::OnEoi
    }
}

/// A token bucket. It holds `burst` tokens and gets one each `period`; each wake takes one. If a
/// token is left for the next wake, the port is unmasked when its handler has returned. Otherwise
/// it stays masked until the next token is due.
///
/// So over any time `t` a port wakes at most `burst + t / period` times. A port that wakes less
/// often is never delayed.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::{RateLimit, Unmask, UnmaskPolicy};
///
/// let second = Duration::from_secs(1);
/// let mut limit = RateLimit::new(2, second)?;
/// assert_eq!(limit.woke(Duration::ZERO), Unmask::AfterHandler);
/// assert_eq!(limit.woke(Duration::ZERO), Unmask::NotBefore(second));
/// # Ok::<_, evtchn::BadLimit>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    period: Duration,
    /// How far ahead the bucket may be full and still have a token: all periods but one.
    span: Duration,
    /// When the bucket is, or was, full again.
    full: Duration,
}

/// Why a [`RateLimit`] cannot be made.
///
/// ```
/// use std::time::Duration;
///
/// use evtchn::{BadLimit, RateLimit};
///
/// assert_eq!(RateLimit::new(0, Duration::from_secs(1)), Err(BadLimit::NoBurst));
/// assert_eq!(RateLimit::new(5, Duration::ZERO), Err(BadLimit::NoPeriod));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadLimit {
    /// A bucket without room for a token never lets a wake through.
    #[error("a burst of 0 wakes lets nothing through")]
    NoBurst,
    /// A period of zero limits nothing.
    #[error("a period of 0 limits nothing")]
    NoPeriod,
    /// Filling the bucket would take longer than a `Duration` can hold.
    #[error("{burst} periods of {period:?} are too long")]
    TooLong {
        /// How many tokens the bucket holds.
        burst: u32,
        /// The time for each.
        period: Duration,
    },
}

impl RateLimit {
    /// A limit whose bucket is full.
    ///
    /// # Errors
    /// [`BadLimit::NoBurst`] if `burst` is 0, [`BadLimit::NoPeriod`] if `period` is zero,
    /// [`BadLimit::TooLong`] if filling the bucket would take longer than a `Duration` can hold.
    pub const fn new(burst: u32, period: Duration) -> Result<RateLimit, BadLimit> {
        if period.is_zero() {
            return Err(BadLimit::NoPeriod);
        }
        let Some(others) = burst.checked_sub(1) else {
            return Err(BadLimit::NoBurst);
        };
        let Some(span) = period.checked_mul(others) else {
            return Err(BadLimit::TooLong { burst, period });
        };
        Ok(RateLimit {
            period,
            span,
            full: Duration::ZERO,
        })
    }
}

impl UnmaskPolicy for RateLimit {
    fn woke(&mut self, now: Duration) -> Unmask {
        // Clamped, so that after a time that went back or a wake that came too early the port is
        // delayed for one period at most.
        let full = self.full.clamp(now, now.saturating_add(self.span));
        self.full = full.saturating_add(self.period);
        let next_token = self.full.saturating_sub(self.span);
        if next_token <= now {
            Unmask::AfterHandler
        } else {
            Unmask::NotBefore(next_token)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn limit(burst: u32, period: Duration) -> RateLimit {
        RateLimit::new(burst, period).unwrap()
    }

    #[test]
    fn a_full_bucket_lets_its_burst_through_and_then_one_wake_each_period() {
        let mut limit = limit(3, s(10));
        assert_eq!(limit.woke(s(100)), Unmask::AfterHandler);
        assert_eq!(limit.woke(s(100)), Unmask::AfterHandler);
        assert_eq!(limit.woke(s(100)), Unmask::NotBefore(s(110)));
        assert_eq!(limit.woke(s(110)), Unmask::NotBefore(s(120)));
        assert_eq!(limit.woke(s(125)), Unmask::NotBefore(s(130)));
        // Two tokens since.
        assert_eq!(limit.woke(s(145)), Unmask::AfterHandler);
        assert_eq!(limit.woke(s(145)), Unmask::NotBefore(s(150)));
        // However long it rests, it holds no more than its burst.
        assert_eq!(limit.woke(s(9_000)), Unmask::AfterHandler);
        assert_eq!(limit.woke(s(9_000)), Unmask::AfterHandler);
        assert_eq!(limit.woke(s(9_000)), Unmask::NotBefore(s(9_010)));
    }

    #[test]
    fn a_burst_of_one_waits_a_period_after_each_wake() {
        let mut limit = limit(1, s(2));
        assert_eq!(limit.woke(s(0)), Unmask::NotBefore(s(2)));
        assert_eq!(limit.woke(s(7)), Unmask::NotBefore(s(9)));
    }

    #[test]
    fn a_rate_that_keeps_below_the_limit_is_never_held_back() {
        let mut limit = limit(2, s(5));
        for wake in 0..1_000 {
            assert_eq!(limit.woke(s(5 * wake)), Unmask::AfterHandler);
        }
    }

    #[test]
    fn time_that_goes_back_holds_the_port_for_one_period_at_most() {
        let mut limit = limit(2, s(10));
        let _two_of_two = [limit.woke(s(1_000)), limit.woke(s(1_000))];
        assert_eq!(limit.woke(s(5)), Unmask::NotBefore(s(15)));
        assert_eq!(limit.woke(s(0)), Unmask::NotBefore(s(10)));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut long = limit(2, Duration::MAX);
        assert_eq!(long.woke(s(1)), Unmask::AfterHandler);
        assert_eq!(long.woke(Duration::MAX), Unmask::AfterHandler);
        assert_eq!(long.woke(s(1)), Unmask::AfterHandler);
        let mut short = limit(u32::MAX, Duration::from_nanos(1));
        assert_eq!(short.woke(Duration::MAX), Unmask::AfterHandler);
        assert_eq!(short.woke(s(0)), Unmask::NotBefore(Duration::from_nanos(1)));
    }

    #[test]
    fn a_limit_that_cannot_be_is_an_error() {
        assert_eq!(RateLimit::new(0, s(1)), Err(BadLimit::NoBurst));
        assert_eq!(RateLimit::new(1, s(0)), Err(BadLimit::NoPeriod));
        let (burst, period) = (3, Duration::MAX);
        let too_long = BadLimit::TooLong { burst, period };
        assert_eq!(RateLimit::new(burst, period), Err(too_long));
    }

    #[test]
    fn policies_are_objects() {
        let policies: [(Box<dyn UnmaskPolicy>, Unmask); 4] = [
            (Box::new(BeforeHandler), Unmask::BeforeHandler),
            (Box::new(AfterHandler), Unmask::AfterHandler),
            (Box::new(OnEoi), Unmask::OnEoi),
            (Box::new(limit(1, s(1))), Unmask::NotBefore(s(1))),
        ];
        for (mut policy, unmask) in policies {
            assert_eq!(policy.woke(s(0)), unmask);
        }
    }
}
