//! Who may change what: refusals, repairs and verdicts.

mod attacks;
mod counted;
mod cuts;
mod model;
mod quarantine;
mod refusals;
mod sessions;
mod town;
mod views;
