//! The laws one by one, each told as a story.

mod clock;
mod clones;
mod hostile;
mod loss;
mod records;
mod session;
mod stream;
