//! A weak reference to a context.

use std::fmt;

use super::{Context, Shared};
use crate::hal::Registrar;
use crate::sync::{Arc, Ordering, Weak};

impl<R: Registrar> Context<R> {
    /// A reference that does not keep this context alive: for a callback, which the context owns,
    /// and for a layer on a context that should end with it.
    #[must_use]
    pub fn downgrade(&self) -> WeakContext<R> {
        WeakContext {
            shared: Arc::downgrade(&self.shared),
        }
    }
}

/// A reference that does not keep its [`Context`] alive. Made by [`Context::downgrade`].
///
/// ```
/// use evtchn::sim::{Sim, SimLoop};
/// use evtchn::{Context, DomId};
///
/// let ctx = Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level());
/// let channel = ctx.bind_unbound_port(DomId::SELF)?;
/// let weak = ctx.downgrade();
/// channel.set_callback(move |wake| {
///     if let Some(ctx) = weak.upgrade() {
///         ctx.wait(wake.channel).expect("it is bound");
///     }
/// })?;
/// let weak = ctx.downgrade();
/// drop(ctx); // the last handle, though the channel with its callback is still there
/// assert!(weak.upgrade().is_none());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct WeakContext<R: Registrar> {
    shared: Weak<Shared<R>>,
}

impl<R: Registrar> WeakContext<R> {
    /// A handle of the context, or `None` if the last one was dropped. The handle keeps the context
    /// alive.
    #[must_use]
    pub fn upgrade(&self) -> Option<Context<R>> {
        let shared = self.shared.upgrade()?;
        let one_more = |handles| (handles > 0).then_some(handles + 1);
        let counted = shared
            .handles
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.is_ok().then(|| Context { shared })
    }
}

impl<R: Registrar> Clone for WeakContext<R> {
    fn clone(&self) -> WeakContext<R> {
        WeakContext {
            shared: Weak::clone(&self.shared),
        }
    }
}

impl<R: Registrar> fmt::Debug for WeakContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakContext").finish_non_exhaustive()
    }
}
