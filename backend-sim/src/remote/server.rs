//! The server: one thread, which waits for requests and answers them one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::protocol::LARGEST;
use super::served::{Connection, Devices, Turn};
use super::socket;
use crate::sim::Sim;

/// The most connections that use no device. One more ends the one that has been idle for the longest time.
const MOST_IDLE: usize = 64;
/// The most connections that one round accepts.
const MOST_NEW: usize = 16;

/// Serves a machine on a Unix socket, as the [module](super) says. Dropping it closes what its clients have open,
/// and removes the socket.
///
/// ```
/// use evtchn_sim::Sim;
/// use evtchn_sim::remote::{Act, RemoteSim, Server};
///
/// # let path = std::env::temp_dir().join(format!("evtchn-doc-server-{}", std::process::id()));
/// let mut server = Server::bind(&path, &Sim::new(1))?;
/// let (stop, stopper) = std::io::pipe()?;
/// let serving = std::thread::spawn(move || server.run(stop));
/// assert_eq!(RemoteSim::at(&path).act(Act::CreateDomain)?, 1);
/// drop(stopper);
/// serving.join().expect("the server does not panic")?;
/// assert!(!path.exists());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
    path: PathBuf,
    /// The inode of the path, which another server may have replaced.
    inode: u64,
    devices: Devices,
    connections: BTreeMap<u64, Connection>,
    /// How many connections there ever were.
    accepted: u64,
    round: u64,
    /// There is no descriptor left for another connection.
    is_full: bool,
}

/// What poll(2) reports.
#[derive(Debug, Default)]
struct Ready {
    stop: bool,
    listener: bool,
    requests: Vec<u64>,
    closed: Vec<u64>,
}

impl Server {
    /// Makes the socket. It replaces one that a server has left which is gone.
    ///
    /// # Errors
    /// Those of making a socket. `EADDRINUSE` if another server has the path, or if it is no socket.
    pub fn bind(path: impl AsRef<Path>, sim: &Sim) -> io::Result<Server> {
        let path = path.as_ref();
        let listener = match socket::listen(path) {
            Err(Errno::ADDRINUSE) if is_left(path) => {
                fs::remove_file(path)?;
                socket::listen(path)?
            }
            listener => listener?,
        };
        Ok(Server {
            listener,
            inode: fs::symlink_metadata(path)?.ino(),
            path: path.to_owned(),
            devices: Devices::new(sim),
            connections: BTreeMap::new(),
            accepted: 0,
            round: 0,
            is_full: false,
        })
    }

    /// Serves until `stop` is readable or its other end is closed.
    ///
    /// # Errors
    /// Those of poll(2). What a client does is no error.
    pub fn run(&mut self, stop: impl AsFd) -> io::Result<()> {
        let mut buf = Box::new([0; LARGEST]);
        loop {
            let ready = self.poll(stop.as_fd(), None)?;
            if ready.stop {
                return Ok(());
            }
            self.round += 1;
            // Whoever was gone when a request was sent is gone before it is answered. A connection may have been
            // closed after poll looked at it and before the request came, so poll looks once more.
            let now = Timespec::default();
            for key in self.poll(stop.as_fd(), Some(&now))?.closed {
                while self.serve(key, &mut buf) == Turn::Answered {}
            }
            self.devices.close_unused();
            for key in ready.requests {
                self.serve(key, &mut buf);
            }
            if ready.listener {
                self.accept()?;
            }
        }
    }

    fn poll(&self, stop: BorrowedFd<'_>, timeout: Option<&Timespec>) -> io::Result<Ready> {
        let asked = PollFlags::IN;
        let mut fds = vec![PollFd::new(&stop, asked)];
        let comes = if self.is_full {
            PollFlags::empty()
        } else {
            asked
        };
        fds.push(PollFd::new(&self.listener, comes));
        fds.extend(self.connections.values().map(|it| PollFd::new(it, asked)));
        match rustix::event::poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let reported = |place: usize| fds.get(place).map_or(PollFlags::empty(), PollFd::revents);
        let mut ready = Ready {
            stop: !reported(0).is_empty(),
            listener: reported(1).contains(PollFlags::IN),
            ..Ready::default()
        };
        for (place, key) in self.connections.keys().enumerate() {
            let reported = reported(2 + place);
            if reported.intersects(PollFlags::HUP | PollFlags::ERR) {
                ready.closed.push(*key);
            } else if reported.contains(PollFlags::IN) {
                ready.requests.push(*key);
            }
        }
        Ok(ready)
    }

    /// Answers a request of a connection.
    fn serve(&mut self, key: u64, buf: &mut [u8; LARGEST]) -> Turn {
        let Some(connection) = self.connections.get_mut(&key) else {
            return Turn::Ended;
        };
        connection.last = self.round;
        let turn = connection.serve(&mut self.devices, buf);
        if turn == Turn::Ended {
            self.end(key);
        }
        turn
    }

    fn end(&mut self, key: u64) {
        if let Some(mut connection) = self.connections.remove(&key) {
            connection.detach(&mut self.devices);
            self.is_full = false;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..MOST_NEW {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    self.end_idle();
                    self.accepted += 1;
                    let connection = Connection::new(socket, self.round);
                    self.connections.insert(self.accepted, connection);
                }
                Err(Errno::AGAIN) => return Ok(()),
                // The client has gone already, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.is_full = true;
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Makes room for one more connection that uses no device.
    fn end_idle(&mut self) {
        let idle = self.connections.iter().filter(|(_, it)| !it.has_device());
        if idle.clone().count() < MOST_IDLE {
            return;
        }
        let longest = idle.min_by_key(|(_, it)| it.last);
        if let Some(key) = longest.map(|(key, _)| *key) {
            self.end(key);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let is_ours = |it: fs::Metadata| it.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // Nothing can be done where the folder does not allow it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether a path is a socket on which no server listens.
fn is_left(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    is_socket && socket::connect(path).is_err_and(|errno| errno == Errno::CONNREFUSED)
}
