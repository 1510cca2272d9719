//! What takes a second domain: one list of cases, run on the simulator (`sim::`) and, the same code, in dom0 on a real
//! Xen with guests that its toolstack makes (`xen::`). In the guest the same binary serves requests of dom0.
//!
//! `cargo xtask xen --guest` boots a machine that has it. Elsewhere the second half is ignored, and said to be.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "cases fail by panicking, and so do their helpers"
)]

use libtest_mimic::{Completion, Trial};

pub(crate) mod agent;
mod backend;
mod bind;
mod death;
mod half_closed;
mod pause;
mod peers;
mod refused;
mod rig;
mod side;
mod storm;
mod traffic;
mod xen;

use side::{Side, Sim};
use xen::Xen;

macro_rules! cases {
    ($($topic:ident::$case:ident)*) => {
        /// Every case, by name.
        fn cases<S: Side>() -> Vec<(&'static str, fn(&S))> {
            vec![$((stringify!($case), $topic::$case::<S>)),*]
        }
    };
}

cases! {
    bind::a_bind_to_the_guest_has_an_event_at_once_and_the_guest_has_none
    bind::a_bind_by_the_guest_has_an_event_at_once_and_dom0_has_none
    bind::notifies_before_the_bind_are_the_one_event_of_the_bind
    bind::unread_notifies_are_one_event_or_two
    bind::the_first_port_of_a_program_in_the_guest_is_after_those_of_its_kernel
    refused::a_bind_to_a_port_that_the_guest_did_not_allocate_is_einval
    refused::a_bind_to_a_port_meant_for_another_domain_is_einval
    refused::a_bind_to_a_bound_port_is_einval_from_either_side
    refused::a_bind_to_an_unknown_domain_is_esrch_and_a_port_for_it_can_be_allocated
    refused::a_refused_bind_takes_no_number_in_either_domain
    refused::a_guest_binds_any_virq_but_those_of_its_kernel_and_none_of_dom0_fires_there
    refused::a_device_restricted_to_the_guest_binds_to_it_alone
    refused::a_context_restricted_first_binds_to_the_guest_alone
    refused::a_restricted_device_in_the_guest_binds_to_dom0_never
    half_closed::an_unbind_in_the_guest_sends_no_event_and_it_can_bind_again
    half_closed::an_unbind_in_dom0_sends_no_event_and_it_can_bind_again
    half_closed::a_program_in_the_guest_that_ends_closes_its_ports
    traffic::a_ping_pong_between_two_contexts_is_one_wake_for_each_notify
    traffic::two_hundred_channels_and_four_contexts_lose_nothing
    traffic::an_event_goes_to_the_program_that_bound_the_port
    storm::a_storm_costs_one_wake_without_a_wait
    storm::others_are_served_in_every_round_beside_a_storm
    storm::a_rate_limit_holds_a_storm_to_its_rate
    storm::a_storm_overflows_no_ring
    pause::notifies_to_a_paused_guest_are_one_event_when_it_runs_again
    pause::an_empty_domain_is_there_until_it_is_destroyed
    peers::a_peer_that_lives_is_not_found_gone
    peers::a_guest_that_binds_to_an_offered_port_is_reported_once_by_the_next_check
    peers::a_guest_that_binds_with_another_port_is_found_gone_and_then_connected
    peers::a_guest_that_is_destroyed_during_a_hand_over_is_found_gone_by_the_successor
    peers::a_port_that_xen_has_closed_ends_its_wait_and_is_not_unbound
    peers::a_guest_that_sent_and_unbinds_before_the_first_check_is_found_gone
    peers::a_guest_that_unbinds_ends_the_wait_at_the_next_check
    peers::a_guest_that_is_destroyed_ends_the_wait_at_the_next_check
    peers::events_sent_before_a_guest_was_destroyed_wake_before_the_check
    death::a_destroyed_guest_sends_its_channels_no_event
    death::events_sent_before_a_guest_was_destroyed_still_come
    death::a_new_guest_has_nothing_of_the_old_one
    death::a_guest_that_powers_off_leaves_the_same_as_a_destroyed_one
    death::a_guest_that_reboots_is_another_domain
}

fn on<S: Side + 'static>(
    name: &'static str,
    start: fn() -> S,
    excuse: fn() -> Result<Option<String>, String>,
) -> Vec<Trial> {
    let trial = |(case, run): (&'static str, fn(&S))| {
        Trial::ignorable_test(format!("domains::{name}::{case}"), move || {
            if let Some(reason) = excuse()? {
                return Ok(Completion::ignored_with(reason));
            }
            run(&start());
            Ok(Completion::Completed)
        })
    };
    cases().into_iter().map(trial).collect()
}

/// Every case, on both sides. They share the guest and the ports of dom0, so they run one after the other.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on("sim", Sim::new, Sim::excuse);
    trials.extend(on("xen", Xen::new, Xen::excuse));
    trials
}

/// Why the cases are not run on the device, where they are not.
pub(crate) fn excuse() -> Option<String> {
    Xen::excuse().unwrap_or_default()
}
