//! Statements on the rows of a record, the same for both databases but for what [`Dialect`] says.
//!
//! Built with sea-query, which quotes names and numbers parameters. It never sees a value: each is put aside, and its
//! place among the parameters stands for it, so that times, ids and JSON keep their kinds up to the driver.
//!
//! Invariant: a statement on what a tenant owns names the tenant.

use sea_query::{
    Alias, Cond, Expr, ExprTrait, LikeExpr, LockType, Order, PostgresQueryBuilder, Query, ReturningClause,
    SelectStatement, SqliteQueryBuilder, Value, Values,
};
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use crate::{
    Column, Datum, Deletion, Dialect, Ownership, Record,
    list::{Filter, ListQuery, Op, Rows, Sort},
    tables,
};

/// Rows that a sweep deletes at once.
pub const SWEEP_ROWS: u64 = 500;

/// A statement and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text, with `$1` or `?` for parameters.
    pub sql: String,
    /// The parameters in their order.
    pub params: Vec<Datum>,
}

/// Whether a read locks what it finds until the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It does not.
    None,
    /// Nobody else may change it.
    Update,
    /// Nobody else may delete it.
    KeyShare,
}

/// Writes statements for one database, about one tenant's rows.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The database.
    pub dialect: Dialect,
    /// The tenant.
    pub tenant: TenantKey,
}

/// Values that are put aside.
#[derive(Default)]
struct Aside(Vec<Datum>);

impl Aside {
    /// What stands for a value.
    fn put(&mut self, datum: Datum) -> Expr {
        let place = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        self.0.push(datum);
        Expr::val(Value::BigInt(Some(place)))
    }

    /// The statement with its values in their places.
    fn into_statement(self, (sql, Values(values)): (String, Values)) -> Statement {
        let param = |value: Value| match value {
            Value::BigInt(Some(place)) => usize::try_from(place).ok().and_then(|at| self.0.get(at)).cloned(),
            Value::BigUnsigned(Some(number)) => i64::try_from(number).ok().map(Datum::Int),
            Value::String(Some(text)) => Some(Datum::Text(text)),
            _ => None,
        };
        Statement { sql, params: values.into_iter().map(|value| param(value).unwrap_or(Datum::Null)).collect() }
    }
}

/// Builds a statement for the writer's database.
macro_rules! build {
    ($writer:expr, $aside:expr, $statement:expr) => {
        $aside.into_statement(match $writer.dialect {
            Dialect::Sqlite => $statement.build(SqliteQueryBuilder),
            Dialect::Postgres => $statement.build(PostgresQueryBuilder),
        })
    };
}

fn name(text: &str) -> Alias {
    Alias::new(text)
}

/// The columns of [`Record::stored`], of rows that are changed.
fn stored(record: &Record) -> ReturningClause {
    Query::returning().columns(record.stored().iter().map(|column| name(column.name)))
}

fn col(text: &str) -> Expr {
    Expr::col(name(text))
}

impl Writer {
    /// The condition that a row is the tenant's.
    fn whose(&self, record: &Record, aside: &mut Aside) -> Cond {
        match record.ownership {
            Ownership::Tenant => Cond::all().add(col("tenant_key").eq(aside.put(i64::from(self.tenant.0).into()))),
            Ownership::Global => Cond::all(),
        }
    }

    fn the_row(&self, record: &Record, id: Uuid, aside: &mut Aside) -> Cond {
        self.whose(record, aside).add(col("id").eq(aside.put(Datum::Uuid(id))))
    }

    fn lock(&self, select: &mut SelectStatement, lock: Lock) {
        // SQLite has one writer.
        match (self.dialect, lock) {
            (Dialect::Postgres, Lock::Update) => {
                select.lock(LockType::Update);
            }
            (Dialect::Postgres, Lock::KeyShare) => {
                select.lock(LockType::KeyShare);
            }
            _ => {}
        }
    }

    fn select(&self, record: &Record) -> SelectStatement {
        let mut select = Query::select();
        select.columns(record.stored().iter().map(|column| name(column.name))).from(name(record.name));
        select
    }

    /// A row by its id, deleted or not; its columns as [`Record::stored`] has them.
    pub fn get(&self, record: &Record, id: Uuid, lock: Lock) -> Statement {
        let mut aside = Aside::default();
        let mut select = self.select(record);
        select.cond_where(self.the_row(record, id, &mut aside));
        self.lock(&mut select, lock);
        build!(self, aside, select)
    }

    /// A page of rows and the first of the next one.
    pub fn list(&self, record: &Record, query: &ListQuery) -> Statement {
        let mut aside = Aside::default();
        let mut select = self.select(record);
        let mut all = self.whose(record, &mut aside);
        if record.deletion == Deletion::Soft {
            let deleted = col("deleted_at");
            all = all.add(if query.rows == Rows::Live { deleted.is_null() } else { deleted.is_not_null() });
        }
        for filter in &query.filters {
            all = all.add(filtered(filter, &mut aside));
        }
        for word in &query.words {
            let escaped = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            all = all.add(col("search_text").like(LikeExpr::new(format!("%{escaped}%")).escape('\\')));
        }
        if let Some(after) = &query.after {
            all = all.add(beyond(&query.sort, after, &mut aside));
        }
        select.cond_where(all);
        for sort in &query.sort {
            // Null comes last either way, on both databases.
            if sort.column.is_nullable() {
                select.order_by_expr(col(sort.column.name).is_null(), Order::Asc);
            }
            select.order_by(name(sort.column.name), if sort.descending { Order::Desc } else { Order::Asc });
        }
        select.limit(u64::from(query.limit) + 1);
        build!(self, aside, select)
    }

    /// Adds a row with these values.
    pub fn insert(&self, record: &Record, values: &[(&'static str, Datum)]) -> Statement {
        let mut aside = Aside::default();
        let mut columns = Vec::new();
        let mut row = Vec::new();
        if record.ownership == Ownership::Tenant {
            columns.push(name("tenant_key"));
            row.push(aside.put(i64::from(self.tenant.0).into()));
        }
        for (column, value) in values {
            columns.push(name(column));
            row.push(aside.put(value.clone()));
        }
        let mut insert = Query::insert();
        insert.into_table(name(record.name)).columns(columns).values_panic(row);
        build!(self, aside, insert)
    }

    /// Changes a row that is still at this revision; its revision counts one more.
    pub fn update(&self, record: &Record, (id, revision): (Uuid, i64), values: &[(&'static str, Datum)]) -> Statement {
        let mut aside = Aside::default();
        let mut update = Query::update();
        update.table(name(record.name));
        for (column, value) in values {
            update.value(name(column), aside.put(value.clone()));
        }
        update.value(name("revision"), aside.put(Datum::Int(revision.saturating_add(1))));
        let row = self.the_row(record, id, &mut aside).add(col("revision").eq(aside.put(Datum::Int(revision))));
        update.cond_where(row);
        build!(self, aside, update)
    }

    /// Removes a row.
    pub fn delete(&self, record: &Record, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let row = self.the_row(record, id, &mut aside);
        build!(self, aside, Query::delete().from_table(name(record.name)).cond_where(row))
    }

    /// Whether the table that a reference leads to has this row; a deleted row is none.
    pub fn is_there(&self, table: &str, target: Option<&Record>, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let mut all = Cond::all();
        if target.is_none_or(|record| record.ownership == Ownership::Tenant) {
            all = all.add(col("tenant_key").eq(aside.put(i64::from(self.tenant.0).into())));
        }
        all = all.add(col("id").eq(aside.put(Datum::Uuid(id))));
        if target.map_or(tables::is_soft(table), |record| record.deletion == Deletion::Soft) {
            all = all.add(col("deleted_at").is_null());
        }
        let mut select = Query::select();
        select.column(name("id")).from(name(table)).cond_where(all);
        self.lock(&mut select, Lock::KeyShare);
        build!(self, aside, select)
    }

    /// Another row that has these values in these columns; null counts as a value, a deleted row does not count.
    pub fn alike(&self, record: &Record, except: Uuid, values: &[(&'static str, Datum)]) -> Statement {
        let mut aside = Aside::default();
        let mut all = self.whose(record, &mut aside).add(col("id").ne(aside.put(Datum::Uuid(except))));
        for (column, value) in values {
            all = all.add(equals(column, value.clone(), &mut aside));
        }
        if record.deletion == Deletion::Soft {
            all = all.add(col("deleted_at").is_null());
        }
        build!(self, aside, Query::select().column(name("id")).from(name(record.name)).cond_where(all).limit(1))
    }

    /// A row that refers to this id, if there is one; a deleted row does not count.
    pub fn referring(&self, record: &Record, column: &Column, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let mut all = self.whose(record, &mut aside).add(col(column.name).eq(aside.put(Datum::Uuid(id))));
        if record.deletion == Deletion::Soft {
            all = all.add(col("deleted_at").is_null());
        }
        build!(self, aside, Query::select().column(name("id")).from(name(record.name)).cond_where(all).limit(1))
    }

    /// The ids of all rows whose column refers to this id, deleted or not.
    pub fn all_referring(&self, record: &Record, column: &Column, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let all = self.whose(record, &mut aside).add(col(column.name).eq(aside.put(Datum::Uuid(id))));
        build!(self, aside, Query::select().column(name("id")).from(name(record.name)).cond_where(all))
    }

    /// Lets go of this id wherever the column refers to it; gives the rows as they are then.
    pub fn let_go(&self, record: &Record, column: &Column, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let all = self.whose(record, &mut aside).add(col(column.name).eq(aside.put(Datum::Uuid(id))));
        let mut update = Query::update();
        update.table(name(record.name)).value(name(column.name), aside.put(Datum::Null)).cond_where(all);
        build!(self, aside, update.returning(stored(record)))
    }

    /// Removes all rows whose column refers to this id, and gives them.
    pub fn delete_referring(&self, record: &Record, column: &Column, id: Uuid) -> Statement {
        let mut aside = Aside::default();
        let all = self.whose(record, &mut aside).add(col(column.name).eq(aside.put(Datum::Uuid(id))));
        let mut delete = Query::delete();
        delete.from_table(name(record.name)).cond_where(all);
        build!(self, aside, delete.returning(stored(record)))
    }

    /// Some rows whose time is over: those that were made before `made_before`, and those that were deleted before
    /// `deleted_before`. Their ids alone; `None` where neither is asked for.
    pub fn over(
        &self,
        record: &Record,
        made_before: Option<Timestamp>,
        deleted_before: Option<Timestamp>,
    ) -> Option<Statement> {
        let mut aside = Aside::default();
        let mut any = Cond::any();
        if let Some(at) = made_before {
            // Ids grow with time: the key finds the oldest.
            any = any.add(col("id").lt(aside.put(Datum::Uuid(first_id_of(at)))));
        }
        if let Some(at) = deleted_before {
            any = any.add(col("deleted_at").lt(aside.put(Datum::Time(at))));
        }
        if made_before.is_none() && deleted_before.is_none() {
            return None;
        }
        let all = self.whose(record, &mut aside).add(any);
        let mut select = Query::select();
        select.column(name("id")).from(name(record.name)).cond_where(all).limit(SWEEP_ROWS);
        Some(build!(self, aside, select))
    }
}

/// The least id that can have been made at that time.
fn first_id_of(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.micros() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

impl From<i64> for Datum {
    fn from(number: i64) -> Datum {
        Datum::Int(number)
    }
}

fn equals(column: &str, value: Datum, aside: &mut Aside) -> Expr {
    if value.is_null() { col(column).is_null() } else { col(column).eq(aside.put(value)) }
}

fn filtered(filter: &Filter, aside: &mut Aside) -> Cond {
    let column = || col(filter.column.name);
    let mut first = || aside.put(filter.values.first().cloned().unwrap_or(Datum::Null));
    let one = match filter.op {
        Op::Null(true) => column().is_null(),
        Op::Null(false) => column().is_not_null(),
        Op::Less => column().lt(first()),
        Op::AtMost => column().lte(first()),
        Op::More => column().gt(first()),
        Op::AtLeast => column().gte(first()),
        Op::In => column().is_in(filter.values.iter().map(|value| aside.put(value.clone())).collect::<Vec<_>>()),
        Op::NotIn => {
            let values: Vec<Expr> = filter.values.iter().map(|value| aside.put(value.clone())).collect();
            return Cond::any().add(column().is_not_in(values)).add(column().is_null());
        }
    };
    Cond::all().add(one)
}

/// What comes after a row in an order: equal in the first columns, and beyond in the next.
fn beyond(sort: &[Sort], after: &[Datum], aside: &mut Aside) -> Cond {
    let mut any = Cond::any();
    for (at, (last, value)) in sort.iter().zip(after).enumerate() {
        // Nothing comes after null.
        if value.is_null() {
            continue;
        }
        let mut all = Cond::all();
        for (equal, value) in sort.iter().zip(after).take(at) {
            all = all.add(equals(equal.column.name, value.clone(), aside));
        }
        let value = aside.put(value.clone());
        let column = col(last.column.name);
        let further = if last.descending { column.lt(value) } else { column.gt(value) };
        let mut next = Cond::any().add(further);
        if last.column.is_nullable() {
            next = next.add(col(last.column.name).is_null());
        }
        any = any.add(all.add(next));
    }
    any
}
