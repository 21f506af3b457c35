//! The machine's own figures for /metrics, read from /proc when somebody asks for them; a simulation has none.
//!
//! Deliberately without a sampler or a cache of its own: between two scrapes nothing is read. Figures of pods come
//! from their runtime, not from here.

use std::sync::Once;

use procfs::process::Process;
use procfs::{
    CpuTime, Current, CurrentSI, KernelStats, Meminfo, ProcError, ProcResult, WithCurrentSystemInfo,
};
use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Opts, Registry};

/// What a node tells about the machine that it runs on.
pub trait Machine {
    /// Puts the machine's figures on a node's registry; fails if it has them already.
    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error>;
}

/// This Linux machine and this process, from /proc.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for source in SOURCES {
            registry.register(Box::new(Figure::new(source)?))?;
        }
        Ok(())
    }
}

/// A machine that tells nothing: what /proc says of a simulation's process is no part of the simulated world.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMachine;

impl Machine for NoMachine {
    fn register(&self, _: &Registry) -> Result<(), prometheus::Error> {
        Ok(())
    }
}

/// A process's resident memory, bytes.
pub fn resident_bytes(process: &Process) -> ProcResult<u64> {
    Ok(process.stat()?.rss_bytes().get())
}

/// Bytes that a process made the kernel send towards a disk since it started: `write_bytes` of `/proc/<pid>/io`,
/// which counts pages dirtied in files of a real file system; a tmpfs, a pipe or a socket does not count (proc(5)).
/// Another user's process refuses to tell.
pub fn disk_written_bytes(process: &Process) -> ProcResult<u64> {
    Ok(process.io()?.write_bytes)
}

/// The machine's memory, bytes.
pub fn memory_total_bytes() -> ProcResult<u64> {
    Ok(Meminfo::current()?.mem_total)
}

/// One metric family and where it comes from.
#[derive(Clone, Copy)]
struct Source {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    /// The name of the label that tells its samples apart.
    label: Option<&'static str>,
    read: fn() -> ProcResult<Vec<Sample>>,
}

/// A label's value ("" where the family has no label) and the figure.
type Sample = (&'static str, f64);

/// Names and meanings of the `process_` figures are those of every Prometheus client
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
const SOURCES: [Source; 7] = [
    Source {
        name: "process_cpu_seconds_total",
        help: "User and system CPU time this process has used, in seconds",
        kind: MetricType::COUNTER,
        label: None,
        read: process_cpu,
    },
    Source {
        name: "process_resident_memory_bytes",
        help: "Resident memory of this process",
        kind: MetricType::GAUGE,
        label: None,
        read: || Ok(vec![("", resident_bytes(&Process::myself()?)? as f64)]),
    },
    Source {
        name: "process_open_fds",
        help: "Open file descriptors of this process",
        kind: MetricType::GAUGE,
        label: None,
        read: || Ok(vec![("", Process::myself()?.fd_count()? as f64)]),
    },
    Source {
        name: "process_start_time_seconds",
        help: "When this process started, in seconds since the Unix epoch",
        kind: MetricType::GAUGE,
        label: None,
        read: process_start,
    },
    Source {
        name: "kagero_disk_written_bytes_total",
        help: "Bytes this process made the kernel write towards a disk (write_bytes of /proc/self/io: pages dirtied in \
               files of a real file system; not tmpfs, pipes or sockets, and not what containers write)",
        kind: MetricType::COUNTER,
        label: None,
        read: || Ok(vec![("", disk_written_bytes(&Process::myself()?)? as f64)]),
    },
    Source {
        name: "kagero_node_cpu_seconds_total",
        help: "CPU time the whole machine was busy, in seconds over all CPUs (/proc/stat without idle, iowait and steal)",
        kind: MetricType::COUNTER,
        label: None,
        read: || {
            Ok(vec![(
                "",
                seconds(busy_ticks(&KernelStats::current()?.total)),
            )])
        },
    },
    Source {
        name: "kagero_node_memory_bytes",
        help: "The whole machine's memory: in all, and used (without what the kernel could free for programs at once)",
        kind: MetricType::GAUGE,
        label: Some("kind"),
        read: || node_memory(&Meminfo::current()?),
    },
];

fn process_cpu() -> ProcResult<Vec<Sample>> {
    let stat = Process::myself()?.stat()?;
    Ok(vec![("", seconds(stat.utime + stat.stime))])
}

fn process_start() -> ProcResult<Vec<Sample>> {
    let since_boot = seconds(Process::myself()?.stat()?.starttime);
    Ok(vec![("", procfs::boot_time_secs()? as f64 + since_boot)])
}

/// Ticks that CPUs worked. A virtual CPU's time (`guest`) is counted in `user` already; stolen time was another's.
fn busy_ticks(time: &CpuTime) -> u64 {
    let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
    time.user + time.nice + time.system + interrupts
}

fn node_memory(memory: &Meminfo) -> ProcResult<Vec<Sample>> {
    let missing = || ProcError::Other("no MemAvailable in /proc/meminfo".to_owned());
    let available = memory.mem_available.ok_or_else(missing)?;
    let used = memory.mem_total.saturating_sub(available);
    Ok(vec![
        ("total", memory.mem_total as f64),
        ("used", used as f64),
    ])
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// A source on a registry. One that cannot be read is missing from the scrape, and said so once.
struct Figure {
    source: Source,
    desc: Desc,
    told: Once,
}

impl Figure {
    fn new(source: Source) -> Result<Self, prometheus::Error> {
        let mut opts = Opts::new(source.name, source.help);
        opts.variable_labels.extend(source.label.map(str::to_owned));
        Ok(Self {
            source,
            desc: opts.describe()?,
            told: Once::new(),
        })
    }

    fn metric(&self, (value_of_label, value): Sample) -> Metric {
        let label = self.source.label.map(|name| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value_of_label.to_owned());
            label
        });
        let mut metric = Metric::from_label(label.into_iter().collect());
        if self.source.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

impl Collector for Figure {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let samples = match (self.source.read)() {
            Ok(samples) => samples,
            Err(error) => {
                self.told.call_once(
                    || tracing::warn!(metric = self.source.name, %error, "cannot read a figure"),
                );
                return Vec::new();
            }
        };
        let mut family = MetricFamily::default();
        family.set_name(self.source.name.to_owned());
        family.set_help(self.source.help.to_owned());
        family.set_field_type(self.source.kind);
        family.set_metric(
            samples
                .into_iter()
                .map(|sample| self.metric(sample))
                .collect(),
        );
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use procfs::{FromBufRead, FromBufReadSI};
    use prometheus::TextEncoder;

    use super::*;
    use crate::env::clock::{Clock, SystemClock};

    /// The value of a series in a registry's exposition, e.g. `process_open_fds` or `name{kind="used"}`.
    fn value(registry: &Registry, series: &str) -> Option<f64> {
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    fn this_machine() -> Registry {
        let registry = Registry::new();
        ThisMachine.register(&registry).unwrap();
        registry
    }

    #[test]
    fn every_figure_is_told_on_each_nodes_own_registry() {
        for registry in [this_machine(), this_machine()] {
            let names: Vec<_> = registry
                .gather()
                .iter()
                .map(|family| family.name().to_owned())
                .collect();
            let mut wanted: Vec<_> = SOURCES.iter().map(|source| source.name).collect();
            wanted.sort_unstable();
            assert_eq!(names, wanted);
            assert!(
                ThisMachine.register(&registry).is_err(),
                "they are there already"
            );
        }
    }

    #[test]
    fn figures_are_plausible() {
        let registry = this_machine();
        let value = |series| value(&registry, series).unwrap();
        assert!(value("process_resident_memory_bytes") > f64::from(1 << 16));
        let (total, used) = (
            value("kagero_node_memory_bytes{kind=\"total\"}"),
            value("kagero_node_memory_bytes{kind=\"used\"}"),
        );
        assert!(0.0 < used && used < total, "{used} of {total}");
        assert!(value("kagero_node_cpu_seconds_total") >= value("process_cpu_seconds_total"));
        let age =
            SystemClock::new().wall().as_second() as f64 - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "the test began {age} s ago");
    }

    #[test]
    fn figures_are_read_anew_at_each_scrape() {
        let registry = this_machine();
        let before = value(&registry, "process_open_fds").unwrap();
        let files: Vec<_> = (0..50)
            .map(|_| File::open("/proc/self/stat").unwrap())
            .collect();
        let after = value(&registry, "process_open_fds").unwrap();
        drop(files);
        // Tests that run beside this one open and close a few of their own.
        assert!(after >= before + 30.0, "{before} → {after}");
    }

    #[test]
    fn a_simulated_machine_tells_nothing() {
        let registry = Registry::new();
        NoMachine.register(&registry).unwrap();
        assert!(registry.gather().is_empty());
    }

    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        let text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 1 20\n\
                    cpu0 1 20 300 4000 50000 600000 7000000 80000000 1 20\n\
                    ctxt 1\nbtime 2\nprocesses 3\n";
        let stats =
            KernelStats::from_buf_read(text.as_bytes(), procfs::current_system_info()).unwrap();
        assert_eq!(busy_ticks(&stats.total), 7_600_321);
    }

    #[test]
    fn what_cannot_be_read_is_missing_and_the_rest_is_told() {
        let without = "MemTotal: 1000 kB\nMemFree: 10 kB\nBuffers: 0 kB\nCached: 0 kB\nSwapCached: 0 kB\nActive: 0 kB\n\
                       Inactive: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nDirty: 0 kB\nWriteback: 0 kB\nMapped: 0 kB\n\
                       Slab: 0 kB\nCommitted_AS: 0 kB\nVmallocTotal: 0 kB\nVmallocUsed: 0 kB\nVmallocChunk: 0 kB\n";
        let memory = Meminfo::from_buf_read(without.as_bytes()).unwrap();
        assert!(node_memory(&memory).is_err());

        let registry = this_machine();
        let broken = Source {
            name: "broken",
            read: || Err(ProcError::Other("not today".to_owned())),
            ..SOURCES[0]
        };
        registry
            .register(Box::new(Figure::new(broken).unwrap()))
            .unwrap();
        assert_eq!(value(&registry, "broken"), None);
        assert!(value(&registry, "process_open_fds").is_some());
    }
}
