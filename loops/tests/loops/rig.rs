//! One event loop with the adapter under test, as the cases see it.

use std::any::Any;
use std::error::Error;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use evtchn_core::{Context, Registrar, Wake};

use super::device::{Backend, Spied};

pub(crate) type LoopOf<B, A> = Spied<<A as Rig<B>>::Adapter>;
pub(crate) type ContextOf<B, A> = Context<LoopOf<B, A>>;
pub(crate) type ChannelOf<B, A> = evtchn_core::Channel<LoopOf<B, A>>;
/// Called with each wake of a round.
pub(crate) type Each<B, A> = Box<dyn FnMut(&ContextOf<B, A>, Wake)>;

/// How a context is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taste {
    /// The budget of a round.
    pub(crate) at_most: usize,
    /// The callbacks of the channels are run, instead of handing out wakes.
    pub(crate) calls: bool,
}

/// An event loop, and what belongs to it, of the thread that runs it.
pub(crate) trait Rig<B: Backend>: Sized + 'static {
    type Adapter: Registrar;

    const NAME: &'static str;

    fn new() -> Self;

    /// Of two contexts, the second one's device is refused.
    const WATCHES_ONE: bool = false;

    /// There is one such loop for the whole process.
    const ONE_FOR_ALL: bool = false;

    /// Once the loop is dropped every wait is an error. In the others a wait goes on, for a round
    /// that the program begins by itself.
    const ENDS_WAITS: bool = false;

    /// The adapter for one more context of this loop.
    fn adapter(&mut self) -> Self::Adapter;

    /// Runs this context too from now on. It holds it no longer than [`detach`](Self::detach).
    fn attach(&mut self, context: &Arc<ContextOf<B, Self>>, taste: Taste);

    /// Forgets every context.
    fn detach(&mut self);

    /// Sleeps once, until something is to be done or the timeout is over, and then dispatches
    /// each context that has something to dispatch, once. Says whether there was anything.
    ///
    /// # Errors
    /// Those of the rounds.
    fn turn(&mut self, timeout: Duration, each: &mut Each<B, Self>)
    -> Result<bool, Box<dyn Error>>;

    /// Whether the loop watches this descriptor, as the loop itself reports it.
    fn watches(&self, fd: RawFd) -> bool;

    /// Keeps a loop that looks by itself, on a thread of its own, from the device until this is
    /// dropped. The others look in their turns alone.
    fn quiet(&self) -> Option<Box<dyn Any>> {
        None
    }
}

/// A context that a loop runs.
pub(crate) struct Attached<R: Registrar> {
    context: Weak<Context<R>>,
    taste: Taste,
}

pub(crate) type AttachedOf<B, A> = Attached<LoopOf<B, A>>;

impl<R: Registrar> Attached<R> {
    pub(crate) fn new(context: &Arc<Context<R>>, taste: Taste) -> Attached<R> {
        Attached {
            context: Arc::downgrade(context),
            taste,
        }
    }

    /// The context, unless it is gone.
    pub(crate) fn context(&self) -> Option<Arc<Context<R>>> {
        self.context.upgrade()
    }

    fn dispatch(&self, each: &mut dyn FnMut(&Context<R>, Wake)) -> Result<(), evtchn_core::Error> {
        let Some(context) = self.context() else {
            return Ok(());
        };
        let mut round = context.dispatch_at_most(self.taste.at_most)?;
        if self.taste.calls {
            round.call()?;
        } else {
            round.by_ref().for_each(|wake| each(&context, wake));
            round.finish()?;
        }
        Ok(())
    }
}

/// How long a loop may sleep that runs these.
pub(crate) fn sleep_of<R: Registrar>(attached: &[Attached<R>], timeout: Duration) -> Duration {
    let contexts = attached.iter().filter_map(Attached::context);
    let due = contexts.filter_map(|context| context.next_timeout());
    due.min().map_or(timeout, |due| due.min(timeout))
}

/// Dispatches those that are due or ready, and says whether there were any.
pub(crate) fn dispatch<B: Backend, A: Rig<B>>(
    attached: &[AttachedOf<B, A>],
    is_ready: impl Fn(&A::Adapter) -> bool,
    each: &mut Each<B, A>,
) -> Result<bool, Box<dyn Error>> {
    let mut any = false;
    for attached in attached {
        let Some(context) = attached.context() else {
            continue;
        };
        // Called in any case: an adapter may count the threads that return.
        let is_ready = is_ready(&context.registrar().adapter);
        if is_ready || context.next_timeout().is_some() {
            any = true;
            attached.dispatch(each)?;
        }
    }
    Ok(any)
}

/// Whether the epoll instance has this descriptor, as the kernel reports it.
pub(crate) fn epoll_has(epoll: &impl AsRawFd, fd: RawFd) -> bool {
    let path = format!("/proc/self/fdinfo/{}", epoll.as_raw_fd());
    has_entry(&fs::read_to_string(path).unwrap(), fd)
}

/// The epoll instance of this process that has this descriptor.
pub(crate) fn epoll_of(fd: RawFd) -> RawFd {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
    let mut paths = infos.map(|info| info.unwrap().path());
    let found = paths.find(|path| {
        // Other cases close theirs meanwhile.
        fs::read_to_string(path).is_ok_and(|info| has_entry(&info, fd))
    });
    let name = found.as_ref().and_then(|path| path.file_name()?.to_str());
    name.unwrap().parse().unwrap()
}

fn has_entry(info: &str, fd: RawFd) -> bool {
    info.lines()
        .filter_map(|line| line.strip_prefix("tfd:"))
        .filter_map(|entry| entry.split_whitespace().next())
        .any(|watched| watched.parse() == Ok(fd))
}
