-- Tasks that may be claimed, apart from the tasks: a claim moves a narrow row from here to the leases, and the task with
-- its payload and its indexes is written once. `rank` is the priority with its sign turned (ADR 17). An open task is
-- `pending` in its own row whether or not somebody holds it: the lease says so.
create table task_ready (
  tenant_key integer not null,
  queue text not null,
  rank integer not null,
  task_id blob not null,
  primary key (tenant_key, queue, rank, task_id)
) strict, without rowid;
insert into task_ready (tenant_key, queue, rank, task_id)
  select tenant_key, queue, -prio, id from tasks where status = 'pending';
update tasks set status = 'pending' where status = 'claimed';
drop index tasks_ready;
