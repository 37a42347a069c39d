// Package hostile_test plays a log that lies, against readers, witnesses, an auditor and the owners of what is in it. Everybody but the
// operator of the log is honest and uses the packages that the programs use.
package hostile_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

const (
	host  = "a.example"
	start = int64(1_700_000_000) // seconds
)

var ctx = context.Background()

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keysOf has the keys of all histories, since making them says nothing about them.
var keysOf sync.Map

func keyOf(purpose string, n uint64) ed25519.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(purpose), n))
	if key, ok := keysOf.Load(seed); ok {
		return key.(ed25519.PrivateKey)
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	keysOf.Store(seed, key)
	return key
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

// An operator has the keys of a log and may sign whatever they like.
type operator struct {
	vrf      *vrf.PrivateKey
	origin   string
	signer   note.Signer
	verifier note.Verifier
	key      string
	proofs   map[string][80]byte
	labels   map[string][32]byte
}

func newOperator(n uint64) *operator {
	o := &operator{proofs: map[string][80]byte{}, labels: map[string][32]byte{}}
	o.vrf = must(vrf.NewPrivateKey(keyOf("vrf", n).Seed()))
	b := o.vrf.Public().Bytes()
	o.origin = transparency.Origin(host, b[:])
	var private string
	var err error
	if private, o.key, err = note.GenerateKey(bytes.NewReader(keyOf("log", n).Seed()), o.origin); err != nil {
		panic(err)
	}
	o.signer, o.verifier = must(note.NewSigner(private)), must(note.NewVerifier(o.key))
	for _, a := range actors {
		proof, output := o.vrf.Prove([]byte(a))
		o.proofs[a], o.labels[a] = proof, [32]byte(output[:32])
	}
	return o
}

func (o *operator) pin(t require.TestingT) transparency.Log {
	b := o.vrf.Public().Bytes()
	l, err := transparency.Pin(host, o.origin, o.key, b[:])
	require.NoError(t, err)
	return l
}

var actors = func() (all []string) {
	for i := range 4 {
		all = append(all, fmt.Sprintf("https://%s/users/u%d", host, i))
	}
	return all
}()

// One operator with a decoy beside it, the same in all histories.
var honest, decoy = newOperator(1), newOperator(2)

// Said is a statement with what it commits to.
type said struct {
	transparency.Statement
	opening [32]byte
	content []byte
	next    ed25519.PrivateKey // promised
}

// A story is one history of the log, as an operator tells it. Forks share what was before.
type story struct {
	*operator
	entries [][]byte
	stored  []tlog.Hash
	before  transparency.CompactRange // without the newest
	edge    transparency.CompactRange
	tree    prefixtree.Tree
	newest  map[string]said // by actor
	devices *uint64         // numbers for device and account keys
	clock   *int64          // seconds
}

func newStory(o *operator, clock *int64) *story {
	s := &story{operator: o, newest: map[string]said{}, devices: new(uint64), clock: clock}
	s.pad()
	return s
}

// fork continues on its own from here.
func (s *story) fork() *story {
	f := *s
	f.entries, f.stored = slices.Clip(s.entries), slices.Clip(s.stored)
	f.newest = map[string]said{}
	for a, n := range s.newest {
		f.newest[a] = n
	}
	return &f
}

func (s *story) size() int64 { return int64(len(s.entries)) }

// append puts an entry at the end, whatever it says.
func (s *story) append(e transparency.Entry) {
	b := e.Marshal()
	edge, hashes := s.edge.With(transparency.LeafHash(b))
	s.before, s.edge = s.edge, edge
	s.entries, s.stored = append(s.entries, b), append(s.stored, hashes...)
}

func (s *story) millis() uint64 { return uint64(*s.clock) * 1000 }

func (s *story) pad() {
	s.append(transparency.Entry{Statement: transparency.Statement{Kind: transparency.KindPad, Time: s.millis()}, MapRoot: s.tree.Root()})
}

// compose makes the next statement of an actor. An update is by who holds the promised key; a reset and a first by anybody.
func (s *story) compose(actor string, kind transparency.Kind) said {
	old, known := s.newest[actor]
	*s.devices++
	n := *s.devices
	next := keyOf("account", n)
	list := keydir.DeviceList{Actor: actor, Devices: []keydir.Device{{SignatureKey: public(keyOf("device", n)), Added: s.millis()}}}
	c := keydir.Change{
		Kind: kind, Label: s.labels[actor], List: list, Next: public(next), Opening: sha256.Sum256(binary.BigEndian.AppendUint64(nil, n)),
	}
	var previous *transparency.Statement
	account := keyOf("unpromised", n)
	if known {
		previous = &old.Statement
		if kind == transparency.KindUpdate {
			account = old.next
		}
	}
	statement, content := c.Sign(previous, account, s.millis())
	return said{statement, c.Opening, content, next}
}

// say appends a statement as the rules want it.
func (s *story) say(actor string, x said) {
	s.newest[actor] = x
	s.tree = s.tree.Put(s.labels[actor], x.MapValue())
	s.append(transparency.Entry{Statement: x.Statement, MapRoot: s.tree.Root()})
}

// live lets an honest while pass: some steps, each something that an honest log may append.
func (s *story) live(r *rand.Rand, steps int) *story {
	for range steps {
		*s.clock += r.Int64N(600)
		actor := actors[r.IntN(len(actors))]
		_, known := s.newest[actor]
		switch n := r.IntN(10); {
		case n == 0:
			s.pad()
		case !known:
			s.say(actor, s.compose(actor, transparency.KindFirst))
		case n == 1:
			s.say(actor, s.compose(actor, transparency.KindReset))
		default:
			s.say(actor, s.compose(actor, transparency.KindUpdate))
		}
	}
	return s
}

// liveWith is live, with one actor's list in it for certain.
func (s *story) liveWith(r *rand.Rand, actor string, steps int) *story {
	s.live(r, steps)
	if _, ok := s.newest[actor]; !ok {
		s.say(actor, s.compose(actor, transparency.KindFirst))
	}
	return s
}

func (s *story) read(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, s.stored[i])
	}
	return out, nil
}

func (s *story) prove(_ context.Context, from, to int64) ([]tlog.Hash, error) {
	if from <= 0 || from >= to || to > s.size() {
		return nil, nil
	}
	return tlog.ProveTree(to, from, tlog.HashReaderFunc(s.read))
}

func (s *story) checkpoint() []byte {
	c := transparency.Checkpoint{Origin: s.origin, Size: s.size(), Root: s.edge.Root()}
	return must(transparency.SignCheckpoint(c, s.signer))
}

// answer about an actor to who knows a tree of size from, under a note that somebody may have cosigned.
func (s *story) answer(signed []byte, actor string, from int64) transparency.Answer {
	a := transparency.Answer{
		Checkpoint: signed, Newest: s.entries[s.size()-1], Inclusion: s.before.Path(),
		Consistency: must(s.prove(ctx, from, s.size())), VRF: s.proofs[actor], Map: s.tree.Prove(s.labels[actor]).Marshal(),
	}
	if x, ok := s.newest[actor]; ok {
		a.Found = &transparency.Found{Statement: x.Marshal(), Opening: x.opening, Content: x.content}
	}
	return a
}

// A reader is an agent: what it remembers, and what it demands.
type reader struct {
	log     transparency.Log
	records map[string]*keydir.Record
	policy  *transparency.Policy
	clock   *int64
}

func newReader(l transparency.Log, p *transparency.Policy, clock *int64) *reader {
	return &reader{l, map[string]*keydir.Record{}, p, clock}
}

// learn is what an agent does with an answer. A reset that it was told of is no error: told says so.
func (r *reader) learn(actor string, a transparency.Answer) (told bool, err error) {
	b := a.Marshal()
	if a, err = transparency.ParseAnswer(b); err != nil {
		return false, err
	}
	terms := transparency.Terms{Policy: r.policy, Own: "reader.example", Now: *r.clock}
	log, record, _, err := keydir.Verify(r.log, r.records[actor], actor, a, terms)
	if err != nil {
		return false, err
	}
	r.log, r.records[actor] = log, record
	return record != nil && record.Reset, nil
}

// know brings the reader up to a story that is told honestly.
func (r *reader) know(t testing.TB, s *story, c *crowd, who ...string) {
	signed, err := c.cosign(s)
	require.NoError(t, err)
	for _, actor := range who {
		_, err := r.learn(actor, s.answer(signed, actor, r.log.Size))
		require.NoError(t, err)
	}
}

func at(seconds *int64) func() time.Time { return func() time.Time { return time.Unix(*seconds, 0) } }
