package transparency_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// TestCheckFindsWhatIsThere is the answer as it should be: about who is there and who is not, at every size and from every size.
func TestCheckFindsWhatIsThere(t *testing.T) {
	l := newLog(t)
	l.add(transparency.Statement{Kind: transparency.KindPad, Time: 5}).add(statement(transparency.KindFirst, 0, 0)).
		add(statement(transparency.KindFirst, 0, 0, of(bob))).grow(9)
	for size := 1; size <= 9; size++ {
		for from := range size + 1 {
			for actor, since := range map[string]int{alice: 2, bob: 3, "nobody": 99} {
				next, f, err := l.at(from).Check(actor, l.answer(t, actor, size, from), transparency.Terms{})
				require.NoError(t, err, "%s at %d from %d", actor, size, from)
				require.Equal(t, int64(size), next.Size)
				require.Equal(t, label(l.vrf, actor), f.Label)
				require.Equal(t, size >= since, f.Statement != nil, "%s at %d", actor, size)
				if f.Statement != nil {
					require.Equal(t, f.Label, f.Statement.Label)
				}
			}
		}
	}
	_, f, err := l.pinned().Check(alice, l.answer(t, alice, 9, 0), transparency.Terms{})
	require.NoError(t, err)
	require.Equal(t, l.entries[8].Statement, *f.Statement)
}

func TestA1ofAnAnswer(t *testing.T) {
	l, other := newLog(t).grow(4), newLog(t).grow(4)
	a := l.answer(t, alice, 4, 0)
	refused(t, "A1", other.pinned(), a, "the pinned key is another")
	a.Checkpoint = nil
	refused(t, "A1", l.pinned(), a, "no checkpoint")
	a = l.answer(t, alice, 4, 0)
	a.Checkpoint = newLogOf(t, labelKey(2)).grow(4).checkpoint(t, 4)
	refused(t, "A1", l.pinned(), a, "a checkpoint of the origin that another VRF key makes")
}

// TestLogKeyIsOfItsOrigin: what is pinned must fit together, or nothing is believed.
func TestLogKeyIsOfItsOrigin(t *testing.T) {
	l := newLog(t).grow(1)
	for name, change := range map[string]func(*transparency.Log){
		"nothing pinned":        func(p *transparency.Log) { *p = transparency.Log{} },
		"key cannot be read":    func(p *transparency.Log) { p.Key = p.Key[:len(p.Key)-4] },
		"key of another origin": func(p *transparency.Log) { p.Origin = "b.example/waxwing/log" },
		"VRF key missing":       func(p *transparency.Log) { p.VRF = nil },
		"VRF key no point":      func(p *transparency.Log) { p.VRF = bytes.Repeat([]byte{0xff}, 32) },
		"VRF key of small order": func(p *transparency.Log) {
			p.VRF = append([]byte{1}, make([]byte, 31)...)
		},
	} {
		pinned := l.pinned()
		change(&pinned)
		next, f, err := pinned.Check(alice, l.answer(t, alice, 1, 0), transparency.Terms{})
		require.Error(t, err, name)
		require.Equal(t, pinned, next, name)
		require.Zero(t, f, name)
	}
}

func TestPin(t *testing.T) {
	l := newLog(t)
	key, origin := l.pinned().VRF, l.signer.Name()
	p, err := transparency.Pin(host, origin, l.key, key)
	require.NoError(t, err)
	require.Equal(t, l.pinned(), p)
	_, err = transparency.Pin("A.Example", origin, l.key, key)
	require.NoError(t, err, "a host has no case")

	h := sha256.Sum256(append([]byte("waxwing vrf key v1\x00"), key...))
	require.Equal(t, "a.example:8443/waxwing/log/"+base64.RawURLEncoding.EncodeToString(h[:24]), transparency.Origin("A.example:8443", key))

	other := newLogOf(t, labelKey(2))
	small := append([]byte{1}, make([]byte, 31)...)
	smallSigner, smallKey := newSigner(t, transparency.Origin(host, small))
	for name, c := range map[string]struct {
		host, origin, key string
		vrf               []byte
	}{
		"another host":             {"b.example", origin, l.key, key},
		"another VRF key":          {host, origin, l.key, other.pinned().VRF},
		"another origin":           {host, other.signer.Name(), l.key, key},
		"another origin's key":     {host, origin, other.key, key},
		"the origin of version 1":  {host, "a.example/waxwing/log", l.key, key},
		"origin in capitals":       {host, strings.ToUpper(origin), l.key, key},
		"no key":                   {host, origin, "", key},
		"no VRF key":               {host, origin, l.key, nil},
		"a VRF key of small order": {host, smallSigner.Name(), smallKey, small},
	} {
		p, err := transparency.Pin(c.host, c.origin, c.key, c.vrf)
		require.Error(t, err, name)
		require.Zero(t, p, name)
	}
}

func TestA2TheLogOnlyGrows(t *testing.T) {
	l := newLog(t).grow(8)
	refused(t, "A2", l.at(5), l.answer(t, alice, 4, 0), "it shrank")
	other := l.at(4)
	other.Root[0] ^= 1
	refused(t, "A2", other, l.answer(t, alice, 4, 0), "two roots of one size")
	refused(t, "A2", l.at(3), l.answer(t, alice, 8, 5), "a proof from elsewhere")
	refused(t, "A2", l.at(3), l.answer(t, alice, 8, 0), "no proof")

	// A log that forgot its third entry and has another in its place, with the same keys.
	fork := l.twin().grow(2).add(update(99)).grow(8)
	for from := 3; from <= 8; from++ {
		refused(t, "A2", l.at(from), fork.answer(t, alice, 8, from), "a fork", from)
	}
	_, _, err := l.at(2).Check(alice, fork.answer(t, alice, 8, 2), transparency.Terms{})
	require.NoError(t, err, "who saw only what is before the fork cannot tell")
}

// An empty log has no entry to prove; what is remembered at size 0 is nothing that could be contradicted.
func TestA3NothingIsInAnEmptyLog(t *testing.T) {
	l := newLog(t)
	a := l.twin().grow(1).answer(t, alice, 1, 0)
	a.Checkpoint, a.Inclusion = l.checkpoint(t, 0), nil
	refused(t, "A3", l.pinned(), a)
}

func TestA4NewestIsAnEntry(t *testing.T) {
	good := newLog(t).grow(1).raw[0]
	for name, raw := range map[string][]byte{
		"nothing": nil, "cut": good[:100], "a statement": good[:transparency.StatementSize], "two": append(bytes.Clone(good), good...),
		"of version 1": append([]byte{1}, good[1:]...), "of kind 0": append([]byte{2, 0}, good[2:]...), "of kind 8": append([]byte{2, 8}, good[2:]...),
	} {
		l := newLog(t).grow(3).addRaw(raw)
		refused(t, "A4", l.pinned(), l.answer(t, alice, 4, 0), name)
	}
}

func TestA5TheLabelIsTheActors(t *testing.T) {
	l := newLog(t).grow(3).add(statement(transparency.KindFirst, 0, 0, of(bob)))
	for actor, other := range map[string]string{alice: bob, bob: alice, "nobody": alice} {
		refusedOf(t, other, "A5", l.pinned(), l.answer(t, actor, 4, 0), actor)
	}
	a := l.answer(t, alice, 4, 0)
	a.VRF, _ = l.vrf.Prove([]byte(bob))
	refused(t, "A5", l.pinned(), a, "another's proof")
	a.VRF, _ = labelKey(2).Prove([]byte(alice))
	refused(t, "A5", l.pinned(), a, "by a key that the origin does not name")
	a.VRF = [80]byte{}
	refused(t, "A5", l.pinned(), a, "no proof")
	for i := range 80 {
		a := l.answer(t, alice, 4, 0)
		a.VRF[i] ^= 0x10
		refused(t, "A5", l.pinned(), a, i)
	}
	for _, near := range []string{alice + "/", strings.ToUpper(alice), alice[1:], ""} {
		refusedOf(t, near, "A5", l.pinned(), l.answer(t, alice, 4, 0), near)
	}
}

// TestA6 is what a log or a carrier says of a label that its map does not have.
func TestA6(t *testing.T) {
	l := newLog(t).grow(3).add(statement(transparency.KindFirst, 0, 0, of(bob))).grow(6)
	mapOf := func(actor string, size int) []byte { return l.maps[size-1].Prove(label(l.vrf, actor)).Marshal() }
	good := l.answer(t, alice, 6, 0)
	found := func(s transparency.Statement) *transparency.Found {
		return &transparency.Found{Statement: s.Marshal(), Opening: opening, Content: content}
	}
	other := prefixtree.Tree{}.Put(label(l.vrf, bob), [32]byte{1})
	for name, change := range map[string]func(a *transparency.Answer){
		"absence claimed over a proof of presence": func(a *transparency.Answer) { a.Found = nil },
		"absence with another's presence":          func(a *transparency.Answer) { a.Found, a.Map = nil, mapOf(bob, 6) },
		"absence with another's absence":           func(a *transparency.Answer) { a.Found, a.Map = nil, mapOf("nobody", 6) },
		"absence in another map": func(a *transparency.Answer) {
			a.Found, a.Map = nil, other.Prove(label(l.vrf, alice)).Marshal()
		},
		"absence in an empty map": func(a *transparency.Answer) {
			a.Found, a.Map = nil, prefixtree.Tree{}.Prove(label(l.vrf, alice)).Marshal()
		},
		"the map of before bob came":      func(a *transparency.Answer) { a.Map = mapOf(alice, 3) },
		"the map and statement of before": func(a *transparency.Answer) { a.Map, a.Found = mapOf(alice, 5), found(l.entries[4].Statement) },
		"the statement of before":         func(a *transparency.Answer) { a.Found = found(l.entries[4].Statement) },
		"another's statement":             func(a *transparency.Answer) { a.Found = found(l.entries[3].Statement) },
		"another's statement and map":     func(a *transparency.Answer) { a.Found, a.Map = found(l.entries[3].Statement), mapOf(bob, 6) },
		"a statement never logged":        func(a *transparency.Answer) { a.Found = found(update(7)) },
		"no statement":                    func(a *transparency.Answer) { a.Found = &transparency.Found{} },
		"a statement of version 1":        func(a *transparency.Answer) { a.Found = found(update(6)); a.Found.Statement[0] = 1 },
		"no map proof":                    func(a *transparency.Answer) { a.Map = nil },
		"a map proof and a byte":          func(a *transparency.Answer) { a.Map = append(bytes.Clone(a.Map), 0) },
	} {
		a := good
		change(&a)
		refused(t, "A6", l.pinned(), a, name)
	}
	absent := l.answer(t, "nobody", 6, 0)
	for name, change := range map[string]func(a *transparency.Answer){
		"presence claimed over a proof of absence": func(a *transparency.Answer) {
			a.Found = found(statement(transparency.KindFirst, 0, 0, of("nobody")))
		},
		"another's list":     func(a *transparency.Answer) { a.Found = good.Found },
		"another's presence": func(a *transparency.Answer) { a.Map = mapOf(alice, 6) },
		"the map of before":  func(a *transparency.Answer) { a.Map = l.maps[0].Prove([32]byte{}).Marshal() },
		"an empty map":       func(a *transparency.Answer) { a.Map = prefixtree.Tree{}.Prove([32]byte{}).Marshal() },
	} {
		a := absent
		change(&a)
		refusedOf(t, "nobody", "A6", l.pinned(), a, name)
	}
}

// TestA6AnothersStatement: a log puts the hash of what bob said where alice's is.
func TestA6AnothersStatement(t *testing.T) {
	l := newLog(t).grow(2)
	bobs := statement(first, 0, 0, of(bob))
	l.addWith(transparency.Statement{Kind: pad}, l.tree().Put(label(l.vrf, alice), bobs.MapValue()))
	a := l.answer(t, alice, 3, 0)
	a.Found.Statement = bobs.Marshal()
	refused(t, "A6", l.pinned(), a)
}

// TestA6ARootThatNobodyReplayed is what the map proof does not prove: that the root is the one that the entries make. It takes an
// auditor, or the owner, to see that.
func TestA6ARootThatNobodyReplayed(t *testing.T) {
	l := newLog(t).grow(3)
	l.addWith(transparency.Statement{Kind: transparency.KindPad}, l.maps[1])
	_, f, err := l.pinned().Check(alice, transparency.Answer{
		Checkpoint: l.checkpoint(t, 4), Newest: l.raw[3], Inclusion: l.inclusion(3, 0, 4), Map: l.maps[1].Prove(label(l.vrf, alice)).Marshal(),
		VRF: l.answer(t, alice, 4, 0).VRF, Found: &transparency.Found{Statement: l.entries[1].Statement.Marshal()},
	}, transparency.Terms{})
	require.NoError(t, err)
	require.Equal(t, uint32(2), f.Statement.Seq)
}

func TestLogIsStored(t *testing.T) {
	l := newLog(t).grow(3)
	next, _, err := l.pinned().Check(alice, l.answer(t, alice, 3, 0), transparency.Terms{})
	require.NoError(t, err)
	for _, want := range []transparency.Log{next, l.pinned(), {}} {
		got, err := transparency.ParseLog(want.Marshal())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{``, `[]`, `{"size":"x"}`, `{"root":"x"}`, `{"vrf":7}`, `{"size":1}{}`} {
		got, err := transparency.ParseLog([]byte(bad))
		require.Error(t, err, bad)
		require.Zero(t, got, bad)
	}
}
