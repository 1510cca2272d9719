//! What a context reports through `tracing`: spans around calls of the backend, the event loop and
//! the program, and events. No lock is held, so a subscriber may take its time. Without the feature
//! nothing of it is compiled.
//!
//! All of it has the target `evtchn`. Without a subscriber a wake costs one atomic load. A notify
//! reports nothing.
#![cfg_attr(
    not(feature = "tracing"),
    expect(
        unused_variables,
        clippy::unused_self,
        clippy::missing_const_for_fn,
        reason = "without the feature nothing is logged"
    )
)]

use core::error::Error;
use core::fmt::Display;

use crate::machine::ChannelId;
use crate::machine::link::LinkEffect;
use crate::machine::port::Cause;

macro_rules! say {
    ($level:ident, $($rest:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "evtchn", $($rest)*);
    }};
}

/// The device was opened, registered, deregistered or closed.
pub(crate) fn link_changed(effects: &[LinkEffect]) {
    for effect in effects {
        match effect {
            LinkEffect::Open => say!(debug, "opened the device"),
            LinkEffect::Register => say!(debug, "registered the device"),
            LinkEffect::Deregister => say!(debug, "deregistered the device"),
            LinkEffect::Close => say!(debug, "closed the device"),
        }
    }
}

/// An open or a hook failed. The caller gets the error too, if there is one.
pub(crate) fn failed(call: &'static str, error: &(dyn Error + 'static)) {
    say!(warn, call, error, "failed");
}

/// A wake is handed out.
pub(crate) fn wake(channel: ChannelId, cause: Cause) {
    say!(trace, port = channel.port().as_raw(), ?cause, "wake");
}

/// What happened under the state lock and is logged once that is free.
#[derive(Debug, Default)]
pub(crate) struct News {
    #[cfg(feature = "tracing")]
    overflowed: bool,
    #[cfg(feature = "tracing")]
    resumed: bool,
    #[cfg(feature = "tracing")]
    failed: Option<String>,
}

impl News {
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        #[cfg(feature = "tracing")]
        {
            self.overflowed || self.resumed || self.failed.is_some()
        }
        #[cfg(not(feature = "tracing"))]
        {
            false
        }
    }

    /// The driver's ring overflowed, and is empty now.
    pub(crate) fn overflow(&mut self) {
        #[cfg(feature = "tracing")]
        {
            self.overflowed = true;
        }
    }

    /// The device is from before a restore of this domain.
    pub(crate) fn resumed(&mut self) {
        #[cfg(feature = "tracing")]
        {
            self.resumed = true;
        }
    }

    /// A read failed, and the device with it.
    pub(crate) fn fault(&mut self, error: &dyn Display) {
        #[cfg(feature = "tracing")]
        {
            self.failed = Some(error.to_string());
        }
    }

    /// To be called under no lock.
    pub(crate) fn log(self) {
        #[cfg(feature = "tracing")]
        {
            if self.overflowed {
                say!(warn, "the driver's ring overflowed: every waiter is woken");
            }
            if self.resumed {
                say!(
                    warn,
                    "this domain was restored: every channel ends, and its waiter is woken"
                );
            }
            if let Some(error) = self.failed {
                say!(error, error, "the device failed: every channel is dead");
            }
        }
    }
}

/// A span on this thread, from here until this is dropped.
#[derive(Debug)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

impl Span {
    /// A round, with what the program does in it.
    pub(crate) fn round() -> Span {
        Span {
            #[cfg(feature = "tracing")]
            _entered: tracing::trace_span!(target: "evtchn", "round").entered(),
        }
    }

    /// The backend opens the device.
    pub(crate) fn open() -> Span {
        Span {
            #[cfg(feature = "tracing")]
            _entered: tracing::debug_span!(target: "evtchn", "open").entered(),
        }
    }

    /// The event loop registers or deregisters the device.
    pub(crate) fn hook(effect: LinkEffect) -> Span {
        Span {
            #[cfg(feature = "tracing")]
            _entered: tracing::debug_span!(target: "evtchn", "hook", ?effect).entered(),
        }
    }
}
