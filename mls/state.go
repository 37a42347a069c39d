package mls

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

const stateVersion = 1

// Marshal returns the whole state, private keys included, for sealed storage. Equal states give equal bytes.
func (g *Group) Marshal() []byte { return marshal(g) }

// UnmarshalGroup reads what Marshal wrote.
func UnmarshalGroup(data []byte) (*Group, error) {
	g := new(Group)
	if err := unmarshalUpTo(maxState, data, g, "stored group"); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Group) add(b *cryptobyte.Builder) {
	b.AddUint8(stateVersion)
	b.AddUint16(uint16(g.suite.id))
	g.context.add(b)
	addOpaque(b, g.tree.marshal())
	addOpaque(b, g.interim)
	for _, f := range g.secrets.fields() {
		addOpaque(b, *f)
	}
	g.messages.add(b)
	b.AddUint32(uint32(g.own))
	addOpaque(b, g.signer.Private())
	addMap(b, g.private, func(b *cryptobyte.Builder, key []byte) { addOpaque(b, key) })
	addVector(b, func(b *cryptobyte.Builder) {
		for i := range g.proposals {
			addOpaque(b, g.proposals[i].ref)
			b.AddUint32(uint32(g.proposals[i].sender))
			g.proposals[i].proposal.add(b)
		}
	})
	addVector(b, func(b *cryptobyte.Builder) {
		for _, u := range g.updates {
			addOpaque(b, u.public)
			addOpaque(b, u.private)
		}
	})
	addVector(b, func(b *cryptobyte.Builder) {
		for _, p := range g.past {
			p.context.add(b)
			addOpaque(b, p.tree.marshal())
			addOpaque(b, p.senderData)
			p.messages.add(b)
		}
	})
	addVector(b, func(b *cryptobyte.Builder) {
		for _, r := range g.resumptions {
			b.AddUint64(r.epoch)
			addOpaque(b, r.secret)
		}
	})
	addOptional(b, g.removed)
	addOptional(b, g.reInit != nil)
	if g.reInit != nil {
		g.reInit.add(b)
	}
	addOptional(b, g.pending != nil)
	if g.pending != nil {
		g.pending.add(b)
	}
}

func (g *Group) read(s *cryptobyte.String) bool {
	var pending bool
	if !g.readSettled(s) || !readOptional(s, &pending) {
		return false
	}
	if pending {
		g.pending = new(PendingCommit)
		return g.pending.read(s)
	}
	return true
}

// readSettled reads everything but a pending commit, which is a group itself: one inside the other goes no deeper than that.
func (g *Group) readSettled(s *cryptobyte.String) bool {
	var version uint8
	var id uint16
	if !s.ReadUint8(&version) || version != stateVersion || !s.ReadUint16(&id) {
		return false
	}
	var err error
	if g.suite, err = CipherSuite(id).suite(); err != nil {
		return false
	}
	g.secrets = new(epochSecrets)
	if !g.context.read(s) || !g.readTree(s, &g.tree) || !readOpaque(s, &g.interim) {
		return false
	}
	for _, f := range g.secrets.fields() {
		if !readOpaque(s, f) {
			return false
		}
	}
	var seed []byte
	g.messages = &secretTree{suite: g.suite}
	if !g.messages.read(s) || !s.ReadUint32((*uint32)(&g.own)) || g.tree.leaf(g.own) == nil || !readOpaque(s, &seed) {
		return false
	}
	if g.signer, err = NewSignatureKey(g.suite.id, seed); err != nil {
		return false
	}
	return g.readRest(s)
}

func (g *Group) readRest(s *cryptobyte.String) bool {
	g.private = privateKeys{}
	ok := readMap(s, maxDepth+1, g.private, func(s *cryptobyte.String, key *[]byte) bool { return readOpaque(s, key) }) &&
		readList(s, maxPendingRefs, func(s *cryptobyte.String) bool {
			var p storedProposal
			ok := readOpaque(s, &p.ref) && s.ReadUint32((*uint32)(&p.sender)) && p.proposal.read(s)
			g.proposals = append(g.proposals, p)
			return ok
		}) &&
		readList(s, maxPendingRefs, func(s *cryptobyte.String) bool {
			var u ownUpdate
			ok := readOpaque(s, &u.public) && readOpaque(s, &u.private)
			g.updates = append(g.updates, u)
			return ok
		}) &&
		readList(s, maxPastEpochs, func(s *cryptobyte.String) bool {
			p := &pastEpoch{messages: &secretTree{suite: g.suite}}
			ok := p.context.read(s) && g.readTree(s, &p.tree) && readOpaque(s, &p.senderData) && p.messages.read(s)
			g.past = append(g.past, p)
			return ok
		}) &&
		readList(s, maxResumptions, func(s *cryptobyte.String) bool {
			var r resumption
			ok := s.ReadUint64(&r.epoch) && readOpaque(s, &r.secret)
			g.resumptions = append(g.resumptions, r)
			return ok
		})
	var closed bool
	if !ok || !readOptional(s, &g.removed) || !readOptional(s, &closed) {
		return false
	}
	if closed {
		g.reInit = new(reInit)
		return g.reInit.read(s)
	}
	return true
}

func (g *Group) readTree(s *cryptobyte.String, out **ratchetTree) bool {
	var data []byte
	if !readOpaque(s, &data) {
		return false
	}
	t, err := parseTree(g.suite, data)
	*out = t
	return err == nil
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

func (t *secretTree) add(b *cryptobyte.Builder) {
	b.AddUint32(t.leaves)
	addMap(b, t.subtrees, func(b *cryptobyte.Builder, secret []byte) { addOpaque(b, secret) })
	addMap(b, t.ratchets, func(b *cryptobyte.Builder, r *[2]ratchet) {
		for i := range r {
			addOpaque(b, r[i].secret)
			b.AddUint32(r[i].next)
			addMap(b, r[i].skipped, func(b *cryptobyte.Builder, k messageKey) {
				addOpaque(b, k.key)
				addOpaque(b, k.nonce)
			})
		}
	})
}

func (t *secretTree) read(s *cryptobyte.String) bool {
	t.subtrees, t.ratchets = map[nodeIndex][]byte{}, map[leafIndex]*[2]ratchet{}
	if !s.ReadUint32(&t.leaves) || t.leaves == 0 || t.leaves > maxMembers || t.leaves&(t.leaves-1) != 0 {
		return false
	}
	return readMap(s, maxNodes, t.subtrees, func(s *cryptobyte.String, secret *[]byte) bool { return readOpaque(s, secret) }) &&
		readMap(s, maxMembers, t.ratchets, func(s *cryptobyte.String, r **[2]ratchet) bool {
			*r = new([2]ratchet)
			for i := range *r {
				rt := &(*r)[i]
				rt.skipped = map[uint32]messageKey{}
				if !readOpaque(s, &rt.secret) || !s.ReadUint32(&rt.next) || !readMap(s, maxSkipped, rt.skipped, func(s *cryptobyte.String, k *messageKey) bool {
					return readOpaque(s, &k.key) && readOpaque(s, &k.nonce) && len(k.nonce) == t.suite.nn
				}) {
					return false
				}
			}
			return true
		})
}
