//! Makes the calls of the program, each on its thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use evtchn_core::{
    BindResult, Channel, ChannelId, Context, Outcome, RemotePort, Round, UnbindError, Wait, Wake,
    WakeBuf,
};

use super::script::Script;
use super::stage::Stage;
use crate::line::{Answer, Call};
use crate::names::Caused;
use crate::read::Trace;
use crate::step;

type Played<'a> = Channel<Stage<'a>, Stage<'a>>;
type PlayedRound<'c, 'a> = Round<'c, Stage<'a>, Stage<'a>>;

/// What the threads share.
struct Shared<'a> {
    script: &'a Script<'a>,
    channels: Mutex<Channels<'a>>,
}

#[derive(Default)]
struct Channels<'a> {
    /// By number; `None` once unbound.
    bound: Vec<Option<Played<'a>>>,
    ids: Vec<ChannelId>,
    numbers: std::collections::HashMap<ChannelId, u32>,
}

/// Plays a trace to its end or its first difference.
pub(super) fn play<'a>(trace: &'a Trace, script: &'a Script<'a>, threads: usize) {
    let stage = Stage {
        script,
        trigger: trace.header.trigger,
    };
    let shared = Shared {
        script,
        channels: Mutex::default(),
    };
    let context = Mutex::new(Some(Context::new(stage, stage)));
    // Taken out for its drop, which is the last call of all.
    let last = {
        let context = context.lock().unwrap_or_else(PoisonError::into_inner);
        context.as_ref().and_then(|context| {
            thread::scope(|scope| {
                let mut ways = Vec::new();
                for _ in 0..threads {
                    let (calls, called) = sync_channel(0);
                    let (returns, returned) = sync_channel(0);
                    let shared = &shared;
                    scope.spawn(move || work(shared, context, &called, &returns));
                    ways.push((calls, returned));
                }
                conduct(script, &ways)
            })
        })
    };
    if last.is_some() {
        drop(context);
        script.answer(Answer::Done);
        while let Some((_, call)) = script.next_call() {
            match shared.on_channel(call) {
                Some(Ok(answer)) => script.answer(answer),
                Some(Err(why)) => script.cannot(why),
                None => script.cannot("a call on a context that was dropped"),
            }
        }
        script.close();
    } else {
        script.close();
        drop(context);
    }
    shared.channels().bound.clear();
}

type Way<'a> = (SyncSender<&'a Call>, Receiver<()>);

/// Hands each call to its thread and waits until it came back. Stops before the drop of the
/// context, which it gives.
fn conduct<'a>(script: &Script<'a>, ways: &[Way<'a>]) -> Option<&'a Call> {
    while let Some((thread, call)) = script.next_call() {
        if *call == Call::DropContext {
            return Some(call);
        }
        let (calls, returned) = ways.get(thread as usize)?;
        calls.send(call).ok()?;
        returned.recv().ok()?;
    }
    None
}

fn work<'a>(
    shared: &Shared<'a>,
    context: &Context<Stage<'a>, Stage<'a>>,
    calls: &Receiver<&Call>,
    returns: &SyncSender<()>,
) {
    let mut round = None;
    for call in calls {
        match shared.call(context, &mut round, call) {
            Ok(answer) => shared.script.answer(answer),
            Err(why) => shared.script.cannot(why),
        }
        if returns.send(()).is_err() {
            break;
        }
    }
    // What is left open is none of the trace's.
    if round.is_some() {
        shared.script.close();
    }
}

impl<'a> Shared<'a> {
    fn channels(&self) -> MutexGuard<'_, Channels<'a>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, channel: u32) -> Result<ChannelId, &'static str> {
        let channels = self.channels();
        let id = channels.ids.get(channel as usize).copied();
        id.ok_or("no channel of this number was bound")
    }

    fn take(&self, channel: u32) -> Result<Played<'a>, &'static str> {
        let mut channels = self.channels();
        let place = channels.bound.get_mut(channel as usize);
        place.and_then(Option::take).ok_or(NOT_BOUND)
    }

    fn put_back(&self, number: u32, channel: Played<'a>) {
        if let Some(place) = self.channels().bound.get_mut(number as usize) {
            *place = Some(channel);
        }
    }

    fn bound(&self, bound: BindResult<Stage<'a>, Played<'a>>) -> Answer {
        match bound {
            Ok(channel) => {
                let mut channels = self.channels();
                let number = u32::try_from(channels.ids.len()).unwrap_or(u32::MAX);
                let (id, port) = (channel.id(), channel.port());
                channels.ids.push(id);
                channels.numbers.insert(id, number);
                channels.bound.push(Some(channel));
                Answer::Bound {
                    channel: number,
                    port,
                }
            }
            Err(error) => step::bind(&error),
        }
    }

    fn numbered(&self, wake: &Wake) -> (u32, Caused) {
        let channels = self.channels();
        let number = channels.numbers.get(&wake.channel).copied();
        (number.unwrap_or(u32::MAX), Caused(wake.cause))
    }

    /// Makes a call.
    fn call<'c>(
        &self,
        context: &'c Context<Stage<'a>, Stage<'a>>,
        round: &mut Option<PlayedRound<'c, 'a>>,
        call: &Call,
    ) -> Result<Answer, &'static str> {
        Ok(match *call {
            Call::BindUnboundPort { remote } => self.bound(context.bind_unbound_port(remote)),
            Call::BindInterdomain { domid, port } => {
                self.bound(context.bind_interdomain(RemotePort { domid, port }))
            }
            Call::BindVirq { virq } => self.bound(context.bind_virq(virq)),
            Call::BindStatic { port } => self.bound(context.bind_static(port)),
            Call::Restrict { domid } => step::done(&context.restrict(domid), step::restrict),
            Call::Wait { channel } => match context.wait(self.id(channel)?) {
                Ok(Wait::Pending) => Answer::Pending,
                Ok(Wait::Ready(cause)) => Answer::Ready {
                    cause: Caused(cause),
                },
                Err(error) => step::wait(&error),
            },
            Call::Cancel { channel } => {
                step::done(&context.cancel(self.id(channel)?), step::cancel)
            }
            Call::Notify { .. } | Call::Unbind { .. } | Call::DropChannel { .. } => {
                return self.on_channel(call).unwrap_or(Err(NOT_BOUND));
            }
            Call::NextTimeout => Answer::Timeout {
                zero: context.next_timeout().is_some(),
            },
            Call::Teardown => step::done(&context.teardown(), step::teardown),
            Call::Begin { wakes } => {
                let begun = context.dispatch_at_most(wakes);
                let answer = step::done(&begun, step::dispatch);
                if let Ok(begun) = begun {
                    *round = Some(begun);
                }
                answer
            }
            Call::Next | Call::Fill { .. } | Call::FillAgain { .. } => {
                let round = round.as_mut().ok_or(NO_ROUND)?;
                self.take_wakes(round, call)
            }
            Call::Finish => match round.take().ok_or(NO_ROUND)?.finish() {
                Ok(Outcome::Done) => Answer::Done,
                Ok(Outcome::More) => Answer::More,
                Err(error) => step::dispatch(&error),
            },
            Call::Leave => {
                drop(round.take().ok_or(NO_ROUND)?);
                Answer::Done
            }
            Call::DropContext => return Err("it is dropped by nobody else"),
        })
    }

    /// Makes a call that needs a channel and no context.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of all others there is nothing to do here"
    )]
    fn on_channel(&self, call: &Call) -> Option<Result<Answer, &'static str>> {
        let act = |channel: u32, act: fn(&Self, u32, Played<'a>) -> Answer| {
            let taken = self.take(channel)?;
            Ok(act(self, channel, taken))
        };
        match *call {
            Call::Notify { channel } => Some(act(channel, |shared, channel, taken| {
                let notified = taken.notify();
                shared.put_back(channel, taken);
                step::done(&notified, step::notify)
            })),
            Call::Unbind { channel } => Some(act(channel, Self::unbind)),
            Call::DropChannel { channel } => Some(act(channel, |_, _, taken| {
                drop(taken);
                Answer::Done
            })),
            _ => None,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are told apart before"
    )]
    fn take_wakes(&self, round: &mut PlayedRound<'_, 'a>, call: &Call) -> Answer {
        match *call {
            Call::Fill { room } | Call::FillAgain { room } => {
                let mut buf = WakeBuf::with_capacity(room);
                let wakes = match call {
                    Call::FillAgain { .. } => round.fill_again(&mut buf),
                    _ => round.fill(&mut buf),
                };
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

    fn unbind(&self, number: u32, channel: Played<'a>) -> Answer {
        let unbound = channel.unbind();
        let answer = step::done(&unbound, step::unbind);
        if let Err(
            UnbindError::Unbind { channel, .. }
            | UnbindError::Reentrant(channel)
            | UnbindError::Inherited(channel),
        ) = unbound
        {
            self.put_back(number, channel);
        }
        answer
    }
}

const NOT_BOUND: &str = "the channel is not bound";
const NO_ROUND: &str = "no round is under way on this thread";
