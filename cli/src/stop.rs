//! The wish of the user that the job ends: Ctrl-C, or a polite kill.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::output::screen;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Whether the job is to end.
#[derive(Debug)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for signals from now on. The first one asks for an end and calls `wake`, which is
    /// to bring back a job that sleeps; the second one kills as it would have without this.
    ///
    /// # Errors
    /// Where the kernel has no room for a handler, a descriptor or a thread.
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
                        // Where even this fails, the job still ends in order.
                        let _unkilled = emulate_default_handler(signal);
                    }
                    wake();
                }
            })?;
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
