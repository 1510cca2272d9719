//! Makes the calls of the program, as the trace has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{
    Channel, ChannelId, Context, Error, NotifySet, Port, RemotePort, Round, Wake, WakeBuf,
};

use super::backend::ReplayBackend;
use super::cursor::Cursor;
use crate::line::{Answer, Call};
use crate::names::WakeCause;
use crate::step;

pub(super) type Ctx = Context<ReplayBackend>;
pub(super) type Played = Channel<ReplayBackend>;
type PlayedRound<'c> = Round<'c, ReplayBackend>;

/// What the threads of a replay share.
pub(super) struct Shared {
    pub(super) cursor: Arc<Cursor>,
    channels: Mutex<Channels>,
}

#[derive(Default)]
struct Channels {
    /// The channels by number; `None` for one that was dropped.
    bound: Vec<Option<Played>>,
    ids: Vec<ChannelId>,
    /// The last channel of each port.
    numbers: HashMap<Port, u32>,
}

impl Channels {
    fn number(&mut self, id: ChannelId) -> u32 {
        let number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.ids.push(id);
        self.numbers.insert(id.port(), number);
        number
    }
}

impl Shared {
    pub(super) fn new(cursor: Arc<Cursor>) -> Shared {
        Shared {
            cursor,
            channels: Mutex::default(),
        }
    }

    /// Drops the channels that are left.
    pub(super) fn drop_channels(&self) {
        let left = std::mem::take(&mut self.channels().bound);
        drop(left);
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, channel: u32) -> Result<ChannelId, &'static str> {
        let channels = self.channels();
        let id = channels.ids.get(channel as usize).copied();
        id.ok_or("no channel of this number was bound")
    }

    fn is_dropped(&self, channel: u32) -> bool {
        matches!(self.channels().bound.get(channel as usize), Some(None))
    }

    pub(super) fn take(&self, channel: u32) -> Result<Played, &'static str> {
        let mut channels = self.channels();
        let place = channels.bound.get_mut(channel as usize);
        place.and_then(Option::take).ok_or(NOT_BOUND)
    }

    pub(super) fn put_back(&self, number: u32, channel: Played) {
        if let Some(place) = self.channels().bound.get_mut(number as usize) {
            *place = Some(channel);
        }
    }

    fn bound(&self, bound: Result<Played, Error>) -> Answer {
        match bound {
            Ok(channel) => Answer::Bound {
                port: channel.port(),
                channel: self.numbered_new(channel),
            },
            Err(error) => step::failed(&error),
        }
    }

    /// Numbers a new channel.
    fn numbered_new(&self, channel: Played) -> u32 {
        let mut channels = self.channels();
        let number = channels.number(channel.id());
        channels.bound.push(Some(channel));
        number
    }

    /// Numbers adopted channels. There can be one for each port of a domain.
    pub(super) fn adopted(&self, adopted: Vec<Played>) -> Vec<u32> {
        let mut all = self.channels();
        all.ids.reserve_exact(adopted.len());
        all.numbers.reserve(adopted.len());
        let numbers = adopted.iter().map(Channel::id);
        let numbers = numbers.map(|id| all.number(id)).collect();
        let adopted = adopted.into_iter().map(Some);
        if all.bound.is_empty() {
            all.bound = adopted.collect();
        } else {
            all.bound.extend(adopted);
        }
        numbers
    }

    pub(super) fn numbered(&self, wake: &Wake) -> (u32, WakeCause) {
        let channels = self.channels();
        let id = wake.channel;
        let number = channels.numbers.get(&id.port()).copied();
        let number = number.filter(|number| channels.ids.get(*number as usize) == Some(&id));
        (number.unwrap_or(u32::MAX), WakeCause(wake.cause))
    }

    /// Makes a call.
    pub(super) fn call<'c>(
        self: &Arc<Self>,
        context: &'c Arc<Ctx>,
        round: &mut Option<PlayedRound<'c>>,
        call: &Call,
    ) -> Result<Answer, &'static str> {
        Ok(match *call {
            Call::BindUnboundPort { remote } => self.bound(context.bind_unbound_port(remote)),
            Call::BindInterdomain { domid, port } => {
                self.bound(context.bind_interdomain(RemotePort { domid, port }))
            }
            Call::BindVirq { virq } => self.bound(context.bind_virq(virq)),
            Call::BindStatic { port } => self.bound(context.bind_static(port)),
            Call::Restrict { domid } => step::done(&context.restrict(domid)),
            Call::WaitEach { channel } => step::done(&context.wait_each(self.id(channel)?)),
            Call::Wait { channel } => step::done(&context.wait(self.id(channel)?)),
            Call::Cancel { channel } => step::cancelled(&context.cancel(self.id(channel)?)),
            Call::NotifyMany { ref channels } => {
                let ids = channels.iter().map(|channel| self.id(*channel));
                let ids = ids.collect::<Result<Vec<_>, _>>()?;
                step::done(&context.notify_many(&ids))
            }
            Call::SetCallback { channel } => self.set_callback(context, channel)?,
            Call::DispatchCallbacks => step::outcome(&context.dispatch_callbacks()),
            Call::Return { .. } => return Err("no callback runs on this thread"),
            Call::Notify { .. }
            | Call::Unbind { .. }
            | Call::DropChannel { .. }
            | Call::RemoveCallback { .. }
            | Call::Block { .. } => {
                return self.on_channel(call).unwrap_or(Err(NOT_BOUND));
            }
            Call::NextTimeout => Answer::Timeout {
                zero: context.next_timeout().is_some(),
            },
            Call::CheckPeers => {
                let backend = context.registrar();
                step::checked(&context.check_peers_with(backend))
            }
            Call::Teardown => step::done(&context.teardown()),
            Call::Begin { wakes } => {
                let begun = context.dispatch_at_most(wakes);
                let answer = step::done(&begun);
                if let Ok(begun) = begun {
                    *round = Some(begun);
                }
                answer
            }
            Call::Next | Call::Fill { .. } => {
                let round = round.as_mut().ok_or(NO_ROUND)?;
                self.take_wakes(round, call)
            }
            Call::Finish => step::outcome(&round.take().ok_or(NO_ROUND)?.finish()),
            Call::Leave => {
                drop(round.take().ok_or(NO_ROUND)?);
                Answer::Done
            }
            Call::Call => step::outcome(&round.take().ok_or(NO_ROUND)?.call()),
            Call::DropContext | Call::HandOver { .. } | Call::FromParts { .. } => {
                return Err("another thread is in the context");
            }
            Call::Woken { .. } | Call::DropWoken { .. } | Call::Other { .. } => {
                return Err("a call that is not replayed");
            }
        })
    }

    fn set_callback(
        self: &Arc<Self>,
        context: &Arc<Ctx>,
        number: u32,
    ) -> Result<Answer, &'static str> {
        let channel = self.take(number)?;
        // Weak, because the context owns the callback.
        let (shared, context) = (Arc::downgrade(self), Arc::downgrade(context));
        let set = channel.set_callback(move |wake| {
            if let (Some(shared), Some(context)) = (shared.upgrade(), context.upgrade()) {
                shared.called(&context, &wake);
            }
        });
        self.put_back(number, channel);
        Ok(step::done(&set))
    }

    /// Makes a call that needs a channel but no context. Returns `None` for any other call.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other calls need a context"
    )]
    pub(super) fn on_channel(&self, call: &Call) -> Option<Result<Answer, &'static str>> {
        let act = |channel: u32, act: &dyn Fn(&Self, u32, Played) -> Answer| {
            let taken = self.take(channel)?;
            Ok(act(self, channel, taken))
        };
        match *call {
            // A notifier may outlive its channel.
            Call::Notify { channel } if self.is_dropped(channel) => {
                let gone = self.id(channel).map(Error::NotBound);
                Some(gone.map(|error| step::failed(&error)))
            }
            Call::Notify { channel } => Some(act(channel, &|shared, channel, taken| {
                let notified = taken.notify();
                shared.put_back(channel, taken);
                step::done(&notified)
            })),
            Call::NotifyMany { ref channels } => Some(self.notify_set(channels)),
            Call::Unbind { channel } => Some(act(channel, &Self::unbind)),
            Call::DropChannel { channel } => Some(act(channel, &|_, _, taken| {
                drop(taken);
                Answer::Done
            })),
            Call::RemoveCallback { channel } => Some(act(channel, &|shared, channel, taken| {
                let removed = taken.remove_callback();
                shared.put_back(channel, taken);
                match removed {
                    Ok(was_set) => Answer::Removed { was_set },
                    Err(error) => step::failed(&error),
                }
            })),
            Call::Block { channel, until } => Some(act(channel, &|shared, channel, taken| {
                let blocked = match until {
                    true => taken.block_until(()),
                    false => taken.block().map(Some),
                };
                shared.put_back(channel, taken);
                step::blocked(&blocked)
            })),
            _ => None,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "it is only called for `Next` and `Fill`"
    )]
    fn take_wakes(&self, round: &mut PlayedRound<'_>, call: &Call) -> Answer {
        match *call {
            Call::Fill { room } => {
                let mut buf = WakeBuf::with_capacity(room);
                let wakes = round.fill(&mut buf);
                let wakes = wakes.iter().map(|wake| self.numbered(wake)).collect();
                Answer::Wakes { wakes }
            }
            _ => match round.next() {
                Some(wake) => {
                    let (channel, cause) = self.numbered(&wake);
                    Answer::Wake { channel, cause }
                }
                None => Answer::Nothing,
            },
        }
    }

    /// A batch of notifiers, whose context is gone or in use by another thread.
    fn notify_set(&self, numbers: &[u32]) -> Result<Answer, &'static str> {
        let channels = self.channels();
        let bound = numbers.iter().map(|number| {
            let channel = channels.bound.get(*number as usize);
            channel.and_then(Option::as_ref).ok_or(NOT_BOUND)
        });
        let set = bound.map(|channel| Ok(channel?.notifier()));
        let set = set.collect::<Result<NotifySet, &'static str>>()?;
        drop(channels);
        Ok(step::done(&set.notify()))
    }

    fn unbind(&self, number: u32, mut channel: Played) -> Answer {
        let unbound = channel.unbind();
        // The program may use it further; its calls then fail.
        self.put_back(number, channel);
        step::done(&unbound)
    }
}

const NOT_BOUND: &str = "no channel has this number now";
const NO_ROUND: &str = "no round is under way on this thread";
pub(super) const NO_CONTEXT: &str = "there is no context to call";
