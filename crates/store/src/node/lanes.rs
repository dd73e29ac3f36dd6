//! Lanes and their owners: a node that starts, takes over, leaves, joins again, and is forgotten.
//!
//! Invariant: a lane changes hands only with its next epoch. A lane that holds nothing is left where it is when its node
//! dies: the next node that starts takes it, so that lanes do not grow in number with every crash.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{EVERYBODY, Hint, Hints, Identity, NOTIFY, Ownership, Standing, precise};
use crate::{
    StoreError,
    committer::commit::LaneId,
    database::{Database, Value, postgres::Session, sqlite::host},
};

/// Lanes `l` whose node is dead or gone, with that node as `n`.
macro_rules! orphans {
    () => {
        "from lanes l left join nodes n on n.id = l.node_id where n.state is distinct from 'alive'"
    };
}

/// Whether there is something on the lane `l` that somebody has to see to.
macro_rules! holds_something {
    () => {
        "(exists (select 1 from runs r where r.lane_id = l.id \
                  and r.status in ('queued', 'running', 'waiting', 'paused', 'compensating')) \
          or exists (select 1 from inbox i where i.lane_id = l.id))"
    };
}

const REGISTER: &str = "insert into nodes (id, name, host, pid, state, lease_until, started_at) values \
                        ($1, $2, $3, $4, 'alive', clock_timestamp() + $5 * interval '1 millisecond', clock_timestamp())";
const TAKE_ORPHANS: &str = concat!(
    "update lanes set node_id = $1, epoch = epoch + 1 where id in (select l.id ",
    orphans!(),
    " order by l.id limit $2 for update of l skip locked) \
     and not exists (select 1 from nodes where nodes.id = lanes.node_id and state = 'alive') returning id, epoch"
);
const MAKE_LANES: &str = "insert into lanes (id, node_id, epoch) \
                          select (select coalesce(max(id), 0) from lanes) + n, $1, 1 from generate_series(1, $2::integer) n \
                          returning id, epoch";
const LANES_LOCK: i64 = 0x57_4c_4c_41;
// Who is forgotten is nobody's owner any more: if it should wake up, it finds no row to renew, and every commit of it is
// fenced.
const FORGET: &str = "with gone as (select id from nodes where state <> 'alive' \
                      and lease_until < clock_timestamp() - $1 * interval '1 millisecond' for update skip locked), \
                      freed as (update lanes set node_id = null where node_id in (select id from gone)), \
                      spent as (delete from run_allowances where node_id in (select id from gone)) \
                      delete from nodes where id in (select id from gone)";

/// Removes the rows of nodes that have been dead, or gone, for that long.
pub(crate) async fn forget(session: &Session, dead_for: Duration) -> Result<(), StoreError> {
    let dead_for = Value::Float(dead_for.as_secs_f64() * 1_000.0);
    session.run(FORGET, &[dead_for]).await.map(drop)
}

/// Registers a new node with its lanes: first those whose node is dead or gone, then new ones.
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
        forget(session, identity.dead_kept).await?;
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

const BURY: &str =
    "update nodes set state = 'dead' where state = 'alive' and lease_until < clock_timestamp() and id <> $1";
const COUNT: &str = concat!(
    "select (select count(*) ",
    orphans!(),
    " and ",
    holds_something!(),
    "), (select count(*) from nodes where state = 'alive')"
);
// Who is buried takes nothing, and two who take at once take different lanes.
// The lock on this node's own row makes it wait for, or be waited for by, its own goodbye: a node that has left takes
// nothing.
const TAKE_OVER: &str = concat!(
    "with alive as (select 1 from nodes where id = $1 and state = 'alive' for share) \
     update lanes set node_id = $1, epoch = epoch + 1 where id in (select l.id ",
    orphans!(),
    " and ",
    holds_something!(),
    " order by l.id limit $2 for update of l skip locked) \
     and not exists (select 1 from nodes where nodes.id = lanes.node_id and state = 'alive') \
     and exists (select 1 from alive) \
     returning id, epoch"
);

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

/// Takes this node's share of the lanes that hold something and whose node is dead or gone. Each statement is a transaction: what a lane's
/// runs are is read only after the lane has moved.
pub(crate) async fn take_over(database: &Database, node: Uuid, bury: Bury) -> Result<TakenOver, StoreError> {
    let database = database.across_tenants();
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
