//! A wait, a signal and a round, with this many waiters: run it in `benches/criterion` with
//! `cargo bench --bench waiters`.
#![expect(clippy::unwrap_used, reason = "a bench may end by panicking")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evtchn::sim::{Sim, SimLoop};
use evtchn::{Context, DomId, Port};

/// Every guest notifies once, one round brings all wakes, and all wait again in it.
fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst");
    for waiters in [1, 16, 256, 4096] {
        let sim = Sim::new(0);
        let domid = sim.create_domain_with(None, &roomy()).unwrap();
        let guest = sim.guest(domid);
        let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
        let channels: Vec<_> = (0..waiters)
            .map(|_| ctx.bind_unbound_port(domid).unwrap())
            .collect();
        let peer_ports: Vec<Port> = channels
            .iter()
            .map(|channel| guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap())
            .collect();
        for channel in &channels {
            channel.wait().unwrap();
        }
        group.throughput(Throughput::Elements(waiters));
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| {
            bencher.iter(|| {
                for port in &peer_ports {
                    guest.send(*port).unwrap();
                }
                let mut round = ctx.dispatch().unwrap();
                for wake in &mut round {
                    ctx.wait(wake.channel).unwrap();
                }
                round.finish().unwrap()
            });
        });
    }
}

/// A guest with more ports than libxl gives one.
fn roomy() -> evtchn::sim::DomainConfig {
    let mut config = evtchn::sim::DomainConfig::guest();
    config.max_port = u32::MAX;
    config
}

/// The first wait registers, the cancel deregisters.
fn wait_and_cancel(criterion: &mut Criterion) {
    let sim = Sim::new(0);
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
    criterion.bench_function("wait and cancel", |bencher| {
        bencher.iter(|| {
            channel.wait().unwrap();
            channel.cancel().unwrap();
        });
    });
}

criterion_group!(benches, burst, wait_and_cancel);
criterion_main!(benches);
