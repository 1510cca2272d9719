//! Conducts a replay: whose turn it is, and who has the context.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use evtchn_core::{Context, Device, DomId, HandOver, Parts, Trigger, Wake};

use super::calls::{Ctx, NO_CONTEXT, Played, Shared};
use super::script::Script;
use super::stage::{Prop, Stage};
use crate::line::{Answer, Call};
use crate::step;

/// What there is between two calls that take the context.
struct Held {
    context: Option<Arc<Ctx>>,
    /// What it handed over.
    parts: Option<Parts>,
}

/// Plays a trace to its end or its first difference.
pub(super) fn play(trigger: Trigger, script: &Arc<Script>, threads: &BTreeSet<u32>) {
    let stage = Stage {
        script: Arc::clone(script),
        trigger,
    };
    let shared = Arc::new(Shared::new(Arc::clone(script)));
    let mut held = Held {
        context: Some(Arc::new(Context::with_registrar(
            stage.clone(),
            stage.clone(),
        ))),
        parts: None,
    };
    loop {
        let context = held.context.as_ref();
        let has_parts = held.parts.is_some();
        let last = context.and_then(|it| on_threads(&shared, it, has_parts, threads));
        if has_parts && script.closes() {
            held.parts = None;
            continue;
        }
        let Some(call) = last.or_else(|| Some(script.next_call()?.1)) else {
            break;
        };
        shared.between(&mut held, &call, &stage);
    }
    script.close();
    drop(held);
    shared.forget();
}

type Way = (SyncSender<Call>, Receiver<()>);

/// Hands each call to its thread and waits until it came back, or called back. Stops before one that
/// takes the context, which it gives, and before a device that was handed over is closed.
fn on_threads(
    shared: &Arc<Shared>,
    context: &Arc<Ctx>,
    has_parts: bool,
    threads: &BTreeSet<u32>,
) -> Option<Call> {
    thread::scope(|scope| {
        let mut ways: HashMap<u32, Way> = HashMap::new();
        for thread in threads {
            let (calls, called) = sync_channel(0);
            let (returns, returned) = sync_channel(0);
            scope.spawn(move || {
                TURNS.set(Some(Turns { called, returns }));
                shared.work(context);
            });
            ways.insert(*thread, (calls, returned));
        }
        while !(has_parts && shared.script.closes())
            && let Some((thread, call)) = shared.script.next_call()
        {
            if matches!(
                call,
                Call::DropContext | Call::HandOver { .. } | Call::FromParts { .. }
            ) {
                return Some(call);
            }
            let (calls, returned) = ways.get(&thread)?;
            calls.send(call).ok()?;
            returned.recv().ok()?;
        }
        None
    })
}

/// How a thread is told what it calls, and tells that the next one has its turn.
struct Turns {
    called: Receiver<Call>,
    returns: SyncSender<()>,
}

thread_local! {
    static TURNS: RefCell<Option<Turns>> = const { RefCell::new(None) };
}

/// The next call of this thread; none where the replay is over.
fn next_turn() -> Option<Call> {
    TURNS.with_borrow(|turns| turns.as_ref()?.called.recv().ok())
}

/// Gives the turn away. Says whether anybody took it.
fn give_turn() -> bool {
    TURNS.with_borrow(|turns| turns.as_ref().is_some_and(|it| it.returns.send(()).is_ok()))
}

impl Shared {
    /// Makes the calls of this thread.
    fn work(self: &Arc<Self>, context: &Arc<Ctx>) {
        let mut round = None;
        while let Some(call) = next_turn() {
            self.answer(self.call(context, &mut round, &call));
            if !give_turn() {
                break;
            }
        }
        // What is left open is none of the trace's.
        if round.is_some() {
            self.script.close();
        }
    }

    /// A callback is called: makes the calls that the program makes in it.
    pub(super) fn called(self: &Arc<Self>, context: &Arc<Ctx>, wake: &Wake) {
        let (channel, cause) = self.numbered(wake);
        self.script.answer(Answer::Calls { channel, cause });
        let mut is_on = give_turn();
        while is_on && let Some(call) = next_turn() {
            if matches!(call, Call::Return { .. }) {
                return;
            }
            self.answer(self.call(context, &mut None, &call));
            is_on = give_turn();
        }
    }

    fn answer(&self, answer: Result<Answer, &'static str>) {
        match answer {
            Ok(answer) => self.script.answer(answer),
            Err(why) => self.script.cannot(why),
        }
    }

    /// Makes a call that takes the context, or for which there need be none.
    fn between(&self, held: &mut Held, call: &Call, stage: &Stage) {
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
                // What another process left.
                let left = left.or_else(|| {
                    let table = HandOver::new(ports.clone(), restriction.map(DomId::new));
                    let table = table.ok().filter(|_| self.script.is_first())?;
                    let device = Device::new(Prop(stage.clone()));
                    Some(Parts { device, table })
                });
                match left {
                    Some(parts) => held.context = Some(self.put_together(parts, stage)),
                    None => self.answer(Err("there is nothing to go on with")),
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

    fn put_together(&self, parts: Parts, stage: &Stage) -> Arc<Ctx> {
        let (context, channels) = Context::from_parts(parts, stage.clone(), stage.clone());
        let channels = self.adopted(channels);
        self.answer(Ok(Answer::Adopted { channels }));
        Arc::new(context)
    }
}
