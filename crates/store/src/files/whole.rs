//! All files at once: read and compared with their checksums, or copied to another storage.

use futures::stream;
use uuid::Uuid;
use windlass_engine::id::TenantKey;

use super::{
    FileError,
    objects::Objects,
    read::{FileChunks, FileContent, content},
    upload::receive,
};
use crate::{StoreError, store::Store};

/// Problems that a report names; the rest is counted.
const PROBLEMS_MAX: usize = 1_000;
const TOTALS: &str = "select count(*), cast(coalesce(sum(size_bytes), 0) as bigint) from file_versions";
const VERSIONS: &str = "select f.name, v.number, v.size_bytes, v.sha256, v.media_type, v.object_id, v.chunks, v.created_at, \
                        v.tenant_key, v.file_id, v.id from file_versions v \
                        join files f on f.tenant_key = v.tenant_key and f.id = v.file_id \
                        where (v.tenant_key, v.id) > ($1, $2) order by v.tenant_key, v.id limit 200";

/// Versions of files, also of deleted ones, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FileTotals {
    /// How many versions.
    pub versions: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl FileTotals {
    fn add(&mut self, content: &FileContent) {
        self.versions += 1;
        self.bytes += content.size_bytes;
    }
}

/// What came of going through all files.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct FilesReport {
    /// What was gone through.
    pub seen: FileTotals,
    /// What was copied: what lies there already is not.
    pub copied: FileTotals,
    /// What is not in the storage as it was written, each as a sentence; at most 1,000.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

impl FilesReport {
    fn add(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// Who is told how far it is.
pub type OnFiles<'a> = &'a mut (dyn FnMut(FileTotals) + Send);

impl Store {
    /// All versions of all files that the database knows.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn file_totals(&self) -> Result<FileTotals, StoreError> {
        let row = self.database().across_tenants().query_opt(TOTALS, vec![]).await?;
        row.map_or(Ok(FileTotals::default()), |row| {
            Ok(FileTotals { versions: row.int(0)?.unsigned_abs(), bytes: row.int(1)?.unsigned_abs() })
        })
    }

    /// Reads all files, and says which are not what was written.
    ///
    /// # Errors
    /// There are files and no place of them was named; the database or the storage does not answer.
    pub async fn check_files(&self, progress: OnFiles<'_>) -> Result<FilesReport, FileError> {
        self.go_through(None, progress).await
    }

    /// Copies all files to another place, a directory or `s3://bucket/prefix`, each byte compared with its checksum on the way. What lies
    /// there with as many bytes is left: it was whole when it got its name. So a copy that was broken off is gone on with.
    ///
    /// # Errors
    /// As [`Store::check_files`]; or the other storage takes nothing.
    pub async fn copy_files(&self, to: &str, progress: OnFiles<'_>) -> Result<FilesReport, FileError> {
        self.go_through(Some(Objects::open(to)?), progress).await
    }

    async fn go_through(&self, to: Option<Objects>, progress: OnFiles<'_>) -> Result<FilesReport, FileError> {
        let mut report = FilesReport::default();
        let mut after = (TenantKey(0), Uuid::nil());
        loop {
            let rows = self.database().across_tenants().query(VERSIONS, vec![after.0.into(), after.1.into()]).await?;
            let Some(last) = rows.last() else { return Ok(report) };
            after = (last.tenant(8)?, last.uuid(10)?);
            for row in &rows {
                let content = content(row.tenant(8)?, row.uuid(9)?, row)?;
                match self.go_over(&content, to.as_ref()).await {
                    Ok(true) => report.copied.add(&content),
                    Ok(false) => {}
                    Err(FileError::Damaged(problem)) => report.add(format!("`{}`: {problem}", content.name)),
                    Err(error) => return Err(error),
                }
                report.seen.add(&content);
                progress(report.seen);
            }
        }
    }

    /// Reads a version to its end; gives whether it was copied.
    async fn go_over(&self, content: &FileContent, to: Option<&Objects>) -> Result<bool, FileError> {
        let object = content.object();
        if let Some(to) = to
            && to.size(object).await? == Some(content.size_bytes)
        {
            return Ok(false);
        }
        let mut chunks = self.read_file(content, 0..content.size_bytes).await?;
        let Some(to) = to else {
            while chunks.next().await?.is_some() {}
            return Ok(false);
        };
        let mut failed = None;
        let copied = receive(to, object, u64::MAX, bytes_of(chunks, &mut failed)).await;
        match failed {
            Some(error) => Err(error),
            None => copied.map(|_| true),
        }
    }
}

/// The bytes of a file; why there are no more is kept beside them.
fn bytes_of(
    chunks: FileChunks,
    failed: &mut Option<FileError>,
) -> impl stream::Stream<Item = Result<bytes::Bytes, String>> + Send {
    stream::unfold((chunks, failed), |(mut chunks, failed)| async move {
        match chunks.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), (chunks, failed))),
            Err(error) => {
                let said = error.to_string();
                *failed = Some(error);
                Some((Err(said), (chunks, failed)))
            }
        }
    })
}
