//! A side that is wrong in one thing, which a run must notice.

use crate::op::{FILES, Fd, Memory};
use crate::raw::{Answer, Raw};
use crate::sim::Simulated;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
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

pub(crate) struct Defective {
    pub(crate) side: Simulated,
    pub(crate) defect: Defect,
}

impl Raw for Defective {
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
        match (self.defect, code) {
            (Defect::Errno, evtchn_sim::abi::UNBIND) => answer.or(Ok(0)),
            _ => answer,
        }
    }

    fn read(&mut self, fd: Fd, count: usize, memory: Memory, ports: &mut Vec<u32>) -> Answer {
        let answer = self.side.read(fd, count, memory, ports);
        match self.defect {
            Defect::Reads if ports.len() > 1 => ports.rotate_left(1),
            Defect::Loses => drop(ports.pop()),
            Defect::Poll | Defect::Edges | Defect::Reads | Defect::Errno => {}
        }
        answer
    }

    fn write(&mut self, fd: Fd, bytes: &[u8], memory: Memory) -> Answer {
        self.side.write(fd, bytes, memory)
    }

    fn poll(&mut self) -> [u16; FILES] {
        let defective = |bits| match (self.defect, bits) {
            (Defect::Poll, 0x008) => 0x10c,
            _ => bits,
        };
        self.side.poll().map(defective)
    }

    fn edges(&mut self) -> [bool; FILES] {
        let edges = self.side.edges();
        match self.defect {
            Defect::Edges => [false; FILES],
            Defect::Poll | Defect::Reads | Defect::Loses | Defect::Errno => edges,
        }
    }

    fn ends(&self) -> &[u32] {
        self.side.ends()
    }

    fn wait(&mut self, file: usize) -> bool {
        self.side.wait(file)
    }
}
