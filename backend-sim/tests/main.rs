//! The simulator from outside: what it refuses, what a toolstack does to it, and what its types rule out.

mod bad_input;
mod compile_fail;
mod toolstack;
