//! The parts of the `windlass` program that tests start in process.

pub mod demo;
