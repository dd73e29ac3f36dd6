// pg-boss: jobs added one by one or in bulk, and worked in the same process by fetching and completing 500 at a time.
import PgBoss from 'pg-boss';
import { Ends, serve } from './serving.mjs';

const BATCH = 500;
const LOOPS = 4;
// Its `work` looks twice a second at most; loops of `fetch` that look again after 2 ms are quicker.
const LOOK_EVERY_MS = 2;

const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, max: 20 });
boss.on('error', console.error);
await boss.start();
await boss.createQueue('job');

const ends = new Ends();
const work = async () => {
  for (;;) {
    const jobs = await boss.fetch('job', { batchSize: BATCH });
    if (jobs.length) {
      await boss.complete('job', jobs.map((job) => job.id));
      for (const job of jobs) ends.ended(job.id);
    } else await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
};
for (let loop = 0; loop < LOOPS; loop++) work().catch((error) => { console.error(error); process.exit(1); });

serve({
  // A job is added, worked, and known to be done.
  steps: () => ends.of(() => boss.send('job', {})),
  // A job is added.
  jobs: async () => { await boss.send('job', {}); return 1; },
  // So many jobs are added in bulk and all worked.
  backlog: (count) => ends.ofAll(count, (part) =>
    boss.insert(Array.from({ length: part }, () => ({ name: 'job', data: {} })))),
}, () => ends.done);
