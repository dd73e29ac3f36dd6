// Writes workflows of a webhook and 1, 10 and 100 `Set` nodes after it; the webhook answers when the last one has ended.
const id = (count) => `bench${String(count).padStart(4, '0')}xxxxxxx`;

const workflow = (count) => {
  const webhook = {
    id: 'webhook', name: 'Webhook', type: 'n8n-nodes-base.webhook', typeVersion: 2, position: [0, 0], webhookId: `bench-${count}`,
    parameters: { httpMethod: 'POST', path: `bench-${count}`, responseMode: 'lastNode', options: {} },
  };
  const set = (number) => ({
    id: `s${number}`, name: `s${number}`, type: 'n8n-nodes-base.set', typeVersion: 3.4, position: [200 * number, 0],
    parameters: { assignments: { assignments: [{ id: 'a', name: 'result', type: 'number', value: number }] }, options: {} },
  });
  const nodes = [webhook, ...Array.from({ length: count }, (_, at) => set(at + 1))];
  const link = (from, to) => [from.name, { main: [[{ node: to.name, type: 'main', index: 0 }]] }];
  const connections = Object.fromEntries(nodes.slice(1).map((node, at) => link(nodes[at], node)));
  return {
    id: id(count), name: `bench-${count}`, nodes, connections, active: false, settings: { executionOrder: 'v1' },
    versionId: `00000000-0000-4000-8000-00000000${String(count).padStart(4, '0')}`,
  };
};

const counts = [1, 10, 100];
console.log(process.argv[2] === 'ids' ? counts.map(id).join('\n') : JSON.stringify(counts.map(workflow)));
