package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	hubtest "github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	logtest "github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
)

const (
	alice = "https://a.test/users/alice"
	bob   = "https://a.test/users/bob"
)

var (
	ctx = context.Background()
	now = time.UnixMilli(1_780_000_000_000)
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh has alice with the devices one and two, and bob with three.
func fresh(t *testing.T) (s *store.Store, dir string) {
	dir = filepath.Join(t.TempDir(), "data")
	s = open(t, dir)
	for _, actor := range []string{alice, bob} {
		require.NoError(t, s.Accounts.Add(ctx, store.Account{Actor: actor, RSAKey: []byte("key of " + actor), CodeHash: []byte("code of " + actor)}))
		require.NoError(t, s.Consents.Ask(ctx, actor, store.FromEverybody))
	}
	for _, d := range []store.Device{{Actor: alice, ID: "one"}, {Actor: alice, ID: "two"}, {Actor: bob, ID: "three"}} {
		d.SignatureKey = []byte("key of " + d.ID)
		require.NoError(t, s.Accounts.AddDevice(ctx, d, []byte("token of "+d.ID)))
	}
	return s, dir
}

func reopen(t *testing.T, s *store.Store, dir string) *store.Store {
	require.NoError(t, s.Close())
	return open(t, dir)
}

func TestLogStore(t *testing.T) {
	logtest.Run(t, func(t *testing.T) sequencer.Store { return open(t, t.TempDir()).Log })
}

func TestHubStore(t *testing.T) {
	hubtest.Run(t, func(t *testing.T) hub.Store { return open(t, t.TempDir()).Hub })
}

func TestHubBeyondEverything(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := s.Hub.OpenGroup(ctx, []byte("g"), hub.State{Term: 1}, []byte("open"))
	require.NoError(t, err)
	events, err := s.Hub.Events(ctx, []byte("g"), 1<<63, 10)
	require.NoError(t, err)
	require.Empty(t, events)
}

func TestSettingIsWrittenOnce(t *testing.T) {
	s, dir := fresh(t)
	value := func(v string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(v), nil } }
	got, err := s.Setting(ctx, "key", value("first"))
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	s = reopen(t, s, dir)
	got, err = s.Setting(ctx, "key", value("second"))
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	_, err = s.Setting(ctx, "other", func() ([]byte, error) { return nil, errors.New("no randomness") })
	require.ErrorContains(t, err, "no randomness")
}

func TestAccounts(t *testing.T) {
	s, dir := fresh(t)
	require.ErrorIs(t, s.Accounts.Add(ctx, store.Account{Actor: alice, RSAKey: []byte("another"), CodeHash: []byte("x")}), store.ErrExists)
	a, err := s.Accounts.Get(ctx, alice)
	require.NoError(t, err)
	require.Equal(t, "key of "+alice, string(a.RSAKey))
	_, err = s.Accounts.Get(ctx, "https://a.test/users/nobody")
	require.ErrorIs(t, err, store.ErrNotFound)

	require.NoError(t, s.Accounts.SetCode(ctx, alice, []byte("new")))
	require.ErrorIs(t, s.Accounts.SetCode(ctx, "https://a.test/users/nobody", []byte("new")), store.ErrNotFound)

	require.NoError(t, s.Accounts.AddDevice(ctx, store.Device{Actor: alice, ID: "one", SignatureKey: []byte("key of one")}, []byte("newer token")))
	s = reopen(t, s, dir)
	_, err = s.Accounts.Device(ctx, alice, []byte("token of one"))
	require.ErrorIs(t, err, store.ErrNotFound, "a replaced token")
	_, err = s.Accounts.Device(ctx, bob, []byte("token of two"))
	require.ErrorIs(t, err, store.ErrNotFound, "somebody else's token")
	d, err := s.Accounts.Device(ctx, alice, []byte("newer token"))
	require.NoError(t, err)
	require.Equal(t, store.Device{Actor: alice, ID: "one", SignatureKey: []byte("key of one")}, d)

	here, err := s.Accounts.Residents(ctx, []string{bob, "https://b.test/users/bob", alice, "https://a.test/users/nobody"})
	require.NoError(t, err)
	require.Equal(t, []string{bob, alice}, here)

	for i := range 98 {
		require.NoError(t, s.Accounts.AddDevice(ctx, store.Device{Actor: alice, ID: fmt.Sprint(i), SignatureKey: []byte{1}}, fmt.Append(nil, i)))
	}
	require.ErrorIs(t, s.Accounts.AddDevice(ctx, store.Device{Actor: alice, ID: "one too many", SignatureKey: []byte{1}}, []byte("x")), store.ErrTooMany)
	require.Error(t, s.Accounts.AddDevice(ctx, store.Device{Actor: "https://a.test/users/nobody", ID: "x", SignatureKey: []byte{1}}, []byte("x")))
}

func TestKeyPackageIsClaimedOnce(t *testing.T) {
	s, dir := fresh(t)
	var packages []store.KeyPackage
	for i := range 100 {
		packages = append(packages, store.KeyPackage{Body: fmt.Appendf(nil, "package %d", i), NotAfter: uint64(now.Unix()) + 1000})
	}
	last := &store.KeyPackage{Body: []byte("last"), NotAfter: uint64(now.Unix()) + 1000}
	n, err := s.KeyPackages.Put(ctx, alice, "one", packages, last, now)
	require.NoError(t, err)
	require.Equal(t, 100, n)

	var mu sync.Mutex
	seen := map[string]int{}
	claimSome := func(times int) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range times {
					claimed, err := s.KeyPackages.Claim(ctx, alice, []string{"one", "two"}, now)
					if err != nil || len(claimed) != 1 {
						t.Errorf("claimed %v: %v", claimed, err)
						return
					}
					mu.Lock()
					seen[string(claimed[0].Body)]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	claimSome(6)
	s = reopen(t, s, dir)
	n, err = s.KeyPackages.Put(ctx, alice, "one", packages, nil, now) // the upload whose answer got lost
	require.NoError(t, err)
	require.Equal(t, 52, n)
	claimSome(8)
	require.Equal(t, 12, seen["last"], "8*14 claims of 100 packages")
	delete(seen, "last")
	require.Len(t, seen, 100)
	for body, times := range seen {
		require.Equal(t, 1, times, body)
	}
	n, lastThere, err := s.KeyPackages.Count(ctx, alice, "one", now)
	require.NoError(t, err)
	require.Equal(t, []any{0, true}, []any{n, lastThere})
}

func TestKeyPackagesExpireAndAreBounded(t *testing.T) {
	s, _ := fresh(t)
	var packages []store.KeyPackage
	for i := range 130 {
		packages = append(packages, store.KeyPackage{Body: fmt.Appendf(nil, "package %03d", i), NotAfter: uint64(now.Unix()) + 1000})
	}
	n, err := s.KeyPackages.Put(ctx, alice, "one", packages, &store.KeyPackage{Body: []byte("last"), NotAfter: uint64(now.Unix()) + 2000}, now)
	require.NoError(t, err)
	require.Equal(t, store.MaxOneTime, n)
	claimed, err := s.KeyPackages.Claim(ctx, alice, []string{"one"}, now)
	require.NoError(t, err)
	require.Equal(t, "package 030", string(claimed[0].Body), "the oldest went")

	later := now.Add(1500 * time.Second)
	claimed, err = s.KeyPackages.Claim(ctx, alice, []string{"one"}, later)
	require.NoError(t, err)
	require.Equal(t, []store.Claimed{{Device: "one", Body: []byte("last"), LastResort: true}}, claimed)
	published, err := s.KeyPackages.LastResort(ctx, alice, []string{"one", "two"}, later)
	require.NoError(t, err)
	require.Equal(t, claimed, published)
	claimed, err = s.KeyPackages.Claim(ctx, alice, []string{"one"}, later.Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, claimed)
	_, err = s.KeyPackages.Put(ctx, alice, "unknown", packages, nil, now)
	require.Error(t, err, "a device that never logged in")
}

func TestRequestIsDoneOnce(t *testing.T) {
	s, dir := fresh(t)
	sending := store.Sending{
		Actor: alice, ID: "id", BodyHash: []byte("hash"), Answer: []byte("answer"), At: now.UnixMilli(),
		Drops:      []store.Drop{{Actor: alice, Except: "one", Item: store.Item{Activity: "x", Message: []byte("m")}}, {Actor: bob, Item: store.Item{Activity: "x", Message: []byte("m")}}},
		Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Recipients: []string{"r"}, Body: []byte("activity")}},
	}
	_, found, err := s.Sent.Answer(ctx, alice, "id", []byte("hash"))
	require.NoError(t, err)
	require.False(t, found)
	answer, err := s.Sent.Record(ctx, sending)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	s = reopen(t, s, dir)
	again := sending
	again.Answer = []byte("another answer")
	answer, err = s.Sent.Record(ctx, again)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	answer, found, err = s.Sent.Answer(ctx, alice, "id", []byte("hash"))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "answer", string(answer))

	again.BodyHash = []byte("other hash")
	_, err = s.Sent.Record(ctx, again)
	require.ErrorIs(t, err, store.ErrConflict)
	_, _, err = s.Sent.Answer(ctx, alice, "id", []byte("other hash"))
	require.ErrorIs(t, err, store.ErrConflict)

	for device, want := range map[[2]string]int{{alice, "one"}: 0, {alice, "two"}: 1, {bob, "three"}: 1} {
		items, err := s.Mailboxes.Read(ctx, device[0], device[1], 0, 10, 100)
		require.NoError(t, err)
		require.Len(t, items, want, device)
	}
	due, err := s.Outbox.Lease(ctx, now, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, []any{"b.test", alice, []string{"r"}, "activity"}, []any{due[0].Host, due[0].Sender, due[0].Recipients, string(due[0].Body)})
}

func TestFailedRequestLeavesNothing(t *testing.T) {
	s, _ := fresh(t)
	_, err := s.Sent.Record(ctx, store.Sending{
		Actor: alice, ID: "id", BodyHash: []byte("hash"), Answer: []byte("answer"),
		Drops:      []store.Drop{{Actor: bob, Item: store.Item{Activity: "x", Message: []byte("m")}}},
		Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: nil}}, // the schema wants a body
	})
	require.Error(t, err)
	_, found, err := s.Sent.Answer(ctx, alice, "id", []byte("hash"))
	require.NoError(t, err)
	require.False(t, found)
	items, err := s.Mailboxes.Read(ctx, bob, "three", 0, 10, 100)
	require.NoError(t, err)
	require.Empty(t, items)
}

func TestOneServesAtATime(t *testing.T) {
	s, dir := fresh(t)
	release, err := s.Occupy()
	require.NoError(t, err)
	other := open(t, dir)
	_, err = other.Occupy()
	require.ErrorIs(t, err, store.ErrOccupied)
	release()
	release, err = other.Occupy()
	require.NoError(t, err)
	release()
}

func TestSweepKeepsWhatIsNeeded(t *testing.T) {
	s, _ := fresh(t)
	accept := func(body string) (bool, error) {
		return s.Mailboxes.Accept(ctx, store.Arrival{Activity: "x", BodyHash: []byte(body), At: now.UnixMilli()})
	}
	_, err := accept("one")
	require.NoError(t, err)
	_, err = s.Sent.Record(ctx, store.Sending{Actor: alice, ID: "id", BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli(),
		Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: []byte("old")}}})
	require.NoError(t, err)
	pkg := store.KeyPackage{Body: []byte("package"), NotAfter: uint64(now.Unix()) + 10}
	_, err = s.KeyPackages.Put(ctx, alice, "one", []store.KeyPackage{pkg}, nil, now)
	require.NoError(t, err)

	require.NoError(t, s.Sweep(ctx, now.Add(29*24*time.Hour)))
	duplicate, err := accept("one")
	require.NoError(t, err)
	require.True(t, duplicate)
	n, err := s.KeyPackages.Put(ctx, alice, "one", []store.KeyPackage{pkg}, nil, now)
	require.NoError(t, err)
	require.Zero(t, n, "a package that was swept is offered again")
	_, found, err := s.Sent.Answer(ctx, alice, "id", []byte("h"))
	require.NoError(t, err)
	require.True(t, found)

	require.NoError(t, s.Sweep(ctx, now.Add(31*24*time.Hour)))
	duplicate, err = accept("two")
	require.NoError(t, err)
	require.False(t, duplicate)
	due, err := s.Outbox.Lease(ctx, now.Add(31*24*time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, due, 1, "what was not given up stays")
}

func TestBlobs(t *testing.T) {
	s, dir := fresh(t)
	data := []byte("encrypted bytes")
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	require.ErrorIs(t, s.Blobs.Put(ctx, alice, hash, strings.NewReader("other bytes"), now), store.ErrHash)
	for _, name := range []string{"", "..", "../../etc/passwd", hash[:62], hash + "00", "A" + hash[1:], hash[:60] + "/../"} {
		require.ErrorIs(t, s.Blobs.Put(ctx, alice, name, bytes.NewReader(data), now), store.ErrNotFound, name)
		_, err := s.Blobs.Open(name)
		require.ErrorIs(t, err, store.ErrNotFound, name)
	}
	_, err := s.Blobs.Open(hash)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, s.Blobs.Put(ctx, alice, hash, bytes.NewReader(data), now))
	require.NoError(t, s.Blobs.Put(ctx, bob, hash, bytes.NewReader(data), now), "again")
	require.NoError(t, s.Blobs.Put(ctx, alice, hash, bytes.NewReader(data), now), "and again")
	cut := io.MultiReader(bytes.NewReader(data[:5]), iotest.ErrReader(io.ErrUnexpectedEOF))
	require.ErrorIs(t, s.Blobs.Put(ctx, alice, hash, cut, now), io.ErrUnexpectedEOF)

	// A crash between the row and the file, and a file that a broken disk has cut, are mended by bringing the blob again.
	path := filepath.Join(dir, "blobs", hash[:2], hash)
	for _, damage := range []func() error{func() error { return os.Remove(path) }, func() error { return os.Truncate(path, 3) }} {
		require.NoError(t, damage())
		require.NoError(t, s.Blobs.Put(ctx, alice, hash, bytes.NewReader(data), now))
		f, err := s.Blobs.Open(hash)
		require.NoError(t, err)
		got, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, data, got)
	}
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{path}, files)
	files, err = filepath.Glob(filepath.Join(dir, "blobs", ".new-*"))
	require.NoError(t, err)
	require.Empty(t, files, "leftovers")
}

// Files without content cost room too, or there is no end of them.
func TestSmallBlobsCount(t *testing.T) {
	s, dir := fresh(t)
	put := func(i int) error {
		data := fmt.Append(nil, i)
		sum := sha256.Sum256(data)
		return s.Blobs.Put(ctx, alice, hex.EncodeToString(sum[:]), bytes.NewReader(data), now)
	}
	require.NoError(t, put(1))
	require.NoError(t, put(2))
	require.NoError(t, put(2), "the same")
	db, err := sqlite.Open(filepath.Join(dir, "waxwingd.db"), make([]string, 3)) // as many steps as the schema has
	require.NoError(t, err)
	defer db.Close()
	fill := func(bytes int) {
		require.NoError(t, db.Update(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec("UPDATE account SET blobs = blobs + ? WHERE actor = ?", bytes, alice)
			return err
		}))
	}
	fill(4<<30 - 3<<16)
	require.NoError(t, put(3), "the last that has room")
	require.ErrorIs(t, put(4), store.ErrTooMany)
	require.NoError(t, put(3), "what is there")
	fill(-1 << 16)
	require.NoError(t, put(4), "what was refused left nothing")
}

func TestOpenRefusesADamagedStore(t *testing.T) {
	s, dir := fresh(t)
	require.NoError(t, s.Close())
	require.NoError(t, os.Truncate(filepath.Join(dir, "waxwingd.db"), 5000))
	_, err := store.Open(dir)
	require.ErrorIs(t, err, sqlite.ErrDamaged)
}
