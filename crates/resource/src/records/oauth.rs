//! Applications of third parties, by OAuth 2: what each may ask for, what people consented to, and what it holds of that.

use super::people::hash;
use crate::{
    Area,
    DefaultValue::{Bool, Json, Text},
    Effect, OnDelete, Pattern, Record, Retention, Shape, Unique, Writing, boolean, bytes, enumeration, json, reference,
    state, text, timestamp, transition,
};

/// Applications of third parties.
pub static OAUTH: Area = Area {
    name: "oauth",
    read: "applications.read",
    write: "applications.write",
    doc: "Applications of third parties that use the API, by OAuth 2. See docs/oauth.md.",
};

/// Where an application may have browsers sent back to. Whatever is in it can stand in a header as it is.
pub static REDIRECT_URI: Pattern = Pattern::new(
    r"^(https://[A-Za-z0-9._~:\[\]-]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?|[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:)(/[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?$",
    "an https address, an http address of the browser's own machine, or one of a scheme with a dot of the application's own (com.example.app:/back); without a fragment",
);
/// Redirect addresses that an application may have.
pub const REDIRECT_URIS_MAX: usize = 20;
/// Characters of one.
pub const REDIRECT_URI_CHARS_MAX: usize = 500;

static WEBSITE: Pattern = Pattern::new(r#"^https://[^\s"<>]+$"#, "an https address");

/// A program of somebody else's that uses the API. Its behaviour: nobody writes one that may do more than he.
pub static APPLICATIONS: Record = Record::of(&OAUTH, "oauth_applications", "application")
    .command("applications")
    .doc("A program of somebody else's that uses the API, in the name of people who consent or in its own. Its `id` is its `client_id`. Nobody makes, changes or deletes one that may do more than he may himself. See docs/oauth.md.")
    .columns(&[
        text("name").required().chars(1, 120).searchable().doc("What people see when they are asked."),
        text("description").chars(0, 500).searchable().default(Text("")).doc("What it does, for people who are asked."),
        text("website").chars(9, 300).pattern(&WEBSITE).doc("Where people read more."),
        enumeration("client_type", &["confidential", "public"]).required().write_once().doc("A confidential one keeps a secret, on a server; a public one cannot, such as an app on a phone or a desktop."),
        json("redirect_uris", Shape::Texts).bytes_max(12 << 10).default(Json("[]")).doc("Where browsers are sent back to: exactly one of these, 20 at most. Without any it acts in nobody's name."),
        boolean("client_credentials").default(Bool(false)).doc("Whether it gets tokens of its own, in nobody's name: with all its scopes, by its secret alone."),
        json("scopes", Shape::Texts).bytes_max(16 << 10).default(Json("[]")).doc("The permissions that it may ask for; none that people use in their own name alone."),
        state("status", &["active", "suspended"]).doc("A suspended one gets no tokens, and those that it has do nothing."),
        bytes("secret_hash").bytes_max(32).read_only().hashed().doc("SHA-256 of its secret; null before there is one."),
        timestamp("secret_made_at").read_only().doc("Since when it has this secret."),
        bytes("former_secret_hash").bytes_max(32).read_only().hashed().doc("SHA-256 of the secret before, which works beside this one for a while."),
        timestamp("former_secret_until").read_only().doc("Until when that one works."),
    ])
    .unique(&[Unique(&["name"])])
    .transitions(&[
        transition("suspend", &["active"], "suspended").doc("Lets it do nothing any more, at once."),
        transition("reactivate", &["suspended"], "active").doc("Lets it go on, with what it holds and what has not ended."),
    ])
    .grants_access()
    .examples(&[
        r#"{"name": "reports", "description": "Weekly figures.", "client_type": "confidential", "redirect_uris": ["https://reports.example.org/callback"], "scopes": ["runs.read"]}"#,
    ]);

/// That a member lets an application act in its name.
pub static CONSENTS: Record = Record::of(&OAUTH, "oauth_consents", "consent")
    .command("consents")
    .doc("That a member lets an application act in its name, within these scopes and never beyond what the member may do.")
    .columns(&[
        reference("application_id", "oauth_applications").required().read_only().on_delete(OnDelete::Cascade).doc("Which application."),
        reference("member_id", "members").required().read_only().on_delete(OnDelete::Cascade).doc("Who."),
        json("scopes", Shape::Texts).bytes_max(16 << 10).default(Json("[]")).read_only().doc("To what."),
        state("status", &["active", "revoked"]).doc("Whether it still holds."),
        timestamp("revoked_at").read_only().doc("Since when it does not."),
    ])
    .writing(Writing::Program)
    .transitions(&[transition("revoke", &["active"], "revoked")
        .doc("Takes it back: all that the application holds of it ends at once.")
        .effects(&[Effect::Stamp("revoked_at")])])
    .grants_access()
    .examples(&[
        r#"{"application_id": "019aa7d0-0000-7000-8000-000000000001", "member_id": "019aa7d0-0000-7000-8000-000000000002", "scopes": ["runs.read"]}"#,
    ]);

/// One use of a consent: a code, and the chain of refresh tokens that follows from it.
pub static AUTHORIZATIONS: Record = Record::of(&OAUTH, "oauth_authorizations", "authorization")
    .command("authorizations")
    .doc("One use of a consent: a code, and the chain of refresh tokens that follows from it. Of the chain only the newest link works; whoever shows an older one ends it all.")
    .columns(&[
        reference("consent_id", "oauth_consents").required().read_only().on_delete(OnDelete::Cascade).doc("Of which consent."),
        json("scopes", Shape::Texts).bytes_max(16 << 10).default(Json("[]")).read_only().doc("For what at most."),
        text("redirect_uri").chars(1, 500).required().read_only().doc("Where the code was sent."),
        text("code_challenge").chars(43, 43).required().read_only().doc("SHA-256, in base64url, of what whoever brings the code has to show."),
        bytes("chain_hash").bytes_max(32).required().read_only().hashed().doc("SHA-256 of what all links of its chain begin with."),
        bytes("link_hash").bytes_max(32).required().read_only().hashed().doc("SHA-256 of the newest link: the code, or a refresh token."),
        timestamp("code_expires_at").required().read_only().doc("Until when the code works."),
        timestamp("code_used_at").read_only().doc("When the code was used."),
        timestamp("refreshed_at").read_only().doc("When a refresh token was used last."),
        timestamp("expires_at").required().read_only().doc("Until when it lasts, however often it is refreshed."),
        state("status", &["active", "revoked"]).doc("Whether it still holds."),
        timestamp("revoked_at").read_only().doc("Since when it does not."),
    ])
    .writing(Writing::Program)
    .retention(Retention::Days(90))
    .transitions(&[
        transition("revoke", &["active"], "revoked")
            .doc("Ends it at once, with its tokens.")
            .effects(&[Effect::Stamp("revoked_at")]),
        transition("end_reused", &["active"], "revoked")
            .doc("Ends it because a link of its chain came twice: for the program alone.")
            .effects(&[Effect::Stamp("revoked_at")])
            .by_program(),
    ])
    .grants_access()
    .found_by("chain_hash")
    .examples(&[
        r#"{"consent_id": "019aa7d0-0000-7000-8000-000000000001", "scopes": ["runs.read"], "redirect_uri": "https://reports.example.org/callback", "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "chain_hash": "AAAA", "link_hash": "AAAA", "code_expires_at": "2030-01-01T00:00:00Z", "expires_at": "2030-03-01T00:00:00Z"}"#,
    ]);

/// What an application shows with a request.
pub static TOKENS: Record = Record::of(&OAUTH, "oauth_tokens", "access token")
    .command("tokens")
    .doc("What an application shows with a request, for some minutes.")
    .columns(&[
        reference("application_id", "oauth_applications").required().read_only().on_delete(OnDelete::Cascade).doc("Which application."),
        reference("authorization_id", "oauth_authorizations").read_only().on_delete(OnDelete::Cascade).doc("In whose name: of which authorization; null when it is the application's own."),
        json("scopes", Shape::Texts).bytes_max(16 << 10).default(Json("[]")).read_only().doc("For what at most."),
        hash(),
        timestamp("expires_at").required().read_only().doc("Until when."),
        state("status", &["active", "revoked"]).doc("Whether it still lets in."),
        timestamp("revoked_at").read_only().doc("Since when it does not."),
    ])
    .writing(Writing::Program)
    .retention(Retention::Days(2))
    .transitions(&[transition("revoke", &["active"], "revoked")
        .doc("Ends it at once.")
        .effects(&[Effect::Stamp("revoked_at")])])
    .grants_access()
    .found_by("token_hash")
    .examples(&[
        r#"{"application_id": "019aa7d0-0000-7000-8000-000000000001", "scopes": ["runs.read"], "token_hash": "AAAA", "expires_at": "2030-01-01T00:00:00Z"}"#,
    ]);
