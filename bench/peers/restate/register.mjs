// Registers the service with the server, as soon as both are there.
const port = Number(process.env.PORT);
const uri = `http://127.0.0.1:${port + 3}`;
const registered = async () => {
  const response = await fetch(`http://127.0.0.1:${port + 1}/deployments`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ uri, force: true }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
};
for (let attempt = 1; ; attempt++) {
  try { await registered(); break; } catch (error) {
    if (attempt === 100) throw error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
