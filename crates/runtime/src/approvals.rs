//! What people are asked to decide, and how they decide it.

use windlass_definition::Value;
use windlass_engine::{
    Event,
    event::Decision,
    id::{ApprovalId, TenantKey},
    start::Principal,
};
use windlass_store::{ApprovalRow, ApprovalStatus, FindApprovals};

use crate::{
    error::RuntimeError,
    live_run::Taken,
    request::{ApprovalFilter, DecideRequest},
    runtime::Runtime,
    turner::Deliver,
    views::{ApprovalView, Page},
};

impl Runtime {
    /// Approvals, the newest first.
    ///
    /// # Errors
    /// The status or the cursor is no such thing.
    pub async fn approvals(
        &self,
        tenant: TenantKey,
        filter: ApprovalFilter,
    ) -> Result<Page<ApprovalView>, RuntimeError> {
        let limit = filter.limit.clamp(1, self.core.settings.page_max);
        let status = match &filter.status {
            Some(word) => Some(ApprovalStatus::parse(word).ok_or_else(|| unknown_status(word))?),
            None => None,
        };
        let after = match &filter.after {
            Some(text) => Some(text.parse().map_err(|_| RuntimeError::invalid("/after", "is no cursor of a page"))?),
            None => None,
        };
        let find = FindApprovals { status, after, within: filter.within };
        let mut rows = self.core.store.list_approvals(tenant, &find, limit as i64 + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| row.id.to_string()) } else { None };
        Ok(Page::new(rows.into_iter().map(view).collect(), next))
    }

    /// An approval.
    ///
    /// # Errors
    /// There is no such approval.
    pub async fn approval(&self, tenant: TenantKey, approval: ApprovalId) -> Result<ApprovalView, RuntimeError> {
        let row = self.core.store.approval(tenant, approval).await?;
        row.map(view).ok_or_else(|| RuntimeError::not_found("approval", approval))
    }

    /// Decides an approval, and shows it as it is then. The same decision of the same person given again is a success
    /// as well.
    ///
    /// # Errors
    /// There is no such approval, it is decided, the form does not match, or this person may not decide.
    pub async fn decide(&self, request: DecideRequest) -> Result<ApprovalView, RuntimeError> {
        let DecideRequest { tenant, approval, verdict, by, form, comment } = request;
        let row = self.core.store.approval(tenant, approval).await?;
        let row = row.ok_or_else(|| RuntimeError::not_found("approval", approval))?;
        let path = row.path.as_str().into();
        let decision = Decision { path, verdict, by, form, comment: comment.map(Into::into) };
        if let Some(answer) = said_before(&row, &decision) {
            return answer.map(|()| view(row));
        }
        if row.status != ApprovalStatus::Pending {
            return Err(decided(&row));
        }
        check_decision(&row.detail, &decision.by, &decision.form)?;
        let known = row.responses.as_array().cloned().unwrap_or_default();
        let mut deliver = Deliver::new(tenant, row.run, Event::Decide(decision.clone()));
        deliver.decided = Some((approval, known));
        let told = self.core.tell(deliver).await;
        let row = self.core.store.approval(tenant, approval).await?;
        let row = row.ok_or_else(|| RuntimeError::not_found("approval", approval))?;
        match (told, said_before(&row, &decision)) {
            // It was there before, or the same was said at the same time.
            (Ok(Taken::Before) | Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }), Some(answer)) => {
                answer.map(|()| view(row))
            }
            // Somebody else was first: the step waits no more, or the run is over.
            (Err(_), None) if row.status != ApprovalStatus::Pending => Err(decided(&row)),
            (told, _) => told.map(|_| view(row)),
        }
    }
}

/// What an approval says of a decision of the same person: that it is there, or that it is another one. Nothing when
/// that person has not decided.
fn said_before(row: &ApprovalRow, decision: &Decision) -> Option<Result<(), RuntimeError>> {
    let responses = row.responses.as_array()?;
    let mut said = responses.iter().filter_map(|it| serde_json::from_value::<Decision>(it.clone()).ok());
    let said = said.rfind(|it| it.by == decision.by)?;
    Some(if said == *decision { Ok(()) } else { Err(decided(row)) })
}

fn decided(row: &ApprovalRow) -> RuntimeError {
    let detail = match row.status {
        ApprovalStatus::Pending => "this person has decided otherwise before".to_owned(),
        status => format!("the approval is {}", status.as_str()),
    };
    RuntimeError::conflict("approval_decided", detail)
}

fn unknown_status(word: &str) -> RuntimeError {
    let words: Vec<&str> = ApprovalStatus::ALL.iter().map(|status| status.as_str()).collect();
    RuntimeError::invalid("/status", format!("`{word}` is none of {}", words.join(", ")))
}

/// Whether this one is asked, and the form is what was asked for.
fn check_decision(detail: &serde_json::Value, by: &Principal, form: &Value) -> Result<(), RuntimeError> {
    let asked = detail.get("to").and_then(serde_json::Value::as_array);
    if let (Some(asked), Principal::Person(person)) = (asked, by)
        && !asked.is_empty()
        && !asked.iter().any(|it| it.as_str() == Some(person))
    {
        let detail = format!("{person} is not among those who are asked");
        return Err(RuntimeError::Denied { code: "not_asked", detail });
    }
    let schema = Value::from(detail.get("form").cloned().unwrap_or_default());
    if schema.is_null() || form.is_null() {
        return Ok(());
    }
    crate::plans::check(&schema, form, "/form")
}

fn view(row: ApprovalRow) -> ApprovalView {
    ApprovalView {
        id: row.id,
        status: row.status.as_str().to_owned(),
        run_id: row.run,
        path: row.path.into(),
        title: row.title,
        detail: Value::from(row.detail),
        responses: Value::from(row.responses),
        created_at: row.created_at,
        expires_at: row.expires_at,
        decided_at: row.decided_at,
    }
}
