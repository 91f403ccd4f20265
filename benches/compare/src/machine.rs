//! Counters of the kernel for the machine and for processes.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

/// Measures a proxy and the machine.
pub(crate) struct Meter {
    /// The proxy's address.
    pub(crate) address: SocketAddr,
    /// The proxy's process. Processes that it starts count, too.
    pub(crate) process: u32,
    /// The core that the proxy is pinned to, if any.
    pub(crate) core: Option<usize>,
}

/// The counters at one moment.
pub(crate) struct Reading {
    at: Instant,
    proxy: f64,
    load: f64,
    cores: Vec<Core>,
}

/// Seconds since boot.
#[derive(Clone, Copy)]
struct Core {
    busy: f64,
    idle: f64,
    stolen: f64,
}

/// The difference between two readings.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// The time between the readings, in seconds.
    pub(crate) elapsed: f64,
    /// CPU seconds of the proxy.
    pub(crate) proxy: f64,
    /// How busy the proxy's core was, from 0 to 1. Every process counts.
    pub(crate) core: f64,
    /// CPU time of other processes and of the hypervisor, in cores.
    pub(crate) others: f64,
}

impl Meter {
    /// Reads the counters.
    pub(crate) fn read(&self) -> Reading {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        let cores = cores.map(|line| {
            let ticks: Vec<f64> =
                line.split_whitespace().skip(1).map(|n| n.parse::<f64>().unwrap() / 100.0).collect();
            Core {
                busy: ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6],
                idle: ticks[3] + ticks[4],
                stolen: ticks[7],
            }
        });
        Reading {
            cores: cores.collect(),
            proxy: cpu(&family(self.process)),
            load: cpu(&[std::process::id()]),
            at: Instant::now(),
        }
        .on(self.core)
    }

    /// Proportional set size of the proxy, in bytes.
    pub(crate) fn memory(&self) -> f64 {
        let sizes = family(self.process).into_iter().filter_map(|process| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            kibibytes(&text, "Pss:")
        });
        sizes.sum()
    }

    /// The largest resident set since [`forget_peak`](Self::forget_peak), in bytes.
    pub(crate) fn peak(&self) -> f64 {
        let sizes = family(self.process).into_iter().filter_map(|process| {
            kibibytes(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmHWM:")
        });
        sizes.sum()
    }

    /// Resets the peak.
    pub(crate) fn forget_peak(&self) {
        for process in family(self.process) {
            let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
        }
    }
}

fn kibibytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

impl Reading {
    fn on(mut self, core: Option<usize>) -> Self {
        // `Reading::since` expects the proxy's core first.
        if let Some(core) = core {
            self.cores.swap(0, core);
        }
        self
    }

    /// The difference to an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Used {
        let elapsed = (self.at - before.at).as_secs_f64();
        let sum = |of: fn(&Core) -> f64| -> f64 {
            self.cores.iter().map(of).sum::<f64>() - before.cores.iter().map(of).sum::<f64>()
        };
        let proxy = self.proxy - before.proxy;
        let ours = proxy + self.load - before.load;
        let (now, then) = (self.cores[0], before.cores[0]);
        let (busy, idle) = (now.busy - then.busy, now.idle - then.idle);
        Used {
            elapsed,
            proxy,
            core: busy / (busy + idle).max(0.01),
            others: ((sum(|core| core.busy) - ours).max(0.0) + sum(|core| core.stolen)) / elapsed,
        }
    }
}

/// A process and its descendants.
fn family(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut at = 0;
    while let Some(process) = found.get(at) {
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        at += 1;
    }
    found
}

/// CPU seconds of all threads of these processes.
fn cpu(processes: &[u32]) -> f64 {
    let threads = processes
        .iter()
        .flat_map(|process| fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten());
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// The number of cores.
pub(crate) fn cores() -> usize {
    fs::read_to_string("/proc/stat").unwrap().lines().filter(|line| line.starts_with("cpu")).count() - 1
}

/// Moves this process to these cores.
pub(crate) fn pin_to(cores: &str) {
    let id = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-c", "-p", cores, &id]).output().expect("taskset");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The first line of a command's output, on either stream.
pub(crate) fn says(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command)
        .args(arguments)
        .env("PATH", crate::proxies::PATH)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}; scripts/bench installs it"));
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

/// A line with processor, cores and kernel.
pub(crate) fn describe() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let hypervisor = if processor.contains(" hypervisor") { ", virtual" } else { "" };
    format!("{}, {} cores{hypervisor}, Linux {version}", model.unwrap_or("unknown processor").trim(), cores())
}
