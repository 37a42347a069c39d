package mls

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// written is what storing a step took.
type written struct{ puts, deletes, bytes int }

// store writes what has changed since saved and returns the new saved.
func store(g, saved *Group) (written, *Group) {
	var w written
	for _, x := range g.Changes(saved) {
		w.bytes += len(x.Key) + len(x.Value)
		if x.Value == nil {
			w.deletes++
		} else {
			w.puts++
		}
	}
	return w, g.Clone()
}

// A message costs one record, whatever the size of the group; the first of a sender also those of the subtrees beside it.
func TestWhatAMessageWrites(t *testing.T) {
	second := map[string]written{}
	for _, n := range []int{10, 1000} {
		first, last := fullGroup(t, n)
		depth := bits.Len(uint(n - 1))
		for _, p := range []*party{first, last} {
			saved := p.g.Clone()
			for i := range 3 {
				if p == first {
					first.encryptLive(t)
				} else {
					_, err := last.g.Process(parsed(t, first.encryptLive(t)), testNow)
					require.NoError(t, err)
				}
				var w written
				w, saved = store(p.g, saved)
				if i == 0 && p == first {
					require.Equal(t, written{depth + 2, 1, w.bytes}, w)
					require.Less(t, w.bytes, 100*(depth+4))
					continue
				}
				if i == 0 { // the messages of first that came before are skipped
					require.Equal(t, written{depth + 2, 1, w.bytes}, w)
					continue
				}
				role := fmt.Sprint(p == first)
				if was, ok := second[role]; ok {
					require.Equal(t, was, w, "members: %d", n)
				}
				second[role] = w
				require.Equal(t, 1, w.puts)
				require.Less(t, w.bytes, 256)
			}
		}
	}
}

func (p *party) encryptLive(t testing.TB) []byte {
	m, err := p.g.Encrypt(rand.Reader, []byte("x"), nil, nil)
	require.NoError(t, err)
	return m
}

// A commit in a full tree costs the nodes of one path, and the epoch that it ends one record.
func TestWhatACommitWrites(t *testing.T) {
	perLevel := map[int]int{}
	for _, n := range []int{10, 1000} {
		first, last := fullGroup(t, n)
		depth := bits.Len(uint(n - 1))
		saved, savedLast := first.g.Clone(), last.g.Clone()
		var pending written
		for range 4 {
			p, err := first.g.Commit(rand.Reader, CommitParams{Now: testNow})
			require.NoError(t, err)
			staged, err := last.g.Process(parsed(t, p.Message()), testNow)
			require.NoError(t, err)
			require.NoError(t, last.g.Apply(staged.(*StagedCommit)))
			pending, saved = store(first.g, saved)
			require.LessOrEqual(t, pending.puts, depth+3) // the handshake ratchet and what is beside it, and one record
			require.NoError(t, first.g.ConfirmPending())
			var confirmed, applied written
			confirmed, saved = store(first.g, saved)
			applied, savedLast = store(last.g, savedLast)
			for _, w := range []written{confirmed, applied} {
				// The path with its leaf, head, past epoch, and the roots of the new secret trees.
				require.LessOrEqual(t, w.puts, depth+1+4+depth+2)
				require.LessOrEqual(t, w.deletes, 2*(depth+2)+1) // what was left of the epoch that is given up, and the pending commit
			}
			perLevel[n] = max(perLevel[n], (pending.bytes+confirmed.bytes)/(depth+4), applied.bytes/(depth+4))
		}
		require.Less(t, pending.bytes, 1000*(depth+4))
	}
	require.Less(t, perLevel[1000], 2*perLevel[10], "a commit writes more than the logarithm of the members")
}

// What late messages need of the tree of their epoch are the leaves that have changed, once.
func TestPastEpochsAreWrittenOnce(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(4)...)
	p := all[1]
	late := all[2].encrypt("before")
	spread(all[0], CommitParams{}, all[1:]...)
	key := pastKey(p.g.Epoch() - 1)
	require.Len(t, p.g.past[0].leaves, 1)
	record := p.stored[key]
	require.NotEmpty(t, record)
	spread(all[0], CommitParams{Proposals: []Proposal{RemoveProposal(2)}}, all[1], all[3]) // and it stays readable
	require.Equal(t, record, p.stored[key])
	got := p.read(late, "before")
	require.Equal(t, uint32(2), got.Sender.Leaf)
	require.Equal(t, all[2].signer.Public(), got.Sender.Node.SignatureKey)
	spread(all[0], CommitParams{}, all[1], all[3])
	require.NotContains(t, p.stored, key)
	for k := range p.stored {
		require.NotContains(t, k, strings.TrimPrefix(key, "past"), "a record of an epoch that is given up")
	}
}

// A leaf that was blank, or outside the tree, in an epoch has no sender there, whoever sits in it now.
func TestPastLeaves(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	var joined []*KeyPackageSecret
	for _, name := range []string{"carol", "dave", "erin"} {
		joined = append(joined, newParty(t, name).keyPackage())
	}
	at := func(i int) (leaves []bool) {
		for l := range leafIndex(8) {
			leaves = append(leaves, all[1].g.pastLeaf(i, l) != nil)
		}
		return leaves
	}
	spread(all[0], CommitParams{Proposals: []Proposal{AddProposal(joined[0].KeyPackage()), AddProposal(joined[1].KeyPackage()), AddProposal(joined[2].KeyPackage())}}, all[1])
	require.Equal(t, []bool{true, true, false, false, false, false, false, false}, at(0))
	spread(all[0], CommitParams{Proposals: []Proposal{RemoveProposal(3), RemoveProposal(4)}}, all[1])
	require.Equal(t, []bool{true, true, true, true, true, false, false, false}, at(0))
	require.Equal(t, []bool{true, true, false, false, false, false, false, false}, at(1))
}

// No record has anything of a key that was used, or of a secret that it came from.
func TestUsedKeysAreInNoRecord(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(5)...)
	alice, bob := all[0], all[1]
	step := func(p *party, kind ratchetKind, sender leafIndex, f func()) {
		before := map[string][]byte{}
		for key, value := range p.stored {
			if strings.HasPrefix(key, "secret/") {
				before[key] = value
			}
		}
		u, err := p.g.messages.peek(sender)
		require.NoError(t, err)
		old := u.leaf.ratchets[kind]
		key := old.clone().step(p.g.suite)
		f()
		used := [][]byte{old.secret, key.key, key.nonce}
		for k, value := range before {
			if _, there := p.stored[k]; !there {
				used = append(used, value)
			}
		}
		p.storesNone(t, used)
	}
	for range 3 {
		var m []byte
		step(alice, applicationRatchet, alice.g.own, func() { m = alice.encrypt("x") })
		step(bob, applicationRatchet, alice.g.own, func() { bob.read(m, "x") })
	}
	var early [][]byte
	for range 3 {
		early = append(early, alice.encrypt("y"))
	}
	bob.read(early[2], "y")
	waiting := bob.g.messages.ratchet(t, alice.g.own, applicationRatchet).skipped
	require.Len(t, waiting, 2)
	bob.read(early[0], "y")
	for generation, k := range waiting {
		if _, waits := bob.g.messages.ratchet(t, alice.g.own, applicationRatchet).skipped[generation]; !waits {
			bob.storesNone(t, [][]byte{k.key, k.nonce})
		}
	}
	var p *PendingCommit
	step(alice, handshakeRatchet, alice.g.own, func() { p = alice.commit(CommitParams{}) })
	oldSecrets, oldPrivate := *alice.g.secrets, alice.g.private
	bob.apply(p.Message())
	alice.confirm()
	used := [][]byte{oldSecrets.init, oldSecrets.exporter, oldSecrets.confirmation, oldSecrets.membership, oldSecrets.external}
	for _, key := range oldPrivate {
		used = append(used, key)
	}
	alice.storesNone(t, used)
}

func (p *party) storesNone(t *testing.T, used [][]byte) {
	for key, value := range p.stored {
		for _, secret := range used {
			require.False(t, bytes.Contains(value, secret), "record %s has something that was used", key)
		}
	}
}

// After a crash a message that was read and stored is a replay; one that was read and not stored is read again.
func TestReplayAfterACrash(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	m := all[0].encrypt("x")
	bob := all[1]
	_, err := bob.g.Process(parsed(t, m), testNow)
	require.NoError(t, err)
	lost := bob.restored()
	_, err = lost.Process(parsed(t, m), testNow)
	require.NoError(t, err)
	bob.reload()
	_, err = bob.restored().Process(parsed(t, m), testNow)
	require.ErrorIs(t, err, ErrReplay)
}

// A commit that is judged on a copy can be processed again as long as nothing of the copy was stored.
func TestCloneGoesItsOwnWay(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	p := alice.commit(CommitParams{Proposals: []Proposal{RemoveProposal(2)}})
	before := bob.g.Marshal()
	for range 2 {
		next := bob.g.Clone()
		got, err := next.Process(parsed(t, p.Message()), testNow)
		require.NoError(t, err)
		require.NoError(t, next.Apply(got.(*StagedCommit)))
		require.Equal(t, bob.g.Epoch()+1, next.Epoch())
		require.Equal(t, before, bob.g.Marshal())
	}
	// Nor do proposals of the one get to the other, from whichever they came.
	for range 3 { // a list of three has room for a fourth
		_, err := bob.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
		require.NoError(t, err)
	}
	one, two := bob.g.Clone(), bob.g.Clone()
	for i, g := range []*Group{bob.g, one, two} {
		_, err := g.Propose(rand.Reader, GroupContextExtensionsProposal([]Extension{{testExtension, []byte{byte(i)}}}), WirePublicMessage, nil)
		require.NoError(t, err)
	}
	for i, g := range []*Group{bob.g, one, two} {
		require.Len(t, g.proposals, 4)
		require.Equal(t, []byte{byte(i)}, g.proposals[3].proposal.extensions[0].Data)
	}
}

// Nor does what is done in the epoch that a commit opens reach another copy that has still to go there.
func TestClonesOfAPendingCommit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	p := alice.commit(CommitParams{})
	before := alice.g.Marshal()
	ahead := alice.g.Clone()
	require.NoError(t, ahead.ConfirmPending())
	_, err := ahead.Encrypt(rand.Reader, []byte("x"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, before, alice.g.Marshal())
	staged := bob.stage(p.Message())
	ahead = bob.g.Clone()
	require.NoError(t, ahead.Apply(staged))
	_, err = ahead.Encrypt(rand.Reader, []byte("x"), nil, nil)
	require.NoError(t, err)
	require.NoError(t, bob.g.Apply(staged))
	require.Zero(t, parsedGeneration(t, alice, bob))
}

// parsedGeneration is that of the next message.
func parsedGeneration(t *testing.T, reader, sender *party) uint32 {
	require.NoError(t, reader.g.ConfirmPending())
	return reader.read(sender.encrypt("x"), "x").Generation
}

// Groups that have nothing to do with each other differ in all that makes them differ.
func TestChangesToAnotherGroup(t *testing.T) {
	one, two := newGroup(t, WirePrivateMessage, names(3)...), newGroup(t, WirePrivateMessage, names(6)...)
	other := &party{t: t, name: "one", g: one[0].g.Clone()}
	for _, p := range []*party{one[0], other, other, one[0]} { // the same two epochs, which were not the same
		p.encrypt("x")
		p.commit(CommitParams{})
		p.confirm()
	}
	for _, p := range []*party{one[0], other} {
		_, err := p.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
		require.NoError(t, err)
	}
	two[4].commit(CommitParams{})
	for _, c := range [][2]*party{{one[0], two[4]}, {two[4], one[0]}, {two[1], two[4]}, {two[4], two[4]}, {one[0], other}, {other, one[0]}} {
		from, to := c[0], c[1]
		stored := records{}
		for _, changes := range [][]Record{from.g.Changes(nil), to.g.Changes(from.g)} {
			for _, x := range changes {
				if x.Value == nil {
					delete(stored, x.Key)
				} else {
					stored[x.Key] = x.Value
				}
			}
		}
		g, err := LoadGroup(stored.list())
		require.NoError(t, err)
		require.Equal(t, to.g.Marshal(), g.Marshal())
	}
}

// eventful has records of every kind.
func eventful(t require.TestingT) *party {
	all := newGroup(t, WirePrivateMessage, names(4)...)
	alice := all[0]
	alice.read(all[1].encrypt("x"), "x")
	all[1].encrypt("lost")
	alice.read(all[1].encrypt("y"), "y")
	m, err := alice.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
	require.NoError(t, err)
	alice.reload()
	all[1].receiveProposal(m)
	alice.commit(CommitParams{Proposals: []Proposal{RemoveProposal(3)}, SkipStored: true})
	kinds := map[string]bool{}
	for key := range alice.stored {
		kind, _, _ := strings.Cut(key, "/")
		kinds[kind] = true
	}
	require.Len(t, kinds, 9)
	return alice
}

func TestDamagedRecords(t *testing.T) {
	p := eventful(t)
	refused := func(what string, change func(records)) {
		spoilt := records{}
		for key, value := range p.stored {
			spoilt[key] = bytes.Clone(value)
		}
		change(spoilt)
		_, err := LoadGroup(spoilt.list())
		require.ErrorIs(t, err, ErrDamaged, what)
	}
	for key, value := range p.stored {
		optional := strings.HasPrefix(key, "update/") || strings.HasPrefix(key, "proposal/") || key == pendingKey
		if !optional {
			refused(key+" is missing", func(r records) { delete(r, key) })
		}
		refused(key+" is empty", func(r records) { r[key] = nil })
		refused(key+" is cut", func(r records) { r[key] = value[:len(value)-1] })
		refused(key+" is longer", func(r records) { r[key] = append(r[key], 0) })
		refused(key+" again", func(r records) { r[key+"0"] = value })
		refused(key+" in capitals", func(r records) { delete(r, key); r[strings.ToUpper(key)] = value })
		for i := 0; i < len(value); i += 1 + len(value)/64 { // what can be told is told, and the rest is another state
			r := records{}
			for k, v := range p.stored {
				r[k] = v
			}
			r[key] = bytes.Clone(value)
			r[key][i] ^= 1 << (i % 8)
			g, err := LoadGroup(r.list())
			if err != nil {
				require.ErrorIs(t, err, ErrDamaged)
				continue
			}
			again := records{}
			for _, x := range g.Changes(nil) {
				again[x.Key] = x.Value
			}
			require.Equal(t, r, again)
		}
	}
	refused("another version", func(r records) { r[groupKey][0]++ })
	refused("a node of another state", func(r records) { r[nodeKey(0)] = p.restoredBefore(t).stored[nodeKey(0)] })
	refused("a secret above others", func(r records) { r[secretKey(p.g.Epoch(), root(4))] = make([]byte, 32) })
	refused("a ratchet below a secret", func(r records) { r[ratchetKey(p.g.Epoch(), 9, 0)] = r[ratchetKey(p.g.Epoch(), 1, 0)] })
	_, err := LoadGroup(nil)
	require.ErrorIs(t, err, ErrDamaged)
	_, err = LoadGroup(slices.Concat(p.stored.list(), p.stored.list()[:1]))
	require.ErrorIs(t, err, ErrDamaged, "twice")
	_, err = LoadGroup(make([]Record, maxRecords+1))
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "at most")
	_, err = LoadGroup([]Record{{groupKey, make([]byte, maxState)}})
	require.ErrorContains(t, err, "at most")
}

// restoredBefore is another group of the same shape.
func (p *party) restoredBefore(t *testing.T) *party { return eventful(t) }

// An old record beside newer ones: the tree is not that of the context.
func TestOldNodeRecord(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	old := all[0].stored[nodeKey(0)]
	spread(all[0], CommitParams{}, all[1])
	all[0].stored[nodeKey(0)] = old
	_, err := LoadGroup(all[0].stored.list())
	require.ErrorIs(t, err, ErrDamaged)
}

// FuzzLoadGroup replaces, takes away and adds records of a group.
func FuzzLoadGroup(f *testing.F) {
	p := eventful(f)
	list := p.g.Changes(nil)
	for i, x := range list {
		f.Add(uint16(i), "", x.Value)
		f.Add(uint16(i), x.Key, []byte(nil))
	}
	f.Add(uint16(0), pastKey(0), []byte("x"))
	f.Fuzz(func(t *testing.T, i uint16, key string, value []byte) {
		spoilt := slices.Clone(list)
		at := int(i) % len(spoilt)
		switch {
		case key == "":
			spoilt[at].Value = value
		case value == nil:
			spoilt = slices.Delete(spoilt, at, at+1)
		default:
			spoilt[at] = Record{key, value}
		}
		g, err := LoadGroup(spoilt)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		slices.SortFunc(spoilt, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
		require.Equal(t, spoilt, g.Changes(nil))
	})
}
