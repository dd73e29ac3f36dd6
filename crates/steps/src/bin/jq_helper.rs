//! The jq helper as a program of its own, for the tests of this crate.

fn main() -> std::io::Result<()> {
    windlass_steps::jq::helper::serve()
}
