//! Whole programs as users write them, each with a test that runs it on the simulator: without a
//! type parameter, without a result that is thrown away, and on the backend that it is given.

mod mio_back_end;
mod one_interrupt;
mod tokio_server;
