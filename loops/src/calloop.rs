//! The adapter for the `calloop` crate.
//!
//! calloop registers and deregisters on the thread that runs it, but waits begin and end on any
//! thread. So calloop watches one epoll instance of the adapter for as long as the source is
//! inserted, and the device is added to that epoll instance and removed from it. Everything is
//! level-triggered.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ::calloop::generic::Generic;
use ::calloop::{EventSource, Interest, Mode, Poll, PostAction, Readiness, Token, TokenFactory};
use evtchn_core::{
    Context, Device, Error, LoopError, NewLoop, Outcome, Registrar, Round, Trigger, Wake,
};
use evtchn_fork::Process;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use crate::held::Held;

/// Registers a device for a [`CalloopSource`].
///
/// It is a handle: clones are the same. One goes to the context, another makes the source.
///
/// ```
/// use std::os::fd::AsFd;
///
/// use evtchn::calloop::CalloopRegistrar;
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx: Context<CalloopRegistrar> = Context::new(Sim::new(0).open(DomId::DOM0))?;
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// channel.wait()?;
/// let registrar = ctx.registrar();
/// let _readable_while_there_is_something_to_dispatch = registrar.as_fd();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CalloopRegistrar {
    gate: Arc<Gate>,
}

/// What calloop watches: readable while there is something to dispatch.
///
/// Dropping it, also in a forked child, closes descriptors and changes no registration.
#[derive(Debug)]
struct Gate {
    epoll: OwnedFd,
    /// An eventfd that `wake` makes readable, in the epoll instance beside the device.
    bell: OwnedFd,
    /// The process that made them. A forked child shares both.
    process: Process,
    held: Held,
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl CalloopRegistrar {
    /// An adapter that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor or no memory is left; or [`Unavailable`](evtchn_fork::Unavailable), inside of
    /// the [`io::Error`], on a kernel where a fork of this process cannot be noticed.
    pub fn new() -> io::Result<CalloopRegistrar> {
        let process = Process::current()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(0), EventFlags::IN)?;
        Ok(CalloopRegistrar {
            gate: Arc::new(Gate {
                epoll,
                bell,
                process,
                held: Held::default(),
            }),
        })
    }
}

impl AsFd for CalloopRegistrar {
    /// The epoll instance that contains the device while something waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gate.as_fd()
    }
}

impl NewLoop for CalloopRegistrar {
    fn new_loop() -> Result<CalloopRegistrar, LoopError> {
        Ok(CalloopRegistrar::new()?)
    }
}

impl Registrar for CalloopRegistrar {
    fn trigger(&self) -> Trigger {
        Trigger::Level
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let Gate { epoll, process, .. } = &*self.gate;
        process.check().map_err(io::Error::from)?;
        let data = EventData::new_u64(1);
        epoll::add(epoll, device.fd()?, data, EventFlags::IN).map_err(io::Error::from)?;
        self.gate.held.keep(device);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        epoll::delete(&self.gate.epoll, device.fd()?).map_err(io::Error::from)?;
        self.gate.held.let_go();
        Ok(())
    }

    fn wake(&self) {
        // This fails only where the counter is full, and then the eventfd is readable anyway.
        let _full = rustix::io::write(&self.gate.bell, &1_u64.to_ne_bytes());
    }
}

/// Runs the rounds of a context in a calloop event loop.
///
/// An event is a [`Wake`], and the callback gets the context with it, to wait again or to bind:
///
/// ```
/// use calloop::EventLoop;
/// use evtchn::calloop::{CalloopRegistrar, CalloopSource};
/// use evtchn::sim::Sim;
/// use evtchn::{Context, DomId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(0); // on a host: evtchn::xen::backend() as the opener
/// let guest = sim.guest(sim.create_domain()?);
/// let registrar = CalloopRegistrar::new()?;
/// let ctx = Context::with_registrar(sim.open(DomId::DOM0), registrar.clone());
///
/// let mut event_loop = EventLoop::<Vec<u32>>::try_new()?;
/// let source = CalloopSource::new(ctx.clone(), &registrar)?;
/// let inserted = event_loop.handle().insert_source(source, |wake, ctx, fired| {
///     fired.push(wake.port().as_raw());
///     if let Err(error) = ctx.wait(wake.channel) {
///         eprintln!("cannot wait again: {error}");
///     }
/// });
/// inserted.map_err(|error| error.error)?;
///
/// let channel = ctx.bind_unbound_port(guest.domid())?;
/// let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// channel.wait()?;
/// guest.send(theirs)?;
/// let mut fired = Vec::new();
/// event_loop.dispatch(None, &mut fired)?;
/// assert_eq!(fired, [channel.port().as_raw()]);
/// # Ok(())
/// # }
/// ```
///
/// Where the channels have callbacks of their own ([`Channel::set_callback`]), [`calling`] runs
/// those instead.
///
/// [`Channel::set_callback`]: evtchn_core::Channel::set_callback
/// [`calling`]: CalloopSource::calling
///
/// The source keeps the context until it is removed from the event loop, or dropped with it. From
/// then on a wait ends only in a round that the program begins by itself, or in another source of
/// the same context. That source takes over the waits under way, and may be inserted before the
/// first one is removed. All other calls work as before.
///
/// [`EventLoop::dispatch`](::calloop::EventLoop::dispatch) returns the error of a round. In a
/// forked child the source leaves the wakes of its parent alone and removes nothing from the
/// parent's event loop; its rounds fail with [`Inherited`](evtchn_core::Error::Inherited).
#[derive(Debug)]
pub struct CalloopSource<R: Registrar = CalloopRegistrar> {
    context: Context<R>,
    owner: Arc<Gate>,
    /// `None` after it was dropped in a forked child.
    gate: Option<Generic<GateFd>>,
    /// For wakes that are ready before the loop sleeps.
    queued: Option<Token>,
    /// There was a round since the loop last slept.
    has_run: bool,
    at_most: usize,
    calls: bool,
}

/// A descriptor of the gate for one source. Each source has its own, because an event loop accepts
/// no descriptor twice.
#[derive(Debug)]
struct GateFd(OwnedFd);

impl AsFd for GateFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<R: Registrar> CalloopSource<R> {
    /// A source of the wakes of `context`, whose device is registered by `registrar`, or by a
    /// registrar that passes its calls on to a clone of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(context: Context<R>, registrar: &CalloopRegistrar) -> io::Result<CalloopSource<R>> {
        let fd = GateFd(registrar.gate.epoll.try_clone()?);
        Ok(CalloopSource {
            context,
            owner: Arc::clone(&registrar.gate),
            gate: Some(Generic::new(fd, Interest::READ, Mode::Level)),
            queued: None,
            has_run: false,
            at_most: Round::<R>::BUDGET,
            calls: false,
        })
    }

    fn gate(&mut self) -> ::calloop::Result<&mut Generic<GateFd>> {
        let dropped = || io::Error::from(io::ErrorKind::NotConnected);
        Ok(self.gate.as_mut().ok_or_else(dropped)?)
    }

    /// The same source, but it runs the callbacks of the channels and produces no events itself.
    #[must_use]
    pub fn calling(mut self) -> CalloopSource<R> {
        self.calls = true;
        self
    }

    /// The same source with a budget: after that many wakes, other sources have their turn.
    #[must_use]
    pub fn at_most(mut self, wakes: usize) -> CalloopSource<R> {
        self.at_most = wakes;
        self
    }
}

impl<R: Registrar> EventSource for CalloopSource<R> {
    type Event = Wake;
    type Metadata = Context<R>;
    type Ret = ();
    type Error = Error;

    /// Reads the eventfd here and nowhere else, because an unread one would end every sleep.
    fn process_events<F>(
        &mut self,
        _readiness: Readiness,
        _token: Token,
        mut callback: F,
    ) -> Result<PostAction, Error>
    where
        F: FnMut(Wake, &mut Context<R>),
    {
        // One round for each turn of the loop, even where there are two reasons for one.
        if mem::replace(&mut self.has_run, true) {
            return Ok(PostAction::Continue);
        }
        let Gate { bell, process, .. } = &*self.owner;
        if !process.is_current() {
            return Err(Error::Inherited);
        }
        let _silent_before = rustix::io::read(bell, &mut [0_u8; 8]);
        let context = self.context.clone();
        let mut round = context.dispatch_at_most(self.at_most)?;
        let ended = if self.calls {
            round.call()
        } else {
            round
                .by_ref()
                .for_each(|wake| callback(wake, &mut self.context));
            round.finish()
        };
        // What is left is announced before the next sleep.
        ended.map(|_: Outcome| PostAction::Continue)
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> ::calloop::Result<()> {
        self.queued = Some(tokens.token());
        self.gate()?.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> ::calloop::Result<()> {
        self.queued = Some(tokens.token());
        self.gate()?.reregister(poll, tokens)
    }

    fn unregister(&mut self, poll: &mut Poll) -> ::calloop::Result<()> {
        self.queued = None;
        self.gate()?.unregister(poll)
    }

    const NEEDS_EXTRA_LIFECYCLE_EVENTS: bool = true;

    fn before_sleep(&mut self) -> ::calloop::Result<Option<(Readiness, Token)>> {
        self.has_run = false;
        let is_due = self.context.next_timeout().is_some();
        let queued = self.queued.filter(|_| is_due);
        Ok(queued.map(|token| (Readiness::EMPTY, token)))
    }
}

impl<R: Registrar> Drop for CalloopSource<R> {
    fn drop(&mut self) {
        if !self.owner.process.is_current() {
            // Dropped, it would remove itself from the epoll instance that the parent uses.
            let _kept = self.gate.take().map(|gate| Box::leak(Box::new(gate)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::calloop::{Dispatcher, EventLoop};
    use evtchn_core::{DomId, RemotePort};
    use evtchn_sim::Sim;

    use super::*;

    type Source = CalloopSource<CalloopRegistrar>;

    fn source() -> (CalloopRegistrar, Source) {
        let registrar = CalloopRegistrar::new().unwrap();
        let opener = Sim::new(0).open(DomId::DOM0);
        let context = Context::with_registrar(opener, registrar.clone());
        let source = CalloopSource::new(context, &registrar).unwrap();
        (registrar, source)
    }

    /// How many hold the epoll instance after an event loop with the source was dropped.
    fn holders_after_the_loop(registrar: &CalloopRegistrar, source: Source) -> usize {
        let event_loop = EventLoop::<()>::try_new().unwrap();
        let inserted = event_loop.handle().insert_source(source, |_, _, ()| ());
        inserted.map_err(|it| it.error).unwrap();
        drop(event_loop);
        Arc::strong_count(&registrar.gate)
    }

    #[test]
    fn in_the_process_that_made_it_a_dropped_source_closes_its_descriptors() {
        let (registrar, source) = source();
        assert_eq!(holders_after_the_loop(&registrar, source), 1);
    }

    #[test]
    fn a_source_of_the_same_context_may_be_there_before_the_first_one_is_removed() {
        let (registrar, source) = source();
        let context = source.context.clone();
        let mut event_loop = EventLoop::<usize>::try_new().unwrap();
        let count = |_: Wake, _: &mut Context<CalloopRegistrar>, wakes: &mut usize| *wakes += 1;
        let first = event_loop.handle().insert_source(source, count).unwrap();
        let second = CalloopSource::new(context.clone(), &registrar).unwrap();
        event_loop.handle().insert_source(second, count).unwrap();
        let channel = context.bind_unbound_port(DomId::SELF).unwrap();
        let domid = DomId::SELF;
        let port = channel.port();
        let other = context
            .bind_interdomain(RemotePort { domid, port })
            .unwrap();
        for (turn, removed) in [None, Some(first)].into_iter().enumerate() {
            if let Some(first) = removed {
                event_loop.handle().remove(first);
            }
            channel.wait().unwrap();
            other.notify().unwrap();
            let mut wakes = 0;
            event_loop.dispatch(Duration::ZERO, &mut wakes).unwrap();
            assert_eq!(wakes, 1, "turn {turn}");
        }
    }

    #[test]
    fn a_sleep_is_announced_only_where_a_wake_is_queued() {
        let (_registrar, source) = source();
        let context = source.context.clone();
        let channel = context.bind_unbound_port(DomId::SELF).unwrap();
        let theirs = RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        };
        // A bind causes an event at once.
        let other = context.bind_interdomain(theirs).unwrap();
        let mut event_loop = EventLoop::<()>::try_new().unwrap();
        let dispatcher = Dispatcher::new(source.calling(), |_, _, (): &mut ()| ());
        let registered = event_loop.handle().register_dispatcher(dispatcher.clone());
        registered.unwrap();
        let announced = || {
            let before = dispatcher.as_source_mut().before_sleep();
            before.unwrap().is_some()
        };

        channel.wait().unwrap();
        event_loop.dispatch(Duration::ZERO, &mut ()).unwrap();
        assert!(!announced());
        other.set_callback(|_| ()).unwrap();
        other.wait().unwrap();
        assert!(announced());
        event_loop.dispatch(Duration::ZERO, &mut ()).unwrap();
        assert!(!announced());
    }
}
