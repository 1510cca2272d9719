//! A notifier can only notify.
use evtchn::Notifier;

fn misuse(notifier: &Notifier) {
    let _ = notifier.wait();
    let _ = notifier.unbind();
}

fn main() {}
