//! Nodes and lanes: who owns what, for how long, and who takes over.
//!
//! Invariants: the epoch of a lane is the safety, time only says when to try; the lease lives on `nodes`, which no
//! commit locks, and is renewed on a thread and a session of its own; all times here are the server's
//! `clock_timestamp()`.

mod lanes;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::poll_fn;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use crate::{
    StoreError,
    clock::Clock,
    committer::commit::LaneId,
    database::{
        Value,
        postgres::{Address, Session},
    },
    partitions,
};

pub(crate) use lanes::{Bury, leave, register, rejoin, take_over};

/// How long a node lives without renewing.
pub const LEASE_MS: i64 = 10_000;
/// How often it renews, and looks for others that do not.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long the row of a node that is dead or gone is kept: long enough to see afterwards who was there.
pub(crate) const DEAD_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often the journal's coming partitions are made, and dead nodes forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
/// How long hints to one node are gathered.
const HINT_EVERY: Duration = Duration::from_millis(5);

/// How many hints may wait to be sent.
pub(crate) const HINTS_MAX: usize = 4_096;

/// How a node stands with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It renewed in time.
    Alive,
    /// It could not renew for seven tenths of its lease: it starts no more effects ([`crate::Store::lease_holds`]).
    Shaky,
    /// Its lanes are lost, or may be: it forgets its runs and joins anew (`Store::rejoin`).
    Lost,
}

/// What another node, or this one, may want to look at now instead of at the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The inbox of this node's lanes, or results of tasks for them.
    Inbox,
    /// Tasks that workers wait for.
    Tasks,
    /// Lanes that nobody owns.
    Lanes,
    /// Runs that whoever has room may take ([`crate::Store::claim_runs`]).
    Backlog,
}

impl Hint {
    const ALL: [Hint; 4] = [Hint::Inbox, Hint::Tasks, Hint::Lanes, Hint::Backlog];

    fn word(self) -> &'static str {
        match self {
            Hint::Inbox => "inbox",
            Hint::Tasks => "tasks",
            Hint::Lanes => "lanes",
            Hint::Backlog => "backlog",
        }
    }

    fn parse(word: &str) -> Option<Hint> {
        Hint::ALL.into_iter().find(|hint| hint.word() == word)
    }

    /// Whether every node is told, not only the one that owns the lane.
    fn for_all(self) -> bool {
        self != Hint::Inbox
    }
}

/// Whether nodes tell each other that there is something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hints {
    /// They do.
    On,
    /// Everything is found by polling alone: for tests of just that, and for connections that carry no `LISTEN`.
    Off,
}

/// What this process owns.
pub(crate) struct Ownership {
    state: Mutex<Owned>,
    standing: watch::Sender<Standing>,
    /// Whether the last renewal saw no other node.
    alone: AtomicBool,
}

struct Owned {
    node: Uuid,
    epochs: BTreeMap<LaneId, i64>,
    /// Counts the times that lanes came: what was known of their runs before is old then.
    gains: u64,
    /// When the renewal was sent that the database took last.
    renewed: Instant,
    /// When this process became that node.
    joined: Instant,
    /// Whether a renewal since then saw another node; nothing before the first one.
    met: Option<bool>,
}

/// The part of its lease after which a node that could not renew starts no more effects.
fn shaky_after(lease: Duration) -> Duration {
    lease * 7 / 10
}

impl Ownership {
    pub(crate) fn new(node: Uuid) -> Ownership {
        let now = Instant::now();
        let state = Mutex::new(Owned { node, epochs: BTreeMap::new(), gains: 0, renewed: now, joined: now, met: None });
        Ownership { state, standing: watch::Sender::new(Standing::Alive), alone: AtomicBool::new(false) }
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> Uuid {
        self.owned().node
    }

    /// For how long this process has been the node that it is.
    pub(crate) fn joined_for(&self) -> Duration {
        self.owned().joined.elapsed()
    }

    /// Whether there may have been another node since this process became the one that it is.
    pub(crate) fn had_company(&self) -> bool {
        self.owned().met != Some(false)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    pub(crate) fn lanes(&self) -> Vec<LaneId> {
        self.owned().epochs.keys().copied().collect()
    }

    /// Changes whenever lanes come: somebody else may have written their runs meanwhile.
    pub(crate) fn gains(&self) -> u64 {
        self.owned().gains
    }

    /// The epoch under which a lane is ours.
    pub(crate) fn epoch(&self, lane: LaneId) -> Option<i64> {
        self.owned().epochs.get(&lane).copied()
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether the lease was renewed in time, as of now: a process that was stopped knows it before its threads do.
    pub(crate) fn holds(&self, lease: Duration) -> bool {
        *self.standing.borrow() == Standing::Alive && self.silence() < shaky_after(lease)
    }

    /// For how long the database has taken no renewal.
    fn silence(&self) -> Duration {
        self.owned().renewed.elapsed()
    }

    /// The database took a renewal of that node that was sent then, and said whether it is alone; gives how long it had taken
    /// none before.
    fn renewed(&self, node: Uuid, sent: Instant, alone: bool) -> Duration {
        let mut owned = self.owned();
        let gap = sent.saturating_duration_since(owned.renewed);
        if owned.node == node {
            self.alone.store(alone, Ordering::Relaxed);
            owned.renewed = owned.renewed.max(sent);
            owned.met = Some(!alone || owned.met == Some(true));
        }
        gap
    }

    fn stand(&self, standing: Standing) {
        if standing == Standing::Lost {
            self.owned().epochs.clear();
        }
        self.standing.send_if_modified(|old| std::mem::replace(old, standing) != standing);
    }

    pub(crate) fn add(&self, lanes: impl IntoIterator<Item = (LaneId, i64)>) {
        let mut owned = self.owned();
        owned.epochs.extend(lanes);
        owned.gains += 1;
    }

    /// What the database says is ours; lanes that it does not name are lost.
    pub(crate) fn keep_only(&self, node: Uuid, lanes: impl Iterator<Item = (i32, i64)>) {
        let there: HashMap<LaneId, i64> = lanes.map(|(lane, epoch)| (LaneId(lane), epoch)).collect();
        let mut owned = self.owned();
        if owned.node == node {
            owned.epochs.retain(|lane, epoch| there.get(lane) == Some(epoch));
        }
    }

    fn become_node(&self, node: Uuid, renewed: Instant) {
        let mut owned = self.owned();
        // Who buried it is alive, and does not know of the new node yet.
        self.alone.store(false, Ordering::Relaxed);
        owned.node = node;
        owned.epochs.clear();
        owned.renewed = renewed;
        owned.joined = Instant::now();
        owned.met = None;
    }
}

/// What a node needs to know about itself.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub name: String,
    pub lanes: u32,
    pub lease_ms: i64,
    pub hints: Hints,
    /// How long the rows of dead nodes are kept.
    pub dead_kept: Duration,
}

impl Identity {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.unsigned_abs())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lease has far fewer than 2^52 milliseconds")]
fn precise(ms: i64) -> f64 {
    ms as f64
}

const NOTIFY: &str = "select pg_notify($1, $2)";
/// The channel that every node listens on.
const EVERYBODY: &str = "windlass";

const RENEW: &str = "update nodes set lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
                     where id = $1 and state = 'alive' returning clock_timestamp(), \
                     not exists (select 1 from nodes o where o.id <> $1 and o.state = 'alive')";

/// What the keeper thread shares with the store.
pub(crate) struct Keeper {
    pub address: Address,
    pub identity: Identity,
    pub clock: Arc<Clock>,
    pub ownership: Arc<Ownership>,
    pub hints: broadcast::Sender<Hint>,
    /// Since when the database has answered without a gap: nobody is buried before it did so for a whole lease.
    pub answering_since: watch::Sender<Instant>,
    /// Set when the store closes.
    pub closing: watch::Receiver<bool>,
    /// What `hint` was asked to send.
    pub outgoing: mpsc::Receiver<(LaneId, Hint)>,
}

/// Starts the thread that renews the lease, listens for hints and sends them.
pub(crate) fn keep(keeper: Keeper) -> Result<std::thread::JoinHandle<()>, StoreError> {
    let no_thread = |error: std::io::Error| StoreError::Unavailable(format!("no thread for the lease: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let spawned = std::thread::Builder::new().name("postgres-lease".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Keeper { address, identity, clock, ownership, hints, answering_since, mut closing, outgoing } = keeper;
            let renewing = renew_loop(&address, &identity, &clock, &ownership, &answering_since);
            let judging = judge_loop(&ownership, identity.lease());
            let listening = listen_loop(&address, &ownership, &hints, identity.hints);
            let sending = send_loop(&address, outgoing, &ownership, &hints, identity.hints);
            let tidying = tidy_loop(&address, &clock, identity.dead_kept);
            let watching = snapshots::watch(&address);
            tokio::select! {
                () = renewing => {}
                () = judging => {}
                () = listening => {}
                () = sending => {}
                () = tidying => {}
                () = watching => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
    });
    spawned.map_err(no_thread)
}

async fn renew_loop(
    address: &Address,
    identity: &Identity,
    clock: &Clock,
    ownership: &Ownership,
    answering_since: &watch::Sender<Instant>,
) {
    let lease = identity.lease();
    let every = RENEW_EVERY.min(lease / 5);
    let mut session = None;
    loop {
        let (node, sent) = (ownership.node(), Instant::now());
        let asked = tokio::time::timeout(lease / 2, renew(address, &mut session, node, identity));
        let answer = asked.await.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())));
        match answer {
            Ok(Some((now, alone))) => {
                clock.adjust(now, sent, Instant::now());
                if ownership.renewed(node, sent, alone) >= shaky_after(lease) {
                    // This process was stopped, or cut off: so may others have been, and they want time to renew.
                    answering_since.send_replace(Instant::now());
                }
                if *ownership.standing.borrow() == Standing::Shaky {
                    ownership.stand(Standing::Alive);
                }
            }
            // The row is not alive any more: somebody buried this node. Or it has become another one meanwhile.
            Ok(None) if ownership.node() == node => ownership.stand(Standing::Lost),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "could not renew this node's lease");
                session = None;
                answering_since.send_replace(Instant::now());
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Says how the node stands as time passes without a renewal, whatever the renewal itself is waiting for.
async fn judge_loop(ownership: &Ownership, lease: Duration) {
    loop {
        let (standing, next) = judge(ownership.silence(), lease);
        let was = *ownership.standing.borrow();
        // Only a renewal makes a node better off, and only joining anew one that is lost.
        if standing == Standing::Lost || (standing == Standing::Shaky && was == Standing::Alive) {
            ownership.stand(standing);
        }
        tokio::time::sleep(next).await;
    }
}

/// How a node stands after that long without a renewal, and when to look again.
fn judge(silence: Duration, lease: Duration) -> (Standing, Duration) {
    let shaky = shaky_after(lease);
    let (standing, next) = if silence >= lease {
        (Standing::Lost, lease / 10)
    } else if silence >= shaky {
        (Standing::Shaky, lease - silence)
    } else {
        (Standing::Alive, shaky - silence)
    };
    (standing, next.max(Duration::from_millis(1)))
}

async fn renew(
    address: &Address,
    session: &mut Option<Session>,
    node: Uuid,
    identity: &Identity,
) -> Result<Option<(windlass_definition::time::Timestamp, bool)>, StoreError> {
    let session = address.keep_open(session).await?;
    let params = [Value::Uuid(node), Value::Float(precise(identity.lease_ms))];
    let rows = session.run(RENEW, &params).await?.rows;
    rows.first().map(|row| Ok((row.time(0)?, row.bool(1)?))).transpose()
}

/// Makes the journal's partitions ahead of time, and forgets nodes that have been dead for long.
async fn tidy_loop(address: &Address, clock: &Clock, dead_kept: Duration) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        let made = async { partitions::make(&address.connect().await?, clock.now()).await };
        if let Err(error) = made.await {
            tracing::warn!(%error, "could not make the journal's next partitions; rows go to the default one");
        }
        let forgotten = async { lanes::forget(&address.connect().await?, dead_kept).await };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "could not remove the rows of dead nodes; the next look is in an hour");
        }
    }
}

/// The channel that hints to a node go through.
fn channel(node: Uuid) -> String {
    format!("windlass_{}", node.simple())
}

/// Listens for hints. They may be lost, so a new session begins with one of each.
async fn listen_loop(address: &Address, ownership: &Ownership, hints: &broadcast::Sender<Hint>, switch: Hints) {
    if switch == Hints::Off {
        return std::future::pending().await;
    }
    loop {
        let node = ownership.node();
        let mut standing = ownership.standing();
        tokio::select! {
            ended = listen(address, node, hints) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "listening for hints ended");
                }
            }
            // A node that joined again has another channel.
            _ = standing.wait_for(|standing| *standing == Standing::Alive && ownership.node() != node) => {}
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}

async fn listen(address: &Address, node: Uuid, hints: &broadcast::Sender<Hint>) -> Result<(), StoreError> {
    let (client, mut connection) = address.connect_raw().await?;
    let subscribe = format!("listen {}; listen {EVERYBODY}", channel(node));
    let subscribing = client.batch_execute(&subscribe);
    futures::pin_mut!(subscribing);
    let mut subscribed = false;
    loop {
        let message = poll_fn(|context| {
            if !subscribed && subscribing.as_mut().poll(context).is_ready() {
                subscribed = true;
                for hint in Hint::ALL {
                    // Nobody listens before the runtime is up.
                    let _ = hints.send(hint);
                }
            }
            connection.poll_message(context)
        });
        match message.await {
            Some(Ok(AsyncMessage::Notification(told))) => {
                // Nobody listens before the runtime is up. A newer server may know words that this one does not.
                let _ = Hint::parse(told.payload()).map(|hint| hints.send(hint));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(crate::database::postgres::refused(error)),
            None => return Ok(()),
        }
    }
}

/// Sends hints: never within a commit (it takes a lock on the whole database), one per node and 5 ms.
async fn send_loop(
    address: &Address,
    mut outgoing: mpsc::Receiver<(LaneId, Hint)>,
    ownership: &Ownership,
    hints: &broadcast::Sender<Hint>,
    switch: Hints,
) {
    let mut session: Option<Session> = None;
    let mut owners: HashMap<LaneId, Uuid> = HashMap::new();
    let mut asked = Instant::now();
    while let Some(first) = outgoing.recv().await {
        tokio::time::sleep(HINT_EVERY).await;
        let mut wanted = HashSet::from([first]);
        while let Ok(next) = outgoing.try_recv() {
            wanted.insert(next);
        }
        let mine = |(lane, hint): &(LaneId, Hint)| hint.for_all() || ownership.epoch(*lane).is_some();
        for hint in wanted.iter().filter(|it| mine(it)).map(|(_, hint)| *hint).collect::<HashSet<Hint>>() {
            // Nobody listens before the runtime is up.
            let _ = hints.send(hint);
        }
        if switch == Hints::Off {
            continue;
        }
        let told = tell(address, &mut session, (&mut owners, &mut asked), &wanted, ownership).await;
        if let Err(error) = told {
            tracing::debug!(%error, "a hint was not sent; the poll will find it");
            session = None;
        }
    }
    // The store is gone; the select above ends by `closing`.
    std::future::pending::<()>().await;
}

async fn tell(
    address: &Address,
    session: &mut Option<Session>,
    (owners, asked): (&mut HashMap<LaneId, Uuid>, &mut Instant),
    wanted: &HashSet<(LaneId, Hint)>,
    ownership: &Ownership,
) -> Result<(), StoreError> {
    let session = address.keep_open(session).await?;
    let foreign = |lane: LaneId| ownership.epoch(lane).is_none();
    let unknown = wanted.iter().any(|(lane, hint)| !hint.for_all() && foreign(*lane) && !owners.contains_key(lane));
    if unknown || asked.elapsed() > RENEW_EVERY {
        *asked = Instant::now();
        owners.clear();
        for row in session.run("select id, node_id from lanes where node_id is not null", &[]).await?.rows {
            owners.insert(LaneId(row.int32(0)?), row.uuid(1)?);
        }
    }
    let mut channels = BTreeSet::new();
    for (lane, hint) in wanted {
        match owners.get(lane) {
            _ if hint.for_all() => channels.insert((EVERYBODY.to_owned(), hint.word())),
            Some(node) if foreign(*lane) => channels.insert((channel(*node), hint.word())),
            _ => false,
        };
    }
    for (channel, word) in channels {
        session.run(NOTIFY, &[channel.into(), word.into()]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_cannot_renew_stops_effects_at_seven_tenths_and_its_runs_at_the_end_of_its_lease() {
        let lease = Duration::from_secs(10);
        for (silent_ms, standing, next_ms) in [
            (0, Standing::Alive, 7_000),
            (6_999, Standing::Alive, 1),
            (7_000, Standing::Shaky, 3_000),
            (9_999, Standing::Shaky, 1),
            (10_000, Standing::Lost, 1_000),
            (60_000, Standing::Lost, 1_000),
        ] {
            let found = judge(Duration::from_millis(silent_ms), lease);
            assert_eq!(found, (standing, Duration::from_millis(next_ms)), "after {silent_ms} ms");
        }
    }

    #[test]
    fn hints_say_what_they_mean() {
        for hint in Hint::ALL {
            assert_eq!(Hint::parse(hint.word()), Some(hint));
        }
    }
}
