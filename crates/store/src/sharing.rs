//! Sharing: secrets and credentials that are for some people, or for some workflows, alone.
//!
//! Invariant: a share lets nobody do what he could not do without the limit. Where one is set and nothing is shared, nobody
//! may name it, and no workflow use it.

use std::sync::Arc;

use uuid::Uuid;
use windlass_engine::id::TenantKey;

use crate::{Holds, StoreError, Value, store::Store};

/// Who names secrets in what he writes, publishes and tries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namer {
    /// Somebody who may do everything: the program, whoever is at the machine itself, a key for everything that nobody owns.
    Anything,
    /// A member, in his own name, or a program in his.
    Member(Uuid),
    /// Somebody with whom nothing can be shared.
    Nobody,
}

impl Namer {
    /// Whoever holds that and is that member, if he is one.
    pub fn of(holds: &Holds, member: Option<Uuid>) -> Namer {
        match (holds, member) {
            (Holds::Program | Holds::Everything, _) => Namer::Anything,
            (Holds::These(_), Some(member)) => Namer::Member(member),
            (Holds::These(_), None) => Namer::Nobody,
        }
    }
}

/// That a row `t` of that table may be used in workflow `$2`, as far as it is shared; `above` has the folders of that.
pub(crate) fn shared_where(table: &str) -> String {
    let (shares, which) = shares_of(table);
    format!(
        "(t.used_in = 'everywhere' or exists (select 1 from {shares} s where s.tenant_key = $1 and s.{which} = t.id \
         and (s.folder_id in (select id from above) \
         or s.workflow_id = (select w.id from workflows w where w.tenant_key = $1 and w.name = $2))))"
    )
}

/// That a row `t` of that table is shared with the member `$2`, or with a group of his.
pub(crate) fn shared_with(table: &str) -> String {
    let (shares, which) = shares_of(table);
    format!(
        "exists (select 1 from {shares} s where s.tenant_key = $1 and s.{which} = t.id \
         and (s.member_id = $2 or s.group_id in (select g.group_id from group_members g \
         where g.tenant_key = $1 and g.member_id = $2)))"
    )
}

/// The table of the shares of a table, and its column that says of what.
fn shares_of(table: &str) -> (&'static str, &'static str) {
    if table == "secrets" { ("secret_shares", "secret_id") } else { ("credential_shares", "credential_id") }
}

impl Store {
    /// Those of these names that are for others.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn unshared_secrets(
        &self,
        tenant: TenantKey,
        namer: Namer,
        names: &[Arc<str>],
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let member = match namer {
            Namer::Anything => return Ok(Vec::new()),
            Namer::Member(member) => member,
            Namer::Nobody => Uuid::nil(),
        };
        let among = self.database().dialect().in_texts(3);
        let limited = ["secrets", "credentials"].map(|table| {
            format!(
                "select t.name from {table} t where t.tenant_key = $1 and t.name {among} and t.used_by = 'listed' \
                 and not {}",
                shared_with(table)
            )
        });
        let params = vec![tenant.into(), member.into(), Value::Texts(names.to_vec())];
        let rows = self.database().of(tenant).query(limited.join(" union all "), params).await?;
        let is_limited = |name: &&Arc<str>| rows.iter().any(|row| row.text(0).is_ok_and(|it| it == &***name));
        Ok(names.iter().filter(is_limited).cloned().collect())
    }
}
