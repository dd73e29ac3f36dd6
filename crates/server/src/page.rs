//! Pages of lists: `?limit=&after=`.

use crate::problem::Problem;

/// Rows of a page when nobody says.
pub const PAGE_ROWS: usize = 50;
/// Rows of a page at most.
pub const PAGE_ROWS_MAX: usize = 1_000;
const CURSOR_CHARS_MAX: usize = 1_000;

/// What was asked for.
#[derive(Debug)]
pub struct PageQuery {
    /// Rows.
    pub limit: Option<usize>,
    /// Cursor.
    pub after: Option<String>,
}

/// A page that may be asked for.
#[derive(Debug)]
pub struct PageBounds {
    /// Rows, within bounds.
    pub limit: usize,
    /// Cursor, within bounds.
    pub after: Option<String>,
}

impl PageQuery {
    /// The page, if it may be asked for.
    ///
    /// # Errors
    /// 400 when a bound is passed; the detail names it.
    pub fn check(self) -> Result<PageBounds, Problem> {
        let limit = self.limit.unwrap_or(PAGE_ROWS);
        if !(1..=PAGE_ROWS_MAX).contains(&limit) {
            return Err(Problem::bad_request("invalid_query", format!("`limit` must be 1 to {PAGE_ROWS_MAX}")));
        }
        if self.after.as_ref().is_some_and(|after| after.len() > CURSOR_CHARS_MAX) {
            return Err(Problem::bad_request("invalid_query", "`after` is no cursor of ours"));
        }
        Ok(PageBounds { limit, after: self.after })
    }
}
