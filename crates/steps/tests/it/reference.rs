//! The reference page says what the step types are.

use expect_test::expect_file;
use windlass_definition::step_types::built_in;
use windlass_steps::{Options, catalogue, exec::ExecOptions, reference};

#[test]
fn the_page_is_current() {
    let options = Options { exec: Some(ExecOptions::default()), ..Options::default() };
    let types = catalogue(options).unwrap().step_types(built_in());
    expect_file!["../../../../docs/steps.md"].assert_eq(&reference::page(&types));
}
