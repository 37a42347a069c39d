package mls

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The values of a group's records. They come from our own disk, and are still read as if anybody had written them: limits before
// memory, and what does not fit together is refused.

// stateVersion is the first byte of the record that every group has, and of a stored key package.
const stateVersion = 2

// load reads everything, what others hang on first. It returns the name of what it could not read.
func (g *Group) load(r *stored) (what string) {
	for _, part := range []struct {
		name string
		read func(*stored) bool
	}{
		{"the head", g.loadHead}, {"the secret trees", g.loadMessages}, {"a past epoch", g.loadPast},
		{"a proposal", g.loadProposals}, {"the pending commit", g.loadPending},
	} {
		if !part.read(r) {
			return part.name
		}
	}
	return ""
}

// stored is what a group is loaded from.
type stored struct {
	records
	taken int
}

func (r *stored) has(key string) bool {
	_, ok := r.records[key]
	return ok
}

// take hands out a record, each key once.
func (r *stored) take(key string) ([]byte, bool) {
	value, ok := r.records[key]
	if ok {
		r.taken++
	}
	return value, ok
}

// read reads a record to its end.
func (r *stored) read(key string, value func(*cryptobyte.String) bool) bool {
	data, ok := r.take(key)
	s := cryptobyte.String(data)
	return ok && value(&s) && s.Empty()
}

func (g *Group) addHead(b *cryptobyte.Builder) {
	b.AddUint8(stateVersion)
	g.addEpoch(b)
	b.AddUint32(uint32(g.own))
	addOpaque(b, g.signer.Private())
	addVector(b, func(b *cryptobyte.Builder) {
		for _, x := range g.resumptions {
			b.AddUint64(x.epoch)
			addOpaque(b, x.secret)
		}
	})
	addOptional(b, g.removed)
}

func (g *Group) loadHead(r *stored) bool {
	var leaves uint32
	var seed []byte
	ok := r.read(groupKey, func(s *cryptobyte.String) bool {
		var version uint8
		return s.ReadUint8(&version) && version == stateVersion && g.readEpoch(s, &leaves) &&
			s.ReadUint32((*uint32)(&g.own)) && readOpaque(s, &seed) && readList(s, maxResumptions, g.readResumption) &&
			readOptional(s, &g.removed)
	})
	if !ok || !g.loadTree(r, leaves) || g.tree.leaf(g.own) == nil {
		return false
	}
	var err error
	g.signer, err = NewSignatureKey(g.suite.id, seed)
	return err == nil && bytes.Equal(g.signer.public, g.tree.leaf(g.own).SignatureKey) && g.fits()
}

func (g *Group) readResumption(s *cryptobyte.String) bool {
	var x resumption
	ok := s.ReadUint64(&x.epoch) && readOpaque(s, &x.secret)
	g.resumptions = append(g.resumptions, x)
	return ok
}

// fits says whether the tree is that of the context, and all private keys are for nodes of it: a record that is missing or an old
// version of another would not.
func (g *Group) fits() bool {
	for x := range g.private {
		if g.tree.at(x).blank() {
			return false
		}
	}
	return bytes.Equal(g.tree.treeHash(), g.context.treeHash)
}

// addEpoch writes what an epoch has of its own, but for the tree and what has been sent in it.
func (g *Group) addEpoch(b *cryptobyte.Builder) {
	g.context.add(b)
	b.AddUint32(g.tree.leaves())
	addOpaque(b, g.interim)
	for _, f := range g.secrets.fields() {
		addOpaque(b, *f)
	}
	addMap(b, g.private, func(b *cryptobyte.Builder, key []byte) { addOpaque(b, key) })
	addOptional(b, g.reInit != nil)
	if g.reInit != nil {
		g.reInit.add(b)
	}
}

func (g *Group) readEpoch(s *cryptobyte.String, leaves *uint32) bool {
	if !g.context.read(s) || !readLeaves(s, leaves) || !readOpaque(s, &g.interim) {
		return false
	}
	var err error
	if g.suite, err = g.context.suite.suite(); err != nil {
		return false
	}
	g.secrets, g.private = new(epochSecrets), privateKeys{}
	for _, f := range g.secrets.fields() {
		if !readOpaque(s, f) || len(*f) != g.suite.nh {
			return false
		}
	}
	var closed bool
	if !readMap(s, maxDepth+1, g.private, readOpaque) || !readOptional(s, &closed) {
		return false
	}
	if closed {
		g.reInit = new(reInit)
		return g.reInit.read(s)
	}
	return true
}

// readLeaves reads the width of a tree, a power of two.
func readLeaves(s *cryptobyte.String, leaves *uint32) bool {
	return s.ReadUint32(leaves) && *leaves > 0 && *leaves <= maxMembers && *leaves&(*leaves-1) == 0
}

func (g *Group) loadTree(r *stored, leaves uint32) bool {
	g.tree = (&ratchetTree{suite: g.suite}).resized(leaves)
	for i := range g.tree.nodes {
		x := nodeIndex(i)
		if !r.has(nodeKey(x)) {
			continue
		}
		if !r.read(nodeKey(x), func(s *cryptobyte.String) (ok bool) {
			g.tree.nodes[x], ok = readNode(s, x)
			return ok
		}) {
			return false
		}
	}
	return true
}

func (g *Group) loadMessages(r *stored) (ok bool) {
	if g.messages, ok = r.secretTree(g.suite, g.context.epoch, g.tree.leaves()); !ok {
		return false
	}
	g.exports, ok = r.exporterTree(g.suite)
	return ok
}

// secretTree reads a whole tree. A leaf that nothing stands for is damage.
func (r *stored) secretTree(s *suite, epoch uint64, leaves uint32) (*secretTree, bool) {
	n, ok := r.secretNode(s, epoch, root(leaves))
	return &secretTree{s, leaves, n}, ok
}

func (r *stored) secretNode(s *suite, epoch uint64, x nodeIndex) (n *secretNode, ok bool) {
	n = new(secretNode)
	if secret, ok := r.take(secretKey(epoch, x)); ok {
		n.secret = bytes.Clone(secret)
		return n, len(secret) == s.nh
	}
	if x.isLeaf() {
		for kind := range n.ratchets {
			n.ratchets[kind] = new(ratchet)
			if !r.read(ratchetKey(epoch, x.leaf(), ratchetKind(kind)), func(in *cryptobyte.String) bool { return n.ratchets[kind].read(in, s) }) {
				return nil, false
			}
		}
		return n, true
	}
	if n.left, ok = r.secretNode(s, epoch, x.left()); ok {
		n.right, ok = r.secretNode(s, epoch, x.right())
	}
	return n, ok
}

func (r *ratchet) add(b *cryptobyte.Builder) {
	addOpaque(b, r.secret)
	b.AddUint32(r.next)
	addMap(b, r.skipped, func(b *cryptobyte.Builder, k messageKey) {
		addOpaque(b, k.key)
		addOpaque(b, k.nonce)
	})
}

func (r *ratchet) read(in *cryptobyte.String, s *suite) bool {
	r.skipped = map[uint32]messageKey{}
	return readOpaque(in, &r.secret) && len(r.secret) == s.nh && in.ReadUint32(&r.next) &&
		readMap(in, maxSkipped, r.skipped, func(in *cryptobyte.String, k *messageKey) bool {
			return readOpaque(in, &k.key) && len(k.key) == s.nk && readOpaque(in, &k.nonce) && len(k.nonce) == s.nn
		})
}

func (p pastEpoch) add(b *cryptobyte.Builder) {
	p.context.add(b)
	b.AddUint32(p.messages.leaves)
	addOpaque(b, p.senderData)
	addMap(b, p.leaves, func(b *cryptobyte.Builder, l *LeafNode) { node{leaf: l}.add(b) })
}

// loadPast reads the epochs before this one, as far as there are any.
func (g *Group) loadPast(r *stored) bool {
	for i := range uint64(maxPastEpochs) {
		epoch := g.context.epoch - 1 - i
		if epoch > g.context.epoch || !r.has(pastKey(epoch)) {
			continue // of an epoch that we were not in
		}
		p := pastEpoch{endedEpoch: new(endedEpoch)}
		var leaves uint32
		ok := r.read(pastKey(epoch), func(s *cryptobyte.String) bool {
			p.leaves = map[leafIndex]*LeafNode{}
			return p.context.read(s) && p.context.epoch == epoch && readLeaves(s, &leaves) && readOpaque(s, &p.senderData) && readMap(s, maxMembers, p.leaves, readLeaf)
		})
		if !ok {
			return false
		}
		if p.messages, ok = r.secretTree(g.suite, epoch, leaves); !ok {
			return false
		}
		g.past = append(g.past, p)
	}
	return true
}

func readLeaf(s *cryptobyte.String, out **LeafNode) bool {
	n, ok := readNode(s, 0)
	*out = n.leaf
	return ok
}

func (p *storedProposal) add(b *cryptobyte.Builder) {
	addOpaque(b, p.ref)
	b.AddUint32(uint32(p.sender))
	p.proposal.add(b)
}

func (p *storedProposal) read(s *cryptobyte.String) bool {
	return readOpaque(s, &p.ref) && s.ReadUint32((*uint32)(&p.sender)) && p.proposal.read(s)
}

func (u *ownUpdate) add(b *cryptobyte.Builder) {
	addOpaque(b, u.public)
	addOpaque(b, u.private)
}

func (u *ownUpdate) read(s *cryptobyte.String) bool {
	return readOpaque(s, &u.public) && readOpaque(s, &u.private)
}

func (g *Group) loadProposals(r *stored) bool {
	for i := range maxPendingRefs {
		if !r.has(proposalKey(i)) {
			break
		}
		var p storedProposal
		if !r.read(proposalKey(i), p.read) {
			return false
		}
		g.proposals = append(g.proposals, p)
	}
	for i := range maxPendingRefs {
		if !r.has(updateKey(i)) {
			break
		}
		var u ownUpdate
		if !r.read(updateKey(i), u.read) {
			return false
		}
		g.updates = append(g.updates, u)
	}
	return true
}

// add writes the commit, and of the next epoch what is not that of this one, whose tree is given. Nothing has been sent in it yet.
func (p *PendingCommit) add(b *cryptobyte.Builder, tree *ratchetTree) {
	addOpaque(b, p.message)
	addOptional(b, p.welcome != nil)
	if p.welcome != nil {
		addOpaque(b, p.welcome)
	}
	addStored(b, p.application)
	p.next.addEpoch(b)
	addOpaque(b, p.next.messages.root.secret)
	addOpaque(b, p.next.exports.nodes[root(exporterLeaves)])
	addVector(b, func(b *cryptobyte.Builder) {
		for _, x := range tree.changes(p.next.tree) {
			if int(x) < len(p.next.tree.nodes) { // the others are gone with the width
				b.AddUint32(uint32(x))
				p.next.tree.at(x).add(b)
			}
		}
	})
}

func (g *Group) loadPending(r *stored) bool {
	if !r.has(pendingKey) {
		return true
	}
	g.pending = new(PendingCommit)
	ok := r.read(pendingKey, func(s *cryptobyte.String) bool {
		p, welcome := g.pending, false
		if !readOpaque(s, &p.message) || !readOptional(s, &welcome) || welcome && !readOpaque(s, &p.welcome) || !readStored(s, &p.application) {
			return false
		}
		var leaves uint32
		var secret, exports []byte
		p.next = &Group{own: g.own, signer: g.signer}
		if !p.next.readEpoch(s, &leaves) || p.next.suite != g.suite || !readOpaque(s, &secret) || len(secret) != g.suite.nh ||
			!readOpaque(s, &exports) || len(exports) != g.suite.nh {
			return false
		}
		p.next.tree = g.tree.resized(leaves)
		p.next.messages, p.next.exports = newSecretTree(g.suite, leaves, secret), newExporterTree(g.suite, exports)
		return p.next.tree.readChanges(s) && p.next.tree.leaf(g.own) != nil && p.next.fits()
	})
	// What it says has changed must have.
	return ok && bytes.Equal(r.records[pendingKey], build(func(b *cryptobyte.Builder) { g.pending.add(b, g.tree) }))
}

func (t *ratchetTree) readChanges(s *cryptobyte.String) bool {
	return readList(s, maxNodes, func(s *cryptobyte.String) bool {
		var x nodeIndex
		if !s.ReadUint32((*uint32)(&x)) || int(x) >= len(t.nodes) {
			return false
		}
		n, ok := readNode(s, x)
		if ok {
			t.set(x, n)
		}
		return ok
	})
}

// Maps are written in the order of their keys.

func addMap[K ~uint32, V any](b *cryptobyte.Builder, m map[K]V, value func(*cryptobyte.Builder, V)) {
	addVector(b, func(b *cryptobyte.Builder) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			b.AddUint32(uint32(k))
			value(b, m[k])
		}
	})
}

func readMap[K ~uint32, V any](s *cryptobyte.String, limit int, m map[K]V, value func(*cryptobyte.String, *V) bool) bool {
	last := int64(-1)
	return readList(s, limit, func(s *cryptobyte.String) bool {
		var k uint32
		var v V
		if !s.ReadUint32(&k) || cmp.Compare(int64(k), last) <= 0 || !value(s, &v) {
			return false
		}
		last, m[K(k)] = int64(k), v
		return true
	})
}
