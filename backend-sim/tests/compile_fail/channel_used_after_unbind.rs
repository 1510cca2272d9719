//! An unbind takes the channel.
use evtchn_core::Channel;
use evtchn_sim::{SimLoop, SimOpen};

fn misuse(channel: Channel<SimOpen, SimLoop>) {
    channel.unbind().unwrap();
    channel.notify().unwrap();
}

fn main() {}
