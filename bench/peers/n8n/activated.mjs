// Asks for a run until there is one.
const url = `http://127.0.0.1:${process.env.PORT}/webhook/bench-100`;
for (;;) {
  const response = await fetch(url, { method: 'POST' });
  await response.text();
  if (response.ok) break;
  await new Promise((resolve) => setTimeout(resolve, 100));
}
