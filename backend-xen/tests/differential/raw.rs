//! What a side is: the device as a C program has it.

use crate::op::{FILES, Fd, Memory};

/// What a call returned, or the errno.
pub(crate) type Answer = Result<u32, i32>;

/// One of the two sides. Files are named by their place; a place that is not open is only opened.
pub(crate) trait Raw {
    fn open(&mut self, file: usize) -> Answer;

    fn dup(&mut self, file: usize) -> Answer;

    fn close(&mut self, fd: Fd) -> Answer;

    fn ioctl(&mut self, fd: Fd, code: u32, words: [u32; 2], memory: Memory) -> Answer;

    /// Reads, and leaves in `ports` the words that came.
    fn read(&mut self, fd: Fd, count: usize, memory: Memory, ports: &mut Vec<u32>) -> Answer;

    fn write(&mut self, fd: Fd, bytes: &[u8], memory: Memory) -> Answer;

    /// What poll says of each file where all bits are asked for; 0 for one that is not open.
    fn poll(&mut self) -> [u16; FILES];

    /// Which files an edge-triggered loop that asks for `IN` has reported since the last call.
    fn edges(&mut self) -> [bool; FILES];

    /// The ends of the static channels that were made for this run, two and two connected. There are
    /// some on every side that knows static binds.
    fn ends(&self) -> &[u32];

    /// Waits until a file has something to report. False where that does not come.
    fn wait(&mut self, file: usize) -> bool;
}
