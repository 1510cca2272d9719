//! Many wakes at once, under one lock.

use super::Round;
use crate::hal::Registrar;
use crate::machine::Wake;
use crate::observe::{Called, Came};
use crate::trace;

/// Room for the wakes of one [`Round::fill`].
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn::{Cause, WakeBuf};
///
/// channel.wait_each()?;
/// let mut buf = WakeBuf::with_capacity(64);
/// for _ in 0..3 {
///     guest.send(theirs)?;
///     let mut round = ctx.dispatch()?;
///     let wakes = round.fill(&mut buf);
///     assert_eq!(wakes.len(), 1);
///     assert_eq!(wakes[0].cause, Cause::Event);
///     round.finish()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WakeBuf {
    /// The wakes of the last fill, and behind them what earlier fills left.
    wakes: Vec<Wake>,
    room: usize,
}

impl WakeBuf {
    /// More than any domain has ports.
    const MAX: usize = 1 << 17;

    /// Room for this many wakes: at least one, and at most as many as a domain can have ports.
    #[must_use]
    pub fn with_capacity(wakes: usize) -> WakeBuf {
        let room = wakes.clamp(1, WakeBuf::MAX);
        WakeBuf {
            wakes: Vec::with_capacity(room),
            room,
        }
    }
}

impl Default for WakeBuf {
    /// Room for 64 wakes, of 24 bytes each.
    fn default() -> WakeBuf {
        WakeBuf::with_capacity(64)
    }
}

impl<R: Registrar> Round<'_, R> {
    /// Takes many wakes at once, which costs less than taking them one by one: as many as are ready
    /// and `buf` has room for. An empty slice means that the round has no more.
    ///
    /// All of them count as handed out: a later cancel takes none of them back.
    #[inline]
    pub fn fill<'b>(&mut self, buf: &'b mut WakeBuf) -> &'b [Wake] {
        if !self.is_plain() {
            return self.fill_after_a_look(buf);
        }
        self.fill_now(buf)
    }

    #[cold]
    #[inline(never)]
    fn fill_after_a_look<'b>(&mut self, buf: &'b mut WakeBuf) -> &'b [Wake] {
        let room = buf.room;
        self.shared.begins(|| Called::Fill(room));
        let wakes = if self.is_current() {
            self.fill_now(buf)
        } else {
            &[]
        };
        self.shared.ends(move || Came::Wakes(wakes));
        wakes
    }

    #[inline(always)]
    fn fill_now<'b>(&mut self, buf: &'b mut WakeBuf) -> &'b [Wake] {
        if self.is_drained {
            return &[];
        }
        let room = buf.room.min(self.wakes_left);
        let count = self.pick_some(|state| {
            let machine = &mut state.machine;
            let most = machine.most_wakes().min(room);
            if buf.wakes.len() < most {
                buf.wakes.resize(most, Wake::BLANK);
            }
            let count = machine.next_wakes(&mut buf.wakes[..most]);
            (count > 0).then_some(count)
        });
        let wakes = &buf.wakes[..count.unwrap_or_default()];
        self.wakes_left -= wakes.len();
        self.is_drained = !self.may_read && wakes.len() < room;
        for wake in wakes {
            trace::wake(wake.channel, wake.cause);
        }
        wakes
    }
}
