//! Messages: golden bytes in both encodings, what is refused, and where the limits lie.

mod brief;
mod golden;
mod hostile;
mod limits;
