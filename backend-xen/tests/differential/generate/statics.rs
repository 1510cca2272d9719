//! Static binds, where the kernel knows them.

use super::Generator;
use crate::op::{Bind, FILES, Memory, Op, Request, Slot, Word};
use crate::scene::Scene;

impl Generator {
    /// A static bind of an end, or with a bad pointer.
    pub(super) fn bind_static(&mut self, scene: &Scene) -> Option<Op> {
        let end = self.choice.of(scene.ends());
        let file = scene.file_with(end).unwrap_or(self.drawn % FILES);
        let fd = self.fd_of(file, scene)?;
        let words = [Word::End(end), Word::Raw(0)];
        if self.choice.of(3) == 0 {
            let memory = Memory::Cut(self.choice.of(4));
            return Some(Op::Ioctl(fd, Request::BindStatic, words, memory));
        }
        let memory = self.memory(16, 4);
        Some(Op::Bind(
            Slot(scene.slots()),
            fd,
            Bind::Static,
            words,
            memory,
        ))
    }
}
