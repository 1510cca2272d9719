//! A thread can block only in a loop that it can sleep in.
use evtchn::hooks::Channel;

fn misuse(channel: &Channel) {
    let _ = channel.block();
}

fn main() {}
