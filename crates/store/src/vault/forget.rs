//! Giving the vault up: after its master key was lost for good.

use crate::{
    Location, Store, StoreError, StoreOptions,
    database::{Statement, postgres::Address},
    store,
    vault::KeySource,
};

/// Takes the values of all that is sealed away, and the keys with them; the next start makes a new vault. Rows stay, so
/// that everybody sees what is to be given a value again. Gives how many have lost something.
///
/// # Errors
/// Somebody works with the database, or it does not answer.
pub async fn forget_vault(options: StoreOptions) -> Result<u64, StoreError> {
    if let Location::Postgres { url } = &options.location {
        store::refuse_alive(&Address::parse(url)?.connect().await?).await?;
    }
    let store = Store::open(StoreOptions { lanes: 0, master_key: KeySource::Unasked, ..options }).await?;
    let nothing = store.database().dialect().pick("x''", "''::bytea");
    let sealed = store.records().iter().flat_map(|record| record.sealed().map(|column| (record.name, column.name)));
    let empty = |(table, column)| {
        Statement::new(format!("update {table} set {column} = {nothing} where {column} <> {nothing}"), vec![])
    };
    let mut statements: Vec<Statement> = sealed.map(empty).collect();
    statements.push(Statement::new("delete from vault_data_keys", vec![]));
    statements.push(Statement::new("delete from vault_master_keys", vec![]));
    let written = store.database().across_tenants().write(statements).await;
    store.close().await;
    let written = written?;
    Ok(written.iter().rev().skip(2).map(|it| it.count).sum())
}
