//! A process is distinguished from those that it was forked from, even with the same process id.
#![expect(
    clippy::unwrap_used,
    reason = "a scene ends by panicking, and its process with it"
)]

mod scenes;
#[path = "scenes/unavailable.rs"]
mod unavailable;

use evtchn_fork::{Errno, Inherited, Process, Step, is_current, number, seen};
use scenes::Forks;

fn main() {
    scenes::main(&[
        (
            "a_child_has_a_number_of_its_own",
            a_child_has_a_number_of_its_own,
        ),
        (
            "a_child_that_asks_for_no_number_is_distinguished_from_its_parent",
            a_child_that_asks_for_no_number_is_distinguished_from_its_parent,
        ),
        (
            "a_page_made_in_a_child_is_noticed_by_its_child",
            a_page_made_in_a_child_is_noticed_by_its_child,
        ),
        (
            "a_page_that_could_not_be_made_is_an_error_here_and_in_children",
            a_page_that_could_not_be_made_is_an_error_here_and_in_children,
        ),
    ]);
}

fn a_child_has_a_number_of_its_own(forks: &Forks) {
    let parent = Process::current().unwrap();
    forks.in_child((), |()| {
        let child = Process::current().unwrap();
        assert_ne!(child.number(), parent.number());
        assert!(child.is_current() && !parent.is_current());
        forks.in_child((), |()| {
            let grandchild = number();
            assert!(![parent.number(), child.number()].contains(&grandchild));
            assert!(!parent.is_current() && !child.is_current());
        });
        assert!(child.is_current());
    });
    assert!(parent.is_current());
}

fn a_child_that_asks_for_no_number_is_distinguished_from_its_parent(forks: &Forks) {
    let parent = Process::current().unwrap();
    forks.in_child((), |()| {
        assert_eq!(seen(), 0);
        assert!(!is_current(parent.number()));
        assert_eq!(parent.check(), Err(Inherited));
    });
    assert_eq!(parent.check(), Ok(()));
}

fn a_page_made_in_a_child_is_noticed_by_its_child(forks: &Forks) {
    forks.in_child((), |()| {
        let made_it = number();
        forks.in_child((), |()| assert!(!is_current(made_it)));
        assert!(is_current(made_it));
    });
}

fn a_page_that_could_not_be_made_is_an_error_here_and_in_children(forks: &Forks) {
    let error = unavailable::forget_forks();
    assert_eq!((error.step, error.errno), (Step::Map, Errno::NOMEM));
    assert_eq!(Process::current().unwrap_err(), error);
    assert_eq!(number(), 0);
    forks.in_child((), |()| {
        assert_eq!(Process::current().unwrap_err(), error);
        assert_eq!(number(), 0);
    });
}
