package sidecar_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
)

// erase is what `waxwingd erase` does: it opens the folder beside whoever serves from it.
func (b *box) erase(name string) []sidecar.EraseStep {
	b.w.t.Helper()
	s, err := sidecar.Open(sidecar.Config{DataDir: b.dir, Hosts: b.w.hosts, Now: b.w.now})
	require.NoError(b.w.t, err)
	defer func() { require.NoError(b.w.t, s.Close()) }()
	var steps []sidecar.EraseStep
	require.NoError(b.w.t, s.Erase(ctx, name, func(step sidecar.EraseStep) { steps = append(steps, step) }))
	return steps
}

func (d *device) blob(t *testing.T, text string) (path string) {
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	_, err := d.PutBlob(ctx, hash, []byte(text))
	require.NoError(t, err)
	return filepath.Join(d.box.dir, "blobs", hash[:2], hash)
}

// full has everything of alice's that a sidecar can have.
func full(t *testing.T, a *box, b *box) (alice, bob, carol *device) {
	alice, bob, carol = a.person("alice"), b.person("bob"), a.person("carol")
	last := alice.keyPackage(true)
	_, err := alice.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: []clientapi.Bytes{alice.keyPackage(false)}, LastResort: last})
	require.NoError(t, err)
	r := carol.open()
	require.NoError(t, carol.Send(ctx, r.message("for alice", alice.actor)))
	require.Equal(t, 1, alice.waiting())
	b.stop()
	require.NoError(t, alice.Send(ctx, r.message("on its way", bob.actor)))
	require.NoError(t, carol.Send(ctx, r.message("carol's", bob.actor)))
	return alice, bob, carol
}

// search finds files of the data folder that have a text in them.
func (b *box) search(text string) (found []string) {
	require.NoError(b.w.t, filepath.Walk(b.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	}))
	return found
}

func TestEraseLeavesNothing(t *testing.T) {
	_, a, b := two(t)
	alice, bob, carol := full(t, a, b)
	hers, both := alice.blob(t, "only hers"), alice.blob(t, "both have it")
	carol.blob(t, "both have it")
	require.FileExists(t, hers)

	require.Equal(t, sidecar.EraseDone, last(a.erase("alice")))
	require.Empty(t, a.erase("alice"), "there is nothing to do")
	require.NoFileExists(t, hers)
	require.FileExists(t, both)
	rows := a.rows()
	require.Equal(t, []int{1, 1, 0, 0, 0, 1}, []int{rows["account"], rows["device"], rows["key_package"], rows["last_resort"], rows["mailbox"], rows["blob"]})
	require.Equal(t, 4, rows["log_entry"], "padding, two lists, and her end")

	b.start()
	require.Equal(t, []string{"carol's"}, texts(bob.await(1)), "what others sent goes on")
	_, err := alice.Account(ctx)
	requireProblem(t, err, 401, "token_required")
	for _, path := range []string{
		"/users/alice", "/users/alice/key-packages", "/.well-known/webfinger?resource=acct:alice@a.test", "/waxwing/directory?from=0&actor=" + alice.actor,
	} {
		res, _ := a.get(path)
		require.Equal(t, 410, res.StatusCode, path)
	}
	for _, who := range []*device{bob, carol} {
		_, err = who.Lookup(ctx, alice.actor, 0)
		requireProblem(t, err, 410, "erased")
		_, err = who.Claim(ctx, alice.actor)
		requireProblem(t, err, 410, "erased")
	}
	res, _ := a.get("/users/nobody")
	require.Equal(t, 404, res.StatusCode)

	a.stop()
	require.Empty(t, a.search("users/alice"), "her name, or who she wrote to")
	require.Empty(t, a.search(string(alice.key[32:])), "her device")
}

func last[T any](list []T) T { return list[len(list)-1] }

func TestEraseWhenNobodyServes(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	a.stop()
	require.Contains(t, a.erase("alice"), sidecar.EraseDone)
	a.start()
	res, _ := a.get("/waxwing/directory?from=0&actor=" + alice.actor)
	require.Equal(t, 410, res.StatusCode)
	s, err := sidecar.Open(sidecar.Config{DataDir: a.dir})
	require.NoError(t, err)
	defer s.Close()
	require.ErrorContains(t, s.Erase(ctx, "nobody", nil), "none of that name")
	require.ErrorContains(t, s.Erase(ctx, "../x", nil), "a name has")
}

// TestEraseAsksTheWitnesses: of a log that has some nothing is signed behind their back, also if nobody serves.
func TestEraseAsksTheWitnesses(t *testing.T) {
	w := newWorld(t)
	a, _ := witnessed(w, 3, 2)
	a.visible()
	alice := a.person("alice")
	a.visible()
	size := a.Log().Size()
	a.stop()
	alone, err := sidecar.Open(sidecar.Config{DataDir: a.dir, Hosts: w.hosts, Now: w.now})
	require.NoError(t, err)
	require.ErrorContains(t, alone.Erase(ctx, "alice", func(sidecar.EraseStep) {}), "the log has witnesses, and none were named")
	require.Equal(t, size, alone.Log().Size())
	require.NoError(t, alone.Close())
	asking, err := sidecar.Open(sidecar.Config{DataDir: a.dir, Hosts: w.hosts, Now: w.now, Witnesses: a.policy})
	require.NoError(t, err)
	asking.Hurry()
	require.NoError(t, asking.Erase(ctx, "alice", func(sidecar.EraseStep) {}))
	require.NoError(t, asking.Close())
	a.start()
	res, _ := a.get("/waxwing/directory?from=0&actor=" + alice.actor)
	require.Equal(t, 410, res.StatusCode)
}

// TestEraseAfterACrash ends the process after each step of an erasure in turn.
func TestEraseAfterACrash(t *testing.T) {
	for _, done := range []int{store.ErasureAsked, store.ErasureGone, store.ErasureLogged} {
		w := newWorld(t)
		a := w.box("a.test").start()
		alice := a.person("alice")
		file := alice.blob(t, "a file")
		if done == store.ErasureLogged {
			a.erase("alice")
		}
		a.crash()
		s, err := store.Open(a.dir)
		require.NoError(t, err)
		require.NoError(t, s.Erasures.Ask(ctx, alice.actor))
		if done >= store.ErasureGone {
			require.NoError(t, s.Erasures.Forget(ctx, alice.actor))
		}
		a.start()
		require.Eventually(t, func() bool {
			pending, err := s.Erasures.Pending(ctx)
			return err == nil && len(pending) == 0
		}, 20*time.Second, 20*time.Millisecond)
		require.NoError(t, s.Close())
		res, _ := a.get("/waxwing/directory?from=0&actor=" + alice.actor)
		require.Equal(t, 410, res.StatusCode)
		require.Empty(t, a.erase("alice"))
		require.Equal(t, 3, a.rows()["log_entry"], "padding, her list, and its end, once")
		require.NoFileExists(t, file)
		require.Zero(t, a.rows()["account"])
	}
}

// TestServeRefusesALogThatHasGrown: between opening and serving another process had its turn.
func TestServeRefusesALogThatHasGrown(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	a.person("alice")
	a.stop()
	slow, err := sidecar.Open(sidecar.Config{DataDir: a.dir})
	require.NoError(t, err)
	defer slow.Close()
	require.Equal(t, sidecar.EraseDone, last(a.erase("alice")))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, slow.Serve(ctx, l), "start again")
}

// TestEraseWhileServing: lookups go on, and publications of the one who is erased that are under way leave nothing behind.
func TestEraseWhileServing(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	record := alice.current(nil)
	end := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 {
		busy.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				answer, err := bob.Lookup(ctx, bob.actor, 0)
				if err != nil {
					t.Errorf("a lookup: %v", err)
					return
				}
				if _, err := transparency.ParseAnswer(answer); err != nil {
					t.Error(err)
				}
			}
		})
	}
	busy.Go(func() { // an update each time, until she is not let in any more
		known := record.Statement
		for {
			select {
			case <-end:
				return
			default:
			}
			c := keydir.Change{Kind: transparency.KindUpdate, Label: known.Label, List: record.List, Next: [32]byte(alice.account[32:])}
			s, content := c.Sign(&known, alice.account, uint64(w.now().UnixMilli()))
			if _, err := alice.Publish(ctx, clientapi.Publication{Statement: s.Marshal(), Opening: c.Opening[:], Content: content}); err != nil {
				return
			}
			known = s
		}
	})
	steps := a.erase("alice")
	close(end)
	busy.Wait()
	require.Equal(t, sidecar.EraseDone, last(steps))
	res, _ := a.get("/waxwing/directory?from=0&actor=" + alice.actor)
	require.Equal(t, 410, res.StatusCode)
	require.Equal(t, 1, a.rows()["account"])
}

// TestErasedAndBack: the account can be made anew, and what its device publishes is a reset to who knew the person.
func TestErasedAndBack(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	known := alice.current(nil)
	a.erase("alice")
	code, err := a.AddAccount("alice")
	require.NoError(t, err)
	again := a.login("alice", code)
	_, err = bob.Lookup(ctx, alice.actor, 0)
	requireProblem(t, err, 410, "erased")
	answer, err := again.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err, "her own device is told what is there")
	_, erased := a.verify(a.pin(), nil, alice.actor, answer)
	require.Equal(t, transparency.KindErase, erased.Statement.Kind)
	_, err = again.Publish(ctx, again.publication(transparency.KindFirst, nil, again))
	requireProblem(t, err, 409, "version_conflict")
	_, err = again.Publish(ctx, again.publication(transparency.KindReset, &erased, again))
	require.NoError(t, err)
	answer, err = bob.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)
	_, now := a.verify(a.pin(), &known, alice.actor, answer)
	require.True(t, now.Reset)
	require.Equal(t, []keydir.Device{{SignatureKey: [32]byte(again.key[32:]), Added: 1}}, now.List.Devices)
}

func TestAccountIsNotMadeWhileItIsErased(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	a.stop()
	s, err := store.Open(a.dir)
	require.NoError(t, err)
	require.NoError(t, s.Erasures.Ask(ctx, alice.actor))
	require.NoError(t, s.Erasures.Forget(ctx, alice.actor))
	require.NoError(t, s.Close())
	other, err := sidecar.Open(sidecar.Config{DataDir: a.dir})
	require.NoError(t, err)
	_, err = other.AddAccount("alice")
	require.ErrorContains(t, err, "being erased")
	require.NoError(t, other.Close())
}
