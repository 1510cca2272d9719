//! Drives a replay: which thread makes the next call, and which part owns the context.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use evtchn_core::{Context, Device, DomId, HandOver, Parts, Trigger, Wake};

use super::backend::{ReplayBackend, ReplayDevice};
use super::calls::{Ctx, NO_CONTEXT, Played, Shared};
use super::cursor::Cursor;
use crate::line::{Answer, Call};
use crate::step;

/// The context, or what was made of it by the last call that consumed it.
struct Held {
    context: Option<Arc<Ctx>>,
    /// What the context handed over.
    parts: Option<Parts>,
}

/// Plays a trace to its end or its first difference.
pub(super) fn play(trigger: Trigger, cursor: &Arc<Cursor>, threads: &BTreeSet<u32>) {
    let backend = ReplayBackend {
        cursor: Arc::clone(cursor),
        trigger,
    };
    let shared = Arc::new(Shared::new(Arc::clone(cursor)));
    let mut held = Held {
        context: Some(Arc::new(Context::with_registrar(
            backend.clone(),
            backend.clone(),
        ))),
        parts: None,
    };
    loop {
        let context = held.context.as_ref();
        let has_parts = held.parts.is_some();
        let last = context.and_then(|it| on_threads(&shared, it, has_parts, threads));
        if has_parts && cursor.is_at_close() {
            held.parts = None;
            continue;
        }
        let Some(call) = last.or_else(|| Some(cursor.next_call()?.1)) else {
            break;
        };
        shared.between(&mut held, &call, &backend);
    }
    cursor.close();
    drop(held);
    shared.drop_channels();
}

/// Sends calls to one thread, and receives a signal when the next call may begin.
type ThreadLink = (SyncSender<Call>, Receiver<()>);

/// Hands each call to its thread and waits until it has returned or has called a callback. Stops before
/// a call that consumes the context, which is returned, and before a device that was handed over is
/// closed.
fn on_threads(
    shared: &Arc<Shared>,
    context: &Arc<Ctx>,
    has_parts: bool,
    threads: &BTreeSet<u32>,
) -> Option<Call> {
    thread::scope(|scope| {
        let mut links: HashMap<u32, ThreadLink> = HashMap::new();
        for thread in threads {
            let (sender, calls) = sync_channel(0);
            let (returns, returned) = sync_channel(0);
            scope.spawn(move || {
                TURNS.set(Some(Turns { calls, returns }));
                shared.work(context);
            });
            links.insert(*thread, (sender, returned));
        }
        while !(has_parts && shared.cursor.is_at_close()) {
            let Some((thread, call)) = shared.cursor.next_call() else {
                break;
            };
            if matches!(
                call,
                Call::DropContext | Call::HandOver { .. } | Call::FromParts { .. }
            ) {
                return Some(call);
            }
            let (sender, returned) = links.get(&thread)?;
            sender.send(call).ok()?;
            returned.recv().ok()?;
        }
        None
    })
}

/// The thread's end of a [`ThreadLink`].
struct Turns {
    calls: Receiver<Call>,
    returns: SyncSender<()>,
}

thread_local! {
    static TURNS: RefCell<Option<Turns>> = const { RefCell::new(None) };
}

/// Waits for the next call of this thread. Returns `None` when the replay is over.
fn next_turn() -> Option<Call> {
    TURNS.with_borrow(|turns| turns.as_ref()?.calls.recv().ok())
}

/// Lets the next call begin. Returns false when the replay is over.
fn end_turn() -> bool {
    TURNS.with_borrow(|turns| turns.as_ref().is_some_and(|it| it.returns.send(()).is_ok()))
}

impl Shared {
    /// Makes the calls of this thread.
    fn work(self: &Arc<Self>, context: &Arc<Ctx>) {
        let mut round = None;
        while let Some(call) = next_turn() {
            self.answer(self.call(context, &mut round, &call));
            if !end_turn() {
                break;
            }
        }
        // The drop of a round that is still open is not on the trace.
        if round.is_some() {
            self.cursor.close();
        }
    }

    /// Runs a callback: makes the calls that the program made in it.
    pub(super) fn called(self: &Arc<Self>, context: &Arc<Ctx>, wake: &Wake) {
        let (channel, cause) = self.numbered(wake);
        self.cursor.answer(Answer::Calls { channel, cause });
        let mut is_on = end_turn();
        while is_on {
            let Some(call) = next_turn() else { return };
            if matches!(call, Call::Return { .. }) {
                return;
            }
            self.answer(self.call(context, &mut None, &call));
            is_on = end_turn();
        }
    }

    fn answer(&self, answer: Result<Answer, &'static str>) {
        match answer {
            Ok(answer) => self.cursor.answer(answer),
            Err(why) => self.cursor.cannot_call(why),
        }
    }

    /// Makes a call that consumes or makes a context, or that needs none.
    fn between(&self, held: &mut Held, call: &Call, backend: &ReplayBackend) {
        match (call, held.context.take()) {
            (Call::DropContext, Some(context)) => {
                drop(context);
                self.answer(Ok(Answer::Done));
            }
            (Call::HandOver { channels }, Some(context)) => {
                held.parts = self.take_apart(&context, channels);
                held.context = Some(context);
            }
            (Call::FromParts { ports, restriction }, _before) => {
                let left = held.parts.take();
                // The device of another process.
                let left = left.or_else(|| {
                    let table = HandOver::new(ports.clone(), restriction.map(DomId::new));
                    let table = table.ok().filter(|_| self.cursor.is_first())?;
                    let device = Device::new(ReplayDevice(backend.clone()));
                    Some(Parts { device, table })
                });
                match left {
                    Some(parts) => held.context = Some(self.put_together(parts, backend)),
                    None => self.answer(Err("no context handed its device over")),
                }
            }
            (call, context) => {
                self.answer(self.on_channel(call).unwrap_or(Err(NO_CONTEXT)));
                held.context = context;
            }
        }
    }

    fn take_apart(&self, context: &Ctx, numbers: &[u32]) -> Option<Parts> {
        let taken = numbers.iter().map(|number| self.take(*number));
        let mut channels: Vec<Played> = match taken.collect() {
            Ok(channels) => channels,
            Err(why) => {
                self.answer(Err(why));
                return None;
            }
        };
        let taken = context.hand_over(&mut channels);
        for (number, channel) in numbers.iter().copied().zip(channels) {
            self.put_back(number, channel);
        }
        self.answer(Ok(step::done(&taken)));
        taken.ok()
    }

    fn put_together(&self, parts: Parts, backend: &ReplayBackend) -> Arc<Ctx> {
        let (context, channels) = Context::from_parts(parts, backend.clone(), backend.clone());
        let channels = self.adopted(channels);
        self.answer(Ok(Answer::Adopted { channels }));
        Arc::new(context)
    }
}
