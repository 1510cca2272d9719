//! The buffer into which a backend reads ports.

use alloc::vec::Vec;

/// Room for the ports of one [`pending`](super::EventChannel::pending) call.
///
/// It holds the words as the driver wrote them, so that a backend can read straight into it.
///
/// ```
/// use evtchn::PortBuf;
///
/// let mut buf = PortBuf::with_capacity(4);
/// buf.fill(|words| {
///     words[..2].copy_from_slice(&[3, 9]); // what a driver does
///     Ok::<_, std::convert::Infallible>(2)
/// })?;
/// assert_eq!((buf.capacity(), buf.words()), (4, &[3, 9][..]));
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Default)]
pub struct PortBuf {
    words: Vec<u32>,
    len: usize,
}

impl PortBuf {
    /// The most ports that one call to the driver brings: a page of them.
    pub const MAX: usize = 1024;

    /// As many ports as a domain can have (Xen, FIFO event channels).
    const ALL: usize = 1 << 17;

    /// An empty buffer with room for `capacity` ports, or for as many as a domain can have, if
    /// that is less.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> PortBuf {
        PortBuf {
            words: alloc::vec![0; capacity.min(PortBuf::ALL)],
            len: 0,
        }
    }

    /// How many ports fit.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.words.len()
    }

    /// The words that were read.
    #[must_use]
    #[inline]
    pub fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }

    /// How many words were read.
    #[inline]
    pub(crate) const fn count(&self) -> usize {
        self.len
    }

    /// For backends: replaces the contents by the words that `fill` writes. `fill` gets the whole
    /// buffer and returns how many words it wrote.
    ///
    /// # Errors
    /// Those of `fill`; then the buffer is empty.
    #[inline]
    pub fn fill<E>(&mut self, fill: impl FnOnce(&mut [u32]) -> Result<usize, E>) -> Result<(), E> {
        self.len = 0;
        self.len = fill(&mut self.words)?.min(self.words.len());
        Ok(())
    }

    /// Makes room for `capacity` ports, or for as many as a domain can have, and keeps what was
    /// read.
    pub fn grow(&mut self, capacity: usize) {
        let room = capacity.min(PortBuf::ALL).max(self.words.len());
        self.words.resize(room, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_room_for_as_many_ports_as_there_can_be() {
        let mut buf = PortBuf::with_capacity(usize::MAX);
        assert_eq!(buf.capacity(), 131_072);
        buf.grow(usize::MAX);
        assert_eq!(buf.capacity(), 131_072);
        buf.grow(1);
        assert_eq!(buf.capacity(), 131_072);

        let mut buf = PortBuf::with_capacity(2);
        buf.fill(|room| Ok::<_, ()>(room.len())).unwrap();
        buf.grow(3);
        assert_eq!((buf.capacity(), buf.words()), (3, &[0, 0][..]));
    }
}
