//! Statements without their conditions on the tenant, for the proof that row-level security alone holds.
//!
//! Without the feature `crashpoints`, which no shipped build has, [`text`] changes nothing. With it, a process that was
//! started with `WINDLASS_BLIND=1` sends the pool's statements to PostgreSQL with every `tenant_key = $n` made true.

use std::borrow::Cow;

/// The statement as it is sent.
#[cfg(not(feature = "crashpoints"))]
#[inline(always)]
pub(crate) fn text(sql: &str) -> Cow<'_, str> {
    Cow::Borrowed(sql)
}

/// The statement as it is sent.
#[cfg(feature = "crashpoints")]
pub(crate) fn text(sql: &str) -> Cow<'_, str> {
    static BLIND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let blind = *BLIND.get_or_init(|| std::env::var("WINDLASS_BLIND").is_ok_and(|it| it == "1"));
    if blind { blinded(sql) } else { Cow::Borrowed(sql) }
}

/// What every condition on a given tenant says: the column, in either spelling, and its parameter.
#[cfg(any(test, feature = "crashpoints"))]
const CONDITIONS: [&str; 2] = ["tenant_key = $", "\"tenant_key\" = $"];

/// Every comparison of a tenant's column with a parameter is true, and the parameter is still taken.
#[cfg(any(test, feature = "crashpoints"))]
fn blinded(sql: &str) -> Cow<'_, str> {
    let Some((at, found)) = CONDITIONS.iter().filter_map(|it| Some((sql.find(it)?, *it))).min() else {
        return Cow::Borrowed(sql);
    };
    // What names the table goes with the column.
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"');
    let before = sql[..at].trim_end_matches(is_name);
    let rest = &sql[at + found.len()..];
    let number = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(number);
    // A cast that follows stays one of an integer.
    Cow::Owned(format!(
        "{before}(${number}::integer is not null){}",
        blinded(rest.strip_prefix("::integer").unwrap_or(rest))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_a_given_tenant_are_true() {
        for (sql, expected) in [
            (
                "select 1 from a where tenant_key = $1 and id = $2",
                "select 1 from a where ($1::integer is not null) and id = $2",
            ),
            (
                "select 1 from a t where t.\"tenant_key\" = $12::integer or \"a\".\"tenant_key\" = $3",
                "select 1 from a t where ($12::integer is not null) or ($3::integer is not null)",
            ),
            (
                "delete from a using b where a.tenant_key = b.tenant_key",
                "delete from a using b where a.tenant_key = b.tenant_key",
            ),
            ("insert into a (tenant_key) values ($1)", "insert into a (tenant_key) values ($1)"),
        ] {
            assert_eq!(blinded(sql), expected);
        }
    }
}
