//! A side that is wrong in one thing, which a run must notice.

use crate::op::{FILES, Fd, Memory};
use crate::raw::{Answer, Raw};
use crate::sim::Simulated;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    /// An overflow is writable.
    Poll,
    /// No edge-triggered loop gets wakes.
    Edges,
    /// Of several ports the first is read last.
    Reads,
    /// Of several ports the last is lost.
    Loses,
    /// A port that does not exist can be unbound.
    Errno,
}

pub(crate) struct Twisted {
    pub(crate) side: Simulated,
    pub(crate) twist: Twist,
}

impl Raw for Twisted {
    fn open(&mut self, file: usize) -> Answer {
        self.side.open(file)
    }

    fn dup(&mut self, file: usize) -> Answer {
        self.side.dup(file)
    }

    fn close(&mut self, fd: Fd) -> Answer {
        self.side.close(fd)
    }

    fn ioctl(&mut self, fd: Fd, code: u32, words: [u32; 2], memory: Memory) -> Answer {
        let answer = self.side.ioctl(fd, code, words, memory);
        match (self.twist, code) {
            (Twist::Errno, evtchn_sim::abi::UNBIND) => answer.or(Ok(0)),
            _ => answer,
        }
    }

    fn read(&mut self, fd: Fd, count: usize, memory: Memory, ports: &mut Vec<u32>) -> Answer {
        let answer = self.side.read(fd, count, memory, ports);
        match self.twist {
            Twist::Reads if ports.len() > 1 => ports.rotate_left(1),
            Twist::Loses => drop(ports.pop()),
            Twist::Poll | Twist::Edges | Twist::Reads | Twist::Errno => {}
        }
        answer
    }

    fn write(&mut self, fd: Fd, bytes: &[u8], memory: Memory) -> Answer {
        self.side.write(fd, bytes, memory)
    }

    fn poll(&mut self) -> [u16; FILES] {
        let twisted = |bits| match (self.twist, bits) {
            (Twist::Poll, 0x008) => 0x10c,
            _ => bits,
        };
        self.side.poll().map(twisted)
    }

    fn edges(&mut self) -> [bool; FILES] {
        let edges = self.side.edges();
        match self.twist {
            Twist::Edges => [false; FILES],
            Twist::Poll | Twist::Reads | Twist::Loses | Twist::Errno => edges,
        }
    }

    fn wait(&mut self, file: usize) -> bool {
        self.side.wait(file)
    }
}
