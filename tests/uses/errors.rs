//! Errors on their way out of a program.

use std::error::Error as StdError;
use std::io;

use anyhow::Context as _;
use evtchn::sim::{self, Errno, Sim, SimLoop};
use evtchn::{
    BadId, Context, DeviceCall, DeviceError, DomId, Error, ErrorKind, Port, RemotePort, Virq, poll,
};

const UNUSED_DOMID: DomId = DomId::new(77);

fn context() -> Context<SimLoop> {
    Context::with_registrar(Sim::new(1).open(DomId::DOM0), SimLoop::level())
}

/// A bind that Xen refuses: there is no such domain.
fn refused() -> Result<(), Error> {
    let remote = RemotePort::from((UNUSED_DOMID, Port::MAX));
    context().bind_interdomain(remote).map(drop)
}

#[test]
fn a_question_mark_gives_an_error_of_anyhow() {
    fn run() -> anyhow::Result<()> {
        let port = "0:5".parse::<RemotePort>()?;
        assert_eq!(port.domid, DomId::DOM0);
        refused().context("cannot serve the disk")?;
        Ok(())
    }
    let error = run().unwrap_err();
    assert_eq!(error.to_string(), "cannot serve the disk");
    let line = format!("{error:#}");
    let expected = "cannot serve the disk: cannot bind to port 2147483647 of domain 77: \
                    ESRCH (3): no such domain";
    assert!(line.starts_with(expected), "{line}");
    let own = error.downcast_ref::<Error>().and_then(Error::device);
    assert_eq!(own.map(DeviceError::kind), Some(ErrorKind::NoSuchDomain));
}

#[test]
fn a_question_mark_gives_a_boxed_error() {
    fn run(port: &str) -> Result<Port, Box<dyn StdError + Send + Sync>> {
        let port = port.parse()?;
        refused()?;
        Ok(port)
    }
    assert!(run("0").unwrap_err().is::<BadId>());
    let error = run("5").unwrap_err();
    assert!(error.is::<Error>());
    // It goes where an `io::Error` is demanded, and comes out again.
    let error = io::Error::other(error);
    let inner = error.into_inner().unwrap();
    assert!(inner.downcast::<Error>().is_ok());
}

#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("event channels: {0}")]
    Channels(#[from] Error),
    #[error("bad argument: {0}")]
    Argument(#[from] BadId),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[test]
fn a_question_mark_gives_an_error_of_the_program() {
    fn run(argument: &str) -> Result<(), ServerError> {
        let _domid: DomId = argument.parse()?;
        let loops = poll::PollLoop::new()?;
        drop(loops);
        refused()?;
        Ok(())
    }
    let error = run("5").unwrap_err();
    assert!(matches!(error, ServerError::Channels(Error::Device(_))));
    let source = error.source().unwrap();
    assert!(source.is::<Error>());
    let error = run("65536").unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad argument: 65536 is no domain id: domain ids fit in 16 bits"
    );
}

#[test]
fn the_error_of_the_backend_is_the_source() {
    let error = refused().unwrap_err();
    let source = error.source().and_then(|it| it.downcast_ref());
    let own: &sim::Error = source.unwrap();
    assert_eq!(own.errno, Errno::ESRCH);
    // Whichever layers a program puts around it.
    let wrapped = ServerError::from(error);
    assert_eq!(Errno::of(&wrapped), Some(Errno::ESRCH));
}

#[test]
fn the_error_of_the_event_loop_is_inside() {
    let ctx = context();
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let event_loop = ctx.registrar();
    event_loop.fail_next(sim::Call::Register, Errno::EPERM);
    let error = channel.wait().unwrap_err();
    let Error::Register(error) = error else {
        panic!("{error:?}");
    };
    let own = error.get_ref().downcast_ref::<sim::Error>().unwrap();
    assert_eq!(own.errno, Errno::EPERM);
}

#[test]
fn an_error_is_matched_with_a_wildcard_and_kept() {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a program has an arm for what it does not know"
    )]
    fn advice(error: &Error) -> &'static str {
        match error {
            Error::Device(error) => match error.kind() {
                ErrorKind::NoSuchDomain => "wait for the domain",
                ErrorKind::NotPermitted => "run as root",
                _ => "look at the device",
            },
            Error::NotBound(_) => "bind again",
            Error::AlreadyWaited(_) | Error::Busy => "one at a time",
            _ => "report this",
        }
    }
    let error = refused().unwrap_err();
    assert_eq!(advice(&error), "wait for the domain");
    let kept = error.clone();
    assert_eq!(kept.to_string(), error.to_string());
    assert_eq!(kept.device(), error.device());
    let ctx = context();
    let virq = ctx.bind_virq(Virq::DOM_EXC).unwrap();
    let error = ctx.bind_virq(Virq::DOM_EXC).unwrap_err();
    assert_eq!(advice(&error), "look at the device");
    let call = error.device().map(DeviceError::call);
    assert_eq!(call, Some(DeviceCall::BindVirq(Virq::DOM_EXC)));
    let id = virq.id();
    drop(virq);
    assert_eq!(advice(&ctx.wait(id).unwrap_err()), "bind again");
    assert_eq!(advice(&Error::Cancelled), "report this");
}
