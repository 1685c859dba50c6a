//! The sans-IO heart of Syncro.

pub mod store;

pub use store::StoreError;
