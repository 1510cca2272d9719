//! A device and a loop that do as they are told and write down what they were asked.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use evtchn_core::{
    Context, DomId, ErrorKind, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Trigger,
    Virq,
};

/// A step that was made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} failed as told: {1:?}")]
pub(crate) struct Told(&'static str, ErrorKind);

impl evtchn_core::Error for Told {
    fn kind(&self) -> ErrorKind {
        self.1
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
            on_open: None,
            on_register: None,
            on_deregister: None,
            on_wake: None,
        })))
    }

    pub(crate) fn context(&self) -> Context<FakeOpen, FakeLoop> {
        Context::new(FakeOpen(self.clone()), FakeLoop(self.clone()))
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

    /// What was asked since the last call.
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

    fn step(&self, step: &'static str, detail: &str) -> Result<(), Told> {
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
                Err(Told(step, kind))
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

    fn open(&self) -> Result<Fake, Told> {
        self.0.call(|script| &mut script.on_open);
        self.0.step("open", "")?;
        Ok(Fake(self.0.clone(), self.process()))
    }

    fn process(&self) -> u64 {
        self.0.script().process
    }
}

impl Fake {
    fn give(&self) -> Result<Port, Told> {
        self.0.step("bind", "")?;
        let raw = self.0.script().ports.pop_front();
        raw.and_then(Port::new)
            .ok_or(Told("bind without a scripted port", ErrorKind::NoSpace))
    }
}

impl EventChannel for Fake {
    type Error = Told;

    fn bind_unbound_port(&self, _: DomId) -> Result<Port, Told> {
        self.give()
    }

    fn bind_interdomain(&self, _: RemotePort) -> Result<Port, Told> {
        self.give()
    }

    fn bind_virq(&self, _: Virq) -> Result<Port, Told> {
        self.give()
    }

    fn bind_static(&self, port: Port) -> Result<(), Told> {
        self.0.step("bind_static", &format!(" {port}"))
    }

    fn unbind(&self, port: Port) -> Result<(), Told> {
        self.0.step("unbind", &format!(" {port}"))
    }

    fn notify(&self, port: Port) -> Result<(), Told> {
        self.0.step("notify", &format!(" {port}"))
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), Told> {
        buf.fill(|_| Ok::<_, Told>(0))?;
        self.0.step("read", "")?;
        let batch = self.0.script().batches.pop_front().unwrap_or_default();
        buf.fill(|words| {
            words[..batch.len()].copy_from_slice(&batch);
            Ok(batch.len())
        })
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, Told> {
        let takes = self.0.script().write_takes.min(ports.len());
        let taken: Vec<_> = ports[..takes].iter().map(|p| p.as_raw()).collect();
        self.0.step("write", &format!(" {taken:?}"))?;
        Ok(takes)
    }

    fn reset(&self) -> Result<(), Told> {
        self.0.step("reset", "")
    }

    fn restrict(&self, domid: DomId) -> Result<(), Told> {
        self.0.step("restrict", &format!(" {domid}"))
    }

    fn is_inherited(&self) -> bool {
        self.1 != self.0.script().process
    }
}

pub(crate) struct FakeLoop(Tester);

impl Registrar<Fake> for FakeLoop {
    type Error = Told;

    fn trigger(&self) -> Trigger {
        self.0.script().trigger
    }

    fn register(&self, _: &Fake) -> Result<(), Told> {
        self.0.call(|script| &mut script.on_register);
        self.0.step("register", "")
    }

    fn deregister(&self, _: &Fake) -> Result<(), Told> {
        self.0.call(|script| &mut script.on_deregister);
        self.0.step("deregister", "")
    }

    fn wake(&self) {
        self.0.call(|script| &mut script.on_wake);
        let _cannot_fail = self.0.step("wake", "");
    }
}
