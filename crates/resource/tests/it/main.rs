//! Descriptors, and what follows from them.

mod bodies;
mod descriptors;
mod golden;
mod lists;
mod properties;
