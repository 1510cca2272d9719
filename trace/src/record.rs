//! Records a program: its backend gives each of its contexts an observer that writes the calls down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evtchn_core::observe::{Called, Came, Hook, Observe, Observer, OfThisWorkspace, Source};
use evtchn_core::{Backend, ChannelId, Device, DeviceError, DomId, Outcome, RemotePort, Wake};

use crate::device::{RecordedDevice, note};
use crate::failed::Failed;
use crate::line::{Answer, BackendAnswer, BackendCall, Call};
use crate::names::{RecordedStatus, SleepEnd, WakeCause};
use crate::step;
use crate::tape::{Channels, Round, Tape};

impl Tape {
    /// Returns the same backend, recorded. The tape gets each call on the contexts that are made with
    /// it and on their channels and rounds, with its answer, and each backend call that these
    /// contexts make. The program stays as it is: it uses `Context`, channels and its event loop as
    /// always.
    ///
    /// [`Tape::off`] returns the backend itself.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId, Trigger};
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

    /// [`record`](Self::record) without the calls of the program, for a check that writes its own
    /// steps: the tape gets backend calls only.
    ///
    /// ```
    /// use evtchn::sim::{Sim, SimLoop};
    /// use evtchn::{Context, DomId, Trigger};
    /// use evtchn_trace::{Header, Op, Record, Source, Tape};
    ///
    /// let tape = Tape::new(&Header::new(Source::Script, Trigger::Level), std::io::sink());
    /// let backend = tape.record_backend_calls(Sim::new(7).open(DomId::DOM0));
    /// let ctx = Context::with_registrar(backend, SimLoop::level());
    /// tape.put(|| Record::Op(Op { op: "bind 0 unbound".to_owned() }));
    /// let _channel = ctx.bind_unbound_port(DomId::SELF)?;
    /// # Ok::<_, evtchn::Error>(())
    /// ```
    #[must_use]
    pub fn record_backend_calls(&self, backend: impl Into<Backend>) -> Backend {
        self.observe(backend.into(), false)
    }

    /// Opens a device for another holder, for example for the other ends of channels that lead from the
    /// domain to itself. The trace has its calls beside those of the context.
    ///
    /// ```
    /// use evtchn::sim::Sim;
    /// use evtchn::{DomId, Trigger};
    /// use evtchn_trace::{Header, Source, Tape};
    ///
    /// let tape = Tape::new(&Header::new(Source::Sim, Trigger::Level), std::io::sink());
    /// let other = tape.open_peer(Sim::new(7).open(DomId::DOM0))?;
    /// let _port = other.bind_unbound_port(DomId::SELF)?;
    /// # Ok::<_, evtchn::DeviceError>(())
    /// ```
    ///
    /// # Errors
    /// The error of the backend's open. No line is written for it.
    pub fn open_peer(&self, backend: impl Into<Backend>) -> Result<Device, DeviceError> {
        let device = backend.into().open()?;
        if !self.is_on() {
            return Ok(device);
        }
        let peer = Some(self.peer());
        note(self, peer, || BackendCall::Open, None, None);
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

/// Observes a recorded backend.
struct Recorder {
    tape: Tape,
    with_program: bool,
}

impl OfThisWorkspace for Recorder {}

impl Observe for Recorder {
    fn context(&self) -> Arc<dyn Observer> {
        Arc::new(ContextRecorder {
            tape: self.tape.clone(),
            with_program: self.with_program,
            is_handed_over: AtomicBool::new(false),
        })
    }

    fn open(&self, opened: Result<Device, DeviceError>) -> Result<Device, DeviceError> {
        let failed = opened.as_ref().err().map(Failed::of_device);
        note(&self.tape, None, || BackendCall::Open, None, failed);
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

/// Observes one context.
struct ContextRecorder {
    tape: Tape,
    with_program: bool,
    /// The context handed its device over, and nothing was called since. Then no line is written when
    /// it is dropped: the drop does nothing, and the next line may be one of the context that
    /// continues.
    is_handed_over: AtomicBool,
}

impl OfThisWorkspace for ContextRecorder {}

impl Observer for ContextRecorder {
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
        let (call, answer, failed) = match hook {
            Hook::Register(result) => (BackendCall::Register, None, failed(result.as_ref())),
            Hook::Deregister(result) => (BackendCall::Deregister, None, failed(result.as_ref())),
            Hook::Wake => (BackendCall::Wake, None, None),
            Hook::Sleep { until, slept } => {
                let ended = slept
                    .as_ref()
                    .ok()
                    .map(|slept| BackendAnswer::Sleep(SleepEnd(*slept)));
                let failed = slept.as_ref().err().map(Failed::of_loop);
                (BackendCall::Sleep { until }, ended, failed)
            }
            Hook::Status { port, status } => {
                let state = status
                    .as_ref()
                    .ok()
                    .and_then(|it| RecordedStatus::of(it.state));
                let failed = status.as_ref().err().map(Failed::of_device);
                (
                    BackendCall::Status { port },
                    state.map(BackendAnswer::Status),
                    failed,
                )
            }
        };
        note(&self.tape, None, || call, answer, failed);
    }
}

/// The line of a call of the program.
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
        Called::NotifyMany(ids) => Call::NotifyMany {
            channels: ids.iter().map(|id| of(*id)).collect(),
        },
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

/// The line of an answer.
fn answer(channels: &mut Channels<'_>, came: Came<'_>) -> Answer {
    let numbered = |channels: &Channels<'_>, wake: &Wake| {
        let channel = channels.of(wake.channel);
        (channel, WakeCause(wake.cause))
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
            cause: WakeCause(cause),
        },
        Came::Woken(None) => Answer::TimedOut,
        Came::Pending => Answer::Pending,
    }
}
