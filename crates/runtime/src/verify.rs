//! Judging a database afterwards: is it what clients were told, what the outside saw, and what its own journals say?

pub mod ledger;
