//! The `windlass` program as the checks run it.

fn main() -> std::process::ExitCode {
    windlass_cli::main()
}
