// Answers the bench's requests for a peer that is a library: `POST /steps/1` calls `works.steps(1)` and answers
// `{"result":1}`; `GET /effects` tells how many jobs were done, `GET /ready` that the peer is ready.
import { createServer } from 'node:http';

export const serve = (works, effects) => createServer(async (request, response) => {
  const [, what, number] = request.url.split('/');
  const answer = (status, body) => response.writeHead(status, { 'content-length': Buffer.byteLength(body) }).end(body);
  try {
    request.resume();
    if (what === 'ready') return answer(200, '{"result":0}');
    if (what === 'effects') return answer(200, `{"result":${effects()}}`);
    if (!works[what]) return answer(404, 'no such path');
    return answer(200, `{"result":${await works[what](Number(number))}}`);
  } catch (error) {
    return answer(500, String(error));
  }
}).listen(Number(process.env.PORT), '127.0.0.1');

// Who waits for the end of which job. A job may end before the answer to its addition has come.
export class Ends {
  done = 0;
  #waiting = 0;
  #resolve = new Map();
  #early = new Set();
  #left = 0;
  #allEnded = null;

  // A job has ended.
  ended(id) {
    this.done += 1;
    if (this.#resolve.has(id)) {
      this.#resolve.get(id)();
      this.#resolve.delete(id);
    } else if (this.#waiting > 0) this.#early.add(id);
    if (this.#left > 0 && --this.#left === 0) this.#allEnded();
  }

  // Adds a job by `add`, which gives its id, and waits for its end.
  async of(add) {
    this.#waiting += 1;
    const id = await add();
    if (!this.#early.delete(id)) await new Promise((resolve) => this.#resolve.set(id, resolve));
    if (--this.#waiting === 0) this.#early.clear();
    return 1;
  }

  // Adds so many jobs, at most 1,000 at a time, and waits for the end of all; nothing else may go on meanwhile.
  async ofAll(count, add) {
    this.#left = count;
    const all = new Promise((resolve) => { this.#allEnded = resolve; });
    for (let from = 0; from < count; from += 1000) await add(Math.min(1000, count - from));
    await all;
    return count;
  }
}
