//! People and programs: who may come in, and what each may do.

use crate::{
    Area, Column, Effect, Guard, Index, OnDelete, Record, Retention, Shape, Unique, Writing, boolean, bytes, date,
    enumeration, id, integer, json,
    patterns::{EMAIL, HTTPS, SLUG},
    reference, state, text, timestamp, transition,
};

/// The installation's people.
pub static USERS_AREA: Area = Area {
    name: "users",
    read: "users.read",
    write: "users.write",
    doc: "The people of the whole installation. For who looks after it.",
};

/// A tenant's people, and what they may do.
pub static PEOPLE: Area = Area {
    name: "people",
    read: "people.read",
    write: "people.write",
    doc: "The people of a tenant: members, roles, invitations, sessions.",
};

/// Programs that use the API.
pub static KEYS: Area =
    Area { name: "api-keys", read: "keys.read", write: "keys.write", doc: "API keys: by what programs come in." };

const fn email() -> Column {
    text("email").chars(3, 254).lower().pattern(&EMAIL).searchable()
}

const fn person() -> Column {
    text("name").chars(1, 200).searchable()
}

/// SHA-256 of a secret that was shown once.
pub(super) const fn hash() -> Column {
    bytes("token_hash")
        .bytes_max(32)
        .required()
        .read_only()
        .hashed()
        .doc("SHA-256 of what its holder has: nothing else of it is kept.")
}

/// A person who signs in.
pub static USERS: Record = Record::of(&USERS_AREA, "users", "user")
    .doc("A person who signs in, in whichever tenants it is a member of. People come by invitation, by an identity provider, or because it provisions them.")
    .columns(&[
        email().required().read_only().doc("By what it signs in."),
        person().required().read_only().doc("What people call it."),
        state("status", &["active", "suspended"]).doc("A suspended user comes in nowhere."),
        text("password_hash")
            .chars(1, 300)
            .read_only()
            .hashed()
            .doc("Its password, by Argon2id; null when it has none."),
        timestamp("password_changed_at").read_only().doc("When it last chose a password."),
        timestamp("last_sign_in_at").read_only().doc("When it last signed in."),
    ])
    .writing(Writing::Program)
    .unique(&[Unique(&["email"])])
    .transitions(&[
        transition("suspend", &["active"], "suspended").doc("Ends all its sessions at once, and lets it in no more."),
        transition("reactivate", &["suspended"], "active").doc("Lets it sign in again."),
    ])
    .global()
    .soft_delete()
    .grants_access()
    .examples(&[r#"{"email": "ada@example.org", "name": "Ada"}"#]);

/// A password that somebody had.
pub static PASSWORDS: Record = Record::of(&USERS_AREA, "password_history", "old password")
    .doc("That a user had a password, so that it is not chosen again.")
    .columns(&[
        reference("user_id", "users").required().read_only().doc("Whose."),
        text("password_hash").chars(1, 300).required().read_only().hashed().doc("The password, by Argon2id."),
    ])
    .writing(Writing::Log)
    .retention(Retention::Days(730))
    .global()
    .examples(&[r#"{"user_id": "019aa7d0-0000-7000-8000-000000000001", "password_hash": "$argon2id$"}"#]);

/// A link that signs a user in, once.
pub static LINKS: Record = Record::of(&USERS_AREA, "sign_in_links", "sign-in link")
    .doc("A link that signs a user in, once: the first administrator's, and for whoever lost the password.")
    .columns(&[
        reference("user_id", "users").required().read_only().doc("Whom."),
        hash(),
        timestamp("expires_at").required().read_only().doc("Until when."),
        timestamp("used_at").read_only().doc("When it was used."),
    ])
    .writing(Writing::Log)
    .retention(Retention::Days(90))
    .global()
    .found_by("token_hash")
    .examples(&[
        r#"{"user_id": "019aa7d0-0000-7000-8000-000000000001", "token_hash": "AAAA", "expires_at": "2030-01-01T00:00:00Z"}"#,
    ]);

/// What a user shows besides a password.
pub static SECOND_FACTORS: Record = Record::of(&USERS_AREA, "second_factors", "second factor")
    .doc("What a user shows besides a password: codes of an app, by RFC 6238, or a recovery code.")
    .columns(&[
        reference("user_id", "users").required().read_only().doc("Whose."),
        text("secret").chars(16, 64).required().read_only().secret().doc("What makes the codes."),
        bytes("recovery_hashes")
            .bytes_max(320)
            .read_only()
            .hashed()
            .doc("SHA-256 of each recovery code that was not used, one behind the other."),
        integer("last_step")
            .range(0, i64::MAX)
            .default(crate::DefaultValue::Int(0))
            .read_only()
            .doc("The step of time of the last code that was taken: none is taken twice."),
        timestamp("confirmed_at")
            .read_only()
            .doc("Since when it is asked for: its owner has shown a code. Null when it was only begun."),
    ])
    .writing(Writing::Program)
    .unique(&[Unique(&["user_id"])])
    .global()
    .grants_access()
    .examples(&[
        r#"{"user_id": "019aa7d0-0000-7000-8000-000000000001", "secret": "3132333435363738393031323334353637383930"}"#,
    ]);

/// Somebody who may be in a tenant.
pub static MEMBERS: Record = Record::of(&PEOPLE, "members", "member")
    .doc("That a user belongs to the tenant. What it may do there, its roles say.")
    .columns(&[
        reference("user_id", "users").required().read_only().doc("Who."),
        email().required().read_only().doc("By what it signs in."),
        person().required().read_only().doc("What people call it."),
        state("status", &["active", "suspended"]).doc("A suspended member may do nothing in the tenant."),
        reference("provider_id", "identity_providers")
            .on_delete(OnDelete::SetNull)
            .read_only()
            .doc("The identity provider that provisions it, by SCIM; null when none does."),
        text("external_id").chars(1, 255).read_only().searchable().doc("What that provider knows it by, by SCIM."),
        text("user_name").chars(1, 254).lower().read_only().searchable().doc("What that provider calls it, by SCIM."),
        text("avatar_url")
            .chars(1, 2_000)
            .pattern(&HTTPS)
            .read_only()
            .doc("Where its picture is, as its identity provider says."),
        boolean("email_verified")
            .default(crate::DefaultValue::Bool(false))
            .read_only()
            .doc("Whether an identity provider of the tenant has said that the address is its."),
        json("profile", Shape::Object)
            .bytes_max(32 << 10)
            .read_only()
            .doc("What that provider says of it, by SCIM, in the words of RFC 7643."),
    ])
    .writing(Writing::Program)
    .unique(&[Unique(&["user_id"]), Unique(&["user_name"])])
    .indexes(&[Index(&["provider_id", "id"]), Index(&["provider_id", "external_id"]), Index(&["email"])])
    .transitions(&[
        transition("suspend", &["active"], "suspended").doc("Takes everything from it that it may do here, at once."),
        transition("reactivate", &["suspended"], "active").doc("Gives it back."),
    ])
    .grants_access()
    .examples(&[r#"{"user_id": "019aa7d0-0000-7000-8000-000000000001", "email": "ada@example.org", "name": "Ada"}"#]);

/// What a group of people may do.
pub static ROLES: Record = Record::of(&PEOPLE, "roles", "role")
    .doc("Permissions under one name. Each tenant has the built-in roles `tenant_admin`, `builder`, `operator` and `viewer`, and the first one `system_admin`; these do not change.")
    .columns(&[
        text("name").required().chars(1, 60).lower().pattern(&SLUG).searchable().doc("Its name."),
        text("description").chars(0, 500).searchable().default(crate::DefaultValue::Text("")).doc("Whom it is for."),
        json("permissions", Shape::Texts).bytes_max(16 << 10).default(crate::DefaultValue::Json("[]")).doc("What it allows: `GET /api/v1/permissions` lists all there are."),
        boolean("built_in").read_only().default(crate::DefaultValue::Bool(false)).doc("Whether the program keeps it."),
    ])
    .unique(&[Unique(&["name"])])
    .grants_access()
    .examples(&[r#"{"name": "auditor", "description": "Reads what was done.", "permissions": ["audit.read"]}"#]);

/// That a member has a role. Its behaviour: it holds in one place at most.
pub static ROLE_ASSIGNMENTS: Record = Record::of(&PEOPLE, "role_assignments", "role assignment")
    .doc("That a member, or a group, has a role: in the tenant, or on a folder or a workflow alone. Nobody gives, or takes, a role that allows more than he may do himself.")
    .columns(&[
        reference("member_id", "members").on_delete(OnDelete::Cascade).doc("Who, if it is a member."),
        reference("group_id", "groups").on_delete(OnDelete::Cascade).doc("Who, if it is a group: each of its members has the role."),
        reference("role_id", "roles").required().doc("Which role."),
        reference("folder_id", "folders").doc("It holds for the workflows in this folder and in those below it; null when for all."),
        reference("workflow_id", "workflows").on_delete(OnDelete::Cascade).doc("It holds for this workflow; null when for all."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["member_id", "group_id", "folder_id", "workflow_id", "role_id"])])
    .grants_access()
    .examples(&[
        r#"{"member_id": "019aa7d0-0000-7000-8000-000000000001", "role_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);

/// That somebody is asked to join.
pub static INVITATIONS: Record = Record::of(&PEOPLE, "invitations", "invitation")
    .doc("That somebody is asked to join the tenant with a role. Its link works once.")
    .columns(&[
        email().required().read_only().doc("Who."),
        reference("role_id", "roles").required().read_only().doc("With which role."),
        hash(),
        timestamp("expires_at").required().read_only().doc("Until when."),
        state("status", &["pending", "accepted", "revoked"]).doc("What became of it."),
        timestamp("accepted_at").read_only().doc("When it was accepted."),
    ])
    .writing(Writing::Program)
    .retention(Retention::Days(365))
    .transitions(&[
        transition("revoke", &["pending"], "revoked").doc("Makes its link worthless."),
        transition("accept", &["pending"], "accepted")
            .doc("Notes that its link was used: for the program alone.")
            .effects(&[Effect::Stamp("accepted_at")])
            .by_program(),
    ])
    .found_by("token_hash")
    .examples(&[
        r#"{"email": "grace@example.org", "role_id": "019aa7d0-0000-7000-8000-000000000001", "token_hash": "AAAA", "expires_at": "2030-01-01T00:00:00Z"}"#,
    ]);

/// That people of another tenant may act in this one.
pub static DELEGATIONS: Record = Record::of(&PEOPLE, "delegations", "delegation")
    .doc("That people of another tenant may act in this one with a role, until a time. An administrator there accepts it by its link, which works once.")
    .columns(&[
        reference("role_id", "roles").required().read_only().doc("With which role."),
        text("reason").chars(1, 500).required().read_only().searchable().doc("Why."),
        hash(),
        timestamp("expires_at").required().read_only().doc("Until when: it ends then by itself."),
        state("status", &["offered", "accepted", "revoked"]).doc("What became of it."),
        text("to_tenant").chars(1, 100).read_only().searchable().doc("The tenant whose people may act here, by its name in commands; null until one accepts it."),
        integer("to_key").range(1, i64::MAX).read_only().internal().doc("The key of that tenant."),
        timestamp("accepted_at").read_only().doc("Since when they may."),
        timestamp("revoked_at").read_only().doc("Since when they may not."),
    ])
    .writing(Writing::Program)
    .retention(Retention::Days(730))
    .transitions(&[
        transition("revoke", &["offered", "accepted"], "revoked")
            .doc("Ends it, and all sessions that came by it, at once.")
            .effects(&[Effect::Stamp("revoked_at")]),
        transition("accept", &["offered"], "accepted")
            .doc("Notes that its link was used: for the program alone.")
            .guards(&[Guard::NotPast("expires_at")])
            .effects(&[Effect::Stamp("accepted_at")])
            .by_program(),
    ])
    .grants_access()
    .found_by("token_hash")
    .examples(&[
        r#"{"role_id": "019aa7d0-0000-7000-8000-000000000001", "reason": "Support", "token_hash": "AAAA", "expires_at": "2030-01-01T00:00:00Z"}"#,
    ]);

/// That somebody is signed in.
pub static SESSIONS: Record = Record::of(&PEOPLE, "sessions", "session")
    .doc("That a user is signed in to the tenant.")
    .columns(&[
        reference("user_id", "users").required().read_only().doc("Who."),
        hash(),
        enumeration("method", &["link", "password", "invitation", "oidc"]).required().read_only().doc("By what it signed in; where somebody acts in its name, by what that one did."),
        text("address").chars(1, 60).read_only().doc("From where."),
        text("user_agent").chars(1, 400).read_only().doc("With which program."),
        timestamp("expires_at").required().read_only().doc("Until when."),
        state("status", &["active", "revoked"]).doc("Whether it still lets in."),
        timestamp("revoked_at").read_only().doc("Since when it does not."),
        id("acting_session_id").read_only().doc("The session of whoever acts in this user's name, with which this one ends; null when it is the user."),
        text("reason").chars(1, 500).read_only().doc("Why somebody acts in this user's name."),
        id("delegation_id").read_only().doc("The delegation by which a user of another tenant came in; null for members."),
        id("home_session_id").read_only().doc("The session in that other tenant, with which this one ends."),
    ])
    .writing(Writing::Program)
    .retention(Retention::Days(90))
    .transitions(&[transition("revoke", &["active"], "revoked")
        .doc("Ends it at once.")
        .effects(&[Effect::Stamp("revoked_at")])])
    .grants_access()
    .found_by("token_hash")
    .examples(&[
        r#"{"user_id": "019aa7d0-0000-7000-8000-000000000001", "token_hash": "AAAA", "method": "password", "expires_at": "2030-01-01T00:00:00Z"}"#,
    ]);

/// By what a program comes in.
pub static API_KEYS: Record = Record::of(&KEYS, "api_keys", "api key")
    .doc("By what a program comes in. It may do what its scopes say, and never more than who made it.")
    .columns(&[
        text("name").required().read_only().chars(1, 200).searchable().doc("What people call it."),
        text("prefix").required().read_only().chars(1, 20).searchable().doc("How it begins: by this it is found again."),
        hash(),
        json("scopes", Shape::Texts).read_only().bytes_max(16 << 10).default(crate::DefaultValue::Json("[]")).doc("What it may do; `*` is everything in its tenant."),
        reference("member_id", "members").read_only().on_delete(OnDelete::Cascade).doc("Whose it is: it ends with what that member may do. Null when it was made at the machine itself or by another key without an owner."),
        reference("provider_id", "identity_providers").read_only().on_delete(OnDelete::Cascade).doc("The identity provider that provisions people with it, by SCIM; null for any other key."),
        timestamp("expires_at").read_only().doc("Until when; null is without end."),
        integer("requests_per_minute").range(1, 1_000_000).read_only().doc("Requests that it may send in a minute, over all servers; null is without bound."),
        timestamp("last_used_at").read_only().doc("When it was last used, to about ten seconds."),
        state("status", &["active", "revoked"]).doc("Whether it still lets in."),
        timestamp("revoked_at").read_only().doc("Since when it does not."),
    ])
    .writing(Writing::Program)
    .transitions(&[transition("revoke", &["active"], "revoked")
        .doc("Ends it at once.")
        .effects(&[Effect::Stamp("revoked_at")])])
    .grants_access()
    .found_by("token_hash")
    .examples(&[r#"{"name": "ci", "prefix": "wl_0a1b2c3d", "token_hash": "AAAA", "scopes": ["runs.start"]}"#]);

/// How often a key was used on a day.
pub static API_KEY_USAGE: Record = Record::of(&KEYS, "api_key_usage", "use of an api key")
    .doc("How often an API key was used on a day, and how often it was refused for its bound.")
    .columns(&[
        reference("api_key_id", "api_keys").required().read_only().on_delete(OnDelete::Cascade).doc("Which key."),
        date("used_on").required().read_only().doc("On which day, by UTC."),
        integer("requests")
            .range(0, i64::MAX)
            .default(crate::DefaultValue::Int(0))
            .read_only()
            .doc("Requests that were let in."),
        integer("refused")
            .range(0, i64::MAX)
            .default(crate::DefaultValue::Int(0))
            .read_only()
            .doc("Requests that were refused for its bound."),
    ])
    .writing(Writing::Log)
    .retention(Retention::Days(400))
    .unique(&[Unique(&["api_key_id", "used_on"])])
    .examples(&[r#"{"api_key_id": "019aa7d0-0000-7000-8000-000000000001", "used_on": "2030-01-01"}"#]);
