//! The records of Windlass, one file for each area.
//!
//! `docs/records.md` shows how to declare one; `docs/schema.md` is written from these.

pub mod audit;
pub mod files;
pub mod groups;
pub mod limits;
pub mod oauth;
pub mod people;
pub mod providers;
pub mod tenants;
pub mod vault;
pub mod workflows;

use crate::Record;

/// Every record, each after those that it refers to.
pub static ALL: &[&Record] = &[
    &tenants::TENANTS,
    &workflows::FOLDERS,
    &workflows::WORKFLOW_PLACES,
    &workflows::TAGS,
    &workflows::WORKFLOW_TAGS,
    &people::USERS,
    &people::PASSWORDS,
    &people::LINKS,
    &people::SECOND_FACTORS,
    &people::ROLES,
    &providers::IDENTITY_PROVIDERS,
    &people::MEMBERS,
    &groups::GROUPS,
    &groups::GROUP_MEMBERS,
    &people::ROLE_ASSIGNMENTS,
    &people::INVITATIONS,
    &providers::MEMBER_IDENTITIES,
    &people::DELEGATIONS,
    &people::SESSIONS,
    &people::API_KEYS,
    &people::API_KEY_USAGE,
    &oauth::APPLICATIONS,
    &oauth::CONSENTS,
    &oauth::AUTHORIZATIONS,
    &oauth::TOKENS,
    &vault::SECRETS,
    &vault::CREDENTIALS,
    &vault::SECRET_SHARES,
    &vault::CREDENTIAL_SHARES,
    &audit::AUDIT_ENTRIES,
    &files::FILES,
    &files::FILE_VERSIONS,
    &files::FILE_LINKS,
    &limits::RATE_LIMIT_RULES,
];

/// A record by its name.
pub fn find(name: &str) -> Option<&'static Record> {
    ALL.iter().copied().find(|record| record.name == name)
}
