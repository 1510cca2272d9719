//! A descriptor that real event loops can poll in place of the device.
//!
//! An eventfd or a pipe cannot show `ERR` without `IN`, which is what the device shows after an
//! overflow. A connected pair of datagram sockets can: the event loop polls one of them, and this
//! module drives the other, the *peer*.
//!
//! | the ring | the sockets | poll(2) |
//! | --- | --- | --- |
//! | empty | no datagram | `OUT` |
//! | not empty | one datagram from the peer is unread | `IN OUT` |
//! | overflow | the peer left with a datagram of ours unread (net/unix/af_unix.c, `unix_dgram_disconnected`) | `ERR OUT` |
//!
//! The sockets are used only when that state changes. These differences from the device remain:
//!
//! - `OUT` remains set with `ERR`; the device shows `ERR` alone.
//! - An overflow is an edge: an edge-triggered loop reports it. On the device it is none.
//! - A loop that asks for an edge-triggered `OUT` sees more edges than the device gives.
//! - Reading the socket's error (`SO_ERROR`), reading or writing it takes the state away, and
//!   ioctls on it are a socket's: use the simulated device for everything but polling.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use evtchn_fork::Process;
use rustix::net::{RecvFlags, SendFlags};

use crate::driver::abi::PollBits;

/// The pair, and the state that it shows.
#[derive(Debug)]
pub(crate) struct Pollable {
    /// `None` while only the holders of the device have it: [`Pollable::release`].
    polled: Option<UnixDatagram>,
    peer: UnixDatagram,
    /// The address of the polled socket: that of the peer, which the kernel chose (unix(7), autobind), with
    /// something before it. So no other socket has it while the peer is open.
    address: SocketAddr,
    shown: PollBits,
    /// The process that made it. A forked child shares the sockets.
    made_by: Process,
}

impl Pollable {
    /// A pair that shows an empty ring.
    pub(crate) fn new() -> io::Result<Pollable> {
        let made_by = Process::current()?;
        let anywhere = UnixDatagram::unbound()?.local_addr()?;
        let peer = UnixDatagram::bind_addr(&anywhere)?;
        let its_address = peer.local_addr()?;
        let chosen = its_address.as_abstract_name().unwrap_or_default();
        let address = SocketAddr::from_abstract_name([b"evtchn-sim ", chosen].concat())?;
        let polled = UnixDatagram::bind_addr(&address)?;
        polled.connect_addr(&its_address)?;
        peer.connect_addr(&address)?;
        polled.set_nonblocking(true)?;
        peer.set_nonblocking(true)?;
        Ok(Pollable {
            polled: Some(polled),
            peer,
            address,
            shown: PollBits::WRITABLE,
            made_by,
        })
    }

    /// Another descriptor of the polled socket, for the holder of the device to own.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        let polled = self.polled.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(polled.try_clone()?.into())
    }

    /// Closes this module's own descriptor of the polled socket, so that it is open only as long as a holder of
    /// the device has it. Until [`keep`](Self::keep) it goes on to show that the ring is no longer empty, and
    /// nothing else.
    #[cfg(feature = "remote")]
    pub(crate) fn release(&mut self) {
        self.polled = None;
    }

    /// Has a descriptor of the polled socket again, which a holder has passed.
    #[cfg(feature = "remote")]
    pub(crate) fn keep(&mut self, polled: OwnedFd) {
        self.polled = Some(polled.into());
    }

    /// Whether the polled socket is open anywhere.
    #[cfg(feature = "remote")]
    pub(crate) fn is_open(&self) -> bool {
        // To connect once more changes nothing, and there is no such address once the socket is closed.
        self.polled.is_some() || self.peer.connect_addr(&self.address).is_ok()
    }

    /// Shows what poll(2) would report for the device. Does nothing in a forked child, because the
    /// parent shows the state of its own machine through the same sockets.
    #[inline]
    pub(crate) fn show(&mut self, bits: PollBits) {
        if bits != self.shown && self.made_by.is_current() {
            self.change(bits);
        }
    }

    fn change(&mut self, bits: PollBits) {
        // The holder of the descriptor may have made the socket blocking, which these calls must not
        // be. None of them can fail while both sockets are open and at most one datagram is
        // under way, unless a user of the descriptor interferes; then only that user is misled.
        let Some(polled) = &self.polled else {
            if (self.shown, bits) == (PollBits::WRITABLE, PollBits::READABLE) {
                drop(self.peer.send(&[0]));
                self.shown = bits;
            }
            return;
        };
        drop(self.leave(polled));
        drop(self.enter(polled, bits));
        self.shown = bits;
    }

    /// Back to what an empty ring shows.
    fn leave(&self, polled: &UnixDatagram) -> io::Result<()> {
        match self.shown {
            PollBits::READABLE => {
                rustix::net::recv(polled, &mut [0; 1], RecvFlags::DONTWAIT)?;
            }
            PollBits::ERROR => {
                polled.take_error()?;
                self.peer.connect_addr(&self.address)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// From what an empty ring shows to `bits`.
    fn enter(&self, polled: &UnixDatagram, bits: PollBits) -> io::Result<()> {
        match bits {
            PollBits::READABLE => {
                self.peer.send(&[0])?;
            }
            PollBits::ERROR => {
                rustix::net::send(polled, &[0], SendFlags::DONTWAIT)?;
                rustix::net::connect_unspec(&self.peer)?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::epoll::{self, EventData, EventFlags};
    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;

    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    fn revents(fd: impl AsFd) -> PollFlags {
        let mut fds = [PollFd::new(&fd, PollFlags::IN | PollFlags::OUT)];
        rustix::event::poll(&mut fds, Some(&NOW)).unwrap();
        fds[0].revents()
    }

    /// An epoll instance that watches `fd` for reading.
    struct Epoll(OwnedFd);

    impl Epoll {
        fn watching(fd: impl AsFd, flags: EventFlags) -> Epoll {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            epoll::add(&epoll, fd, EventData::new_u64(0), flags | EventFlags::IN).unwrap();
            Epoll(epoll)
        }

        fn wait(&self) -> EventFlags {
            let mut events = Vec::with_capacity(4);
            let spare = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.0, spare, Some(&NOW)).unwrap();
            events
                .first()
                .map_or(EventFlags::empty(), |event: &epoll::Event| event.flags)
        }
    }

    #[test]
    fn poll_shows_empty_then_readable_then_error_alone_and_back() {
        let mut pollable = Pollable::new().unwrap();
        let fd = pollable.descriptor().unwrap();
        assert_eq!(revents(&fd), PollFlags::OUT);
        for _ in 0..3 {
            pollable.show(PollBits::READABLE);
            assert_eq!(revents(&fd), PollFlags::IN | PollFlags::OUT);
            pollable.show(PollBits::ERROR);
            assert_eq!(revents(&fd), PollFlags::ERR | PollFlags::OUT);
            assert_eq!(revents(&fd), PollFlags::ERR | PollFlags::OUT, "it stays");
            pollable.show(PollBits::WRITABLE);
            assert_eq!(revents(&fd), PollFlags::OUT);
            pollable.show(PollBits::ERROR);
            assert_eq!(revents(&fd), PollFlags::ERR | PollFlags::OUT);
            pollable.show(PollBits::READABLE);
            assert_eq!(revents(&fd), PollFlags::IN | PollFlags::OUT);
            pollable.show(PollBits::WRITABLE);
            assert_eq!(revents(&fd), PollFlags::OUT);
        }
    }

    #[test]
    fn a_level_triggered_epoll_reports_as_long_as_the_state_lasts() {
        let mut pollable = Pollable::new().unwrap();
        let fd = pollable.descriptor().unwrap();
        let epoll = Epoll::watching(&fd, EventFlags::empty());
        assert_eq!(epoll.wait(), EventFlags::empty());
        for (bits, flags) in [
            (PollBits::READABLE, EventFlags::IN),
            (PollBits::ERROR, EventFlags::ERR),
            (PollBits::WRITABLE, EventFlags::empty()),
        ] {
            pollable.show(bits);
            assert_eq!([epoll.wait(), epoll.wait()], [flags, flags]);
        }
    }

    #[test]
    fn an_edge_triggered_epoll_reports_a_change_to_readable_once() {
        let mut pollable = Pollable::new().unwrap();
        let fd = pollable.descriptor().unwrap();
        let epoll = Epoll::watching(&fd, EventFlags::ET);
        for _ in 0..3 {
            pollable.show(PollBits::READABLE);
            assert_eq!(
                [epoll.wait(), epoll.wait()],
                [EventFlags::IN, EventFlags::empty()]
            );
            pollable.show(PollBits::READABLE);
            assert_eq!(epoll.wait(), EventFlags::empty(), "no change, no edge");
            pollable.show(PollBits::WRITABLE);
            assert_eq!(epoll.wait(), EventFlags::empty());
        }
        pollable.show(PollBits::READABLE);
        let late = Epoll::watching(&fd, EventFlags::ET);
        assert_eq!(late.wait(), EventFlags::IN, "adding a ready one reports it");
    }

    #[test]
    fn an_overflow_is_an_edge_as_the_module_says() {
        let mut pollable = Pollable::new().unwrap();
        let fd = pollable.descriptor().unwrap();
        let epoll = Epoll::watching(&fd, EventFlags::ET);
        pollable.show(PollBits::ERROR);
        assert_eq!(
            [epoll.wait(), epoll.wait()],
            [EventFlags::ERR, EventFlags::empty()]
        );
        pollable.show(PollBits::WRITABLE);
        assert_eq!(epoll.wait(), EventFlags::empty());
    }

    #[test]
    fn a_thousand_pairs_do_not_collide() {
        let pairs: Vec<_> = (0..300).map(|_| Pollable::new().unwrap()).collect();
        drop(pairs);
    }
}
