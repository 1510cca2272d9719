use super::*;

fn cells() -> impl Iterator<Item = (PortState, PortInput, PortState, PortEffect)> {
    PortState::ALL.into_iter().flat_map(|state| {
        PortInput::ALL.into_iter().map(move |input| {
            let (next, effect) = state.step(input);
            (state, input, next, effect)
        })
    })
}

#[test]
fn only_a_masked_port_is_unmasked() {
    for (state, input, _, effect) in cells() {
        if effect == PortEffect::Unmask {
            assert!(matches!(state, PortState::Delivered | PortState::Masked));
            assert_eq!(input, PortInput::Wait);
        }
    }
}

#[test]
fn an_event_is_never_forgotten() {
    for (state, input, next, _) in cells() {
        if matches!(input, PortInput::Event) {
            assert!(
                matches!(next, PortState::Latched(_) | PortState::Ready(_)),
                "{state:?} took an event to {next:?}"
            );
        }
    }
}

#[test]
fn overflow_wakes_every_waiter_and_latches_every_other_port() {
    for (state, input, next, _) in cells() {
        if matches!(
            input,
            PortInput::Overflow | PortInput::PeerGone | PortInput::PeerConnected
        ) {
            assert_eq!(state.is_waited(), next.is_waited());
            assert!(
                matches!(next, PortState::Latched(_) | PortState::Ready(_)),
                "{state:?} takes {input:?} to {next:?}"
            );
        }
    }
}

#[test]
fn cancel_and_delivery_end_the_wait() {
    for (state, input, next, _) in cells() {
        match input {
            PortInput::Cancel => assert!(!next.is_waited()),
            PortInput::Deliver if matches!(state, PortState::Ready(_)) => {
                assert_eq!(next.has_read_event(), state.has_read_event());
                assert!(matches!(next, PortState::Delivered | PortState::Masked));
            }
            PortInput::Wait
            | PortInput::Event
            | PortInput::Overflow
            | PortInput::PeerGone
            | PortInput::PeerConnected
            | PortInput::Unmasked
            | PortInput::Deliver
            | PortInput::Queue
            | PortInput::Keep => {}
        }
    }
}

#[test]
fn a_latched_event_that_is_queued_and_kept_is_latched_again() {
    let causes = [
        Cause::Event,
        Cause::Overflow,
        Cause::PeerGone,
        Cause::PeerConnected,
    ];
    for cause in causes {
        let latched = PortState::Latched(cause);
        let (ready, effect) = latched.step(PortInput::Queue);
        assert_eq!((ready, effect), (PortState::Ready(cause), PortEffect::Fire));
        assert_eq!(ready.step(PortInput::Keep), (latched, PortEffect::Latch));
    }
}

#[test]
fn a_cancelled_wake_goes_back_to_the_latch() {
    let (next, _) = PortState::Ready(Cause::Overflow).step(PortInput::Cancel);
    assert_eq!(next, PortState::Latched(Cause::Overflow));
}
