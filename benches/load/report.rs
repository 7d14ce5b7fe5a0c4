//! The output: tables on stdout, and all figures as JSON.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::sample::Sample;
use crate::servers::{LIMIT, WSPIPE};
use crate::workloads::{Aim, Kind, Ratio, Workload};

/// All rounds of one server at one workload.
pub(crate) struct Series {
    pub(crate) server: &'static str,
    pub(crate) samples: Vec<Sample>,
    /// Why rounds failed.
    pub(crate) failures: Vec<String>,
}

/// All servers at one workload.
pub(crate) struct Outcome<'w> {
    pub(crate) workload: &'w Workload,
    pub(crate) series: Vec<Series>,
}

/// From this share of its core on, the load may have limited the rate.
const LOAD_BUSY: f64 = 0.97;

/// The median of some figures, and their spread (highest less lowest) as a share of it.
#[derive(Clone, Copy)]
struct Median {
    value: f64,
    spread: f64,
}

impl Series {
    fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<Median> {
        let mut figures: Vec<f64> = self.samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let value = match figures.len() % 2 {
            1 => figures[middle],
            _ => (figures[middle - 1] + figures[middle]) / 2.0,
        };
        let spread = (most - least) / value.max(f64::MIN_POSITIVE);
        Some(Median { value, spread })
    }
}

impl Outcome<'_> {
    fn series(&self, server: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.server == server)
    }

    /// A figure of one server as a multiple of another's.
    fn ratio(&self, server: &str, of: &str, figure: fn(&Sample) -> f64) -> Option<f64> {
        let one = self.series(server)?.median(figure)?;
        let other = self.series(of)?.median(figure)?;
        Some(one.value / other.value)
    }

    /// The ratio of an aim, and whether it was reached.
    fn reached(&self, aim: &Aim) -> Option<(f64, bool)> {
        match aim.ratio {
            Ratio::RateMin(min) => {
                let ratio = self.ratio(WSPIPE, aim.of, |sample| sample.rate)?;
                Some((ratio, ratio >= min))
            }
            Ratio::BytesMin(min) => {
                let ratio = self.ratio(WSPIPE, aim.of, |sample| sample.bytes_rate)?;
                Some((ratio, ratio >= min))
            }
            Ratio::CpuMax(max) => {
                let ratio = self.ratio(WSPIPE, aim.of, |sample| sample.cpu_us)?;
                Some((ratio, ratio <= max))
            }
        }
    }

    /// Prints the table of this workload.
    pub(crate) fn print(&self) {
        println!("\n{}", self.workload.name);
        println!(
            "  {:<15} {:>10} {:>4} {:>8} {:>8} {:>4} {:>8} {:>9} {:>9}  {:>5} {:>5}",
            "",
            "per s",
            "+-%",
            "MB/s",
            "CPU us",
            "+-%",
            "ns/byte",
            "p50 us",
            "p99 us",
            "rate",
            "CPU"
        );
        for series in &self.series {
            match self.line(series) {
                Some(line) => println!("{line}"),
                None => println!("  {:<15} no figures", series.server),
            }
            for failure in &series.failures {
                println!("  {:<15} a round failed: {failure}", series.server);
            }
        }
        if let Kind::Broadcast { clients, .. } = self.workload.load {
            self.print_lines(clients);
        }
        for aim in &self.workload.aims {
            self.print_aim(aim);
        }
    }

    /// Prints the message rates as lines of the command.
    fn print_lines(&self, clients: usize) {
        let rates = self.series.iter().filter_map(|series| {
            let rate = series.median(|sample| sample.rate)?.value / clients as f64;
            Some(format!("{} {rate:.0}", series.server))
        });
        let rates: Vec<String> = rates.collect();
        println!("  lines a second to each client: {}", rates.join(", "));
    }

    fn line(&self, series: &Series) -> Option<String> {
        let rate = series.median(|sample| sample.rate)?;
        let cpu = series.median(|sample| sample.cpu_us)?;
        let value = |figure: fn(&Sample) -> f64| Some(series.median(figure)?.value);
        let times = |figure| match self.ratio(series.server, LIMIT, figure) {
            Some(ratio) => format!("{ratio:.2}"),
            None => "-".to_owned(),
        };
        // A workload without replies has no latencies.
        let time = |figure| match value(figure)? {
            0.0 => Some("-".to_owned()),
            micros => Some(format!("{micros:.1}")),
        };
        let full = match value(|sample| sample.load_busy)? >= LOAD_BUSY {
            true => "  load-bound",
            false => "",
        };
        Some(format!(
            "  {:<15} {:>10.0} {:>4.0} {:>8.1} {:>8.2} {:>4.0} {:>8.3} {:>9} {:>9}  {:>5} {:>5}{full}",
            series.server,
            rate.value,
            100.0 * rate.spread,
            value(|sample| sample.bytes_rate)? / 1e6,
            cpu.value,
            100.0 * cpu.spread,
            value(|sample| sample.cpu_ns_per_byte)?,
            time(|sample| sample.p50_us)?,
            time(|sample| sample.p99_us)?,
            times(|sample| sample.rate),
            times(|sample| sample.cpu_us),
        ))
    }

    fn print_aim(&self, aim: &Aim) {
        let aimed = match aim.ratio {
            Ratio::RateMin(min) => format!("rate at least {min} of {}", aim.of),
            Ratio::BytesMin(min) => format!("MB/s at least {min} of {}", aim.of),
            Ratio::CpuMax(max) => format!("CPU at most {max} of {}", aim.of),
        };
        match self.reached(aim) {
            Some((ratio, true)) => println!("  reached: {aimed} ({ratio:.2})"),
            Some((ratio, false)) => println!("  MISSED: {aimed} ({ratio:.2})"),
            // The other server was selected, but is absent or failed.
            None if self.series(aim.of).is_some() => println!("  NOT KNOWN: {aimed}"),
            None => {}
        }
    }

    fn json(&self, out: &mut String) {
        let _ = write!(
            out,
            "    {{\"workload\": {}, \"servers\": [",
            quoted(&self.workload.name)
        );
        for (index, series) in self.series.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(
                out,
                "{comma}\n      {{\"name\": {}, ",
                quoted(series.server)
            );
            let failures: Vec<String> = series.failures.iter().map(|f| quoted(f)).collect();
            let _ = write!(
                out,
                "\"failures\": [{}], \"rounds\": [",
                failures.join(", ")
            );
            let rounds: Vec<String> = series.samples.iter().map(sample_json).collect();
            let _ = write!(out, "{}]}}", rounds.join(","));
        }
        out.push_str("],\n     \"aims\": [");
        let aims: Vec<String> = self
            .workload
            .aims
            .iter()
            .map(|aim| self.aim_json(aim))
            .collect();
        let _ = write!(out, "{}]}}", aims.join(", "));
    }

    fn aim_json(&self, aim: &Aim) -> String {
        let (figure, bound) = match aim.ratio {
            Ratio::RateMin(min) => ("rate", format!("\"min\": {min}")),
            Ratio::BytesMin(min) => ("bytes_rate", format!("\"min\": {min}")),
            Ratio::CpuMax(max) => ("cpu", format!("\"max\": {max}")),
        };
        let came = match self.reached(aim) {
            Some((ratio, reached)) => format!("\"ratio\": {ratio:.4}, \"reached\": {reached}"),
            None => "\"ratio\": null, \"reached\": null".to_owned(),
        };
        let of = quoted(aim.of);
        format!("{{\"figure\": \"{figure}\", \"of\": {of}, {bound}, {came}}}")
    }
}

fn sample_json(sample: &Sample) -> String {
    let Sample {
        rate,
        bytes_rate,
        cpu_us,
        cpu_ns_per_byte,
        p50_us,
        p99_us,
        max_us,
        server_busy,
        load_busy,
    } = sample;
    format!(
        "\n        {{\"rate\": {rate:.1}, \"bytes_rate\": {bytes_rate:.0}, \"cpu_us\": {cpu_us:.4}, \
         \"cpu_ns_per_byte\": {cpu_ns_per_byte:.4}, \"p50_us\": {p50_us:.1}, \
         \"p99_us\": {p99_us:.1}, \"max_us\": {max_us:.1}, \"server_busy\": {server_busy:.3}, \
         \"load_busy\": {load_busy:.3}}}"
    )
}

/// The conditions of the measurement: pairs of a name and a text.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Writes all outcomes as JSON.
pub(crate) fn write_json(path: &Path, facts: &Facts, outcomes: &[Outcome]) -> io::Result<()> {
    let mut out = String::from("{\n");
    for (name, text) in facts {
        let _ = writeln!(out, "  {}: {},", quoted(name), quoted(text));
    }
    out.push_str("  \"outcomes\": [\n");
    for (index, outcome) in outcomes.iter().enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        outcome.json(&mut out);
    }
    out.push_str("\n  ]\n}\n");
    std::fs::write(path, out)
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
