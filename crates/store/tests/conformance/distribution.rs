//! The live PostgreSQL schema is ready to be distributed by tenant: what belongs to a tenant has the tenant leading each
//! of its keys and indexes, apart from a short list with reasons.

use windlass_store::Store;

use crate::harness::Fixture;

/// Tables that belong to no tenant, and why.
const INFRASTRUCTURE: &[(&str, &str)] = &[
    ("migrations", "the schema's own version"),
    ("settings", "of the whole database"),
    ("nodes", "servers, which work for all tenants"),
    ("lanes", "a lane holds runs of all tenants: owning and fencing hang on it"),
    ("vault_master_keys", "the installation's, which seal those of tenants"),
    ("tenants", "the tenants themselves, a reference table"),
    ("users", "the installation's people, who may be members of several tenants, a reference table"),
    ("password_history", "of the installation's people"),
    ("second_factors", "of the installation's people"),
    ("sign_in_links", "of the installation's people"),
    ("sign_in_attempts", "who signs in is of no tenant yet: one account may be a member of several"),
    ("audit_keys", "the installation's keys that signed before the one of today, a reference table"),
];

/// Keys and indexes of tenants' tables that something else leads, and why.
const LED_BY_SOMETHING_ELSE: &[(&str, &str)] = &[
    ("timers_pkey", "the owner of a lane asks what is due in it"),
    ("inbox_pkey", "the owner of a lane asks what came for its runs"),
    ("runs_open", "whoever takes a lane over asks which of its runs are open"),
    ("tasks_ended", "the owner of a lane asks which of its runs' tasks have ended"),
    ("state_values_expiring", "the sweep of what has expired, for all tenants"),
    ("rates_by_end", "the sweep of rates that nobody counts any more, for all tenants"),
    ("api_keys_token_hash_key", "a key says whose it is: nobody is known before it was found"),
    ("sessions_token_hash_key", "a session says whose it is: nobody is known before it was found"),
    ("invitations_token_hash_key", "an invitation says to which tenant: its holder is known in none"),
    ("delegations_token_hash_key", "a delegation says to which tenant: who accepts it is at home in another one"),
    ("oauth_tokens_token_hash_key", "an access token says whose it is: nobody is known before it was found"),
    ("oauth_authorizations_chain_hash_key", "no two chains are alike, in whichever tenants"),
];

/// Every table, and each of its keys and indexes with its columns in order.
const INDEXES: &str = "select t.relname::text, i.relname::text, \
                       (select string_agg(coalesce(a.attname, '(expression)'), ',' order by k.at) \
                        from unnest(x.indkey::smallint[]) with ordinality k(attnum, at) \
                        left join pg_attribute a on a.attrelid = t.oid and a.attnum = k.attnum and k.attnum > 0)::text \
                       from pg_class t join pg_index x on x.indrelid = t.oid join pg_class i on i.oid = x.indexrelid \
                       where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') \
                       and not t.relispartition order by 1, 2";
const TABLES: &str = "select t.relname::text, exists (select 1 from pg_attribute a where a.attrelid = t.oid \
                      and a.attname = 'tenant_key' and a.attnotnull) from pg_class t \
                      where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') and not t.relispartition";
/// Foreign keys: the table, the one that it refers to, and both sides' first columns.
const FOREIGN: &str = "select c.conname::text, t.relname::text, r.relname::text, a.attname::text, b.attname::text \
                       from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_class r on r.oid = c.confrelid \
                       join pg_attribute a on a.attrelid = t.oid and a.attnum = c.conkey[1] \
                       join pg_attribute b on b.attrelid = r.oid and b.attnum = c.confkey[1] where c.contype = 'f'";

async fn rows(store: &Store, sql: &'static str, columns: usize) -> Vec<Vec<String>> {
    let rows = store.database().across_tenants().query(sql, vec![]).await.expect("an answer");
    let texts = |row: &windlass_store::Row| {
        (0..columns).map(|at| row.text(at).map_or_else(|_| row.bool(at).unwrap().to_string(), str::to_owned)).collect()
    };
    rows.iter().map(texts).collect()
}

#[tokio::test]
async fn the_tenant_leads_every_key_and_index() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    let tables = rows(store, TABLES, 2).await;
    assert!(tables.len() > 20, "{tables:?}");
    let mut wrong = Vec::new();
    let of_no_tenant = |table: &str| INFRASTRUCTURE.iter().any(|(name, _)| *name == table);
    for table in &tables {
        if of_no_tenant(&table[0]) == (table[1] == "true") {
            wrong.push(format!("{} has a tenant_key or is infrastructure, not both or neither", table[0]));
        }
    }
    for index in rows(store, INDEXES, 3).await {
        let [table, name, columns] = &index[..] else { panic!("{index:?}") };
        let excused = LED_BY_SOMETHING_ELSE.iter().any(|(index, _)| index == name);
        if !of_no_tenant(table) && (columns.split(',').next() == Some("tenant_key")) == excused {
            wrong.push(format!("{name} on {table} ({columns}): the tenant leads it, or it is excused, not both"));
        }
    }
    for key in rows(store, FOREIGN, 5).await {
        let [name, table, refers_to, from, to] = &key[..] else { panic!("{key:?}") };
        let to_the_tenant = refers_to == "tenants" && to == "key";
        // What every node of a distributed database has may be referred to from everywhere.
        if !(to_the_tenant || of_no_tenant(refers_to)) && (from != "tenant_key" || to != "tenant_key") {
            wrong.push(format!("{name}: {table} ({from} …) refers to {refers_to} ({to} …)"));
        }
    }
    for (name, why) in INFRASTRUCTURE.iter().chain(LED_BY_SOMETHING_ELSE) {
        assert!(!why.is_empty(), "{name}");
    }
    for (name, _) in INFRASTRUCTURE {
        assert!(tables.iter().any(|table| table[0] == **name), "{name} is excused and not there");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
