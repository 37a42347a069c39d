// One member of a group, played by ts-mls: a line of JSON in, a line of JSON out. Bytes are base64.
import { createInterface } from "node:readline"
import {
  acceptAll, createApplicationMessage, createCommit, createGroup, createProposal, decodeMlsMessage, defaultCapabilities, emptyPskIndex,
  encodeMlsMessage, generateKeyPackageWithKey, getCiphersuiteFromName, getCiphersuiteImpl, joinGroup, processMessage,
} from "ts-mls"
import { p256, p384, p521 } from "@noble/curves/nist.js"

// Version 1.6.4 makes compressed ECDSA keys, where RFC 9420 section 5.1.1 wants uncompressed ones; it reads both. It also writes
// external_pub without its length, so joins from outside cannot be tried with it.
const curves = { P256: p256, P384: p384, P521: p521 }

async function signatureKeys(suite, name) {
  const keys = await suite.signature.keygen()
  const curve = curves[name.split("_").pop()]
  return curve ? { ...keys, publicKey: curve.getPublicKey(keys.signKey, false) } : keys
}

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"))
const text = (data) => Buffer.from(data).toString("base64")
const message = (wireformat, content) => text(encodeMlsMessage({ version: "mls10", wireformat, ...content }))
const encoded = (m) => text(encodeMlsMessage(m))
const decoded = (m) => decodeMlsMessage(bytes(m), 0)[0]

let suite, own, state

async function committed(options) {
  const c = await createCommit({ state, cipherSuite: suite }, { ratchetTreeExtension: true, ...options })
  state = c.newState
  return { commit: encoded(c.commit), welcome: c.welcome && message("mls_welcome", { welcome: c.welcome }) }
}

const operations = {
  async start({ suite: name, identity, now }) {
    suite = await getCiphersuiteImpl(getCiphersuiteFromName(name))
    const credential = { credentialType: "basic", identity: bytes(identity) }
    const lifetime = { notBefore: BigInt(now) - 3600n, notAfter: BigInt(now) + 86400n }
    own = await generateKeyPackageWithKey(credential, defaultCapabilities(), lifetime, [], await signatureKeys(suite, name), suite)
    return { keyPackage: message("mls_key_package", { keyPackage: own.publicPackage }) }
  },
  async create({ group }) {
    state = await createGroup(bytes(group), own.publicPackage, own.privatePackage, [], suite)
  },
  async join({ welcome }) {
    state = await joinGroup(decoded(welcome).welcome, own.publicPackage, own.privatePackage, emptyPskIndex, suite)
  },
  async add({ keyPackages, asPublic }) {
    const extraProposals = keyPackages.map((k) => ({ proposalType: "add", add: { keyPackage: decoded(k).keyPackage } }))
    return committed({ extraProposals, wireAsPublicMessage: asPublic })
  },
  async remove({ leaf, asPublic }) {
    return committed({ extraProposals: [{ proposalType: "remove", remove: { removed: leaf } }], wireAsPublicMessage: asPublic })
  },
  async update({ asPublic }) {
    return committed({ wireAsPublicMessage: asPublic })
  },
  async proposeRemove({ leaf, asPublic }) {
    const p = await createProposal(state, asPublic, { proposalType: "remove", remove: { removed: leaf } }, suite)
    state = p.newState
    return { message: encoded(p.message) }
  },
  async process({ message: m }) {
    const r = await processMessage(decoded(m), state, emptyPskIndex, acceptAll, suite)
    state = r.newState
    return { data: r.kind === "applicationMessage" ? text(r.message) : undefined }
  },
  async send({ data }) {
    const r = await createApplicationMessage(state, bytes(data), suite)
    state = r.newState
    return { message: message("mls_private_message", { privateMessage: r.privateMessage }) }
  },
  async authenticator() {
    return { authenticator: text(state.keySchedule.epochAuthenticator), epoch: Number(state.groupContext.epoch) }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  let answer
  try {
    answer = (await operations[request.op](request)) ?? {}
  } catch (e) {
    answer = { error: String(e?.stack ?? e) }
  }
  process.stdout.write(JSON.stringify(answer) + "\n")
}
