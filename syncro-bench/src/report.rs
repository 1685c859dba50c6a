//! What was measured: as a table, or as lines of JSON.

use std::fmt::Write;

use crate::cases::{Case, Goal, Metric};
use crate::engines::Peer;
use crate::measure::Sample;

/// The medians of one case.
pub struct Measured {
    pub case: Case,
    pub n: usize,
    /// In the order of [`Peer::ALL`], without those who took no part.
    pub samples: Vec<(Peer, Sample)>,
}

impl Measured {
    pub fn of(&self, peer: Peer) -> Option<&Sample> {
        self.samples.iter().find(|(it, _)| *it == peer).map(|(_, sample)| sample)
    }

    /// What counts of a peer's sample: less is better.
    pub fn cost(&self, peer: Peer) -> Option<f64> {
        let cost = self.case.metric.cost(self.of(peer)?);
        (cost > 0.0).then_some(cost)
    }

    /// How many times as good Syncro is.
    pub fn ratio_to(&self, peer: Peer) -> Option<f64> {
        Some(self.cost(peer)? / self.cost(Peer::Syncro)?)
    }

    pub fn best_peer(&self) -> Option<Peer> {
        let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
        let costs = rivals.filter_map(|peer| Some((peer, self.cost(peer)?)));
        costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(peer, _)| peer)
    }

    fn shown(&self, peer: Peer) -> String {
        let Some(cost) = self.cost(peer) else { return "-".to_owned() };
        match self.case.metric {
            Metric::Rate => format!("{}/s", short(1.0 / cost)),
            Metric::Time if cost < 1e-3 => format!("{:.1} us", cost * 1e6),
            Metric::Time if cost < 1.0 => format!("{:.2} ms", cost * 1e3),
            Metric::Time => format!("{cost:.2} s"),
            Metric::BytesEach => format!("{cost:.0} B"),
            Metric::Reads => format!("{cost:.0} reads"),
            Metric::Bytes | Metric::Memory => format!("{}B", short(cost)),
        }
    }

    fn goal(&self) -> String {
        let against = |ratio: Option<f64>, goal: f64, name: &str| {
            format!("{} {goal} x {name}", verdict(ratio.is_some_and(|ratio| ratio >= goal)))
        };
        match self.case.goal {
            Goal::None => String::new(),
            Goal::Yrs(goal) => against(self.ratio_to(Peer::Yrs), goal, "yrs"),
            Goal::Limit(goal) => against(self.ratio_to(Peer::Limit), goal, "limit"),
            Goal::Best(goal) => {
                against(self.best_peer().and_then(|best| self.ratio_to(best)), goal, "best")
            }
            Goal::Figure(goal) => {
                let cost = self.cost(Peer::Syncro);
                match self.case.metric {
                    Metric::Rate => {
                        let is_met = cost.is_some_and(|cost| 1.0 / cost >= goal);
                        format!("{} {}/s", verdict(is_met), short(goal))
                    }
                    Metric::Time => {
                        let is_met = cost.is_some_and(|cost| cost <= goal);
                        format!("{} {} ms", verdict(is_met), goal * 1e3)
                    }
                    _ => {
                        let is_met = cost.is_some_and(|cost| cost <= goal);
                        format!("{} {goal} B", verdict(is_met))
                    }
                }
            }
        }
    }

    /// A row for each peer, and one for the case.
    pub fn json(&self) -> String {
        let (case, n) = (self.case.name, self.n);
        let mut lines = String::new();
        for (peer, sample) in &self.samples {
            let Sample { seconds, bytes, peak_rss_bytes, .. } = sample;
            let (peer, rate) = (peer.name(), sample.ops_per_second());
            writeln!(
                lines,
                "{{\"case\":\"{case}\",\"peer\":\"{peer}\",\"n\":{n},\"seconds\":{seconds:.9},\
                 \"ops_per_second\":{rate:.3},\"bytes\":{bytes},\"peak_rss_bytes\":{peak_rss_bytes}}}"
            )
            .unwrap();
        }
        let best = self.best_peer();
        let number = |ratio: Option<f64>| match ratio {
            Some(ratio) => format!("{ratio:.4}"),
            None => "null".to_owned(),
        };
        let ratio = number(best.and_then(|best| self.ratio_to(best)));
        let name = best.map_or("null".to_owned(), |best| format!("\"{}\"", best.name()));
        let to_yrs = number(self.ratio_to(Peer::Yrs));
        writeln!(
            lines,
            "{{\"case\":\"{case}\",\"n\":{n},\"ratio_to_best_peer\":{ratio},\
             \"best_peer\":{name},\"ratio_to_yrs\":{to_yrs}}}"
        )
        .unwrap();
        lines
    }
}

/// The head of the table.
pub fn head() -> String {
    row(&[
        "case",
        "n",
        "syncro",
        "automerge",
        "loro",
        "yrs",
        "limit",
        "to best",
        "to yrs",
        "to limit",
        "goal",
    ])
}

/// A row of the table.
pub fn line(measured: &Measured) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    let best = measured.best_peer().and_then(|best| measured.ratio_to(best));
    let mut cells = vec![measured.case.name.to_owned(), short(measured.n as f64)];
    cells.extend(Peer::ALL.map(|peer| measured.shown(peer)));
    cells.extend([
        ratio(best),
        ratio(measured.ratio_to(Peer::Yrs)),
        ratio(measured.ratio_to(Peer::Limit)),
        measured.goal(),
    ]);
    row(&cells)
}

fn row<T: AsRef<str>>(cells: &[T]) -> String {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let cell = cell.as_ref();
        let width = if at == 0 { 18 } else { 10 };
        let padded =
            if at == 0 { format!("| {cell:width$} ") } else { format!("| {cell:>width$} ") };
        line.push_str(&padded);
    }
    line.push('|');
    line
}

/// The line below the head.
pub fn rule() -> String {
    let cells = (0..11)
        .map(|at| "-".repeat(if at == 0 { 20 } else { 11 }) + if at == 0 { "" } else { ":" });
    format!("|{}|", cells.collect::<Vec<_>>().join("|"))
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// A number in three digits or so.
fn short(number: f64) -> String {
    let (number, unit) = match number {
        it if it >= 999_500.0 => (it / 1e6, "M"),
        it if it >= 9_995.0 => (it / 1e3, "k"),
        it => (it, ""),
    };
    let digits = if number >= 100.0 || number.fract() == 0.0 { 0 } else { 2 };
    format!("{number:.digits$}{unit}")
}
