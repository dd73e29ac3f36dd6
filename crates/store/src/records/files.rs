//! Files as rows: a file, its version and what the tenant has used, in one transaction.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_resource::{
    Datum, FieldError, Record,
    records::files::{FILE_VERSIONS, FILES},
};

use super::{
    Actor, RecordError, RecordView, Target,
    behaviour::{Behaviour, NewRow},
    row,
    write::{Named, Write},
};
use crate::{
    StoreError,
    database::{Row, Tx},
    files::{FileError, Sniffed},
    store::Store,
};

const USED: &str = "select bytes from file_usage where tenant_key = $1";
const USE: &str = "update file_usage set bytes = bytes + $2 where tenant_key = $1";
const HOLD: &str = "update file_objects set bytes = $3 where tenant_key = $1 and id = $2";

/// As what something that lies in the storage is kept.
pub(crate) enum Keeping {
    /// A new file with these values.
    New(Named),
    /// The next version of a file.
    VersionOf(Target),
}

/// What lies in the storage.
pub(crate) struct Kept {
    pub object: Uuid,
    pub bytes: u64,
    pub sha256: String,
    pub chunks: Vec<u8>,
    pub declared_type: Option<String>,
    pub sniffed: Sniffed,
    /// What the tenant may use.
    pub bytes_max: Option<u64>,
}

impl Kept {
    fn size(&self) -> i64 {
        i64::try_from(self.bytes).unwrap_or(i64::MAX)
    }

    /// What a file and its version say alike.
    fn said(&self) -> Named {
        let declared = self.declared_type.clone().map_or(Datum::Null, Datum::Text);
        vec![
            ("size_bytes", Datum::Int(self.size())),
            ("sha256", Datum::Text(self.sha256.clone())),
            ("media_type", Datum::Text(self.sniffed.media_type.clone())),
            ("declared_type", declared),
        ]
    }
}

/// Refused before anything was changed, or done.
type Outcome = Result<RecordView, FileError>;

impl Store {
    /// Writes the rows of something that lies in the storage.
    pub(crate) async fn keep_file(&self, actor: Actor, keeping: Keeping, kept: Kept) -> Outcome {
        let Actor { tenant, by } = actor;
        let write = |record: &'static Record| self.write_on((tenant, record), by.clone());
        let (file, version) = (write(&FILES), write(&FILE_VERSIONS));
        let written = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                match keep(tx, (&file, &version), keeping, kept).await {
                    Err(FileError::Record(RecordError::Store(error))) => Err(error),
                    other => Ok(other),
                }
            })
        });
        let kept = written.await.map_err(FileError::from)?;
        self.audit_noted();
        kept
    }
}

async fn keep(tx: &mut Tx, (file, version): (&Write, &Write), keeping: Keeping, kept: Kept) -> Outcome {
    let tenant = file.writer.tenant;
    let lock = tx.dialect().pick("", " for update");
    let used = tx.query(format!("{USED}{lock}"), vec![tenant.into()]).await?;
    let bytes_used = used.first().map_or(Ok(0), |row| Row::int(row, 0))?.unsigned_abs();
    if let Some(bytes_max) = kept.bytes_max.filter(|max| bytes_used.saturating_add(kept.bytes) > *max) {
        return Err(FileError::Quota { bytes_max, bytes_used });
    }
    let mut sets = kept.said();
    sets.push(("kind", Datum::Text(kept.sniffed.kind.to_owned())));
    let (view, number) = match keeping {
        Keeping::New(mut values) => {
            values.retain(|(name, _)| *name != "version" && !sets.iter().any(|(other, _)| other == name));
            values.extend(sets);
            values.push(("version", Datum::Int(1)));
            (file.create(tx, ("create", values)).await?, 1)
        }
        Keeping::VersionOf(target) => {
            let old = file.locked(tx, target).await?;
            let number = row::get(&FILES, &old, "version").as_int().unwrap_or(0).saturating_add(1);
            sets.push(("version", Datum::Int(number)));
            (file.save(tx, ("upload", target.id), &old, sets).await?, number)
        }
    };
    // From here on everything is written, or nothing.
    let damaged = |error: RecordError| match error {
        RecordError::Store(error) => error,
        other => StoreError::damaged(format!("a version of a file was refused: {other}")),
    };
    let id = view.json["id"].as_str().and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| StoreError::damaged("a file without an id"))?;
    let mut values = kept.said();
    values.extend([
        ("file_id", Datum::Uuid(id)),
        ("number", Datum::Int(number)),
        ("object_id", Datum::Uuid(kept.object)),
        ("chunks", Datum::Bytes(kept.chunks.clone())),
    ]);
    version.create(tx, ("create", values)).await.map_err(damaged)?;
    if tx.execute(HOLD, vec![tenant.into(), kept.object.into(), kept.size().into()]).await? != 1 {
        return Err(StoreError::conflict("the upload took too long, and was swept").into());
    }
    tx.execute(USE, vec![tenant.into(), kept.size().into()]).await?;
    Ok(view)
}

pub(super) struct Files;

impl Behaviour for Files {
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move {
            let Some(run) = row.get("run_id").as_uuid() else { return Ok(Vec::new()) };
            // A run that is about to go waits for us, or is gone.
            let lock = tx.dialect().pick("", " for key share");
            let sql = format!("select 1 from runs where tenant_key = $1 and id = $2{lock}");
            let found = tx.query(sql, vec![row.tenant().into(), run.into()]).await?;
            let missing = found.is_empty().then(|| FieldError::of("run_id", "there is no such run"));
            Ok(missing.into_iter().collect())
        })
    }
}
