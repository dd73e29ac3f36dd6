//! Nodes and lanes: who owns what, for how long, and who takes over.
//!
//! Invariants: the epoch of a lane is the safety, time only says when to try; the lease lives on `nodes`, which no
//! commit locks, and is renewed on a thread and a session of its own; all times here are the server's
//! `clock_timestamp()`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
        Database, Value,
        postgres::{Address, Session},
        sqlite::host,
    },
    partitions,
};

/// How long a node lives without renewing.
pub const LEASE_MS: i64 = 10_000;
/// How often it renews, and looks for others that do not.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often the journal's coming partitions are made.
const PARTITIONS_EVERY: Duration = Duration::from_secs(3_600);
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
}

struct Owned {
    node: Uuid,
    epochs: BTreeMap<LaneId, i64>,
    /// Counts the times that lanes came: what was known of their runs before is old then.
    gains: u64,
    /// When the renewal was sent that the database took last.
    renewed: Instant,
}

/// The part of its lease after which a node that could not renew starts no more effects.
fn shaky_after(lease: Duration) -> Duration {
    lease * 7 / 10
}

impl Ownership {
    pub(crate) fn new(node: Uuid) -> Ownership {
        let state = Mutex::new(Owned { node, epochs: BTreeMap::new(), gains: 0, renewed: Instant::now() });
        Ownership { state, standing: watch::Sender::new(Standing::Alive) }
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> Uuid {
        self.owned().node
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

    /// The database took a renewal of that node that was sent then; gives how long it had taken none before.
    fn renewed(&self, node: Uuid, sent: Instant) -> Duration {
        let mut owned = self.owned();
        let gap = sent.saturating_duration_since(owned.renewed);
        if owned.node == node {
            owned.renewed = owned.renewed.max(sent);
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
        owned.node = node;
        owned.epochs.clear();
        owned.renewed = renewed;
    }
}

/// What a node needs to know about itself.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub name: String,
    pub lanes: u32,
    pub lease_ms: i64,
    pub hints: Hints,
}

impl Identity {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.unsigned_abs())
    }
}

const REGISTER: &str = "insert into nodes (id, name, host, pid, state, lease_until, started_at) values \
                        ($1, $2, $3, $4, 'alive', clock_timestamp() + $5 * interval '1 millisecond', clock_timestamp())";
const TAKE_ORPHANS: &str = "update lanes set node_id = $1, epoch = epoch + 1 where id in \
                            (select id from lanes where node_id is null order by id limit $2 for update skip locked) \
                            and node_id is null returning id, epoch";
const MAKE_LANES: &str = "insert into lanes (id, node_id, epoch) \
                          select (select coalesce(max(id), 0) from lanes) + n, $1, 1 from generate_series(1, $2::integer) n \
                          returning id, epoch";
const LANES_LOCK: i64 = 0x57_4c_4c_41;

/// Registers a new node with its lanes: first those that a node left behind, then new ones.
pub(crate) async fn register(
    session: &Session,
    node: Uuid,
    identity: &Identity,
) -> Result<Vec<(LaneId, i64)>, StoreError> {
    let params = [
        Value::Uuid(node),
        (&identity.name).into(),
        host().into(),
        Value::Int(i64::from(std::process::id())),
        Value::Float(precise(identity.lease_ms)),
    ];
    session.batch("begin").await?;
    let taken = async {
        session.run(REGISTER, &params).await?;
        session.run("select pg_advisory_xact_lock($1::bigint)", &[LANES_LOCK.into()]).await?;
        let wanted = i64::from(identity.lanes.max(1));
        let mut rows = session.run(TAKE_ORPHANS, &[Value::Uuid(node), wanted.into()]).await?.rows;
        let missing = wanted - rows.len() as i64;
        rows.extend(session.run(MAKE_LANES, &[Value::Uuid(node), missing.into()]).await?.rows);
        rows.iter().map(|row| Ok((LaneId(row.int32(0)?), row.int(1)?))).collect::<Result<Vec<_>, StoreError>>()
    };
    let taken = taken.await;
    session.batch(if taken.is_ok() { "commit" } else { "rollback" }).await?;
    taken
}

#[expect(clippy::cast_precision_loss, reason = "a lease has far fewer than 2^52 milliseconds")]
fn precise(ms: i64) -> f64 {
    ms as f64
}

const BURY: &str =
    "update nodes set state = 'dead' where state = 'alive' and lease_until < clock_timestamp() and id <> $1";
const COUNT: &str = "select (select count(*) from lanes l left join nodes n on n.id = l.node_id \
                     where l.node_id is null or n.state <> 'alive'), (select count(*) from nodes where state = 'alive')";
// Who is buried takes nothing, and two who take at once take different lanes.
// The lock on this node's own row makes it wait for, or be waited for by, its own goodbye: a node that has left takes
// nothing.
const TAKE_OVER: &str = "with alive as (select 1 from nodes where id = $1 and state = 'alive' for share) \
                         update lanes set node_id = $1, epoch = epoch + 1 where id in \
                         (select l.id from lanes l left join nodes n on n.id = l.node_id \
                          where l.node_id is null or n.state <> 'alive' order by l.id limit $2 for update of l skip locked) \
                         and (node_id is null or node_id in (select id from nodes where state <> 'alive')) \
                         and exists (select 1 from alive) \
                         returning id, epoch";

/// Whether nodes whose lease is over may be taken for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bury {
    /// The database has answered this node for a whole lease: others could have renewed.
    Expired,
    /// It has not: only what was given away is taken.
    Nobody,
}

/// What taking over came to.
pub(crate) struct TakenOver {
    pub lanes: Vec<(LaneId, i64)>,
    /// Lanes that still have no owner.
    pub left: i64,
    /// Whether it was this node that found a dead one: the others do not know yet.
    pub found: bool,
}

/// Takes this node's share of the lanes whose node is dead or gone. Each statement is a transaction: what a lane's
/// runs are is read only after the lane has moved.
pub(crate) async fn take_over(database: &Database, node: Uuid, bury: Bury) -> Result<TakenOver, StoreError> {
    let found = match bury {
        Bury::Expired => database.execute(BURY, vec![Value::Uuid(node)]).await?.count > 0,
        Bury::Nobody => false,
    };
    let counts = database.query(COUNT, vec![]).await?;
    let (orphans, nodes) = counts.first().map_or(Ok((0, 1)), |row| Ok::<_, StoreError>((row.int(0)?, row.int(1)?)))?;
    if orphans == 0 {
        return Ok(TakenOver { lanes: Vec::new(), left: 0, found });
    }
    let nodes = nodes.max(1);
    let share = (orphans + nodes - 1) / nodes;
    let rows = database.execute(TAKE_OVER, vec![Value::Uuid(node), share.into()]).await?.rows;
    let lanes: Result<Vec<_>, StoreError> = rows.iter().map(|row| Ok((LaneId(row.int32(0)?), row.int(1)?))).collect();
    let lanes = lanes?;
    let left = orphans - lanes.len() as i64;
    Ok(TakenOver { lanes, left, found })
}

/// Gives the lanes away and says goodbye; the others hear of it at once if they listen.
pub(crate) async fn leave(session: &Session, node: Uuid, hints: Hints) -> Result<(), StoreError> {
    session.batch("begin").await?;
    // The node first: lanes that it is taking at this moment are its own once this has its lock.
    session.run("update nodes set state = 'left' where id = $1 and state = 'alive'", &[Value::Uuid(node)]).await?;
    session.run("update lanes set node_id = null where node_id = $1", &[Value::Uuid(node)]).await?;
    session.batch("commit").await?;
    if hints == Hints::On {
        session.run(NOTIFY, &[EVERYBODY.into(), Hint::Lanes.word().into()]).await?;
    }
    Ok(())
}

const NOTIFY: &str = "select pg_notify($1, $2)";
/// The channel that every node listens on.
const EVERYBODY: &str = "windlass";

const RENEW: &str = "update nodes set lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
                     where id = $1 and state = 'alive' returning clock_timestamp()";

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
            let parting = partition_loop(&address, &clock);
            tokio::select! {
                () = renewing => {}
                () = judging => {}
                () = listening => {}
                () = sending => {}
                () = parting => {}
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
            Ok(Some(now)) => {
                clock.adjust(now, Instant::now());
                if ownership.renewed(node, sent) >= shaky_after(lease) {
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
) -> Result<Option<windlass_definition::time::Timestamp>, StoreError> {
    let session = match session {
        Some(open) if !open.client.is_closed() => open,
        closed => closed.insert(address.connect().await?),
    };
    let params = [Value::Uuid(node), Value::Float(precise(identity.lease_ms))];
    let rows = session.run(RENEW, &params).await?.rows;
    rows.first().map(|row| row.time(0)).transpose()
}

/// Makes the journal's partitions ahead of time.
async fn partition_loop(address: &Address, clock: &Clock) {
    loop {
        tokio::time::sleep(PARTITIONS_EVERY).await;
        let made = async { partitions::make(&address.connect().await?, clock.now()).await };
        if let Err(error) = made.await {
            tracing::warn!(%error, "could not make the journal's next partitions; rows go to the default one");
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
    let session = match session {
        Some(open) if !open.client.is_closed() => open,
        closed => closed.insert(address.connect().await?),
    };
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

/// Registers this process as a new node after it lost its lease. What the old one may still have in the database is
/// given away: nobody turns those runs here any more.
pub(crate) async fn rejoin(
    session: &Session,
    ownership: &Ownership,
    identity: &Identity,
) -> Result<Vec<LaneId>, StoreError> {
    leave(session, ownership.node(), identity.hints).await?;
    let (node, sent) = (Uuid::now_v7(), Instant::now());
    let lanes = register(session, node, identity).await?;
    ownership.become_node(node, sent);
    ownership.add(lanes);
    ownership.stand(Standing::Alive);
    Ok(ownership.lanes())
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
