//! How a context is made.

use super::ahead::Ahead;
use super::callback::Callbacks;
use super::early::EarlyReads;
use super::nested::Nested;
use super::owner::RoundOwner;
use super::{Context, Shared, State};
use crate::error::Error;
use crate::hal::{Backend, NewLoop, NotifyBuf, Process, Registrar};
use crate::machine::Machine;
use crate::observe::Observe;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, OwnerThread};
use crate::trace::News;

impl<R: Registrar> Context<R> {
    /// Makes a context and its event loop. It opens no device yet.
    ///
    /// The context belongs to the calling process. If the backend cannot notice a fork, the first
    /// bind fails with the error of its [`open`](crate::Open::open).
    ///
    /// # Errors
    /// [`Error::NewLoop`] if the loop cannot be made.
    pub fn new(backend: impl Into<Backend>) -> Result<Context<R>, Error>
    where
        R: NewLoop,
    {
        let registrar = R::new_loop().map_err(Error::NewLoop)?;
        Ok(Context::with_registrar(backend, registrar))
    }

    /// Makes a context on this event loop. It opens no device yet.
    ///
    /// The context belongs to the calling process. If the backend cannot notice a fork, the first
    /// bind fails with the error of its [`open`](crate::Open::open).
    pub fn with_registrar(backend: impl Into<Backend>, registrar: R) -> Context<R> {
        let backend = backend.into();
        let process = backend.process();
        Context::made_by(process, backend, registrar)
    }

    pub(super) fn made_by(process: Process, backend: Backend, registrar: R) -> Context<R> {
        let context = Context {
            shared: Arc::new(Shared {
                handles: AtomicUsize::new(1),
                observer: backend.observer().map(Observe::context),
                backend,
                trigger: registrar.trigger(),
                registrar,
                statuses: Mutex::default(),
                process,
                state: Mutex::new(State {
                    machine: Machine::new(),
                    callbacks: Callbacks::default(),
                    device: None,
                    failure: None,
                    taken_back: 0,
                    failed_in_round: None,
                    owed: None,
                    restriction: None,
                    ended: false,
                    drive_after_hook: false,
                    nested: Nested::default(),
                    is_lost: false,
                    news: News::default(),
                    notifies: NotifyBuf::default(),
                }),
                ahead: Ahead::default(),
                early: EarlyReads::default(),
                ticket: AtomicU64::new(0),
                watching: AtomicBool::new(false),
                owes_error: AtomicBool::new(false),
                returned: Condvar::default(),
                settling: Mutex::default(),
                in_hook: OwnerThread::default(),
                in_round: RoundOwner::default(),
                in_check: OwnerThread::default(),
            }),
        };
        context.shared.registrar.attach(context.driver());
        context
    }
}
