//! The checks, one file each.

pub mod ackcheck;
pub mod bitflip;
pub mod canary;
pub mod clockskew;
pub mod crash;
pub mod crashpoints;
pub mod diskfull;
pub mod hostile;
pub mod idor;
pub mod overload;
pub mod pgchaos;
pub mod powercut;
pub mod resume;
pub mod rotation;
pub mod saga;
pub mod scaleout;
pub mod schemathesis;
pub mod ssrf;
pub mod unknown_commit;
pub mod upgrade;
pub mod zombie;
