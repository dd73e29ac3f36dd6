// An identity provider with its own pages for signing in and consent, on a free port of this machine, which it prints.
// Argument: the server that it sends browsers back to. It has a client for each algorithm; whoever signs in is known under
// the name that was typed.
import http from 'node:http';
import Provider from 'oidc-provider';

const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = async (algorithm) => {
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const { key_ops, ext, alg, ...jwk } = await crypto.subtle.exportKey('jwk', pair.privateKey);
  return jwk;
};
const rsa = { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' };
const keys = await Promise.all([rsa, { name: 'ECDSA', namedCurve: 'P-256' }, { name: 'Ed25519' }].map(key));

const client = (algorithm) => ({
  client_id: algorithm.toLowerCase(),
  client_secret: 'a-secret-of-the-test',
  redirect_uris: [`${process.argv[2]}/api/v1/sign-in/oidc/${algorithm.toLowerCase()}/callback`],
  id_token_signed_response_alg: algorithm,
});

const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const provider = new Provider(issuer, {
  jwks: { keys },
  clients: algorithms.map(client),
  enabledJWA: { idTokenSigningAlgValues: algorithms },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  cookies: { keys: ['of no interest'] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id}@example.org`,
      email_verified: true,
      name: `${id} of the provider`,
    }),
  }),
});
server.on('request', provider.callback());
console.log(issuer);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
