//! What the benchmarks measure with: processor time and memory of proc(5), a synced write of the disk, percentiles.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Processor time of this process so far: `utime` and `stime`, in ticks of 10 ms.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    cpu_of("self")
}

/// Processor time of a process so far.
pub(crate) fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("proc(5)")?.1;
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Processor time of this process since a moment.
pub(crate) fn cpu_since(before: Duration) -> anyhow::Result<Duration> {
    Ok(cpu()?.saturating_sub(before))
}

/// Megabytes that a process holds.
pub(crate) fn resident(process: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("proc(5)")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024 / 1_000_000)
}

/// The time that so many per cent stay below.
pub(crate) fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

/// The median of some synced writes of 4 KiB: what the disk below gives.
pub(crate) fn synced_write(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = std::fs::File::create(folder.join("probe"))?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(at(&mut times, 50))
}

/// Does something again and again for two seconds of processor time, and prints how many of the `items` that it makes
/// fit into a second of one core. What is done in a `batch` is prepared before and takes some tenths of a second.
pub(crate) fn rate<I, O>(
    what: &str,
    (items, batch): (u32, usize),
    goal: &str,
    mut prepare: impl FnMut() -> I,
    mut run: impl FnMut(I) -> O,
) -> anyhow::Result<()> {
    let (mut spent, mut times) = (Duration::ZERO, 0);
    while spent < Duration::from_secs(2) {
        let inputs: Vec<I> = (0..batch).map(|_| prepare()).collect();
        let before = cpu()?;
        for input in inputs {
            std::hint::black_box(run(std::hint::black_box(input)));
            times += 1;
        }
        spent += cpu_since(before)?;
    }
    let each = spent / times;
    println!(
        "  {what}: {:.0} a second of one core, {each:.1?} at once ({goal})",
        f64::from(items) / each.as_secs_f64()
    );
    Ok(())
}
