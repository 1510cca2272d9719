//! Programs that must not compile. What programs do instead is in the tests of the facade, `tests/uses`.
//!
//! Each is a file in `tests/compile_fail`, with the expected errors of the compiler beside it. The test
//! `misuse_of_channels_ports_and_rounds_does_not_compile` compares them with the actual errors.
//!
//! | a program | file |
//! | --- | --- |
//! | holds a round over an await in a task that may move to another thread | `await_in_a_round` |
//! | blocks in a loop that no thread can sleep in | `block_in_a_loop_without_sleep` |
//! | lets a callback borrow something that is dropped before it, or share something of one thread | `callback_with_a_borrow` |
//! | uses a channel after it was handed over | `channel_after_hand_over` |
//! | stores a channel of one event loop as a channel of another | `channel_of_another_loop` |
//! | copies a channel | `channel_with_two_owners` |
//! | gives a domain id where a port belongs | `domid_as_port` |
//! | matches errors or causes without a wildcard | `error_without_a_wildcard` |
//! | registers a file, or its descriptor, with an event loop | `file_registered` |
//! | uses a round after it ended | `finished_round` |
//! | implements a trait that only the library implements | `hidden_trait` |
//! | makes up the id of a channel | `id_made_up` |
//! | gives a local port where a port of another domain belongs | `local_port_as_remote` |
//! | uses a loop that belongs to one thread | `loop_that_is_not_send` |
//! | waits with a notifier | `notifier_that_waits` |
//! | gives a port number where the id of a channel belongs | `number_as_channel` |
//! | gives a number where an id belongs | `number_as_id` |
//! | gives a port of another domain where a local one belongs, or swaps its halves | `remote_port_as_local` |
//! | does not look at a result, or does not poll a future | `results_unused` |
//! | keeps a round longer than its context | `round_longer_than_its_context` |
//! | ends a round on another thread | `round_on_another_thread` |
//! | unbinds a channel that is shared | `shared_channel_unbound` |
//! | unbinds a channel that a task borrows | `unbind_while_borrowed` |
#![forbid(unsafe_code)]
