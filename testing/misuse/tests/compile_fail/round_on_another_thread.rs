//! A round belongs to the thread that began it.
use evtchn::Round;
use evtchn::sim::SimLoop;

fn misuse(round: Round<'_, SimLoop>) {
    std::thread::scope(|scope| {
        scope.spawn(move || round.finish());
    });
}

fn main() {}
