-- Lists of what ended badly, of one workflow: among millions of runs hundreds of thousands failed, and none of them may be of it.
drop index runs_ended_badly;
create index runs_ended_badly on runs (tenant_key, status, id) where status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out';
create index runs_ended_badly_by_workflow on runs (tenant_key, workflow, status, id) where status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out';
