//! Tenants: each has the next key, and the first one is never suspended.

use futures::future::BoxFuture;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, FieldError};

use super::behaviour::{Behaviour, FreshRow, NewRow};
use crate::{
    StoreError,
    database::{Row, Tx},
};

const NEXT: &str = "select max(key) + 1 from tenants";

pub(super) struct Tenants;

impl Behaviour for Tenants {
    fn fill<'a>(&'a self, tx: &'a mut Tx, row: &'a mut FreshRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let next = tx.query(NEXT, vec![]).await?.first().map_or(Ok(None), |row| row.opt(0, Row::int))?;
            row.fill("key", Datum::Int(next.unwrap_or(i64::from(TenantKey::DEFAULT.0))));
            Ok(())
        })
    }

    fn before_write<'a>(
        &'a self,
        _: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        let first = row.get("key").as_int() == Some(i64::from(TenantKey::DEFAULT.0));
        let refused = first && row.get("status").as_text() == Some("suspended");
        let error =
            || FieldError::of("status", "the first tenant is never suspended: its people look after the others");
        Box::pin(async move { Ok(refused.then(error).into_iter().collect()) })
    }
}
