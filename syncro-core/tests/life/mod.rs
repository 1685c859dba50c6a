//! What hosts say to one another beside the log: calls and signals.

mod calls;
mod hall;
mod signals;
