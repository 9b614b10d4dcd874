//! Figures of this process, read from `/proc/self` when the metrics are rendered.
//!
//! The names are those that Prometheus client libraries agree on, so that ready-made dashboards work. What
//! cannot be read (another system, a hidden `/proc`) is left out. CPU time keeps the kernel's resolution of
//! 10 ms: whole seconds would turn the rate of a quiet gateway into steps.

use std::fs;

use prometheus::Result;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// Clock ticks in a second as `/proc` reports them: `USER_HZ`, 100 on every architecture that Rust's Linux
/// targets support, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

const FIGURES: [(&str, &str, MetricType); 7] = [
    ("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", MetricType::COUNTER),
    (
        "process_open_fds",
        "File descriptors in use: one for each connection and a few more.",
        MetricType::GAUGE,
    ),
    ("process_max_fds", "Most file descriptors that this process may have.", MetricType::GAUGE),
    ("process_virtual_memory_bytes", "Virtual memory, in bytes.", MetricType::GAUGE),
    ("process_resident_memory_bytes", "Resident memory, in bytes.", MetricType::GAUGE),
    (
        "process_start_time_seconds",
        "Start of the process, in seconds since the Unix epoch.",
        MetricType::GAUGE,
    ),
    ("process_threads", "Threads of the process.", MetricType::GAUGE),
];

/// Reads the figures anew each time it is collected.
pub(super) struct Process {
    descriptions: Vec<Desc>,
}

impl Process {
    /// # Errors
    /// When a name is not valid for Prometheus.
    pub(super) fn new() -> Result<Self> {
        let describe = |(name, help, _): (&str, &str, MetricType)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), Default::default())
        };
        Ok(Self { descriptions: FIGURES.into_iter().map(describe).collect::<Result<_>>()? })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let boot_seconds = field(&read("/proc/stat"), "btime");
        let values = [
            stat_field(&stat, 14)
                .zip(stat_field(&stat, 15))
                .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            // The handle that lists them is itself one of them.
            fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64),
            field(&read("/proc/self/limits"), "Max open files"),
            field(&status, "VmSize:").map(|kib| kib * 1024.0),
            field(&status, "VmRSS:").map(|kib| kib * 1024.0),
            stat_field(&stat, 22)
                .zip(boot_seconds)
                .map(|(ticks, boot_seconds)| boot_seconds + ticks / TICKS_PER_SECOND),
            field(&status, "Threads:"),
        ];
        FIGURES.into_iter().zip(values).filter_map(|(figure, value)| Some(family(figure, value?))).collect()
    }
}

/// A field of `/proc/PID/stat` by its number in proc(5), which counts from 1.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    // Field 2 is the program's name in parentheses and may hold spaces and parentheses itself.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The first number after `name` on the line that starts with it.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn family((name, help, kind): (&str, &str, MetricType), value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_moves_no_field() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 9 0 5000 0";
        assert_eq!(stat_field(stat, 14), Some(120.0));
        assert_eq!(stat_field(stat, 15), Some(30.0));
        assert_eq!(stat_field(stat, 22), Some(5000.0));
        assert_eq!(stat_field("", 14), None);
    }

    #[test]
    fn a_limit_that_is_not_a_number_is_left_out() {
        let limits = "Max open files            1024                 4096                 files\n";
        assert_eq!(field(limits, "Max open files"), Some(1024.0));
        assert_eq!(field("Max open files            unlimited            unlimited", "Max open files"), None);
    }

    #[test]
    fn this_process_has_believable_figures() {
        let families = Process::new().expect("the names are valid").collect();
        let gauge = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect(name);
            family.get_metric()[0].get_gauge().get_value()
        };
        let resident = gauge("process_resident_memory_bytes");
        assert!(resident > 100_000.0 && resident <= gauge("process_virtual_memory_bytes"));
        assert!(gauge("process_open_fds") >= 3.0 && gauge("process_open_fds") < gauge("process_max_fds"));
        assert!(gauge("process_threads") >= 1.0);
        let now = events::Clock::system()
            .system_time()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970")
            .as_secs_f64();
        let age = now - gauge("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }
}
