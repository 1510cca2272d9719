//! An unbind needs a channel that nothing else shares at that moment.
use evtchn::Channel;
use evtchn::sim::SimLoop;

fn misuse(channel: &Channel<SimLoop>) {
    channel.unbind().unwrap();
}

fn main() {}
