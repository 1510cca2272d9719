//! Requests of the user to end: Ctrl-C, or SIGTERM.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::output::screen;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Whether the user requested the end.
#[derive(Debug)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Handles signals from now on. The first one requests the end and calls `wake`, which wakes a
    /// command that sleeps. The second one kills the process, as without this handler.
    ///
    /// # Errors
    /// If the kernel cannot create a handler, a descriptor or a thread.
    pub(crate) fn on_signal(wake: impl Fn() + Send + 'static) -> io::Result<Stop> {
        let requested = Arc::new(AtomicBool::new(false));
        let stop = Stop(Arc::clone(&requested));
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    if requested.swap(true, Ordering::Relaxed) {
                        screen::restore();
                        // If this fails, the command still ends after its current step.
                        let _ignored = emulate_default_handler(signal);
                    }
                    wake();
                }
            })?;
        Ok(stop)
    }

    /// Whether the end was requested.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
