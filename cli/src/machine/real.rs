//! This machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use evtchn::poll::{Channel, Context, PollLoop};
use evtchn::xen::XenOpen;
use evtchn::{Backend, DomId, RemotePort};

use super::{Blocked, Machine, Role};
use crate::exit::call_failed;
use crate::options::{CommonOptions, Place};
use crate::output::Output;
use crate::stop::Stop;

/// See the [module](self).
pub(crate) struct Real {
    context: Context,
    backend: Backend,
    output: Output,
    stop: Stop,
    start: Instant,
    echo: Option<Echo>,
}

impl Real {
    /// Does not open the device yet.
    ///
    /// # Errors
    /// If the kernel cannot create an event loop or the handler of a signal.
    pub(crate) fn new(options: &CommonOptions) -> Result<Real> {
        let start = Instant::now();
        let backend = Backend::from(XenOpen::at(options.device()));
        let poll_loop = PollLoop::new().context("cannot make an event loop")?;
        let stop_loop = poll_loop.clone();
        let stop = Stop::on_signal(move || stop_loop.wake());
        Ok(Real {
            context: Context::with_registrar(backend.clone(), poll_loop),
            backend,
            output: Output::new(options.format(), Place::Xen(options.device()), move || {
                start.elapsed()
            }),
            stop: stop.context("cannot watch for signals")?,
            start,
            echo: None,
        })
    }
}

impl Machine for Real {
    type Loop = PollLoop;

    fn context(&self) -> &Context {
        &self.context
    }

    fn backend(&self) -> &Backend {
        &self.backend
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn block(&self, channel: &Channel, until: Option<Duration>) -> Result<Blocked> {
        let deadline = until.map(|until| self.start + until);
        let goes_on = || !self.stop.is_requested();
        Ok(match channel.block_while(deadline, goes_on)? {
            Some(cause) => Blocked::Woken(cause),
            None if self.stop.is_requested() => Blocked::Stopped,
            None => Blocked::TimedOut,
        })
    }

    fn start_echo(&mut self) -> Result<RemotePort> {
        let (echo, remote) = Echo::new(self.backend.clone())?;
        self.echo = Some(echo);
        Ok(remote)
    }

    fn start_peer(&mut self, _role: Role) -> Result<()> {
        Ok(())
    }

    fn handled_events(&self) -> Option<u32> {
        None
    }

    fn is_idle(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<Vec<String>> {
        if let Some(echo) = self.echo.take() {
            echo.end()?;
        }
        // The context has closed the device, which unbinds all its ports.
        Ok(Vec::new())
    }
}

/// A thread with its own device, which answers every notify.
struct Echo {
    thread: JoinHandle<Result<()>>,
    is_over: Arc<AtomicBool>,
    poll_loop: PollLoop,
}

impl Echo {
    fn new(backend: Backend) -> Result<(Echo, RemotePort)> {
        let poll_loop = PollLoop::new().context("cannot make an event loop")?;
        let context = Context::with_registrar(backend, poll_loop.clone());
        let mut channel = context
            .bind_unbound_port(DomId::SELF)
            .map_err(call_failed)?;
        let remote = RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let answer = move || {
            let goes_on = || !seen.load(Ordering::Relaxed);
            while channel.block_while(None, goes_on)?.is_some() {
                channel.notify()?;
            }
            channel.unbind()?;
            context.teardown()?;
            Ok(())
        };
        let thread = thread::Builder::new().name("echo".into()).spawn(answer);
        let echo = Echo {
            thread: thread.context("cannot start a thread")?,
            is_over,
            poll_loop,
        };
        Ok((echo, remote))
    }

    fn end(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.poll_loop.wake();
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => bail!("the thread that answers panicked"),
        }
    }
}
