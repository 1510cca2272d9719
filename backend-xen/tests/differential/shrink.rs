//! Makes a script that shows a difference smaller, as long as it still shows one.

use crate::op::{Fd, Memory, Op, Words};

/// The smallest script that can be found by leaving out steps, then words, and then by making what
/// is left plainer. `differs` plays a script from scratch and answers the place of the step that
/// shows a difference.
pub(crate) fn shrink(script: Vec<Op>, mut differs: impl FnMut(&[Op]) -> Option<usize>) -> Vec<Op> {
    let mut script = script;
    loop {
        let before = script.len();
        script = leave_out(script, |fewer| {
            let last = differs(fewer)?;
            Some(fewer[..fewer.len().min(last + 1)].to_vec())
        });
        if script.len() == before {
            break;
        }
    }
    for index in 0..script.len() {
        for plainer in plainer(&script[index]) {
            let mut other = script.clone();
            other[index] = plainer;
            if differs(&other).is_some() {
                script = other;
            }
        }
        if let Op::Write(fd, words, odd, memory) = script[index].clone() {
            let fewer = leave_out(words.0, |words| {
                let mut other = script.clone();
                other[index] = Op::Write(fd, Words(words.to_vec()), odd, memory);
                differs(&other).map(|_| words.to_vec())
            });
            script[index] = Op::Write(fd, Words(fewer), odd, memory);
        }
    }
    script
}

/// Leaves out as many items as possible: large runs first, then smaller ones, from the end to the
/// front. `accept` answers what to go on with, or nothing where too much is missing.
fn leave_out<T: Clone>(items: Vec<T>, mut accept: impl FnMut(&[T]) -> Option<Vec<T>>) -> Vec<T> {
    let mut items = items;
    let mut run = items.len().next_power_of_two();
    while run > 0 {
        let mut end = items.len();
        while end > 0 {
            let start = end.saturating_sub(run);
            let fewer = [&items[..start], &items[end..]].concat();
            if let Some(accepted) = accept(&fewer) {
                items = accepted;
            }
            end = start.min(items.len());
        }
        run /= 2;
    }
    items
}

/// The same step with less to it.
fn plainer(op: &Op) -> Vec<Op> {
    let first = |fd: Fd| Fd(fd.0, 0);
    let there = Memory::There;
    match op.clone() {
        Op::Open(_) | Op::Dup(_) => Vec::new(),
        Op::Close(fd) => vec![Op::Close(first(fd))],
        Op::Bind(slot, fd, how, words, memory) => vec![
            Op::Bind(slot, fd, how, words, there),
            Op::Bind(slot, first(fd), how, words, memory),
            Op::Bind(slot, first(fd), how, words, there),
        ],
        Op::Ioctl(fd, request, words, memory) => vec![
            Op::Ioctl(fd, request, words, there),
            Op::Ioctl(first(fd), request, words, memory),
            Op::Ioctl(first(fd), request, words, there),
        ],
        Op::Read(fd, count, memory) => vec![
            Op::Read(first(fd), count, memory),
            Op::Read(first(fd), count, there),
            Op::Read(first(fd), 4, there),
        ],
        Op::Write(fd, words, odd, memory) => vec![
            Op::Write(first(fd), words.clone(), odd, memory),
            Op::Write(first(fd), words.clone(), odd, there),
            Op::Write(first(fd), words, 0, there),
        ],
    }
}
