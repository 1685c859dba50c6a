//! Who has nothing to say says nothing.

use syncro_core::limits::HEARTBEAT_MS;

use super::encoding;
use crate::world::{Failure, Law, World, wire};

/// For how long it has to be quiet.
const HEARTBEATS: usize = 8;

/// Each side may ask and answer once in that time, and clocks are slow or fast.
const SAID_MAX: usize = 4 * (HEARTBEATS + 1);

impl World {
    /// Whether sessions that are up to date say nothing for some minutes but that they are there.
    pub(crate) fn check_quiet(&mut self) -> Result<(), Failure> {
        let sent: Vec<usize> = self.links.iter().map(|link| link.said().len()).collect();
        for _ in 0..HEARTBEATS {
            self.advance(HEARTBEAT_MS)?;
            self.settle()?;
        }
        for (number, (link, before)) in self.links.iter().zip(sent).enumerate() {
            let said = &link.said()[before..];
            if said.len() > SAID_MAX {
                let detail =
                    format!("on link {number}, where all is said, {} messages", said.len());
                return Err(Law::Silence.broken(detail));
            }
            let words = said.iter().map(|(_, frame)| wire::kind(frame));
            if let Some(word) = words.into_iter().find(|word| word != "ping" && word != "pong") {
                let detail = format!("on link {number}, where all is said, there is a {word}");
                return Err(Law::Silence.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether peers that have met say nothing new when they meet again.
    pub fn check_silence(&mut self) -> Result<(), Failure> {
        self.cut_all()?;
        for round in 0..2 {
            for a in 0..self.nodes.len() {
                let b = (a + 1) % self.nodes.len();
                let resent = self.meet(a, b, encoding(a + round))?;
                if round == 1 && resent > 0 {
                    let detail = format!("nodes {a} and {b} resend {resent} transactions");
                    return Err(Law::Silence.broken(detail));
                }
            }
        }
        self.check_equal()
    }
}
