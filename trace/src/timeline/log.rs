//! Numbers in the order in which they came, packed, in blocks. A long trace has more of them than the
//! memory should hold: the full blocks are in one store, which goes on in a temporary file.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};

use integer_encoding::{VarInt, VarIntReader as _, VarIntWriter as _};
use tempfile::SpooledTempFile;

/// How many bytes a block has.
const BLOCK: usize = 1 << 10;
/// How many bytes of blocks are kept in memory; with more, all of them move to a temporary file.
const IN_MEMORY: usize = 1 << 20;

/// The full blocks of all logs of a timeline.
#[derive(Debug)]
pub(super) struct Store {
    file: RefCell<SpooledTempFile>,
    blocks: u32,
}

impl Store {
    pub(super) fn new() -> Store {
        Store {
            file: RefCell::new(tempfile::spooled_tempfile(IN_MEMORY)),
            blocks: 0,
        }
    }

    fn keep(&mut self, block: &[u8]) -> io::Result<u32> {
        let place = self.blocks;
        self.blocks = place.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        self.at(place, |file| file.write_all(block))?;
        Ok(place)
    }

    fn read(&self, place: u32, block: &mut [u8; BLOCK]) -> io::Result<()> {
        self.at(place, |file| file.read_exact(block))
    }

    fn at(
        &self,
        place: u32,
        act: impl FnOnce(&mut SpooledTempFile) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = self.file.borrow_mut();
        let start = SeekFrom::Start(u64::from(place) * BLOCK as u64);
        let done = file.seek(start).and_then(|_| act(&mut file));
        done.map_err(|error| {
            let folder = std::env::temp_dir();
            let says = format!("a temporary file in {}: {error}", folder.display());
            io::Error::new(error.kind(), says)
        })
    }
}

/// Items of N numbers.
#[derive(Debug, Default)]
pub(super) struct Log<const N: usize> {
    full: Vec<Full>,
    /// The block that is not full.
    last: Vec<u8>,
}

/// A full block: its place in the store, and how many of its bytes are used.
#[derive(Debug)]
struct Full {
    place: u32,
    used: u16,
}

impl<const N: usize> Log<N> {
    /// The number of the last block, counted from 0.
    pub(super) fn last_block(&self) -> usize {
        self.full.len()
    }

    /// Adds an item, and returns how many bytes it takes.
    ///
    /// # Errors
    /// A block cannot be stored.
    pub(super) fn push(&mut self, store: &mut Store, item: [u32; N]) -> io::Result<usize> {
        let size = item.into_iter().map(VarInt::required_space).sum();
        let used = self.last.len();
        if used + size > BLOCK {
            self.last.resize(BLOCK, 0);
            let place = store.keep(&self.last)?;
            let used = u16::try_from(used).map_err(io::Error::other)?;
            self.full.push(Full { place, used });
            self.last.clear();
        }
        for number in item {
            self.last.write_varint(number)?;
        }
        Ok(size)
    }

    /// Calls `each` with every item, in order.
    ///
    /// # Errors
    /// Those of `each`, and a block cannot be read.
    pub(super) fn each(
        &self,
        store: &Store,
        mut each: impl FnMut([u32; N]) -> io::Result<()>,
    ) -> io::Result<()> {
        (0..=self.last_block()).try_for_each(|block| self.each_in(block, store, &mut each))
    }

    /// Calls `each` with every item of a block.
    ///
    /// # Errors
    /// As [`Log::each`].
    pub(super) fn each_in(
        &self,
        block: usize,
        store: &Store,
        mut each: impl FnMut([u32; N]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = [0; BLOCK];
        let mut bytes = match self.full.get(block) {
            Some(Full { place, used }) => {
                store.read(*place, &mut bytes)?;
                &bytes[..usize::from(*used)]
            }
            None => &self.last[..],
        };
        while !bytes.is_empty() {
            let mut item = [0; N];
            for number in &mut item {
                *number = bytes.read_varint()?;
            }
            each(item)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_order_from_memory_and_from_the_temporary_file() {
        let mut store = Store::new();
        let mut logs = [Log::<2>::default(), Log::default()];
        let items = 400_000_u32;
        let item = |number: u32| [number, u32::MAX - number];
        let mut bytes = 0;
        for number in 0..items {
            let log = &mut logs[usize::from(number % 3 == 0)];
            bytes += log.push(&mut store, item(number)).unwrap();
        }
        assert!(bytes > IN_MEMORY && store.file.borrow().is_rolled());
        for (log, is_third) in logs.iter().zip([false, true]) {
            let mut expected = (0..items).filter(|number| (number % 3 == 0) == is_third);
            let compare = |found| {
                assert_eq!(Some(found), expected.next().map(item));
                Ok(())
            };
            log.each(&store, compare).unwrap();
            assert_eq!(expected.next(), None);
        }
    }
}
