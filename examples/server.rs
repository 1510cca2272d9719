//! A server for 100 guests on tokio: one context, and a task for each guest.
//!
//! A guest writes a question to the memory that it shares with the server and notifies; the server
//! answers and notifies. A wake only means "look": it may come for nothing, and several may come as
//! one, so each side looks at the memory and believes nothing else.
//!
//! `cargo run --example server`, or on a Xen host `cargo run --example server -- --backend xen`:
//! there the guests are other users of this domain.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evtchn::sim::Sim;
use evtchn::tokio::{Channel, Context};
use evtchn::{Backend, DomId, RemotePort, xen};
use tokio::task::JoinSet;

const GUESTS: u64 = 100;
const QUESTIONS: u64 = 10;
/// No question and no answer has this number.
const NOTHING: u64 = 0;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The memory that a guest shares with the server.
#[derive(Default)]
struct Shared {
    question: AtomicU64,
    answer: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let sim = Sim::new(0);
    let is_xen = std::env::args().any(|arg| arg == "xen");
    let backend = if is_xen {
        xen::backend()
    } else {
        sim.backend(DomId::DOM0)
    };

    let ctx = Context::new(backend)?;
    let mut tasks = JoinSet::new();
    for number in 0..GUESTS {
        let (domid, guest) = if is_xen {
            (DomId::SELF, xen::backend())
        } else {
            let domid = sim.create_domain()?;
            (domid, sim.backend(domid))
        };
        let channel = ctx.bind_unbound_port(domid)?;
        let server = (DomId::DOM0, channel.port()).into();
        let ours = Arc::new(Shared::default());
        let theirs = Arc::clone(&ours);
        tasks.spawn(async move { answer(&channel, &ours).await });
        tasks.spawn(async move { ask(guest, server, number, &theirs).await });
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
async fn answer(channel: &Channel, shared: &Shared) -> Result<u64> {
    let mut answered = 0;
    while answered < QUESTIONS {
        if channel.woken().await?.is_end() {
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

/// A guest: asks, and checks each answer. It has a device of its own.
async fn ask(backend: Backend, server: RemotePort, number: u64, shared: &Shared) -> Result<u64> {
    let ctx = Context::new(backend)?;
    let channel = ctx.bind_interdomain(server)?;
    for question in number + 1..=number + QUESTIONS {
        shared.question.store(question, Ordering::Release);
        channel.notify()?;
        let answer = loop {
            if channel.woken().await?.is_end() {
                return Err(format!("guest {number} has lost its channel").into());
            }
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
