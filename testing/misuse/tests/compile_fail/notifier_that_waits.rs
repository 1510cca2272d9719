//! A notifier notifies and nothing else.
use evtchn::Notifier;

fn misuse(notifier: &Notifier) {
    let _ = notifier.wait();
    let _ = notifier.unbind();
}

fn main() {}
