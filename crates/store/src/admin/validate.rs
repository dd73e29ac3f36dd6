//! `db validate`: the live database beside the declared schema; every difference by its name.

use std::collections::BTreeSet;

use crate::{
    Store, StoreError,
    admin::{
        catalogue,
        schema::{Column, Schema},
    },
    database::{Database, Dialect},
};

const SQLITE_COLUMNS: &str = "select t.name, c.name, lower(c.type), c.\"notnull\" = 0 and c.pk = 0 \
                              from sqlite_schema t join pragma_table_info(t.name) c \
                              where t.type = 'table' and t.name not like 'sqlite_%' order by t.name, c.cid";
const SQLITE_NAMES: &str =
    "select type, name from sqlite_schema where type in ('index', 'trigger') and sql is not null";
const POSTGRES_COLUMNS: &str = "select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), not a.attnotnull \
                                from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
                                where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') \
                                and not c.relispartition order by c.relname, a.attnum";
const POSTGRES_NAMES: &str = "select 'index', indexname::text from pg_indexes where schemaname = current_schema() \
                              union all select 'trigger', tgname::text from pg_trigger t join pg_class c on c.oid = t.tgrelid \
                              where not tgisinternal and c.relnamespace = current_schema()::regnamespace \
                              union all select 'constraint', conname::text from pg_constraint \
                              where connamespace = current_schema()::regnamespace";
/// The policies of our tables, as one line each.
const POSTGRES_POLICIES: &str = "select c.relname::text, c.relrowsecurity and c.relforcerowsecurity, \
                                 coalesce(string_agg(p.polname || ' for ' || p.polcmd::text || ' ' || \
                                 case when p.polpermissive and p.polroles = '{0}' then '' else 'of some ' end || \
                                 pg_get_expr(p.polqual, p.polrelid) || coalesce(' and ' || pg_get_expr(p.polwithcheck, p.polrelid), ''), \
                                 '; ' order by p.polname), '') \
                                 from pg_class c left join pg_policy p on p.polrelid = c.oid \
                                 where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') \
                                 and exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_key') \
                                 group by c.oid order by c.relname";
/// The policy of a table with a tenant in its key, as PostgreSQL shows it.
const OF_TENANT: &str = "of_tenant for * (((( SELECT (current_setting('windlass.tenant'::text, true) = '*'::text)) OR \
                         (tenant_key = ( SELECT (NULLIF(NULLIF(current_setting('windlass.tenant'::text, true), '*'::text), \
                         ''::text))::integer AS \"nullif\"))))::integer <> 0)";
/// What stands beside it: every tenant reads what was chosen for the installation.
const OF_INSTALLATION: (&str, &str) = ("setting_values", "of_installation for r (tenant_key = 0)");

impl Store {
    /// Every difference between the live database and the declared schema, each as a sentence. None: it is as it should be.
    ///
    /// Tables that are not ours are no difference: on PostgreSQL the schema may be shared.
    pub async fn validate(&self) -> Result<Vec<String>, StoreError> {
        let dialect = self.database().dialect();
        let declared = Schema::declared(dialect);
        let mut differences = Vec::new();
        let columns = self
            .database()
            .across_tenants()
            .query(dialect.pick(SQLITE_COLUMNS, POSTGRES_COLUMNS).to_owned(), vec![])
            .await?;
        let mut live: std::collections::BTreeMap<String, Vec<Column>> = std::collections::BTreeMap::new();
        for row in &columns {
            let kind = row.string(2)?.replace("timestamp with time zone", "timestamptz");
            live.entry(row.string(0)?).or_default().push(Column { name: row.string(1)?, kind, null: row.bool(3)? });
        }
        for table in &declared.tables {
            match live.get(&table.name) {
                None => differences.push(format!("table {} is missing", table.name)),
                Some(there) => compare_columns(&table.name, &table.columns, there, &mut differences),
            }
        }
        let names = self
            .database()
            .across_tenants()
            .query(dialect.pick(SQLITE_NAMES, POSTGRES_NAMES).to_owned(), vec![])
            .await?;
        let names: BTreeSet<(String, String)> =
            names.iter().map(|row| Ok((row.string(0)?, row.string(1)?))).collect::<Result<_, StoreError>>()?;
        let wanted = declared.indexes.iter().map(|name| ("index", name));
        let wanted = wanted.chain(declared.triggers.iter().map(|name| ("trigger", name)));
        for (kind, name) in wanted {
            if !names.contains(&(kind.to_owned(), name.clone())) {
                differences.push(format!("{kind} {name} is missing"));
            }
        }
        match self.database() {
            Database::Postgres(_) => {
                self.compare_policies(declared, &mut differences).await?;
                for name in declared.tables.iter().flat_map(|table| &table.constraints) {
                    if !names.contains(&("constraint".to_owned(), name.clone())) {
                        differences.push(format!("constraint {name} is missing"));
                    }
                }
            }
            Database::Sqlite(_) => self.compare_catalogues(&mut differences).await?,
        }
        Ok(differences)
    }

    /// Whether sessions are shown the rows of their own tenants alone, in every table that holds tenants' rows.
    async fn compare_policies(&self, declared: &Schema, differences: &mut Vec<String>) -> Result<(), StoreError> {
        let mut secured = BTreeSet::new();
        for row in self.database().across_tenants().query(POSTGRES_POLICIES, vec![]).await? {
            let (name, is_on, policies) = (row.string(0)?, row.bool(1)?, row.string(2)?);
            let (beside, policy) = OF_INSTALLATION;
            let wanted = match name.as_str() {
                other if other == beside => format!("{policy}; {OF_TENANT}"),
                _ => OF_TENANT.to_owned(),
            };
            let ours = declared.tables.iter().any(|table| table.name == name) || name.starts_with("journal_");
            if ours && !is_on {
                differences.push(format!("table {name} has no row-level security that holds for its owner too"));
            }
            if ours && policies != wanted {
                differences.push(format!("table {name} has other policies: {policies}"));
            }
            secured.insert(name);
        }
        // A column that is missing was told already.
        let lost = declared.tables.iter().filter(|table| table.of_tenants && !secured.contains(&table.name));
        differences.extend(lost.map(|table| format!("table {} has no tenant in its key", table.name)));
        Ok(())
    }

    /// Keys, checks and references: what no name tells on SQLite. They are compared with those of an empty database that
    /// the declarations make.
    async fn compare_catalogues(&self, differences: &mut Vec<String>) -> Result<(), StoreError> {
        let mut live = Vec::new();
        for sql in catalogue::queries(Dialect::Sqlite) {
            for row in self.database().across_tenants().query((*sql).to_owned(), vec![]).await? {
                live.push(row.string(0)?);
            }
        }
        let (live, declared) = (catalogue::lines(live), catalogue::declared_sqlite()?);
        for table in &Schema::declared(Dialect::Sqlite).tables {
            // A column that differs was told already.
            let about_it = |difference: &String| difference.contains(&format!("{}.", table.name));
            let of_it = |lines: &BTreeSet<String>| -> BTreeSet<String> {
                let place = [format!(" of {} ", table.name), format!(" of {}: ", table.name)];
                // Indexes and triggers were looked for by their names; there may be more than ours.
                let by_name = |line: &str| line.starts_with("index ") || line.starts_with("trigger ");
                let of_it = |line: &&String| !by_name(line) && place.iter().any(|it| line.contains(it));
                lines.iter().filter(of_it).cloned().collect()
            };
            let (live, declared) = (of_it(&live), of_it(&declared));
            if !live.is_empty() && live != declared && !differences.iter().any(about_it) {
                let differ = live.symmetric_difference(&declared).cloned().collect::<Vec<_>>().join("; ");
                differences.push(format!("table {} was made by another statement: {differ}", table.name));
            }
        }
        Ok(())
    }
}

fn compare_columns(table: &str, declared: &[Column], live: &[Column], differences: &mut Vec<String>) {
    for column in declared {
        let Some(there) = live.iter().find(|there| there.name == column.name) else {
            differences.push(format!("column {table}.{} is missing", column.name));
            continue;
        };
        if there.kind != column.kind {
            differences.push(format!("column {table}.{} is {}, not {}", column.name, there.kind, column.kind));
        }
        if there.null != column.null {
            let word = |null: bool| if null { "may be null" } else { "may not be null" };
            differences.push(format!(
                "column {table}.{} {}, but {} by declaration",
                column.name,
                word(there.null),
                word(column.null)
            ));
        }
    }
    for there in live {
        if !declared.iter().any(|column| column.name == there.name) {
            differences.push(format!("column {table}.{} is not declared", there.name));
        }
    }
}
