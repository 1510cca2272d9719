//! Messages over a socket, each with a descriptor or without.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::LARGEST;

/// A message that came.
#[derive(Debug)]
pub(super) enum Received<T> {
    Message(T, Option<OwnedFd>),
    /// It is none of the type that was expected.
    Bad,
    /// The other end is closed.
    End,
}

fn unix_socket() -> Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

pub(super) fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = unix_socket()?;
    let address = SocketAddrUnix::new(path)?;
    retry(|| rustix::net::connect(&socket, &address))?;
    Ok(socket)
}

/// A socket that clients connect to, which does not block.
pub(super) fn listen(path: &Path) -> Result<OwnedFd> {
    let socket = unix_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 128)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Sends a message. `EMSGSIZE` if it is too large.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    passed: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
    if bytes.len() > LARGEST {
        return Err(Errno::MSGSIZE);
    }
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let passed: Vec<BorrowedFd<'_>> = passed.into_iter().collect();
    retry(|| {
        let mut with = SendAncillaryBuffer::new(&mut room);
        if !passed.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(&passed));
        }
        let slices = [IoSlice::new(&bytes)];
        rustix::net::sendmsg(socket, &slices, &mut with, flags | SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Takes the next message. At most one descriptor comes with it; the kernel closes others.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buf: &mut [u8; LARGEST],
    flags: RecvFlags,
) -> Result<Received<T>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut room);
    let got = retry(|| {
        let slices = &mut [IoSliceMut::new(buf.as_mut_slice())];
        rustix::net::recvmsg(socket, slices, &mut with, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut passed = None;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed = descriptors.last();
        }
    }
    if got.bytes == 0 {
        return Ok(Received::End);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Received::Bad);
    }
    let bytes = buf.get(..got.bytes).unwrap_or_default();
    Ok(match serde_json::from_slice(bytes) {
        Ok(message) => Received::Message(message, passed),
        Err(_) => Received::Bad,
    })
}

/// Makes a call again that a signal has interrupted.
fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            ended => return ended,
        }
    }
}

/// Identifies a socket among those that are open.
pub(super) fn inode(fd: impl AsFd) -> Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}
