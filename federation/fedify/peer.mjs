// A server of Fedify's for the Go tests in this folder. It speaks ActivityPub over HTTP on loopback, and with the test one line of
// JSON in, one line out: {op, …} and its answer. What it is told to sign, it signs as its own deliveries are signed.
import { createServer } from "node:http";
import { createInterface } from "node:readline";

globalThis.navigator ??= {}; // Node.js 20 has none
const { MemoryKvStore, createFederation, exportJwk, generateCryptoKeyPair, signRequest } = await import("@fedify/fedify");
const { Create, Endpoints, Note, Person } = await import("@fedify/fedify/vocab");

const specs = { cavage: "draft-cavage-http-signatures-12", rfc9421: "rfc9421" };
// As Fedify's own, but for its 4096 bits, which take many seconds to be found.
const rsa = await crypto.subtle.generateKey(
  { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
  true,
  ["sign", "verify"],
);
const ed25519 = await generateCryptoKeyPair("Ed25519");
const received = [];
let base;

function make(firstKnock) {
  const federation = createFederation({ kv: new MemoryKvStore(), allowPrivateAddress: true, firstKnock });
  federation
    .setActorDispatcher("/users/{identifier}", async (ctx, identifier) => {
      if (identifier !== "bot") return null;
      const keys = await ctx.getActorKeyPairs(identifier);
      return new Person({
        id: ctx.getActorUri(identifier),
        preferredUsername: identifier,
        inbox: ctx.getInboxUri(identifier),
        endpoints: new Endpoints({ sharedInbox: ctx.getInboxUri() }),
        publicKey: keys[0].cryptographicKey,
        assertionMethods: keys.map((k) => k.multikey),
      });
    })
    .setKeyPairsDispatcher((_, identifier) => (identifier === "bot" ? [rsa, ed25519] : []));
  federation.setInboxListeners("/users/{identifier}/inbox", "/inbox").on(Create, async (_, activity) => {
    received.push({ id: activity.id.href, actor: activity.actorId.href });
  });
  return federation;
}

const senders = { cavage: make(specs.cavage), rfc9421: make(specs.rfc9421) };

async function answer(req, res) {
  const body = [];
  for await (const chunk of req) body.push(chunk);
  const headers = new Headers();
  for (let i = 0; i < req.rawHeaders.length; i += 2) headers.append(req.rawHeaders[i], req.rawHeaders[i + 1]);
  const request = new Request(base + req.url, { method: req.method, headers, body: body.length > 0 ? Buffer.concat(body) : undefined });
  const response = await senders.cavage.fetch(request, { contextData: undefined });
  res.writeHead(response.status, Object.fromEntries(response.headers));
  res.end(Buffer.from(await response.arrayBuffer()));
}

const operations = {
  async start() {
    const server = createServer((req, res) => answer(req, res).catch((e) => res.writeHead(500).end(String(e))));
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    base = `http://127.0.0.1:${server.address().port}`;
    return { base, ed25519: (await exportJwk(ed25519.publicKey)).x };
  },

  // Signs a request with a body of the test's choice and gives its headers.
  async sign({ url, body, spec }) {
    const request = new Request(url, { method: "POST", headers: { "Content-Type": "application/activity+json" }, body });
    const keyId = new URL(`${base}/users/bot#main-key`);
    const signed = await signRequest(request, rsa.privateKey, keyId, { spec: specs[spec] });
    return { headers: Object.fromEntries(signed.headers) };
  },

  // Sends an activity of its own in the way that it sends all of them.
  async deliver({ actor, inbox, spec, id }) {
    const ctx = senders[spec].createContext(new URL(base), undefined);
    const activity = new Create({
      id: new URL(`${base}/activities/${id}`),
      actor: ctx.getActorUri("bot"),
      tos: [new URL(actor)],
      object: new Note({ id: new URL(`${base}/notes/${id}`), content: "plain" }),
    });
    await ctx.sendActivity({ identifier: "bot" }, { id: new URL(actor), inboxId: new URL(inbox) }, activity);
    return {};
  },

  async received() {
    return { received };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let out;
  try {
    out = await operations[request.op](request);
  } catch (e) {
    out = { error: String(e?.stack ?? e) };
  }
  process.stdout.write(JSON.stringify(out) + "\n");
}
process.exit(0);
