// graphile-worker: jobs added one by one or in bulk, and worked in the same process.
import { makeWorkerUtils, run, Logger } from 'graphile-worker';
import pg from 'pg';
import { Ends, serve } from './serving.mjs';

const pgPool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();

const worker = await run({
  pgPool,
  logger,
  noHandleSignals: true,
  taskList: { job: async () => {} },
  // What its documentation advises for throughput: jobs are fetched 500 at a time and completed in batches.
  preset: {
    worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
  },
});
const ends = new Ends();
// It says so when a job has been done; the write of its end may still be on its way.
worker.events.on('job:complete', ({ job }) => ends.ended(job.id));

serve({
  // A job is added, worked, and known to be done.
  steps: () => ends.of(async () => (await utils.addJob('job', {})).id),
  // A job is added.
  jobs: async () => { await utils.addJob('job', {}); return 1; },
  // So many jobs are added in bulk and all worked.
  backlog: (count) => ends.ofAll(count, (part) =>
    utils.addJobs(Array.from({ length: part }, () => ({ identifier: 'job', payload: {} })))),
}, () => ends.done);
