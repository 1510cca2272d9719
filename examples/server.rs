//! A server for 100 guests on tokio: one context, and a task for each guest.
//!
//! A guest writes a question to the memory that it shares with the server and notifies; the server
//! answers and notifies. A wake only means "look": it may come for nothing, and several may come as
//! one, so each side looks at the memory and believes nothing else.
//!
//! `cargo run --example server`, or on a Xen host `cargo run --example server -- --backend xen`:
//! there the guests are other users of this domain.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evtchn::loops::TokioLoop;
use evtchn::sim::Sim;
use evtchn::xen::XenOpen;
use evtchn::{Cause, Channel, DomId, Open, RemotePort};

const GUESTS: u64 = 100;
const QUESTIONS: u64 = 10;
/// No question and no answer has this number.
const NOTHING: u64 = 0;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The memory that a guest shares with the server.
#[derive(Default)]
struct Shared {
    question: AtomicU64,
    answer: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let backend = std::env::args().skip_while(|arg| arg != "--backend").nth(1);
    match backend.as_deref() {
        Some("xen") => {
            serve(XenOpen::default(), |_| {
                Ok((XenOpen::default(), DomId::DOM0))
            })
            .await
        }
        None | Some("sim") => {
            let sim = Sim::new(0);
            serve(sim.open(DomId::DOM0), |_| {
                let domid = sim.create_domain()?;
                Ok((sim.open(domid), domid))
            })
            .await
        }
        Some(other) => Err(format!("no backend {other}: sim or xen").into()),
    }
}

/// `guest` says with what a guest opens its device, and in which domain it is.
async fn serve<O>(open: O, guest: impl Fn(u64) -> Result<(O, DomId)>) -> Result<()>
where
    O: Open<Device: AsFd> + Send + Sync + 'static,
{
    let ctx = TokioLoop::context(open)?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..GUESTS {
        let (open, domid) = guest(number)?;
        let channel = ctx.bind_unbound_port(domid)?;
        let remote = RemotePort {
            domid: DomId::DOM0,
            port: channel.port(),
        };
        let ours = Arc::new(Shared::default());
        let theirs = Arc::clone(&ours);
        tasks.spawn(async move { answer(&channel, &ours).await });
        tasks.spawn(async move { ask(open, remote, number, &theirs).await });
    }
    let mut answers = 0;
    while let Some(ended) = tasks.join_next().await {
        answers += ended??;
    }
    println!("{GUESTS} guests got {answers} answers, each the right one");
    ctx.teardown()?;
    println!(
        "{} wakes, and nothing is left registered",
        ctx.stats().wakes
    );
    Ok(())
}

/// The server's task for one guest. It ends after the last question; what the guest may do is
/// limited to asking nonsense.
async fn answer<O>(channel: &Channel<O, TokioLoop>, shared: &Shared) -> Result<u64>
where
    O: Open<Device: AsFd> + Send + Sync + 'static,
{
    let mut answered = 0;
    while answered < QUESTIONS {
        if channel.woken().await? == Cause::Gone {
            break;
        }
        let question = shared.question.swap(NOTHING, Ordering::Acquire);
        if question != NOTHING {
            let answer = question.wrapping_mul(question);
            shared.answer.store(answer, Ordering::Release);
            channel.notify()?;
            answered += 1;
        }
    }
    Ok(0)
}

/// A guest: asks, and checks each answer.
async fn ask<O>(open: O, remote: RemotePort, number: u64, shared: &Shared) -> Result<u64>
where
    O: Open<Device: AsFd> + Send + Sync + 'static,
{
    let ctx = TokioLoop::context(open)?;
    let channel = ctx.bind_interdomain(remote)?;
    for question in number + 1..=number + QUESTIONS {
        shared.question.store(question, Ordering::Release);
        channel.notify()?;
        let answer = loop {
            channel.woken().await?;
            let answer = shared.answer.swap(NOTHING, Ordering::Acquire);
            if answer != NOTHING {
                break answer;
            }
        };
        if answer != question * question {
            return Err(format!("guest {number} asked {question} and got {answer}").into());
        }
    }
    Ok(QUESTIONS)
}
