//! The core from outside, on devices and loops that tests script call by call. One binary, because each would compile
//! the core's generic code again.

mod batches;
mod clean;
mod counts;
mod device;
mod each;
mod edge;
mod expected;
mod failures;
mod forgotten;
mod fork;
mod order;
mod panics;
mod queue;
mod reads;
mod refusals;
mod support;
mod tasks;
mod threads;
mod tracing;
mod watch;
