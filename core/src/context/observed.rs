//! Where an observer learns of the calls of a program. Without one, each call costs one branch.

use super::Shared;
use crate::error::Error;
use crate::hal::Registrar;
use crate::machine::Wake;
use crate::observe::{Called, Came, Hook, Observer};
use std::thread::panicking;

/// The observer of a context, where there is one. It is counted in plain memory, also under the
/// schedule checker.
pub(super) type OneObserver = Option<std::sync::Arc<dyn Observer>>;

impl<R: Registrar> Shared<R> {
    /// A call of the program, which `act` is, and what it came to.
    #[inline]
    pub(super) fn observed<'c, T>(
        &self,
        call: impl FnOnce() -> Called<'c>,
        act: impl FnOnce() -> T,
        came: impl FnOnce(&T) -> Came<'_>,
    ) -> T {
        observed(self.observer.as_deref(), call, act, came)
    }

    /// A call of the program begins. What is called most says so by this and by
    /// [`ends`](Self::ends): it stays inlined where it is called.
    #[inline(always)]
    pub(super) fn begins<'c>(&self, call: impl FnOnce() -> Called<'c>) {
        if let Some(observer) = &self.observer {
            begins(&**observer, call);
        }
    }

    /// That call came to this.
    #[inline(always)]
    pub(super) fn ends<'c>(&self, came: impl FnOnce() -> Came<'c>) {
        if let Some(observer) = &self.observer {
            ends(&**observer, came);
        }
    }

    /// A call of the event loop is over.
    #[inline]
    pub(super) fn observe_hook<'h>(&self, hook: impl FnOnce() -> Hook<'h>) {
        if let Some(observer) = &self.observer {
            observer.hook(hook());
        }
    }
}

/// [`Shared::observed`], where the call changes what has the observer.
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

/// What a call came to that gives nothing or fails.
pub(super) fn done<T>(result: &Result<T, Error>) -> Came<'_> {
    ok(result, |_| Came::Done)
}

/// What a call came to that gives something or fails.
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

/// A callback that runs. It returns where this is dropped, or panics.
struct Returns<'a>(&'a dyn Observer);

impl Drop for Returns<'_> {
    fn drop(&mut self) {
        let panics = panicking();
        self.0.begins(Called::Return { panics });
    }
}
