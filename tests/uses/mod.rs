//! How programs use the library: each way to hold, share, print, convert or replace something, as a
//! user writes it, and run on the simulator.
//!
//! | a program | test |
//! | --- | --- |
//! | stores a context and a channel in a struct without a type parameter | `owning::a_struct_without_type_parameters_owns_a_context_and_a_channel` |
//! | stores either of two contexts in an enum | `owning::an_enum_holds_a_context_on_either_of_two_loops` |
//! | finds a channel by the id of a wake in a `HashMap` | `owning::a_map_finds_the_channel_of_a_wake` |
//! | shares an `Arc<Context>`, or clones, among threads | `owning::threads_share_a_context_by_arc_and_by_clone` |
//! | sends a notifier to another thread | `owning::a_notifier_goes_to_another_thread` |
//! | calls its own trait, whose object owns a context | `owning::a_trait_object_owns_a_context` |
//! | boxes callbacks and policies | `owning::callbacks_and_policies_come_in_boxes` |
//! | gives its own loop to a context | `owning::a_context_gets_a_loop_of_the_program` |
//! | keeps one context in a `static` | `owning::a_static_holds_the_context_of_a_process` |
//! | spawns a task for each channel on several threads of tokio | `tasks::tasks_of_several_threads_each_own_a_channel` |
//! | gives up after a time, and takes the wake later | `tasks::a_wait_that_lost_to_a_timer_loses_no_wake` |
//! | borrows a channel across an await | `tasks::an_async_function_borrows_a_channel_across_an_await` |
//! | boxes futures of wakes | `tasks::futures_of_several_channels_come_in_boxes` |
//! | uses the combinators of `Stream` | `tasks::wakes_are_a_stream_with_combinators` |
//! | is cancelled while it waits | `tasks::an_aborted_task_leaves_no_wait` |
//! | returns `anyhow::Result` | `errors::a_question_mark_gives_an_error_of_anyhow` |
//! | returns `Box<dyn Error + Send + Sync>` | `errors::a_question_mark_gives_a_boxed_error` |
//! | has an error type of its own | `errors::a_question_mark_gives_an_error_of_the_program` |
//! | asks for the error of the backend | `errors::the_error_of_the_backend_is_the_source` |
//! | asks for the error of the event loop | `errors::the_error_of_the_event_loop_is_inside` |
//! | matches on an error, and keeps a copy | `errors::an_error_is_matched_with_a_wildcard_and_kept` |
//! | writes ids as constants | `numbers::ids_are_constants` |
//! | converts ids from and to numbers | `numbers::ids_come_from_numbers_and_go_to_numbers` |
//! | converts any id alike | `numbers::one_generic_function_reads_each_kind_of_id` |
//! | prints causes, links, outcomes and kinds of errors in columns | `numbers::display_of_every_printed_type_pads` |
//! | prints anything for debugging | `numbers::everything_has_a_debug_that_names_it` |
//! | uses a backend of a third party without unsafe | `third_party::one_program_runs_on_a_third_partys_backend_and_on_the_simulator` |
//! | uses a loop of a third party without unsafe | `third_party::one_program_runs_on_a_third_partys_loop_over_either_backend` |
//! | is generic over the event loop | `third_party::Program` |
//! | wraps a device, and a loop, to look at the calls | `parts::a_device_and_a_loop_are_wrapped` |
//! | goes on with a channel array after a hand-over | `parts::channels_that_were_handed_over_are_not_bound_here` |
//!
//! What must not compile is in `testing/misuse/`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod errors;
mod numbers;
mod owning;
mod parts;
mod tasks;

use evtchn::sim::{Guest, Sim};
use evtchn::{Channel, DomId, Port, Registrar};

/// The table above has a line for each test of this folder.
#[test]
fn the_table_names_each_test() {
    let files = [
        ("errors", include_str!("errors.rs")),
        ("numbers", include_str!("numbers.rs")),
        ("owning", include_str!("owning.rs")),
        ("parts", include_str!("parts.rs")),
        ("tasks", include_str!("tasks.rs")),
    ];
    let table = include_str!("mod.rs");
    for (module, text) in files {
        let attributes = text.match_indices("test").filter(|(at, _)| {
            let before = text[..*at].rsplit('\n').next();
            matches!(before, Some("#[" | "#[tokio::"))
        });
        for (at, _) in attributes {
            let test = &text[at..];
            let (_, name) = test.split_once("fn ").unwrap();
            let (name, _) = name.split_once('(').unwrap();
            assert!(table.contains(&format!("`{module}::{name}`")), "{name}");
        }
    }
}

/// A machine with a guest.
fn machine() -> (Sim, Guest) {
    let sim = Sim::new(1);
    let guest = sim.guest(sim.create_domain().unwrap());
    (sim, guest)
}

/// The port of the guest at the other end of a channel.
fn bind_peer<R: Registrar>(guest: &Guest, channel: &Channel<R>) -> Port {
    guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap()
}
