//! What processes use, as Linux tells it. Must never change anything.

use std::fs;

/// Linux counts processor time so for everybody, in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4_096;

/// Processor time of a process since it began, user and system. What has ended used nothing.
pub fn cpu_s(process: u32) -> f64 {
    stat(process).map_or(0.0, |fields| fields.cpu_s)
}

/// The same of a process and its children, those that have ended included.
pub fn family_cpu_s(parent: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = numbers.filter_map(stat).filter(|fields| fields.parent == parent);
    let children: f64 = children.map(|fields| fields.cpu_s).sum();
    stat(parent).map_or(0.0, |fields| fields.cpu_s + fields.ended_cpu_s) + children
}

/// Memory of a process that is not on disk only.
pub fn resident_bytes(process: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}

/// Memory that could still be used, in bytes.
pub fn available_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}

struct Stat {
    parent: u32,
    cpu_s: f64,
    /// Of children that have ended.
    ended_cpu_s: f64,
}

fn stat(process: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may contain anything: the state, the parent, and the times of user
    // and system as the 12th and 13th field, with those of children behind them.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_S);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu_s: seconds(11)? + seconds(12)?,
        ended_cpu_s: seconds(13)? + seconds(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time_and_has_a_parent() {
        let this = std::process::id();
        assert!(resident_bytes(this) > 1_000_000 && available_bytes() > 1_000_000);
        assert_eq!(stat(this).expect("it runs").parent, std::os::unix::process::parent_id());
        assert!(family_cpu_s(this) >= cpu_s(this));
        assert!(stat(u32::MAX).is_none());
    }
}
