// The workflows on Restate: every step is a `ctx.run`, whose result the server has on disk before the next begins.
import { createServer } from 'node:http';
import { writeFileSync } from 'node:fs';

// Not counted in the server's memory: what it runs is the user's.
writeFileSync('/proc/self/comm', 'application');
// The SDK asks for Node.js 22; this is all that 20 lacks.
Promise.withResolvers ??= () => {
  let resolve, reject;
  const promise = new Promise((a, b) => { resolve = a; reject = b; });
  return { promise, resolve, reject };
};
const restate = await import('@restatedev/restate-sdk');

let effects = 0;
const increment = (value) => { effects += 1; return value + 1; };

const bench = restate.service({
  name: 'Bench',
  handlers: {
    steps: async (ctx, { n }) => {
      let value = 0;
      for (let step = 0; step < n; step++) value = await ctx.run('increment', () => increment(value));
      return { result: value };
    },
    fanOut: async (ctx, { n }) => {
      const steps = Array.from({ length: n }, () => ctx.run('increment', () => increment(0)));
      const results = await restate.RestatePromise.all(steps);
      return { result: results.reduce((sum, value) => sum + value, 0) };
    },
  },
});

const port = Number(process.env.PORT);
createServer((request, response) => {
  const body = JSON.stringify({ result: effects });
  response.writeHead(200, { 'content-length': body.length }).end(body);
}).listen(port + 4, '127.0.0.1');
restate.serve({ services: [bench], port: port + 3 });
