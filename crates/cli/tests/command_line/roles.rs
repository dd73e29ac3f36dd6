//! Roles on a folder or a workflow at the command line: the example of `docs/identity.md`, word by word.

use crate::{
    people::{PASSWORD, Person},
    server::serve,
    support::Folder,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");

fn word(text: &str, begins: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with(begins)).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn an_operator_of_a_folder_sees_nothing_else() {
    let folder = Folder::new();
    let document = |name: &str| {
        let text = format!("name: {name}\nsteps:\n  - {{ id: a, type: transform, with: {{ value: 1 }} }}\n");
        folder.write(&format!("{name}.yaml"), &text).to_str().unwrap().to_owned()
    };
    let (server, url) = serve(&folder, &[]);
    let link = word(&server.until_printed("windlass login"), "wll_");
    let of = |name| Person { folder: &folder, url: &url, name };
    let (admin, grace) = (of("admin"), of("grace"));
    admin.run(&["login", &link], "").expect(0);
    let invoice = document("invoice");
    admin.run(&["workflows", "folders", "create", "--name", "Billing"], "").expect(0);
    admin.run(&["deploy", &invoice, "--folder", "Billing"], "").expect(0);
    admin.run(&["deploy", &document("payroll"), &document("order")], "").expect(0);
    let invited = admin.run(&["invite", "grace@example.org", "--role", "guest"], "");
    let invitation = word(&invited.expect(0).stdout, "wli_");
    grace.run(&["join", &invitation, "--name", "Grace"], &format!("{PASSWORD}\n")).expect(0);
    assert!(grace.run(&["workflows", "list"], "").expect(5).stderr.contains("has not the permission"));

    for (arguments, says) in [
        (&["--role", "operator", "--folder", "Billing"][..], "has the role operator in the folder Billing"),
        (&["--role", "viewer", "--workflow", "payroll"], "has the role viewer on the workflow payroll"),
    ] {
        let given = admin.run(&[&["grant", "grace@example.org"], arguments].concat(), "");
        assert!(given.expect(0).stdout.contains(says), "{}", given.stdout);
    }
    let me = grace.run(&["whoami"], "");
    let lines: Vec<&str> = me.expect(0).stdout.lines().collect();
    assert_eq!(
        &lines[..3],
        ["person:grace@example.org in tenant default", "  folder Billing:", "    approvals.decide"]
    );
    let place = lines.iter().position(|line| *line == "  workflow payroll:").unwrap();
    assert_eq!(lines[place + 1], "    approvals.read");
    let listed = grace.run(&["workflows", "list"], "");
    assert!(listed.expect(0).stdout.contains("invoice") && listed.stdout.contains("payroll"), "{}", listed.stdout);
    assert!(!listed.stdout.contains("order"), "{}", listed.stdout);
    grace.run(&["start", "invoice", "--wait", "30s"], "").expect(0);
    let refused = grace.run(&["start", "payroll"], "");
    assert!(refused.expect(5).stderr.contains("the caller has not the permission `runs.start`"), "{}", refused.stderr);
    let missing = grace.run(&["workflows", "show", "order"], "");
    assert!(missing.expect(4).stderr.contains("there is no workflow `order`"), "{}", missing.stderr);

    // A builder of the folder names it, and it alone.
    grace.run(&["deploy", &invoice, "--folder", "Billing"], "").expect(5);
    admin.run(&["grant", "grace@example.org", "--role", "builder", "--folder", "Billing"], "").expect(0);
    let own = document("own");
    grace.run(&["deploy", &own], "").expect(4);
    assert!(grace.run(&["deploy", &own, "--folder", "Billing"], "").expect(0).stdout.contains("own: version 1"));
    grace.run(&["deploy", &own], "").expect(0);

    let gone = ["revoke", "grace@example.org", "--role", "viewer", "--workflow", "payroll"];
    let taken = admin.run(&gone, "");
    assert!(
        taken.expect(0).stdout.contains("has no longer the role viewer on the workflow payroll"),
        "{}",
        taken.stdout
    );
    assert!(admin.run(&gone, "").expect(4).stderr.contains("has not the role viewer there"));
    grace.run(&["workflows", "show", "payroll"], "").expect(4);
    for (arguments, says) in [
        (&["grant", "nobody@example.org", "--role", "viewer"][..], "there is no member nobody@example.org"),
        (&["grant", "grace@example.org", "--role", "queen"], "there is no role queen"),
        (&["grant", "grace@example.org", "--role", "viewer", "--folder", "Attic"], "there is no folder Attic"),
    ] {
        assert!(admin.run(arguments, "").expect(4).stderr.contains(says), "{arguments:?}");
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    for shown in [
        "windlass workflows folders create --name Billing",
        "windlass deploy invoice.yaml --folder Billing",
        "windlass invite grace@example.org --role guest",
        "windlass grant grace@example.org --role operator --folder Billing\ngrace@example.org has the role operator in the folder Billing",
        "windlass grant grace@example.org --role viewer --workflow payroll\ngrace@example.org has the role viewer on the workflow payroll",
        "  folder Billing:\n    approvals.decide",
        "  workflow payroll:\n    approvals.read",
        "$ windlass start payroll\nerror: the caller has not the permission `runs.start`",
        "$ windlass workflows show order\nerror: there is no workflow `order`",
    ] {
        assert!(page.contains(shown), "{shown} is not on the page");
    }
}
