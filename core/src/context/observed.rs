//! Reports the calls of the program to the observer. Without an observer, each call costs one
//! branch.

use super::Shared;
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::Wake;
use crate::observe::{Called, Came, Hook, Observer};
use std::thread::panicking;

/// The observer of a context, if there is one. Its `Arc` is that of std, also under the schedule
/// checker.
pub(super) type OneObserver = Option<std::sync::Arc<dyn Observer>>;

impl<R: Registrar> Shared<R> {
    /// Makes a call of the program, `act`, and reports it and its result.
    #[inline]
    pub(super) fn observed<'c, T>(
        &self,
        call: impl FnOnce() -> Called<'c>,
        act: impl FnOnce() -> T,
        came: impl FnOnce(&T) -> Came<'_>,
    ) -> T {
        observed(self.observer.as_deref(), call, act, came)
    }

    /// Reports that a call of the program begins. The most frequent calls use this and
    /// [`ends`](Self::ends), so that they stay inlined.
    #[inline(always)]
    pub(super) fn begins<'c>(&self, call: impl FnOnce() -> Called<'c>) {
        if let Some(observer) = &self.observer {
            begins(&**observer, call);
        }
    }

    /// Reports the result of that call.
    #[inline(always)]
    pub(super) fn ends<'c>(&self, came: impl FnOnce() -> Came<'c>) {
        if let Some(observer) = &self.observer {
            ends(&**observer, came);
        }
    }

    /// Reports a call of the event loop that is over.
    #[inline]
    pub(super) fn observe_hook<'h>(&self, hook: impl FnOnce() -> Hook<'h>) {
        if let Some(observer) = &self.observer {
            observer.hook(hook());
        }
    }
}

/// [`Shared::observed`] for a call that borrows mutably what holds the observer.
#[inline]
pub(super) fn observed<'c, T>(
    observer: Option<&dyn Observer>,
    call: impl FnOnce() -> Called<'c>,
    act: impl FnOnce() -> T,
    came: impl FnOnce(&T) -> Came<'_>,
) -> T {
    if let Some(observer) = observer {
        begins(observer, call);
    }
    let done = act();
    if let Some(observer) = observer {
        ends(observer, || came(&done));
    }
    done
}

/// The result of a call that returns nothing of interest or fails.
pub(super) fn done<T>(result: &Result<T, Error>) -> Came<'_> {
    ok(result, |_| Came::Done)
}

/// The result of a call that returns something or fails.
pub(super) fn ok<'a, T>(
    result: &'a Result<T, Error>,
    came: impl FnOnce(&'a T) -> Came<'a>,
) -> Came<'a> {
    result.as_ref().map_or_else(Came::Failed, came)
}

#[cold]
#[inline(never)]
fn begins<'c>(observer: &dyn Observer, call: impl FnOnce() -> Called<'c>) {
    observer.begins(call());
}

#[cold]
#[inline(never)]
fn ends<'c>(observer: &dyn Observer, came: impl FnOnce() -> Came<'c>) {
    observer.ends(came());
}

/// A callback of the program whose calls the observer learns of, where there is one.
pub(super) fn observe_callback(
    observer: OneObserver,
    mut callback: impl FnMut(Wake) + Send + 'static,
) -> Box<dyn FnMut(Wake) + Send> {
    let Some(observer) = observer else {
        return Box::new(callback);
    };
    Box::new(move |wake| {
        observer.ends(Came::Calls(wake));
        let _returns = Returns(&*observer);
        callback(wake);
    })
}

/// A callback that runs. The drop reports that it returned or panics.
struct Returns<'a>(&'a dyn Observer);

impl Drop for Returns<'_> {
    fn drop(&mut self) {
        let panics = panicking();
        self.0.begins(Called::Return { panics });
    }
}
