package device_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// A freeLog signs whatever it is told, as the program of a hostile instance would.
type freeLog struct {
	t       *testing.T
	signer  note.Signer
	key     string
	vrf     *vrf.PrivateKey
	origin  string
	entries [][]byte
	hashes  []tlog.Hash
	tree    prefixtree.Tree
}

func newFreeLog(t *testing.T, w *world) *freeLog {
	labels, err := vrf.GenerateKey(w.random)
	require.NoError(t, err)
	public := labels.Public().Bytes()
	l := &freeLog{t: t, vrf: labels, origin: transparency.Origin("a.example", public[:])}
	private, key, err := note.GenerateKey(w.random, l.origin)
	require.NoError(t, err)
	l.key = key
	l.signer, err = note.NewSigner(private)
	require.NoError(t, err)
	l.append(transparency.Statement{Kind: transparency.KindPad})
	return l
}

func (l *freeLog) label() [32]byte {
	_, output := l.vrf.Prove([]byte(alice))
	return [32]byte(output[:32])
}

// says puts a statement into the map; append puts an entry into the log. An honest log does both or neither.
func (l *freeLog) says(s transparency.Statement) { l.tree = l.tree.Put(l.label(), s.MapValue()) }

func (l *freeLog) append(s transparency.Statement) {
	e := transparency.Entry{Statement: s, MapRoot: l.tree.Root()}.Marshal()
	hashes, err := tlog.StoredHashesForRecordHash(int64(len(l.entries)), transparency.LeafHash(e), l.reader())
	require.NoError(l.t, err)
	l.entries, l.hashes = append(l.entries, e), append(l.hashes, hashes...)
}

func (l *freeLog) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, l.hashes[i])
		}
		return out, nil
	})
}

// answer looks alice up; found is what the map has, nil if nothing.
func (l *freeLog) answer(from int64, found *transparency.Found) []byte {
	return l.answerFor(alice, from, found)
}

func (l *freeLog) answerFor(actor string, from int64, found *transparency.Found) []byte {
	vrf, output := l.vrf.Prove([]byte(actor))
	size := int64(len(l.entries))
	root, err := tlog.TreeHash(size, l.reader())
	require.NoError(l.t, err)
	signed, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: l.origin, Size: size, Root: root}, l.signer)
	require.NoError(l.t, err)
	a := transparency.Answer{Checkpoint: signed, Newest: l.entries[size-1], VRF: vrf, Map: l.tree.Prove([32]byte(output[:32])).Marshal(), Found: found}
	a.Inclusion, err = tlog.ProveRecord(size, size-1, l.reader())
	require.NoError(l.t, err)
	if from > 0 && from < size {
		a.Consistency, err = tlog.ProveTree(size, from, l.reader())
		require.NoError(l.t, err)
	}
	return a.Marshal()
}

func (l *freeLog) serve(want device.Resource) (b []byte) {
	for _, e := range l.entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	require.Equal(l.t, want.Size, int64(len(b)), "of the few entries that are here there is one bundle: %s", want.Path)
	return b
}

// victim is alice with her list in a free log, and what the log found of it.
func (l *freeLog) victim(w *world) (p *person, found *transparency.Found) {
	p = &person{w: w, actor: alice, store: newMemory()}
	p.Device = device.New(p.store, w.random, w.clock)
	var err error
	p.key, err = p.Prepare()
	require.NoError(l.t, err)
	public := l.vrf.Public().Bytes()
	require.NoError(l.t, p.Bind(alice, "@alice@a.example", "https://a.example", "token"))
	require.NoError(l.t, p.PinLog("https://a.example", l.origin, l.key, public[:]))
	_, err = p.Learn(alice, l.answer(0, nil))
	require.NoError(l.t, err)
	pub, err := p.DeviceList()
	require.NoError(l.t, err)
	s, err := transparency.ParseStatement(pub.Statement)
	require.NoError(l.t, err)
	l.says(s)
	l.append(s)
	found = &transparency.Found{Statement: pub.Statement, Opening: [32]byte(pub.Opening), Content: pub.Content}
	return p, found
}

// takeover is a list of somebody else's device at a seq.
func (l *freeLog) takeover(w *world, seq uint32) (transparency.Statement, *transparency.Found) {
	_, account, err := ed25519.GenerateKey(w.random)
	require.NoError(l.t, err)
	previous := transparency.Statement{Label: l.label(), Seq: seq - 1, Time: uint64(w.now.UnixMilli())}
	change := keydir.Change{Kind: transparency.KindReset, Label: l.label(), List: keydir.DeviceList{Actor: alice, Devices: []keydir.Device{{SignatureKey: [32]byte(w.stranger())}}}}
	s, content := change.Sign(&previous, account, uint64(w.now.UnixMilli()))
	return s, &transparency.Found{Statement: s.Marshal(), Content: content}
}

// follow learns an answer and reads the log up to it.
func (l *freeLog) follow(p *person, found *transparency.Found) error {
	_, size, err := p.LogOf(alice)
	require.NoError(l.t, err)
	_, err = p.Learn(alice, l.answer(size, found))
	require.NoError(l.t, err)
	return l.read(p)
}

func (l *freeLog) read(p *person) error {
	for {
		f, ok, err := p.LogFetch()
		require.NoError(l.t, err)
		if !ok {
			return nil
		}
		data := [][]byte{}
		for _, want := range f.Want {
			if len(want.Path) > 12 && want.Path[:12] == "tile/entries" {
				data = append(data, l.serve(want))
				continue
			}
			tile, err := tlog.ParseTilePath("tile/8/" + want.Path[len("tile/"):])
			require.NoError(l.t, err)
			b, err := tlog.ReadTileData(tile, l.reader())
			require.NoError(l.t, err)
			data = append(data, b)
		}
		if err := p.LogFetched(f, data); err != nil {
			return err
		}
	}
}

func requireLogError(t *testing.T, err error, check string) {
	var wrong *device.LogError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, check, wrong.Check)
}

// TestN6AMapThatNoEntryMakes: a lookup of the owner is answered with something other than the entries have, one way or the other.
func TestN6AMapThatNoEntryMakes(t *testing.T) {
	w := newWorld(t, 20)
	l := newFreeLog(t, w)
	a, _ := l.victim(w)
	s, found := l.takeover(w, 1)
	l.says(s)
	l.append(transparency.Statement{Kind: transparency.KindPad, Time: 1})
	requireLogError(t, l.follow(a, found), "N6")
	require.Equal(t, []string{device.CodeListReset, device.CodeLogBroken}, a.told())

	l = newFreeLog(t, w)
	a, first := l.victim(w)
	s, _ = l.takeover(w, 1)
	l.append(s)
	requireLogError(t, l.follow(a, first), "N6")
	require.Equal(t, []string{device.CodeLogBroken}, a.told())
	require.EqualValues(t, 1, a.monitor().Read)
}

// TestN6WhoeverWasLookedUp: it was somebody else's lookup that proved the checkpoint; the owner's comes when all of it was read, or while it is.
func TestN6WhoeverWasLookedUp(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t, 23)
		l := newFreeLog(t, w)
		a, list := l.victim(w)
		s, _ := l.takeover(w, 1)
		l.append(s)
		_, err := a.Learn(carolAtA, l.answerFor(carolAtA, 1, nil))
		require.NoError(t, err)
		if first {
			require.NoError(t, l.read(a))
			require.Equal(t, []string{device.CodeListReset}, a.told())
		}
		_, err = a.Learn(alice, l.answer(3, list))
		require.NoError(t, err)
		err = l.read(a)
		if !first {
			requireLogError(t, err, "N6")
		}
		require.Contains(t, a.told(), device.CodeLogBroken)
	}
}

// TestN4EntriesThatMayNotFollow, though everything that is signed about them is.
func TestN4EntriesThatMayNotFollow(t *testing.T) {
	w := newWorld(t, 21)
	l := newFreeLog(t, w)
	a, _ := l.victim(w)
	s, found := l.takeover(w, 5)
	l.says(s)
	l.append(s)
	require.NoError(t, l.follow(a, found), "it was read; what it says is told")
	require.Equal(t, []string{device.CodeListReset, device.CodeLogBroken}, a.told())
	require.Contains(t, a.monitor().Alarms[1].Detail, "its entry 2: seq is 5 after 0 (check L3)")

	l = newFreeLog(t, w)
	a, first := l.victim(w)
	require.NoError(t, l.follow(a, first))
	l.entries = append(l.entries, make([]byte, transparency.EntrySize))
	hashes, err := tlog.StoredHashesForRecordHash(int64(len(l.entries)-1), transparency.LeafHash(l.entries[2]), l.reader())
	require.NoError(t, err)
	l.hashes = append(l.hashes, hashes...)
	l.append(transparency.Statement{Kind: transparency.KindPad, Time: 2})
	require.NoError(t, l.follow(a, first))
	require.Equal(t, []string{device.CodeLogBroken}, a.told())
	require.Contains(t, a.monitor().Alarms[0].Detail, "check N4")
	require.EqualValues(t, 4, a.monitor().Read)
}

// FuzzLogFetched hands a device anything in place of its log: it is refused, and the place does not move.
func FuzzLogFetched(f *testing.F) {
	w := newWorld(f, 22)
	a := w.enrol(alice)
	w.growBy(alice, 2)
	require.NoError(f, a.lookUp(alice))
	want, ok, err := a.LogFetch()
	require.NoError(f, err)
	require.True(f, ok)
	f.Add(make([]byte, want.Want[0].Size))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok, err := a.LogFetch()
		require.NoError(t, err)
		require.True(t, ok)
		if a.LogFetched(got, [][]byte{data}) == nil && got.Want[0].Path[:7] != "tile/0/" {
			t.Fatal("what is not the log was taken for it")
		}
	})
}
