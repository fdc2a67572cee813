//! What processes use, as Linux says it: processor time and memory.

use std::fs;

/// Microseconds of the hundredths of a second in which Linux counts for everybody.
const TICK_US: u64 = 10_000;

/// Processor time of one process so far, user and system, in microseconds.
pub(super) fn cpu_us(process: i32) -> u64 {
    stat(process).map_or(0, |stat| stat.own * TICK_US)
}

/// The same of a process and of all its children, those that have ended included.
pub(super) fn family_cpu_us(parent: i32) -> u64 {
    let Some(of_parent) = stat(parent) else { return 0 };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = numbers.filter_map(stat).filter(|child| child.parent == parent);
    let alive: u64 = children.map(|child| child.own).sum();
    (of_parent.own + of_parent.ended_children + alive) * TICK_US
}

/// Memory of a process that is in RAM, in bytes.
pub(super) fn resident_bytes(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    kib_in(&status, "VmRSS:").unwrap_or(0) * 1_024
}

/// Memory that could still be used, in bytes.
pub(super) fn available_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kib_in(&meminfo, "MemAvailable:").unwrap_or(0) * 1_024
}

fn kib_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

struct Stat {
    parent: i32,
    /// In ticks, both.
    own: u64,
    ended_children: u64,
}

fn stat(process: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may contain anything: state, parent, …; user and system time are the
    // 12th and 13th of them, those of ended children the next two.
    let after_name = text.rsplit(')').next()?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended_children: ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_time_and_memory() {
        let me = i32::try_from(std::process::id()).expect("below 2^22");
        let before = cpu_us(me);
        let mut sum = 0_u64;
        while cpu_us(me) < before + 50_000 {
            sum = sum.wrapping_add(std::hint::black_box(sum) | 1);
        }
        assert!(family_cpu_us(me) >= before + 50_000);
        assert!(resident_bytes(me) > 1_000_000 && available_bytes() > 1_000_000);
    }
}
