//! Looking at the database again and again: what is due, what has come in, what nobody owns any more.
//!
//! Everything that a turner is told directly is also a row, and this loop finds the rows whose telling was lost with
//! a process. It knows nothing of how a row came to be there, so starting, adopting a dead node's lanes and ordinary
//! running are the same work. Pages are bounded; runs that wait are not loaded.

use std::{sync::Arc, time::Instant};

use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::{Event, id::RunId, status::RunStatus};
use windlass_store::{Hint, LaneId, Standing, crash_point};

use crate::{
    core::Core,
    error::RuntimeError,
    inbox::Opened,
    letter::Letter,
    loader::Recover,
    slots,
    turner::{Deliver, Message},
};

const PAGE_ROWS: i64 = 1_000;
/// Pages of timers that are due that one look wakes: what was woken is on its way, and the next look is soon.
const DUE_PAGES_MAX: usize = 10;
/// Between two looks at places and history that nobody freed.
const SLOW: std::time::Duration = std::time::Duration::from_secs(15);

/// How far the loop has looked.
pub(crate) struct Recovery {
    /// Runs with timers up to here are in memory or have been told.
    timers_until: Option<Timestamp>,
    reconciled: Instant,
    known_lanes: Vec<LaneId>,
    /// There are lanes that nobody owns, and this node took its share: who else is there has a moment to take his.
    orphans: bool,
}

impl Recovery {
    pub(crate) fn new() -> Recovery {
        Recovery { timers_until: None, reconciled: Instant::now() - SLOW, known_lanes: Vec::new(), orphans: false }
    }
}

/// Looks until everything stops.
pub(crate) async fn run(core: Arc<Core>, mut recovery: Recovery) {
    let mut hints = core.store.hints();
    let mut standing = core.store.standing();
    loop {
        if core.store.is_shared()
            && let Err(error) = core.store.look_at_access().await
        {
            tracing::warn!(%error, "what other servers changed of tenants is not seen; the next look is soon");
        }
        if let Err(error) = tick(&core, &mut recovery).await {
            tracing::warn!(%error, "looking at the database failed; the next look is soon");
        }
        let pause = if recovery.orphans { core.settings.scan / 10 } else { core.settings.scan };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = core.look.notified() => {}
            () = hinted(&core, &mut hints) => {}
            changed = standing.changed() => {
                if changed.is_err() {
                    tokio::time::sleep(core.settings.scan).await;
                }
            }
        }
    }
}

/// Does what hints ask for, as long as they come; a whole look is due all the same.
async fn hinted(core: &Arc<Core>, hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Tasks) => core.look_for_all(),
            Ok(Hint::Backlog) => core.backlog.wake(),
            Ok(Hint::Lanes) => return,
            Ok(Hint::Inbox) | Err(RecvError::Lagged(_)) => {
                // What came in the meantime is seen by the same look.
                *hints = hints.resubscribe();
                core.look_for_all();
                let lanes = core.store.lanes();
                if open_inbox(core, &lanes).await.is_err()
                    || crate::tasks::deliver_finished(core, &lanes).await.is_err()
                {
                    return;
                }
            }
            Err(RecvError::Closed) => return tokio::time::sleep(core.settings.scan).await,
        }
    }
}

/// One look.
pub(crate) async fn tick(core: &Arc<Core>, recovery: &mut Recovery) -> Result<(), RuntimeError> {
    if *core.store.standing().borrow() == Standing::Lost {
        let lost = std::mem::take(&mut recovery.known_lanes);
        core.send_all(|| Message::Lost(lost.clone()));
    }
    // Who is about to leave takes nothing over.
    if !core.is_draining() {
        if *core.store.standing().borrow() == Standing::Lost {
            core.rejoin().await?;
        }
        recovery.orphans = core.store.adopt().await?.left > 0;
    }
    let lanes = core.store.lanes();
    let new: Vec<LaneId> = lanes.iter().copied().filter(|lane| !recovery.known_lanes.contains(lane)).collect();
    let gone: Vec<LaneId> = recovery.known_lanes.iter().copied().filter(|lane| !lanes.contains(lane)).collect();
    if !gone.is_empty() {
        core.send_all(|| Message::Lost(gone.clone()));
    }
    recovery.known_lanes = lanes.clone();
    if !new.is_empty() {
        take_over(core, &new).await?;
        recovery.timers_until = None;
        // Runs of these lanes may wait for a place that is free.
        recovery.reconciled = Instant::now() - SLOW;
    }
    due_timers(core, &lanes, recovery).await?;
    open_inbox(core, &lanes).await?;
    crate::tasks::deliver_finished(core, &lanes).await?;
    crate::tasks::expire_leases(core).await?;
    if recovery.reconciled.elapsed() >= SLOW {
        recovery.reconciled = Instant::now();
        core.letters.tidy();
        slots::reconcile(core).await?;
    }
    Ok(())
}

/// Takes the runs of these lanes over that were running, or about to begin, when their process ended.
async fn take_over(core: &Arc<Core>, lanes: &[LaneId]) -> Result<(), RuntimeError> {
    crash_point::hit("before-take-over");
    for lane in lanes {
        for status in RunStatus::TAKEN_OVER {
            take_over_lane(core, *lane, status).await?;
        }
        let mut after = None;
        loop {
            let page = core.store.claimed_runs(*lane, after, PAGE_ROWS).await?;
            for (tenant, run) in &page {
                core.admit((*tenant, *run), *lane, Some(core.backlog.force(*tenant, &core.bounds())));
            }
            match page.last() {
                Some(last) if page.len() as i64 >= PAGE_ROWS => after = Some(*last),
                _ => break,
            }
        }
    }
    crash_point::hit("after-take-over");
    Ok(())
}

async fn take_over_lane(core: &Arc<Core>, lane: LaneId, status: RunStatus) -> Result<(), RuntimeError> {
    let mut after = None;
    loop {
        let page = core.store.open_runs(lane, status, after, PAGE_ROWS).await?;
        for open in &page {
            core.send(open.run, Message::Adopt { tenant: open.tenant, run: open.run, recover: Recover::Yes });
        }
        match page.last() {
            Some(last) if page.len() as i64 >= PAGE_ROWS => after = Some((last.tenant, last.run)),
            _ => return Ok(()),
        }
    }
}

/// Wakes runs whose time has come, and loads those whose time is near. What is between the two was loaded by a look
/// before, or has been in memory all the time.
async fn due_timers(core: &Arc<Core>, lanes: &[LaneId], recovery: &mut Recovery) -> Result<(), RuntimeError> {
    let now = core.now();
    let horizon = now.after(core.settings.timer_near);
    let known = recovery.timers_until.filter(|until| *until > now).unwrap_or(now);
    // Those that come when memory is full are found once they are due, as are those that a look did not get to.
    let room = core.settings.runs_in_memory_max.saturating_sub(core.metrics.gauges().runs_in_memory.get() as usize);
    for (from, until, pages_max) in [
        (None, now, DUE_PAGES_MAX),
        (Some((known, RunId::new(Uuid::nil()))), horizon, room.div_ceil(PAGE_ROWS as usize)),
    ] {
        let mut after = from;
        for _ in 0..pages_max {
            let page = core.store.due_timers(lanes, until, after, PAGE_ROWS).await?;
            for timer in &page {
                let (tenant, run) = (timer.tenant, timer.run);
                if timer.due_at <= now {
                    crash_point::hit("before-timer");
                    core.deliver(Deliver::new(tenant, run, Event::Tick));
                } else {
                    core.send(run, Message::Adopt { tenant, run, recover: Recover::No });
                }
            }
            match page.last() {
                Some(last) if page.len() as i64 >= PAGE_ROWS => after = Some((last.due_at, last.run)),
                _ => break,
            }
        }
    }
    recovery.timers_until = Some(horizon);
    Ok(())
}

/// Opens the letters that nobody opened directly.
async fn open_inbox(core: &Arc<Core>, lanes: &[LaneId]) -> Result<(), RuntimeError> {
    let mut after: Option<Uuid> = None;
    loop {
        let page = core.store.inbox(lanes, after, PAGE_ROWS).await?;
        for (tenant, message) in &page {
            if !core.letters.take(message.id) {
                continue;
            }
            let (tenant, run, lane, id) = (*tenant, message.run, message.lane, message.id);
            match Letter::read(&message.payload) {
                Ok(letter) => core.open_letter(Opened { tenant, run, lane, id, letter }),
                Err(error) => tracing::error!(%run, %error, "a letter cannot be read"),
            }
        }
        match page.last() {
            Some(last) if page.len() as i64 >= PAGE_ROWS => after = Some(last.1.id),
            _ => return Ok(()),
        }
    }
}
