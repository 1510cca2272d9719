//! Recording a program: what a backend brings along whose contexts are recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evtchn_core::observe::{Called, Came, Hook, Observe, Observer, OfThisWorkspace, Source};
use evtchn_core::{Backend, ChannelId, Device, DeviceError, DomId, Outcome, RemotePort, Wake};

use crate::device::{RecordedDevice, note};
use crate::failed::Failed;
use crate::line::{Answer, Call, Got, Seam};
use crate::names::{Caused, Ended, State};
use crate::step;
use crate::tape::{Channels, Round, Tape};

impl Tape {
    /// The same backend, recorded: each call of the contexts that are made with it, of their channels
    /// and rounds, with what it came to, and each call that they make of the device and the event
    /// loop. The program is the same as without: it uses `Context`, its channels and its event
    /// loop as always.
    ///
    /// With [`Tape::off`] it is the backend itself.
    ///
    /// ```
    /// use evtchn_core::{Context, DomId, Trigger};
    /// use evtchn_sim::{Sim, SimLoop};
    /// use evtchn_trace::{Header, Source, Tape};
    ///
    /// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
    /// let backend = tape.record(Sim::new(7).open(DomId::DOM0));
    /// let ctx = Context::with_registrar(backend, SimLoop::level());
    /// let channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// channel.wait()?;
    /// drop(channel);
    /// ctx.teardown()?;
    /// drop(ctx);
    /// tape.finish()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn record(&self, backend: impl Into<Backend>) -> Backend {
        self.observe(backend.into(), true)
    }

    /// [`record`](Self::record) without the calls of the program: only those of the device and the
    /// event loop, for a check that writes down by itself what it calls.
    ///
    /// ```
    /// use evtchn_core::{Context, DomId, Trigger};
    /// use evtchn_sim::{Sim, SimLoop};
    /// use evtchn_trace::{Header, Op, Source, Tape, What};
    ///
    /// let tape = Tape::new(&Header::new(Source::Script, Trigger::Level), std::io::sink());
    /// let backend = tape.record_seam(Sim::new(7).open(DomId::DOM0));
    /// let ctx = Context::with_registrar(backend, SimLoop::level());
    /// tape.put(|| What::Op(Op { op: "bind 0 unbound".to_owned() }));
    /// let _channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// # Ok::<_, evtchn_core::Error>(())
    /// ```
    #[must_use]
    pub fn record_seam(&self, backend: impl Into<Backend>) -> Backend {
        self.observe(backend.into(), false)
    }

    /// Opens a device for another holder, such as the other ends of a domain's channels to itself. A
    /// trace has its calls beside those of the context.
    ///
    /// ```
    /// use evtchn_core::{DomId, Trigger};
    /// use evtchn_sim::Sim;
    /// use evtchn_trace::{Header, Source, Tape};
    ///
    /// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
    /// let other = tape.open_peer(Sim::new(7).open(DomId::DOM0))?;
    /// let _port = other.bind_unbound_port(DomId::SELF)?;
    /// # Ok::<_, evtchn_core::DeviceError>(())
    /// ```
    ///
    /// # Errors
    /// That of the backend's open, of which no line is written.
    pub fn open_peer(&self, backend: impl Into<Backend>) -> Result<Device, DeviceError> {
        let device = backend.into().open()?;
        if !self.is_on() {
            return Ok(device);
        }
        let peer = Some(self.peer());
        note(self, peer, || Seam::Open, None, None);
        Ok(Device::new(RecordedDevice::new(device, self, peer)))
    }

    fn observe(&self, backend: Backend, with_program: bool) -> Backend {
        if !self.is_on() {
            return backend;
        }
        backend.observed(Arc::new(Recorder {
            tape: self.clone(),
            with_program,
        }))
    }
}

/// What a recorded backend brings along.
struct Recorder {
    tape: Tape,
    with_program: bool,
}

impl OfThisWorkspace for Recorder {}

impl Observe for Recorder {
    fn context(&self) -> Arc<dyn Observer> {
        Arc::new(OfContext {
            tape: self.tape.clone(),
            with_program: self.with_program,
            is_handed_over: AtomicBool::new(false),
        })
    }

    fn open(&self, opened: Result<Device, DeviceError>) -> Result<Device, DeviceError> {
        let failed = opened.as_ref().err().map(Failed::of_device);
        note(&self.tape, None, || Seam::Open, None, failed);
        Ok(self.adopt(opened?))
    }

    fn adopt(&self, device: Device) -> Device {
        let recorded = device.downcast_ref::<RecordedDevice>();
        if recorded.is_some_and(|it| it.is_on(&self.tape)) {
            return device;
        }
        Device::new(RecordedDevice::new(device, &self.tape, None))
    }
}

/// The recorder of one context.
struct OfContext {
    tape: Tape,
    with_program: bool,
    /// The context handed its device over, and nothing was called since. Its drop does nothing
    /// then, and no line says so: the next line may be of the context that goes on.
    is_handed_over: AtomicBool,
}

impl OfThisWorkspace for OfContext {}

impl Observer for OfContext {
    fn begins(&self, called: Called<'_>) {
        if !self.with_program {
            return;
        }
        if self.is_handed_over.load(Ordering::Relaxed) && matches!(called, Called::DropContext) {
            return;
        }
        self.is_handed_over.store(false, Ordering::Relaxed);
        self.tape.begins(|channels| call(channels, called));
    }

    fn ends(&self, came: Came<'_>) {
        if !self.with_program || self.is_handed_over.load(Ordering::Relaxed) {
            return;
        }
        if matches!(came, Came::HandedOver) {
            self.is_handed_over.store(true, Ordering::Relaxed);
        }
        let round = if matches!(came, Came::Begun) {
            Round::Begun
        } else if matches!(came, Came::Over(_)) {
            Round::Over
        } else {
            Round::Same
        };
        self.tape.ends(round, |channels| answer(channels, came));
    }

    fn hook(&self, hook: Hook<'_>) {
        let failed = |result| Result::err(result).map(Failed::of_loop);
        let (call, got, failed) = match hook {
            Hook::Register(result) => (Seam::Register, None, failed(result.as_ref())),
            Hook::Deregister(result) => (Seam::Deregister, None, failed(result.as_ref())),
            Hook::Wake => (Seam::Wake, None, None),
            Hook::Sleep { until, slept } => {
                let ended = slept.as_ref().ok().map(|slept| Got::Slept(Ended(*slept)));
                let failed = slept.as_ref().err().map(Failed::of_loop);
                (Seam::Sleep { until }, ended, failed)
            }
            Hook::Status { port, status } => {
                let state = status.as_ref().ok().and_then(|it| State::of(it.state));
                let failed = status.as_ref().err().map(Failed::of_device);
                (Seam::Status { port }, state.map(Got::Is), failed)
            }
        };
        note(&self.tape, None, || call, got, failed);
    }
}

/// The line of a call.
fn call(channels: &Channels<'_>, called: Called<'_>) -> Call {
    let of = |id: ChannelId| channels.of(id);
    match called {
        Called::Bind(Source::Unbound(remote)) => Call::BindUnboundPort { remote },
        Called::Bind(Source::Interdomain(RemotePort { domid, port })) => {
            Call::BindInterdomain { domid, port }
        }
        Called::Bind(Source::Virq(virq)) => Call::BindVirq { virq },
        Called::Bind(Source::Static(port)) => Call::BindStatic { port },
        Called::Restrict(domid) => Call::Restrict { domid },
        Called::Wait(id) => Call::Wait { channel: of(id) },
        Called::WaitEach(id) => Call::WaitEach { channel: of(id) },
        Called::Cancel(id) => Call::Cancel { channel: of(id) },
        Called::Notify(id) => Call::Notify { channel: of(id) },
        Called::Unbind(id) => Call::Unbind { channel: of(id) },
        Called::DropChannel(id) => Call::DropChannel { channel: of(id) },
        Called::NextTimeout => Call::NextTimeout,
        Called::Begin(wakes) => Call::Begin { wakes },
        Called::Next => Call::Next,
        Called::Fill(room) => Call::Fill { room },
        Called::Finish => Call::Finish,
        Called::Leave => Call::Leave,
        Called::Call => Call::Call,
        Called::DispatchCallbacks => Call::DispatchCallbacks,
        Called::SetCallback(id) => Call::SetCallback { channel: of(id) },
        Called::RemoveCallback(id) => Call::RemoveCallback { channel: of(id) },
        Called::Return { panics } => Call::Return { panics },
        Called::Block { channel, until } => Call::Block {
            channel: of(channel),
            until,
        },
        Called::Woken(id) => Call::Woken { channel: of(id) },
        Called::DropWoken(id) => Call::DropWoken { channel: of(id) },
        Called::HandOver(ids) => Call::HandOver {
            channels: ids.iter().map(|id| of(*id)).collect(),
        },
        Called::FromParts(table) => Call::FromParts {
            ports: table.ports().to_vec(),
            restriction: table.restriction().map(DomId::as_raw),
        },
        Called::CheckPeers => Call::CheckPeers,
        Called::Teardown => Call::Teardown,
        Called::DropContext => Call::DropContext,
        Called::Other(what) => Call::Other {
            what: what.to_owned(),
        },
    }
}

/// The line of what a call came to.
fn answer(channels: &mut Channels<'_>, came: Came<'_>) -> Answer {
    let numbered = |channels: &Channels<'_>, wake: &Wake| {
        let channel = channels.of(wake.channel);
        (channel, Caused(wake.cause))
    };
    match came {
        Came::Done | Came::Begun | Came::HandedOver => Answer::Done,
        Came::Over(Ok(Outcome::Done)) | Came::Dispatched(Outcome::Done) => Answer::Done,
        Came::Over(Ok(Outcome::More)) | Came::Dispatched(Outcome::More) => Answer::More,
        Came::Failed(error) | Came::Over(Err(error)) => step::failed(error),
        Came::Bound(id) => Answer::Bound {
            channel: channels.bound(id),
            port: id.port(),
        },
        Came::Adopted(ids) => Answer::Adopted {
            channels: ids.iter().map(|id| channels.bound(*id)).collect(),
        },
        Came::Cancelled(ended) => Answer::Cancelled { ended },
        Came::Removed(was_set) => Answer::Removed { was_set },
        Came::Checked(ended) => Answer::Checked { ended },
        Came::Timeout { zero } => Answer::Timeout { zero },
        Came::Wake(None) => Answer::Nothing,
        Came::Wake(Some(wake)) => {
            let (channel, cause) = numbered(channels, &wake);
            Answer::Wake { channel, cause }
        }
        Came::Wakes(wakes) => Answer::Wakes {
            wakes: wakes.iter().map(|wake| numbered(channels, wake)).collect(),
        },
        Came::Calls(wake) => {
            let (channel, cause) = numbered(channels, &wake);
            Answer::Calls { channel, cause }
        }
        Came::Woken(Some(cause)) => Answer::Woken {
            cause: Caused(cause),
        },
        Came::Woken(None) => Answer::TimedOut,
        Came::Pending => Answer::Pending,
    }
}
