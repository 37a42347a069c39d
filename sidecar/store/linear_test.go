package store_test

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	hubtest "github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// A regOp is one operation on a hub's register: a submission for an epoch, or a look at the whole chain.
type regOp struct {
	read   bool
	epoch  int
	commit string
}

type regResult struct {
	granted, early bool
	epochs         int    // in a refusal, and in a look
	chain          string // in a look
}

// register is what a hub must look like from outside: one commit for each epoch, in order. Its state are the commits, joined.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		s, op, res := state.(string), in.(regOp), out.(regResult)
		commits := strings.Fields(s)
		switch {
		case op.read:
			return res.chain == s && res.epochs == len(commits), s
		case res.granted && len(commits) == op.epoch:
			return true, strings.TrimSpace(s + " " + op.commit)
		case res.granted:
			return len(commits) > op.epoch && commits[op.epoch] == op.commit, s
		case res.early:
			return len(commits) < op.epoch, s
		}
		return len(commits) == res.epochs && len(commits) > op.epoch && commits[op.epoch] != op.commit, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// A process is a hub that dies now and then: what it answers counts, what it was doing may or may not have happened.
type process struct {
	hub atomic.Pointer[hub.Hub]
}

var errLost = errors.New("the disk has gone")

// unreliable fails before or after a write.
type unreliable struct {
	hub.Store
	random *atomic.Uint64
}

func (u unreliable) Swap(ctx context.Context, id []byte, old hub.State, c hub.Change) error {
	n := u.random.Add(0x9e3779b97f4a7c15) >> 60
	if n == 0 {
		return errLost
	}
	if err := u.Store.Swap(ctx, id, old, c); err != nil {
		return err
	}
	if n == 1 {
		return errLost
	}
	return nil
}

var linearKey = ed25519.NewKeyFromSeed(make([]byte, 32))

func (p *process) boot(s hub.Store, random *atomic.Uint64) {
	p.hub.Store(hub.New(unreliable{s, random}, linearKey, linearHeaders, func() time.Time { return now }, nil))
}

// linearHeaders: 16 bytes of group id, 8 of epoch, the rest.
func linearHeaders(m []byte) ([]byte, uint64, bool, error) {
	if len(m) < 24 {
		return nil, 0, false, errLost
	}
	return m[:16], binary.BigEndian.Uint64(m[16:24]), true, nil
}

func linearTicket(epoch uint64) ed25519.PrivateKey {
	return receipt.TicketKey(binary.BigEndian.AppendUint64(make([]byte, 24), epoch))
}

// do asks until there is an answer, as a device does: one operation, however often the hub died meanwhile.
func (p *process) do(id []byte, op regOp) (res regResult) {
	epoch := uint64(op.epoch)
	commit := append(binary.BigEndian.AppendUint64(slices.Clone(id), epoch), op.commit...)
	next := [32]byte(linearTicket(epoch + 1).Public().(ed25519.PublicKey))
	s := hub.Submission{Term: 1, Epoch: epoch, Commit: commit, Ticket: next}
	s.Signature = receipt.SignSubmit(linearTicket(epoch), id, 1, epoch, commit, next)
	for {
		if op.read {
			if events, state, err := p.hub.Load().Events(ctx, id, 0); err == nil && uint64(len(events)) == state.Seq {
				var commits []string
				for _, e := range events {
					commits = append(commits, string(e.Commit[24:]))
				}
				return regResult{chain: strings.Join(commits, " "), epochs: len(commits)}
			}
			continue // the chain grew between the two looks, or the hub died
		}
		_, err := p.hub.Load().Submit(ctx, id, s)
		var stale *hub.StaleError
		switch {
		case err == nil:
			return regResult{granted: true}
		case errors.Is(err, hub.ErrEpochUnknown):
			return regResult{early: true}
		case errors.As(err, &stale):
			return regResult{epochs: int(stale.Epoch)}
		}
	}
}

// history lets eight writers loose on one group.
func (p *process) history(t *testing.T, n int) []porcupine.Operation {
	id := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n))
	require.Eventually(t, func() bool { // the database may be closed already
		_, err := p.hub.Load().Open(ctx, id, [32]byte(linearTicket(0).Public().(ed25519.PublicKey)))
		return err == nil
	}, time.Minute, time.Millisecond)
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var operations []porcupine.Operation
	for w := range 8 {
		random := rand.New(rand.NewPCG(uint64(n), uint64(w)))
		wg.Go(func() {
			for i, epoch := 0, 0; i < 3; i++ {
				op := regOp{epoch: max(epoch+random.IntN(3)-1, 0), commit: fmt.Sprintf("%d.%d", w, i), read: random.IntN(4) == 0}
				call := time.Since(start).Nanoseconds()
				res := p.do(id, op)
				back := time.Since(start).Nanoseconds()
				if epoch = max(epoch, res.epochs); res.granted {
					epoch = max(epoch, op.epoch+1)
				}
				mu.Lock()
				operations = append(operations, porcupine.Operation{ClientId: w, Input: op, Call: call, Output: res, Return: back})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return operations
}

func requireLinearizable(t *testing.T, n int, operations []porcupine.Operation) {
	t.Helper()
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register, operations, time.Minute), "history %d: %v", n, operations)
}

// TestRegisterIsLinearizable: a thousand histories of eight writers, of a hub whose store fails before and after writes and which is
// started again and again.
func TestRegisterIsLinearizable(t *testing.T) {
	var random atomic.Uint64
	var p process
	memory := new(hubtest.Memory)
	p.boot(memory, &random)
	for n := range 1000 {
		restarts := make(chan struct{})
		go func() {
			defer close(restarts)
			p.boot(memory, &random)
		}()
		operations := p.history(t, n)
		<-restarts
		requireLinearizable(t, n, operations)
	}
}

// TestRegisterOnDiskIsLinearizable is the same with the database, which is closed under the writers in every tenth history.
// WAXWING_HISTORIES says how many.
func TestRegisterOnDiskIsLinearizable(t *testing.T) {
	histories, err := strconv.Atoi(os.Getenv("WAXWING_HISTORIES"))
	if err != nil {
		histories = 30
	}
	var random atomic.Uint64
	var p process
	dir := t.TempDir()
	s, err := store.Open(dir)
	require.NoError(t, err)
	p.boot(s.Hub, &random)
	for n := range histories {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n%10 != 5 {
				return
			}
			time.Sleep(time.Millisecond)
			closed := s.Close()
			reopened, err := store.Open(dir)
			if err != nil || closed != nil {
				panic(fmt.Sprint("closing and opening: ", closed, err))
			}
			s = reopened
			p.boot(s.Hub, &random)
		}()
		operations := p.history(t, n)
		<-done
		requireLinearizable(t, n, operations)
	}
	require.NoError(t, s.Close())
}

// TestRegisterModelRefuses is the control: histories that no register has.
func TestRegisterModelRefuses(t *testing.T) {
	op := func(client int, call int64, in regOp, out regResult, back int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back}
	}
	a, b := regOp{commit: "a"}, regOp{commit: "b"}
	won := regResult{granted: true}
	for name, operations := range map[string][]porcupine.Operation{
		"one epoch twice":          {op(0, 1, a, won, 4), op(1, 2, b, won, 3)},
		"granted and gone":         {op(0, 1, a, won, 2), op(1, 3, regOp{read: true}, regResult{}, 4)},
		"lost to nobody":           {op(0, 1, a, regResult{epochs: 1}, 2)},
		"a chain with another":     {op(0, 1, a, won, 2), op(1, 3, regOp{read: true}, regResult{chain: "b", epochs: 1}, 4)},
		"an epoch before its time": {op(0, 1, regOp{epoch: 1, commit: "a"}, won, 2)},
	} {
		require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(register, operations, time.Minute), name)
	}
}
