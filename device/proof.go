package device

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// LogHead is the newest tree known of an instance's log: what a proof has to be against. N is 0 if none is.
func (d *Device) LogHead(instance string) (head tlog.Tree, err error) {
	err = d.view(func(t *txn) error {
		w, err := t.standing(instance)
		head = tlog.Tree{N: w.Size, Hash: w.Root}
		return err
	})
	return head, err
}

// AdvanceLog takes a newer checkpoint of a log that is pinned, without anybody's keys (A1, A2, and what witnesses are asked for).
func (d *Device) AdvanceLog(instance string, signed []byte, consistency []tlog.Hash) error {
	err := d.update(func(t *txn) error {
		log, ok, err := t.log(instance)
		if err == nil && !ok {
			err = ErrLogNotPinned
		}
		if err != nil {
			return err
		}
		if len(signed) > maxShownNote {
			return fmt.Errorf("device: a checkpoint of %d bytes: %w", len(signed), ErrTooLarge)
		}
		terms, err := t.terms()
		if err != nil {
			return err
		}
		if log, _, err = log.Advance(signed, consistency, terms); err != nil {
			return fmt.Errorf("device: following the log of %s: %w", instance, err)
		}
		return t.putLog(instance, log)
	})
	if err != nil {
		return d.claimedOf(instance, signed, err)
	}
	return nil
}

// contradicted looks whether a refused answer has something in it that the log signed and that contradicts what it signed before.
func (d *Device) contradicted(instance string, answer []byte, err error) error {
	a, parseErr := transparency.ParseAnswer(answer)
	if parseErr != nil {
		return err
	}
	return d.claimedOf(instance, a.Checkpoint, err)
}

// claimedOf returns err. If that is A2, the log has signed what it cannot show to continue what we know: evidence, or a reason to ask.
func (d *Device) claimedOf(instance string, signed []byte, err error) error {
	var check *transparency.CheckError
	if !errors.As(err, &check) || check.Check != "A2" {
		return err
	}
	return errors.Join(err, d.update(func(t *txn) error {
		log, ok, err := t.log(instance)
		if err != nil || !ok {
			return err
		}
		seen, err := log.Open(signed)
		if err != nil || seen.Size == 0 {
			return nil // A1 was held before; a tree of no entries says nothing
		}
		w, err := t.standing(instance)
		if p := (point{seen.Size, seen.Root}); err == nil && !w.knows(p) {
			err = t.claimed(nil, instance, claim{point: p, Note: signed})
		}
		return err
	}))
}

// Compared reports what a log had at the size of a ProofJob, with the proof that the tree of [Device.LogHead] continues it; neither
// counts if that tree, as new as the log would give it, is smaller. An error means that this is no proof, and the job stays.
func (d *Device) Compared(job string, root tlog.Hash, proof []tlog.Hash) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*ProofJob](t, job)
		if err != nil || !ok {
			return err
		}
		w, err := t.standing(j.Instance)
		if err != nil || w.Split {
			return err
		}
		proven := point{j.Size, root}
		switch {
		case j.Size == w.Size:
			proven.Root = w.Root
		case j.Size < w.Size:
			if err := tlog.CheckTree(proof, w.Size, w.Root, j.Size, root); err != nil {
				return fmt.Errorf("device: comparing what the log of %s had at %d entries: %w", j.Instance, j.Size, err)
			}
		case j.Claim.Note != nil:
			return t.doubt(j.Instance, j.Claim)
		default: // the log has answered; that it was ever larger is only somebody's word
			proven = point{}
		}
		return t.answered(j, w, proven, proof)
	})
}

// answered draws the conclusion from what a log has proven, nothing if that is only that it is not so large.
func (t *txn) answered(j *ProofJob, w standing, proven point, proof []tlog.Hash) error {
	w.remember(proven)
	if w.Doubt != nil && w.Doubt.point == j.Claim.point {
		w.Doubt = nil
		if err := t.tellOfLog(EventLogProven, j.Instance, "has proven its history: keys from there are believed again"); err != nil {
			return err
		}
	}
	if err := t.putStanding(j.Instance, w); err != nil || proven == j.Claim.point {
		return err
	}
	var c *conversation
	if j.Claim.Conversation != "" {
		var err error
		if c, err = t.open(j.Claim.Conversation); err != nil {
			return err
		}
	}
	if err := t.contradiction(c, j.Instance, j.Claim, proven.Root, proof); err != nil || c == nil {
		return err
	}
	return t.finish(c)
}

// doubt is G9: nothing new in a log is believed that has not proven what it should.
func (t *txn) doubt(instance string, x claim) error {
	w, err := t.standing(instance)
	if err != nil || w.Split {
		return err
	}
	told := w.Doubt != nil
	w.Doubt = &x
	if err := t.putStanding(instance, w); err != nil || told {
		return err
	}
	return t.tellOfLog(EventLogUnproven, instance, "has not proven that it shows everybody the same history: no new keys from there are believed until it does")
}

// tellOfLog tells the person one sentence about a log.
func (t *txn) tellOfLog(kind EventType, instance, what string) error {
	return t.emit(Event{Type: kind, Log: hostOf(instance), Detail: "the log of " + hostOf(instance) + " " + what})
}

// askAgain gives a log that is in doubt another chance.
func (t *txn) askAgain(instance string, x claim) error {
	asked, err := t.hasJob(func(j Job) bool {
		p, ok := j.(*ProofJob)
		return ok && p.Instance == instance
	})
	if err != nil || asked {
		return err
	}
	return t.addJob(&ProofJob{Instance: instance, Size: x.Size, Claim: x})
}

// askDoubted is askAgain for all that are.
func (t *txn) askDoubted() error {
	distrusted, err := t.distrusted()
	if err != nil {
		return err
	}
	for _, l := range distrusted {
		if l.Split {
			continue
		}
		if err := t.askAgain(l.instance, *l.Doubt); err != nil {
			return err
		}
	}
	return nil
}
