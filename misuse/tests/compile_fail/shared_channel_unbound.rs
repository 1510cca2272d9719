//! An unbind takes a channel that nothing else has at that moment.
use evtchn_core::Channel;
use evtchn_sim::SimLoop;

fn misuse(channel: &Channel<SimLoop>) {
    channel.unbind().unwrap();
}

fn main() {}
