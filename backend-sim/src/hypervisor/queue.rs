//! The queue of linked ports, in the order in which they were linked. A port can be taken from any place.
//!
//! Ports are kept in words of 64, with a bit for each that is still there. A Fenwick tree counts the
//! bits of the words, so the port in any place is found, and taken, in the logarithm of the length.

use super::Upcall;

/// Identifies an entry for as long as it is in the queue. Later entries have greater tickets.
///
/// It is aligned like the other fields of a port, because a machine has many ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) const FIRST: Ticket = Ticket(0);
}

const WORD: usize = u64::BITS as usize;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The entries since the last [`pack`](Self::pack), also those that were taken.
    entries: Vec<Upcall>,
    /// Their tickets, apart from them because a ticket is seldom looked for.
    tickets: Vec<Ticket>,
    /// For each word of entries, a bit for each that is there.
    there: Vec<u64>,
    /// The Fenwick tree: at `i`, how many are there in the words `i + 1 - lowbit(i + 1)` to `i`.
    sums: Vec<u32>,
    len: usize,
    next: Ticket,
}

/// The lowest set bit of a number, which is not 0.
const fn lowbit(number: usize) -> usize {
    number & number.wrapping_neg()
}

impl Queue {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push_back(&mut self, upcall: Upcall) -> Ticket {
        // Entries that were taken take up at most as much room as those that are there.
        if self.entries.len() >= 2 * self.len + WORD {
            self.pack();
        }
        let ticket = self.next;
        self.next.0 += 1;
        self.append(ticket, upcall);
        ticket
    }

    /// Takes the entry in this place.
    #[inline]
    pub(super) fn remove(&mut self, place: usize) -> Option<Upcall> {
        if place >= self.len {
            return None;
        }
        let (word, mut before) = self.find(place);
        let mut bits = *self.there.get(word)?;
        while before > 0 {
            bits &= bits - 1;
            before -= 1;
        }
        Some(self.take(word * WORD + bits.trailing_zeros() as usize))
    }

    /// Takes the entry with this ticket, if it is there.
    pub(super) fn remove_ticket(&mut self, ticket: Ticket) -> Option<Upcall> {
        let found = self.tickets.binary_search(&ticket);
        let index = found.ok().filter(|index| self.is_there(*index))?;
        Some(self.take(index))
    }

    /// The entries, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Upcall> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, upcall)| self.is_there(index).then_some(*upcall))
    }

    /// Drops all entries but those that are to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Upcall) -> bool) {
        if self.len == 0 {
            return;
        }
        self.pack_those(|queue, index| queue.is_there(index) && keep(queue.entries[index]));
    }

    // Inside.

    fn is_there(&self, index: usize) -> bool {
        self.there[index / WORD] & (1 << (index % WORD)) != 0
    }

    /// The word of the entry in this place, and the place of the entry in the word.
    fn find(&self, place: usize) -> (usize, usize) {
        let words = self.sums.len();
        let (mut word, mut before) = (0, place);
        let mut step = words.checked_ilog2().map_or(0, |log| 1 << log);
        while step > 0 {
            if let Some(&sum) = self.sums.get(word + step - 1) {
                if sum as usize <= before {
                    word += step;
                    before -= sum as usize;
                }
            }
            step /= 2;
        }
        (word, before)
    }

    #[inline]
    fn append(&mut self, ticket: Ticket, upcall: Upcall) {
        let index = self.entries.len();
        self.entries.push(upcall);
        self.tickets.push(ticket);
        self.enter(index);
    }

    /// Enters that this entry is there, which is the first one that was not.
    #[inline]
    fn enter(&mut self, index: usize) {
        if index % WORD == 0 {
            self.append_word();
        }
        // The word is the last one, so no other sum has it.
        self.there[index / WORD] |= 1 << (index % WORD);
        self.sums[index / WORD] += 1;
        self.len += 1;
    }

    /// Begins another word. Its sum has those of some words before it.
    fn append_word(&mut self) {
        let number = self.sums.len() + 1;
        let first = number - lowbit(number);
        let (mut sum, mut last) = (0, number - 1);
        while last > first {
            sum += self.sums[last - 1];
            last -= lowbit(last);
        }
        self.there.push(0);
        self.sums.push(sum);
    }

    /// Takes an entry that is there.
    #[inline]
    fn take(&mut self, index: usize) -> Upcall {
        let upcall = self.entries[index];
        self.len -= 1;
        if self.len == 0 {
            self.entries.clear();
            self.tickets.clear();
            self.there.clear();
            self.sums.clear();
            return upcall;
        }
        let word = index / WORD;
        self.there[word] &= !(1 << (index % WORD));
        let mut number = word + 1;
        while let Some(sum) = self.sums.get_mut(number - 1) {
            *sum -= 1;
            number += lowbit(number);
        }
        upcall
    }

    /// Forgets the entries that were taken.
    #[cold]
    fn pack(&mut self) {
        self.pack_those(Queue::is_there);
    }

    fn pack_those(&mut self, mut keep: impl FnMut(&Queue, usize) -> bool) {
        let mut kept = 0;
        for index in 0..self.entries.len() {
            if keep(self, index) {
                self.entries[kept] = self.entries[index];
                self.tickets[kept] = self.tickets[index];
                kept += 1;
            }
        }
        self.entries.truncate(kept);
        self.tickets.truncate(kept);
        self.there.clear();
        self.sums.clear();
        self.len = 0;
        (0..kept).for_each(|index| self.enter(index));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use evtchn_core::DomId;

    use super::*;
    use crate::choice::Choice;

    fn upcall(port: u32) -> Upcall {
        let domid = DomId::new(u16::try_from(port % 3).unwrap());
        Upcall { domid, port }
    }

    /// The same operations on a list.
    #[test]
    fn it_is_a_list_from_which_any_place_can_be_taken() {
        for seed in 0..40 {
            let mut choice = Choice::seeded(seed);
            let (mut queue, mut list) = (Queue::default(), VecDeque::new());
            let mut port = 0;
            for _ in 0..600 {
                match choice.of(8) {
                    // Mostly more than before, or mostly fewer.
                    0..4 if seed % 2 == 0 || choice.flip() => {
                        for _ in 0..choice.of(90) {
                            let ticket = queue.push_back(upcall(port));
                            list.push_back((ticket, upcall(port)));
                            port += 1;
                        }
                    }
                    0..6 => {
                        for _ in 0..choice.of(90) {
                            let place = choice.of(list.len());
                            let taken = list.remove(place).map(|(_, upcall)| upcall);
                            assert_eq!(queue.remove(place), taken);
                        }
                    }
                    6 => {
                        let place = choice.of(list.len());
                        if let Some((ticket, upcall)) = list.remove(place) {
                            assert_eq!(queue.remove_ticket(ticket), Some(upcall));
                            assert_eq!(queue.remove_ticket(ticket), None);
                        }
                    }
                    _ => {
                        let gone = DomId::new(u16::try_from(choice.of(30)).unwrap());
                        queue.retain(|upcall| upcall.domid != gone);
                        list.retain(|(_, upcall)| upcall.domid != gone);
                    }
                }
                assert_eq!(queue.len(), list.len());
                assert_eq!(queue.remove(list.len()), None);
            }
            assert!(queue.iter().eq(list.iter().map(|(_, upcall)| *upcall)));
        }
    }

    #[test]
    fn entries_that_were_taken_take_up_no_room_for_long() {
        let mut queue = Queue::default();
        queue.push_back(upcall(0));
        for port in 1..10_000 {
            queue.push_back(upcall(port));
            assert_eq!(queue.remove(1), Some(upcall(port)));
        }
        assert!(queue.entries.len() <= 3 * WORD, "{}", queue.entries.len());
        assert_eq!(queue.remove(0), Some(upcall(0)));
        assert_eq!((queue.len(), queue.entries.len()), (0, 0));
    }
}
