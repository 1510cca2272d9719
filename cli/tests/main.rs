//! Tests of the command: arguments in, lines, files and an exit code out.

mod commands;
mod doctor;
mod dumps;
mod pictures;
mod replay;
mod schema;
mod support;
mod timeline;
mod versions;
mod watch;
mod wrong;
