//! Whole programs as users write them, each with a test that runs it on the simulator: without a
//! type parameter, without an ignored result, and on either backend.

mod mio_back_end;
mod one_interrupt;
mod tokio_server;
