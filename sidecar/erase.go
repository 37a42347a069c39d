package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

const (
	eraseEvery = time.Second // how often who serves looks for accounts to erase
	erasePoll  = 100 * time.Millisecond
)

// EraseStep says how far an erasure has come.
type EraseStep string

// The steps of an erasure, in this order.
const (
	EraseAsked  EraseStep = "asked"  // it is written down, and will be done, whatever happens now
	EraseGone   EraseStep = "gone"   // keys, code, devices, key packages, mailbox, deliveries and files
	EraseLogged EraseStep = "logged" // the log says that the account's keys are erased
	EraseDone   EraseStep = "done"   // that was witnessed: lookups are refused, and nothing is there to answer them with
)

var eraseSteps = map[int]EraseStep{store.ErasureAsked: EraseAsked, store.ErasureGone: EraseGone, store.ErasureLogged: EraseLogged}

// Erase makes this instance forget an account, and tells of each step. Whoever serves from the data folder does it, within a second or
// so; if nobody does, this Sidecar serves for so long, without answering calls, and is of no other use afterwards. What was written down
// once is also done if Erase is broken off. Of an account that has been erased there is nothing to do.
func (s *Sidecar) Erase(ctx context.Context, name string, tell func(EraseStep)) error {
	if !federation.ValidName(name) {
		return fmt.Errorf("sidecar: erasing account %.40q: a name has lower-case letters, digits and _, at most 30", name)
	}
	actor := s.actorOf(name)
	if known, err := s.erasable(ctx, actor); err != nil || !known {
		return err
	}
	if err := s.store.Erasures.Ask(ctx, actor); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel(nil)
	serving.Go(func() { cancel(s.serveNobody(ctx)) })
	return s.watchErasure(ctx, actor, tell)
}

// erasable says whether there is anything to erase.
func (s *Sidecar) erasable(ctx context.Context, actor string) (bool, error) {
	_, pending, err := s.store.Erasures.Step(ctx, actor)
	if err != nil || pending {
		return pending, err
	}
	_, err = s.store.Accounts.Get(ctx, actor)
	if !errors.Is(err, store.ErrNotFound) {
		return err == nil, err
	}
	_, has, err := s.log.State(ctx, actor)
	switch {
	case errors.Is(err, sequencer.ErrErased):
		return false, nil
	case err == nil && !has:
		err = fmt.Errorf("sidecar: erasing an account: there is none of that name")
	}
	return has, err
}

// serveNobody serves as soon as and as long as nobody else does, so that there is always one who writes the log and never two.
func (s *Sidecar) serveNobody(ctx context.Context) error {
	for {
		if s.collector == nil && s.wasWitnessed() {
			if release, err := s.store.Occupy(); err == nil { // nobody serves who knows the witnesses
				release()
				return errors.New("sidecar: erasing an account: the log has witnesses, and none were named: an entry that they were not asked about must not be signed")
			}
		}
		l := unreachable{make(chan struct{}), new(sync.Once)}
		err := s.Serve(ctx, l)
		if !errors.Is(err, store.ErrOccupied) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(eraseEvery):
		}
	}
}

// wasWitnessed: there is more than the log's own signature under what it serves.
func (s *Sidecar) wasWitnessed() bool {
	signed, err := s.log.Checkpoint()
	if err != nil {
		return false
	}
	n, err := note.Open(signed, note.VerifierList(s.log.Verifier()))
	return err == nil && len(n.UnverifiedSigs) > 0
}

func (s *Sidecar) watchErasure(ctx context.Context, actor string, tell func(EraseStep)) error {
	for told := EraseStep(""); ; {
		step, pending, err := s.store.Erasures.Step(ctx, actor)
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("sidecar: waiting for an erasure; it is written down, and goes on when waxwingd serves: %w", cause)
		}
		if err != nil {
			return err
		}
		now := EraseDone
		if pending {
			now = eraseSteps[step]
		}
		if now != told {
			tell(now)
			told = now
		}
		if !pending {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(erasePoll):
		}
	}
}

// unreachable is a listener that nobody can reach.
type unreachable struct {
	closed chan struct{}
	once   *sync.Once
}

func (l unreachable) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l unreachable) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l unreachable) Addr() net.Addr { return &net.UnixAddr{Name: "nobody", Net: "unix"} }

// eraseAsked does what was asked for, until the context ends.
func (s *Sidecar) eraseAsked(ctx context.Context) {
	for {
		pending, err := s.store.Erasures.Pending(ctx)
		for _, e := range pending {
			if err = s.erase(ctx, e); err != nil {
				break
			}
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Error("erasing an account", "error", nameless(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(eraseEvery):
		}
	}
}

// erase brings one erasure forward. First goes what lets somebody act for the account, so that nothing follows the log's entry; the name is
// forgotten last, when the entry was witnessed and the openings are gone. Each step finds done what a crash has left done.
func (s *Sidecar) erase(ctx context.Context, e store.Erasure) error {
	if e.Step < store.ErasureLogged {
		if err := s.forget(ctx, e.Actor); err != nil {
			return err
		}
		if err := s.log.Erase(ctx, e.Actor); err != nil && !errors.Is(err, sequencer.ErrNotFound) {
			return err
		}
		if err := s.store.Erasures.Logged(ctx, e.Actor); err != nil {
			return err
		}
	}
	_, has, err := s.log.State(ctx, e.Actor)
	switch {
	case err == nil && has, errors.Is(err, sequencer.ErrNotYet): // what was erased is not witnessed to be
		return nil
	case err != nil && !errors.Is(err, sequencer.ErrErased):
		return err
	}
	s.logger.Info("an account was erased")
	return s.store.Erasures.Done(ctx, e.Actor)
}

// forget waits for those who are appending in the account's name: they hold speaking.
func (s *Sidecar) forget(ctx context.Context, actor string) error {
	s.speaking.Lock()
	err := s.store.Erasures.Forget(ctx, actor)
	s.signers.forget()
	s.speaking.Unlock()
	if err != nil {
		return err
	}
	s.notify.wake(actor)
	return s.store.Blobs.RemoveGone(ctx)
}

// absent is the answer about an actor without an account here: nobody, or somebody who has been erased.
func (s *Sidecar) absent(ctx context.Context, actor string) error {
	if !s.isNamed(actor) {
		return errNobody
	}
	if _, _, err := s.log.State(ctx, actor); errors.Is(err, sequencer.ErrErased) {
		return err
	}
	return errNobody
}
