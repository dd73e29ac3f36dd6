//! `docs/cli.md` is what the program says of itself.

use expect_test::expect_file;

use crate::support::Folder;

#[test]
fn the_reference_is_the_grammars() {
    let ended = Folder::new().run(&["reference"]);
    expect_file!["../../../../docs/cli.md"].assert_eq(&ended.expect(0).stdout);
}
