//! The table as a picture: a row for each case, a mark for each peer, further right is better.

use std::fmt::Write;

use crate::engines::Peer;
use crate::report::Measured;

const ROW: f64 = 26.0;
const LEFT: f64 = 150.0;
const WIDTH: f64 = 640.0;
const TOP: f64 = 56.0;

/// Powers of ten beside the best peer that are shown on either side.
const DECADES: f64 = 2.0;

/// An SVG of what was measured. The best peer of each case is at 1, on a logarithmic scale.
pub fn svg(all: &[Measured]) -> String {
    let rows: Vec<&Measured> = all.iter().filter(|it| it.best_peer().is_some()).collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        LEFT + WIDTH + 40.0,
        bottom + 30.0
    )
    .unwrap();
    legend(&mut svg);
    for decade in -2..=2 {
        let (at, times) = (x(10_f64.powi(decade)), 10_f64.powi(decade));
        writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{times}x</text>",
            bottom + 18.0
        )
        .unwrap();
    }
    for (at, measured) in rows.into_iter().enumerate() {
        row(&mut svg, TOP + ROW * (at as f64 + 0.5), measured);
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    for (at, peer) in Peer::ALL.into_iter().enumerate() {
        let left = LEFT + 110.0 * at as f64;
        mark(svg, left, 20.0, peer);
        writeln!(svg, "<text x=\"{}\" y=\"24\">{}</text>", left + 10.0, peer.name()).unwrap();
    }
    writeln!(svg, "<text x=\"{LEFT}\" y=\"44\">times as good as the best peer</text>").unwrap();
}

fn row(svg: &mut String, y: f64, measured: &Measured) {
    let name = measured.case.name;
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
        LEFT - 8.0,
        y + 4.0
    )
    .unwrap();
    let best = measured.best_peer().and_then(|best| measured.cost(best));
    // Syncro last, on top.
    for peer in Peer::ALL.into_iter().rev() {
        if let (Some(best), Some(cost)) = (best, measured.cost(peer)) {
            mark(svg, x(best / cost), y, peer);
        }
    }
}

fn x(times: f64) -> f64 {
    let part = (times.log10() / DECADES).clamp(-1.0, 1.0);
    LEFT + WIDTH * (part + 1.0) / 2.0
}

fn mark(svg: &mut String, x: f64, y: f64, peer: Peer) {
    let (colour, radius) = match peer {
        Peer::Syncro => ("#c2185b", 6),
        Peer::Automerge => ("#f9a825", 4),
        Peer::Loro => ("#1976d2", 4),
        Peer::Yrs => ("#388e3c", 4),
        Peer::Limit => ("#9e9e9e", 4),
    };
    writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>")
        .unwrap();
}
