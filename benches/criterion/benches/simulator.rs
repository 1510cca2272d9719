//! Simple operations of the simulator, one thread; run it in `benches/criterion` with
//! `cargo bench --bench simulator`. The throughput that is printed is in operations: a bind and an
//! unbind are two, a round trip is the notify, the read and the write of one event.
#![expect(clippy::unwrap_used, reason = "a bench may end by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evtchn::sim::{Config, Sim, World, abi};
use evtchn::{DomId, EventChannel, Open, PortBuf, RemotePort};

const SELF: u32 = DomId::SELF.as_raw() as u32;

/// The calls on an open file, without a lock.
fn world(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("world");
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let ours = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
    let peer_port = world
        .ioctl(file, abi::BIND_INTERDOMAIN, [SELF, ours])
        .unwrap();
    let mut fired = [0; 64];
    world.read(file, &mut fired).unwrap();
    // Disabled from here on: a notify sets a bit that is set.
    group.throughput(Throughput::Elements(1));
    group.bench_function("notify", |bencher| {
        bencher.iter(|| {
            world
                .ioctl(black_box(file), abi::NOTIFY, peer_port)
                .unwrap()
        });
    });
    group.bench_function("read of nothing", |bencher| {
        let _last = world.read(file, &mut fired);
        bencher.iter(|| world.read(black_box(file), &mut fired).unwrap_err());
    });
    group.bench_function("write of one port", |bencher| {
        let bytes = peer_port.to_ne_bytes();
        bencher.iter(|| world.write(black_box(file), &bytes).unwrap());
    });
    group.throughput(Throughput::Elements(3));
    group.bench_function("notify, read, write", |bencher| {
        let bytes = ours.to_ne_bytes();
        let _empty = world.read(file, &mut fired);
        world.write(file, &bytes).unwrap();
        let _empty = world.read(file, &mut fired);
        world.write(file, &bytes).unwrap();
        bencher.iter(|| {
            world
                .ioctl(black_box(file), abi::NOTIFY, peer_port)
                .unwrap();
            assert_eq!(world.read(file, &mut fired), Ok(4));
            world.write(file, &bytes).unwrap()
        });
    });
    group.throughput(Throughput::Elements(2));
    group.bench_function("bind, unbind", |bencher| {
        bencher.iter(|| {
            let bound = world.ioctl(black_box(file), abi::BIND_UNBOUND_PORT, SELF);
            world.ioctl(file, abi::UNBIND, bound.unwrap()).unwrap()
        });
    });
}

/// The same through a device: a lock, the faults, and the calls of the backend.
fn device(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("device");
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open().unwrap();
    let ours = device.bind_unbound_port(DomId::SELF).unwrap();
    let remote = RemotePort {
        domid: DomId::SELF,
        port: ours,
    };
    let peer_port = device.bind_interdomain(remote).unwrap();
    let mut fired = PortBuf::with_capacity(64);
    device.pending(&mut fired).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("notify", |bencher| {
        bencher.iter(|| black_box(&device).notify(peer_port).unwrap());
    });
    group.bench_function("read of nothing", |bencher| {
        device.pending(&mut fired).unwrap();
        bencher.iter(|| black_box(&device).pending(&mut fired).unwrap());
    });
    group.bench_function("write of one port", |bencher| {
        bencher.iter(|| black_box(&device).unmask(&[peer_port]).unwrap());
    });
    group.throughput(Throughput::Elements(3));
    group.bench_function("notify, read, write", |bencher| {
        device.unmask(&[ours]).unwrap();
        device.pending(&mut fired).unwrap();
        device.unmask(&[ours]).unwrap();
        bencher.iter(|| {
            black_box(&device).notify(peer_port).unwrap();
            device.pending(&mut fired).unwrap();
            assert_eq!(fired.words(), [ours.as_raw()]);
            device.unmask(&[ours]).unwrap()
        });
    });
    group.throughput(Throughput::Elements(2));
    group.bench_function("bind, unbind", |bencher| {
        bencher.iter(|| {
            let bound = black_box(&device).bind_unbound_port(DomId::SELF);
            device.unbind(bound.unwrap()).unwrap();
        });
    });
}

criterion_group!(benches, world, device);
criterion_main!(benches);
