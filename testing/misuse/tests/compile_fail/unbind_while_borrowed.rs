//! An unbind takes a channel that no task of the program still borrows.
use evtchn::poll::Channel;

async fn answer(channel: &Channel) {
    let _ = channel.woken().await;
    let _ = channel.notify();
}

async fn misuse(mut channel: Channel) {
    let answer = answer(&channel);
    let _ = channel.unbind();
    answer.await;
}

fn main() {}
