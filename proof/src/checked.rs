//! The `windlass` program as the checks run it: on the disk that its environment names, if it names one, in a world where
//! names have the addresses that it names.

fn main() -> std::process::ExitCode {
    windlass_proof::disk::put_below_by_environment();
    windlass_proof::names::learn_by_environment();
    windlass_cli::main()
}
