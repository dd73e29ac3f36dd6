//! The checks, one file each.

pub mod crash;
pub mod resume;
