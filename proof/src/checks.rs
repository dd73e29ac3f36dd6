//! The checks, one file each.

pub mod ackcheck;
pub mod crash;
pub mod crashpoints;
pub mod resume;
pub mod saga;
pub mod zombie;
