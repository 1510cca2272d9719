//! A device and a loop that follow a script and log every call.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use evtchn_core::{
    Context, Device, DeviceCall, DeviceError, DomId, ErrorKind, EventChannel, LoopError, Open,
    Port, PortBuf, Registrar, RemotePort, Trigger, Virq,
};

/// A step that the script let fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} failed as scripted: {1:?}")]
pub(crate) struct StepFailed(&'static str, ErrorKind);

impl StepFailed {
    /// The error that the device returns for it.
    fn of(self, call: DeviceCall) -> DeviceError {
        DeviceError::new(self.1, call).with_source(self)
    }
}

/// What a test does from inside a step.
pub(crate) type Hook = Box<dyn FnMut() + Send>;

pub(crate) struct Script {
    pub(crate) log: Vec<String>,
    /// Steps that fail when they are next made.
    pub(crate) fail: Vec<(&'static str, ErrorKind)>,
    /// Steps that panic when they are next made, without the message.
    pub(crate) panic: Vec<&'static str>,
    /// What reads bring, each read a batch.
    pub(crate) batches: VecDeque<Vec<u32>>,
    /// The numbers that binds give.
    pub(crate) ports: VecDeque<u32>,
    /// How many ports a write takes.
    pub(crate) write_takes: usize,
    pub(crate) trigger: Trigger,
    /// The process that runs: another number is a forked child.
    pub(crate) process: u64,
    /// Called from inside `notify`.
    pub(crate) on_notify: Option<Hook>,
    /// Called from inside `open`.
    pub(crate) on_open: Option<Hook>,
    /// Called from inside `register`.
    pub(crate) on_register: Option<Hook>,
    /// Called from inside `deregister`.
    pub(crate) on_deregister: Option<Hook>,
    /// Called from inside `wake`.
    pub(crate) on_wake: Option<Hook>,
}

/// The tester's handle on a [`Fake`] and its [`FakeLoop`].
#[derive(Clone)]
pub(crate) struct Tester(Arc<Mutex<Script>>);

impl Tester {
    pub(crate) fn new() -> Tester {
        Tester(Arc::new(Mutex::new(Script {
            log: Vec::new(),
            fail: Vec::new(),
            panic: Vec::new(),
            batches: VecDeque::new(),
            ports: (1..100).collect(),
            write_takes: usize::MAX,
            trigger: Trigger::Level,
            process: 1,
            on_notify: None,
            on_open: None,
            on_register: None,
            on_deregister: None,
            on_wake: None,
        })))
    }

    pub(crate) fn context(&self) -> Context<FakeLoop> {
        Context::with_registrar(self.opener(), FakeLoop(self.clone()))
    }

    pub(crate) fn opener(&self) -> FakeOpen {
        FakeOpen(self.clone())
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, step: &'static str, kind: ErrorKind) {
        self.script().fail.push((step, kind));
    }

    pub(crate) fn batch(&self, ports: &[Port]) {
        let words = ports.iter().map(|port| port.as_raw()).collect();
        self.script().batches.push_back(words);
    }

    /// The calls since the last `log`.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.script().log)
    }

    /// Calls a hook, once and under no lock.
    fn call(&self, hook: fn(&mut Script) -> &mut Option<Hook>) {
        let taken = hook(&mut self.script()).take();
        if let Some(mut hook) = taken {
            hook();
        }
    }

    fn step(&self, step: &'static str, detail: &str) -> Result<(), StepFailed> {
        let mut script = self.script();
        script.log.push(format!("{step}{detail}"));
        if let Some(at) = script.panic.iter().position(|which| *which == step) {
            script.panic.remove(at);
            drop(script);
            std::panic::resume_unwind(Box::new(step));
        }
        match script.fail.iter().position(|(which, _)| *which == step) {
            Some(at) => {
                let (step, kind) = script.fail.remove(at);
                Err(StepFailed(step, kind))
            }
            None => Ok(()),
        }
    }
}

pub(crate) struct FakeOpen(Tester);

#[derive(Debug)]
pub(crate) struct Fake(Tester, u64);

impl std::fmt::Debug for Tester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tester")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.script().log.push("close".into());
    }
}

impl Open for FakeOpen {
    type Device = Fake;

    fn open(&self) -> Result<Fake, DeviceError> {
        self.0.call(|script| &mut script.on_open);
        let opened = self.0.step("open", "");
        opened.map_err(|failed| failed.of(DeviceCall::Open))?;
        Ok(Fake(self.0.clone(), self.process()))
    }

    fn process(&self) -> u64 {
        self.0.script().process
    }
}

impl Fake {
    fn give(&self, call: DeviceCall) -> Result<Port, DeviceError> {
        self.step("bind", "", call)?;
        let raw = self.0.script().ports.pop_front();
        raw.and_then(Port::new)
            .ok_or_else(|| StepFailed("bind without a scripted port", ErrorKind::NoSpace).of(call))
    }

    fn step(&self, step: &'static str, detail: &str, call: DeviceCall) -> Result<(), DeviceError> {
        let made = self.0.step(step, detail);
        made.map_err(|failed| failed.of(call))
    }
}

impl EventChannel for Fake {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.give(DeviceCall::BindUnboundPort(remote))
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.give(DeviceCall::BindInterdomain(remote))
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.give(DeviceCall::BindVirq(virq))
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        let call = DeviceCall::BindStatic(port);
        self.step("bind_static", &format!(" {port}"), call)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.step("unbind", &format!(" {port}"), DeviceCall::Unbind(port))
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.0.call(|script| &mut script.on_notify);
        self.step("notify", &format!(" {port}"), DeviceCall::Notify(port))
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        buf.fill(|_| Ok::<_, DeviceError>(0))?;
        self.step("read", "", DeviceCall::Pending)?;
        let batch = self.0.script().batches.pop_front().unwrap_or_default();
        buf.fill(|words| {
            words[..batch.len()].copy_from_slice(&batch);
            Ok(batch.len())
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        let (first, count) = (ports[0], ports.len());
        let takes = self.0.script().write_takes.min(count);
        let taken: Vec<_> = ports[..takes].iter().map(|p| p.as_raw()).collect();
        let call = DeviceCall::Unmask { first, count };
        self.step("write", &format!(" {taken:?}"), call)?;
        Ok(takes)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.step("reset", "", DeviceCall::Reset)
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.step(
            "restrict",
            &format!(" {domid}"),
            DeviceCall::Restrict(domid),
        )
    }

    fn is_inherited(&self) -> bool {
        self.1 != self.0.script().process
    }
}

pub(crate) struct FakeLoop(Tester);

impl Registrar for FakeLoop {
    fn trigger(&self) -> Trigger {
        self.0.script().trigger
    }

    fn register(&self, _: &Device) -> Result<(), LoopError> {
        self.0.call(|script| &mut script.on_register);
        self.0.step("register", "").map_err(LoopError::new)
    }

    fn deregister(&self, _: &Device) -> Result<(), LoopError> {
        self.0.call(|script| &mut script.on_deregister);
        self.0.step("deregister", "").map_err(LoopError::new)
    }

    fn wake(&self) {
        self.0.call(|script| &mut script.on_wake);
        let _cannot_fail = self.0.step("wake", "");
    }
}
