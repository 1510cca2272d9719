//! The simulator from outside: what it refuses, and what a toolstack does to it.

mod bad_input;
mod toolstack;
