//! Guests and peers on threads of their own, in the order that the real scheduler gives them.

use std::mem::{self, ManuallyDrop};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Members that act again and again, each on a real thread, on the machines that their code has
/// handles for.
///
/// Nothing of this is deterministic: no two runs are the same, and no digest compares them. A test
/// can check what must hold in every run.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use evtchn::DomId;
/// use evtchn::sim::{Crowd, Sim};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let guest = sim.guest(sim.create_domain()?);
/// let mut crowd = Crowd::new();
/// crowd.join_in("binder", 100, move |_turn| {
///     match guest.alloc_unbound(DomId::DOM0).and_then(|port| guest.close(port)) {
///         Ok(()) => ControlFlow::Continue(()),
///         Err(_) => ControlFlow::Break(()),
///     }
/// });
/// let tallies = crowd.wait();
/// assert_eq!((tallies[0].name.as_str(), tallies[0].turns), ("binder", 100));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// Never joined in a forked child: it does not have the thread, so the join would not return.
    thread: ManuallyDrop<JoinHandle<u64>>,
    process: u64,
}

impl Member {
    /// Its thread, unless the thread belongs to the process that this one was forked from.
    fn into_thread(self) -> Option<JoinHandle<u64>> {
        let thread = ManuallyDrop::into_inner(self.thread);
        if evtchn_fork::is_current(self.process) {
            return Some(thread);
        }
        let _kept = ManuallyDrop::new(thread);
        None
    }
}

/// What a member of a [`Crowd`] has done.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use evtchn::sim::{Crowd, Tally};
///
/// let mut crowd = Crowd::new();
/// crowd.join_in("idler", 3, |_turn| ControlFlow::Continue(()));
/// let tally = Tally { name: "idler".to_owned(), turns: 3 };
/// assert_eq!(crowd.wait(), [tally]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Its name.
    pub name: String,
    /// How many turns it took.
    pub turns: u64,
}

impl Crowd {
    /// A crowd without members.
    #[must_use]
    pub fn new() -> Crowd {
        Crowd::default()
    }

    /// Starts a thread that takes turns: at most `turns` of them, fewer where a turn breaks off,
    /// and none after the crowd was stopped. Each turn gets the number of turns before it. A turn
    /// that blocks has to return by itself: nothing here ends it.
    pub fn join_in(
        &mut self,
        name: impl Into<String>,
        turns: u64,
        mut turn: impl FnMut(u64) -> ControlFlow<()> + Send + 'static,
    ) {
        let stop = Arc::clone(&self.stop);
        let process = evtchn_fork::number();
        let thread = thread::spawn(move || {
            for taken in 0..turns {
                if stop.load(Ordering::Relaxed) {
                    return taken;
                }
                if turn(taken).is_break() {
                    return taken + 1;
                }
                // The lock of the machine is not fair; without this one thread may keep it for
                // long.
                thread::yield_now();
            }
            turns
        });
        let name = name.into();
        self.members.push(Member {
            name,
            thread: ManuallyDrop::new(thread),
            process,
        });
    }

    /// Waits until every member has taken its last turn. The tallies are in the order of joining.
    /// Returns none in a forked child, because the threads belong to the parent.
    ///
    /// # Panics
    /// With the panic of the first member that panicked, after all threads have ended.
    #[must_use]
    pub fn wait(mut self) -> Vec<Tally> {
        let members = mem::take(&mut self.members);
        let joined: Vec<_> = members
            .into_iter()
            .filter_map(|mut member| {
                let name = mem::take(&mut member.name);
                Some((name, member.into_thread()?.join()))
            })
            .collect();
        let tally = |(name, turns): (String, thread::Result<u64>)| match turns {
            Ok(turns) => Tally { name, turns },
            Err(panic) => resume_unwind(panic),
        };
        joined.into_iter().map(tally).collect()
    }

    /// Lets every member finish its turn under way, and waits for that.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[must_use]
    pub fn stop(self) -> Vec<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }
}

impl Drop for Crowd {
    /// As [`stop`](Self::stop), but drops tallies and panics.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for member in self.members.drain(..) {
            if let Some(thread) = member.into_thread() {
                drop(thread.join());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_member_stops_at_its_bound_and_where_a_turn_breaks_off() {
        let mut crowd = Crowd::new();
        crowd.join_in("bounded", 5, |_| ControlFlow::Continue(()));
        crowd.join_in("breaks", 5, |turn| match turn {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let turns: Vec<_> = crowd.wait().into_iter().map(|tally| tally.turns).collect();
        assert_eq!(turns, [5, 3]);
    }

    #[test]
    fn a_stop_ends_an_endless_member_and_joins_it() {
        let (send, turns) = mpsc::channel();
        let mut crowd = Crowd::new();
        crowd.join_in("endless", u64::MAX, move |turn| match send.send(turn) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        assert_eq!(turns.recv(), Ok(0));
        let tally = crowd.stop().pop().unwrap();
        // The sender was dropped with the thread, so this ends.
        let last = turns.iter().last().unwrap_or(0);
        assert_eq!(tally.turns, last + 1);
    }

    #[test]
    fn a_panic_of_a_member_is_passed_on_by_wait() {
        let mut crowd = Crowd::new();
        crowd.join_in("bad", 1, |_| panic!("in a member"));
        crowd.join_in("good", 1, |_| ControlFlow::Continue(()));
        let panic = catch_unwind(AssertUnwindSafe(|| crowd.wait())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in a member"));
    }

    #[test]
    fn a_dropped_crowd_leaves_no_thread() {
        let alive = Arc::new(());
        let theirs = Arc::clone(&alive);
        let mut crowd = Crowd::new();
        crowd.join_in("endless", u64::MAX, move |_| {
            let _held = &theirs;
            ControlFlow::Continue(())
        });
        drop(crowd);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
