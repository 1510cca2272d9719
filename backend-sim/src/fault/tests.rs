//! Which rule hits which call.

use super::*;

/// What the rules make of one call of a loop after the other.
fn verdicts<const N: usize>(faults: &mut Faults, calls: [Call; N]) -> [Option<Verdict>; N] {
    let mut choice = Choice::scripted([]);
    calls.map(|call| faults.judge(None, call, &mut choice).verdict)
}

const fn fail(errno: Errno) -> Option<Verdict> {
    Some(Verdict::Fail(errno))
}

#[test]
fn faults_of_one_call_happen_once_each_at_their_call() {
    let mut faults = Faults::default();
    for (call, nth, errno) in [
        (Call::Notify, 1, Errno::EIO),
        (Call::Notify, 2, Errno::EINTR),
        (Call::Notify, 2, Errno::ENOMEM),
        (Call::Unmask, 3, Errno::EFBIG),
    ] {
        faults.install(None, Fault::fail(call, errno).nth(nth));
    }
    assert_eq!(verdicts(&mut faults, [Call::Open]), [None]);
    let hit = verdicts(&mut faults, [Call::Notify; 4]);
    let expected = [Errno::EIO, Errno::EINTR, Errno::ENOMEM].map(fail);
    assert_eq!((&hit[..3], hit[3]), (&expected[..], None));
    assert_eq!(faults.left(None), 1);
    let hit = verdicts(&mut faults, [Call::Unmask; 4]);
    assert_eq!(hit, [None, None, fail(Errno::EFBIG), None]);
    assert_eq!(faults.left(None), 0);
}

#[test]
fn the_rule_that_was_installed_first_decides() {
    let mut faults = Faults::default();
    faults.install(None, Fault::short(Call::Unmask, 2).nth(2));
    faults.install(None, Fault::fail([Call::Unmask, Call::Pending], Errno::EIO));
    faults.install(None, Fault::fail(Calls::ALL, Errno::EINTR));
    let calls = [
        Call::Unmask,
        Call::Unmask,
        Call::Unmask,
        Call::Pending,
        Call::Reset,
    ];
    let expected = [
        fail(Errno::EIO),
        Some(Verdict::Short(2)),
        fail(Errno::EIO),
        fail(Errno::EIO),
        fail(Errno::EINTR),
    ];
    assert_eq!(verdicts(&mut faults, calls), expected);
    assert_eq!(faults.left(None), 0, "rules for every call are never spent");
    faults.clear(None);
    assert!(faults.is_empty());
}

#[test]
fn a_chosen_fault_happens_where_the_choice_decides_so() {
    let mut faults = Faults::default();
    faults.install(None, Fault::fail(Call::Notify, Errno::EIO).once_in(3));
    let mut choice = Choice::scripted([2, 0, 1, 2]);
    let hit = [(); 5].map(|()| faults.judge(None, Call::Notify, &mut choice).verdict);
    let io = fail(Errno::EIO);
    assert_eq!(hit, [io, None, None, io, None]);
    assert!(
        faults
            .judge(None, Call::Open, &mut choice)
            .verdict
            .is_none()
    );
    assert_eq!(choice.asked(), 5, "calls of other kinds ask nothing");
}

#[test]
fn a_rule_that_acts_beside_a_call_hides_no_later_rule() {
    let mut faults = Faults::default();
    faults.install(None, Fault::overflow(Call::Pending).nth(1));
    faults.install(None, Fault::fail(Call::Pending, Errno::EINTR).nth(1));
    faults.install(None, Fault::meanwhile(Call::Pending, |_| {}));
    let mut choice = Choice::scripted([]);
    let judged = faults.judge(None, Call::Pending, &mut choice);
    assert_eq!(
        (judged.verdict, judged.beside.len()),
        (fail(Errno::EINTR), 2)
    );
    let judged = faults.judge(None, Call::Pending, &mut choice);
    assert_eq!((judged.verdict, judged.beside.len()), (None, 1));
}

#[test]
fn rules_of_an_opener_hit_only_its_devices_and_end_with_it() {
    let (one, other) = (Arc::<Opener>::default(), Arc::<Opener>::default());
    let mut faults = Faults::default();
    faults.install(Some(&one), Fault::fail(Call::Open, Errno::EIO));
    faults.install(Some(&other), Fault::fail(Call::Open, Errno::EINTR).nth(1));
    let mut choice = Choice::scripted([]);
    let mut open = |faults: &mut Faults, opener: &Arc<Opener>| {
        let judged = faults.judge(Some(opener), Call::Open, &mut choice);
        judged.verdict
    };
    assert_eq!(open(&mut faults, &one), fail(Errno::EIO));
    assert_eq!((faults.left(Some(&one)), faults.left(Some(&other))), (0, 1));
    assert_eq!(open(&mut faults, &other), fail(Errno::EINTR));
    drop(one);
    faults.install(None, Fault::fail(Call::Open, Errno::EMFILE));
    assert_eq!(faults.rules.len(), 1);
    assert_eq!(
        open(&mut faults, &other),
        fail(Errno::EMFILE),
        "all means all"
    );
}
