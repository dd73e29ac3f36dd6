//! The short form of each check, as `make test` runs it.

use std::process::Command;

/// Runs a check as `cargo xtask` does; what it printed is in the test's output.
fn passes(check: &str, database: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass-proof"));
    command.args([check, "--short", "--database", database, "--program", env!("CARGO_BIN_EXE_windlass-checked")]);
    command.args(["--folder", env!("CARGO_TARGET_TMPDIR")]);
    let output = command.output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{check} on {database} failed with {}\n{told}\n{said}", output.status);
}

macro_rules! short {
    ($($test:ident: $check:literal $database:literal;)*) => {
        $(#[test] fn $test() { passes($check, $database); })*
        #[test]
        fn every_check_has_a_short_form_here() {
            let here = [$(($check, $database)),*];
            for check in windlass_proof::CHECKS {
                for database in check.databases {
                    assert!(here.contains(&(check.name, database.name())), "{} on {}", check.name, database.name());
                }
            }
        }
    };
}

short! {
    crash_sqlite: "crash" "sqlite";
    crash_postgres: "crash" "postgres";
    resume: "resume" "sqlite";
    saga_sqlite: "saga" "sqlite";
    saga_postgres: "saga" "postgres";
    crashpoints_sqlite: "crashpoints" "sqlite";
    crashpoints_postgres: "crashpoints" "postgres";
    ackcheck_sqlite: "ackcheck" "sqlite";
    ackcheck_postgres: "ackcheck" "postgres";
    zombie: "zombie" "postgres";
    powercut: "powercut" "sqlite";
    bitflip: "bitflip" "sqlite";
    diskfull: "diskfull" "sqlite";
    unknown_commit: "unknown-commit" "postgres";
    pgchaos: "pgchaos" "postgres";
    clockskew: "clockskew" "postgres";
    overload_sqlite: "overload" "sqlite";
    overload_postgres: "overload" "postgres";
    hostile_sqlite: "hostile" "sqlite";
    hostile_postgres: "hostile" "postgres";
    idor_sqlite: "idor" "sqlite";
    idor_postgres: "idor" "postgres";
    schemathesis_sqlite: "schemathesis" "sqlite";
    schemathesis_postgres: "schemathesis" "postgres";
    canary_sqlite: "canary" "sqlite";
    canary_postgres: "canary" "postgres";
    rotation_sqlite: "rotation" "sqlite";
    rotation_postgres: "rotation" "postgres";
    ssrf_sqlite: "ssrf" "sqlite";
    ssrf_postgres: "ssrf" "postgres";
    upgrade_sqlite: "upgrade" "sqlite";
    upgrade_postgres: "upgrade" "postgres";
    upgrade_dump_sqlite: "upgrade-dump" "sqlite";
    upgrade_dump_postgres: "upgrade-dump" "postgres";
    scaleout: "scaleout" "postgres";
}
