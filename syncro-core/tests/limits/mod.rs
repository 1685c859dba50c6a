//! Who may change what: refusals, repairs and verdicts.

mod cuts;
mod refusals;
mod sessions;
mod town;
