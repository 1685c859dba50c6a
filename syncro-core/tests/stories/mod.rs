//! The laws one by one, each told as a story.

mod bundles;
mod clock;
mod clones;
mod hostile;
mod loss;
mod meeting;
mod records;
mod session;
mod stream;
