//! One machine for several processes: a server on a Unix socket, and devices in other processes.
//!
//! - [`Server`]: serves a [`Sim`](crate::Sim), as `evtchn sim --listen PATH` does.
//! - [`RemoteOpen`] and [`RemoteDevice`]: the device, for a context in any process.
//! - [`RemoteSim`] and [`Act`]: what a test does to the machine, from any process.
//!
//! ```
//! use std::thread;
//!
//! use evtchn_core::{Context, DomId};
//! use evtchn_sim::Sim;
//! use evtchn_sim::remote::{RemoteOpen, Server};
//! use evtchn_xen::PollLoop;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("evtchn-doc-{}", std::process::id()));
//! let mut server = Server::bind(&path, &Sim::new(1))?;
//! let (stop, stopper) = std::io::pipe()?;
//! let serving = thread::spawn(move || server.run(stop));
//!
//! // In any process that can reach the socket:
//! let ctx: Context<PollLoop> = Context::new(RemoteOpen::at(&path, DomId::DOM0))?;
//! let channel = ctx.bind_unbound_port(DomId::SELF)?;
//! println!("{} is bound", channel.port());
//!
//! drop((channel, ctx, stopper));
//! serving.join().expect("the server does not panic")?;
//! # Ok(())
//! # }
//! ```
//!
//! # One descriptor for an open device
//! The server opens the device and sends the client a descriptor that shows what poll(2) would show of it: the
//! socket of [`SimDevice::try_fd`](crate::SimDevice::try_fd). The client's calls go over a connection, which it has
//! beside this. What is inherited over a fork or an exec is the descriptor alone. Whoever has it makes a new
//! connection and passes it a duplicate, by which the server finds the device again.
//!
//! A device is open as long as a process has its descriptor or a connection for it. A process that ends, in whatever
//! way, has neither. The server answers no request before it has closed what was closed when the request was sent.
//!
//! # The protocol
//! The socket is of the type `SOCK_SEQPACKET`. Each message is a [JSON](https://www.json.org) value of at most 64 KiB.
//! A client sends one request, then waits for its answer, which is one message too. The first request is `hello` with
//! the version. A message that is no request is answered with `EBADMSG`, another version with `EPROTO`, and the server
//! then closes the connection, as it does if the client does not take its answers. Of the connections that use no
//! device, the server keeps 64, those with the latest requests. If it has no descriptor left, it accepts no connection
//! until one ends.
//!
//! | request | answer | descriptor |
//! | --- | --- | --- |
//! | `{"hello":{"version":1}}` | `{"number":0}` | |
//! | `{"open":{"domid":0,"raw":true}}`: opens the device for this connection, once | `{"number":0}` | the answer has that of the device |
//! | `"attach"`: the device of a descriptor, in place of `open` | as of `open` | the request has it |
//! | `{"on_device":{"ioctl":{"request":279810,"words":[0,0]}}}` | `{"number":10}` | |
//! | `{"on_device":{"read":{"most":1}}}`: never sleeps | `{"ports":[10]}` | |
//! | `{"on_device":{"write":{"ports":[10]}}}` | how many were written | |
//! | `{"on_device":"overflow"}`: [`World::overflow`](crate::World::overflow) | `{"number":0}` | |
//! | `{"on_device":"is_resumed"}` | 1 if the domain was restored and the device notices that, else 0 | |
//! | `"close"`: the client has closed its descriptor | `{"number":0}` | |
//! | `{"status":{"caller":0,"domid":0,"port":10}}` | `{"status":{"state":"closed","vcpu":0}}` | |
//! | `{"act":"step"}`: an [`Act`] | its number | |
//! | `"dump"` | how many bytes it has | the answer has a file with the text |
//!
//! A call that fails is answered with `{"refused":22}`, its errno, and one that a device from before a restore refuses by
//! itself with `{"refused":4096}`, which is no errno.

mod act;
mod client;
mod device;
mod protocol;
mod served;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use act::Act;
pub use client::{RemoteOpen, RemoteSim};
pub use device::RemoteDevice;
pub use server::Server;
