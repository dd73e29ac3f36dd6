//! Identity providers: who else says who somebody is.

use super::people::PEOPLE;
use crate::{
    DefaultValue::{Bool, Json, Text},
    OnDelete, Pattern, Record, Shape, Unique, Writing, boolean, enumeration, json,
    patterns::{EMAIL, SLUG},
    reference, state, text, transition,
};

static ISSUER: Pattern = Pattern::new(
    r"^(https://[^\s/?#@]+|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?)(/[^\s?#]*)?$",
    "an https address without a query (http is for this machine alone)",
);
/// How browsers reach a server.
pub static ORIGIN: Pattern = Pattern::new(
    r"^(https://[^\s/?#@]+|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?)$",
    "an https address without a path (http is for this machine alone)",
);

/// By whom else people of a tenant are known. Its behaviour: it is set up by those who may do everything in the tenant.
pub static IDENTITY_PROVIDERS: Record = Record::of(&PEOPLE, "identity_providers", "identity provider")
    .doc("Who else says who somebody is, by OpenID Connect: people of the tenant sign in with it. Those who may do everything in the tenant set it up. See docs/sign-on.md.")
    .columns(&[
        text("name").required().write_once().chars(1, 60).lower().pattern(&SLUG).searchable().doc("Its name in addresses: `/api/v1/sign-in/oidc/{name}`."),
        text("issuer").required().write_once().chars(8, 500).pattern(&ISSUER).searchable().doc("Its address, exactly as it calls itself in `iss`."),
        text("client_id").required().write_once().chars(1, 300).doc("By what it knows this server."),
        text("client_secret").chars(1, 2_000).secret().doc("The secret that it gave this server; null for a public client."),
        text("server_url").required().chars(8, 300).pattern(&ORIGIN).doc("The address by which browsers reach this server: the provider sends them back to `{server_url}/api/v1/sign-in/oidc/{name}/callback`."),
        json("email_domains", Shape::Texts).bytes_max(8 << 10).default(Json("[]")).doc("Who comes has a verified address in one of these domains; an empty list asks for none."),
        reference("default_role_id", "roles").doc("The role of whoever comes with an address in these domains and is not known here yet; null lets in those alone who are invited."),
        enumeration("external_id_claim", &["sub", "oid"]).default(Text("sub")).doc("The claim that holds what SCIM calls `externalId`: `oid` with Entra ID, whose `sub` is another one for each application."),
        boolean("enabled").default(Bool(true)).doc("Whether anybody signs in with it."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[
        r#"{"name": "company", "issuer": "https://login.example.org", "client_id": "windlass", "client_secret": "correct-horse-battery", "server_url": "https://windlass.example.org", "email_domains": ["example.org"]}"#,
    ]);

/// That a member is who a provider says.
pub static MEMBER_IDENTITIES: Record = Record::of(&PEOPLE, "member_identities", "identity")
    .doc("That a member is whom an identity provider knows by a subject. Made when somebody comes in first, or says so while signed in; never because two addresses are alike.")
    .columns(&[
        reference("provider_id", "identity_providers").required().read_only().on_delete(OnDelete::Cascade).doc("Which provider."),
        reference("member_id", "members").required().read_only().on_delete(OnDelete::Cascade).doc("Who it is here."),
        text("subject").required().read_only().chars(1, 255).searchable().doc("By what the provider knows it (`sub`)."),
        text("email").chars(3, 254).lower().pattern(&EMAIL).read_only().searchable().doc("The verified address that the provider told at first."),
        state("status", &["active", "blocked"]).doc("A blocked identity signs nobody in."),
    ])
    .writing(Writing::Program)
    .unique(&[Unique(&["provider_id", "subject"])])
    .transitions(&[
        transition("block", &["active"], "blocked").doc("Lets nobody in by it any more; sessions that there are go on."),
        transition("unblock", &["blocked"], "active").doc("Lets it sign in again."),
    ])
    .examples(&[
        r#"{"provider_id": "019aa7d0-0000-7000-8000-000000000001", "member_id": "019aa7d0-0000-7000-8000-000000000002", "subject": "248289761001", "email": "ada@example.org"}"#,
    ]);
