//! The crate krata-xenevtchn, unchanged, through its public API: one task that waits for one port after the other.
//!
//! Its numbers of two requests are swapped: `unbind(0)` allocates a port for domain 0. So nothing here unbinds, and the
//! device is closed by the end of the process.

use std::{env, error, future::poll_fn, pin::pin, process, sync::Arc, task::Poll, time::Instant};

use tokio::sync::Notify;
use xenevtchn::EventChannelService;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

/// Wakes before the rounds that count: then every thread is there.
const WARM_UP: usize = 64;

struct Scene {
    service: EventChannelService,
    ours: Vec<(u32, Arc<Notify>)>,
    theirs: Vec<u32>,
}

impl Scene {
    async fn new(channels: usize) -> Result<Scene> {
        let service = EventChannelService::open().await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..channels {
            let port = service.unbind(0).await?;
            theirs.push(service.bind_interdomain(0, port).await?);
            ours.push((port, service.subscribe(port).await?));
        }
        // The crate's thread took the initial events; it keeps each for a subscriber of that port.
        for port in &theirs {
            service.subscribe(*port).await?.notified().await;
        }
        Ok(Scene {
            service,
            ours,
            theirs,
        })
    }

    /// Rounds before the counted ones.
    fn warm_up(&self) -> u32 {
        WARM_UP.div_ceil(self.ours.len()) as u32
    }

    async fn notify(&self, index: usize) -> Result<()> {
        self.service.notify(self.theirs[index]).await?;
        Ok(())
    }

    /// One delivery of each port, which is unmasked.
    async fn handle(&self) -> Result<()> {
        for (port, receiver) in &self.ours {
            receiver.notified().await;
            self.service.unmask(*port).await?;
        }
        Ok(())
    }
}

/// Fails if a port was delivered more often than it was waited for.
async fn check(scene: &Scene) -> Result<()> {
    for (port, receiver) in &scene.ours {
        let mut left = pin!(receiver.notified());
        if poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_ready())).await {
            return Err(format!("port {port} was delivered twice").into());
        }
    }
    Ok(())
}

async fn ping_pong(scene: &Scene, rounds: u32) -> Result<()> {
    let warm_up = scene.warm_up();
    let mut begun = Instant::now();
    for round in 0..warm_up + rounds {
        if round == warm_up {
            begun = Instant::now();
        }
        scene.notify(0).await?;
        scene.handle().await?;
    }
    let cost = begun.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
    check(scene).await?;
    println!("krata pingpong 1 total {cost:.1}");
    Ok(())
}

async fn burst(scene: &Scene, rounds: u32) -> Result<()> {
    let warm_up = scene.warm_up();
    let (mut notify, mut drain) = (0.0, 0.0);
    for round in 0..warm_up + rounds {
        let begun = Instant::now();
        for index in 0..scene.theirs.len() {
            scene.notify(index).await?;
        }
        let notified = Instant::now();
        scene.handle().await?;
        if round >= warm_up {
            notify += (notified - begun).as_secs_f64() * 1e9;
            drain += notified.elapsed().as_secs_f64() * 1e9;
        }
        check(scene).await?;
    }
    let channels = scene.theirs.len();
    let events = f64::from(rounds) * channels as f64;
    println!(
        "krata burst {channels} total {:.1}",
        (notify + drain) / events
    );
    println!("krata burst {channels} drain {:.1}", drain / events);
    println!("krata burst {channels} notify {:.1}", notify / events);
    Ok(())
}

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [case, channels, rounds] = &words[..] else {
        return Err("usage: krata pingpong|burst CHANNELS ROUNDS".into());
    };
    let (channels, rounds) = (channels.parse()?, rounds.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let scene = Scene::new(channels).await?;
        match case.as_str() {
            "pingpong" if channels == 1 => ping_pong(&scene, rounds).await,
            "burst" => burst(&scene, rounds).await,
            _ => Err("no such case".into()),
        }
    })?;
    // The crate's thread reads for ever.
    process::exit(0)
}
