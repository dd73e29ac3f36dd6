//! What the engine does, told as scenarios: a workflow, what happens to it, and what it records and asks for.

mod approvals;
mod audit;
mod blocks;
mod children;
mod found;
mod loops;
mod pause;
mod retries;
mod script;
mod signals;
mod stopping;
mod undo;
