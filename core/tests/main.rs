//! Tests of the public core, on devices and loops that follow a script. One binary, because each would compile the
//! core's generic code again.

mod ahead;
mod batches;
mod clean;
mod counts;
mod device;
mod each;
mod edge;
mod expected;
mod failed_ends;
mod failures;
mod forgotten;
mod fork;
mod notify_many;
mod order;
mod panics;
mod queue;
mod reads;
mod refusals;
mod static_ports;
mod support;
mod tasks;
mod threads;
mod tracing;
mod watch;
