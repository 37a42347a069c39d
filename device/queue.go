package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A conversation's queue holds what this person asked for and what is not done yet, in the order of asking. The first step alone is
// worked on, and messages that need not wait for it (pass.go).

type stepKind string

const (
	stepAdd    stepKind = "add"
	stepRemove stepKind = "remove"
	stepRole   stepKind = "role"
	stepPrune  stepKind = "prune"
	stepLeave  stepKind = "leave"
	stepHubs   stepKind = "hubs"  // the present hub and its fallbacks into the room
	stepMove   stepKind = "move"  // to another hub
	stepRenew  stepKind = "renew" // new keys for our own leaf and path
	stepPart   stepKind = "part"  // let go who leaves
	stepSend   stepKind = "send"
	stepShow   stepKind = "show" // what is known of a log, to the others
)

type step struct {
	Kind stepKind `json:"kind"`

	// Of an intent.
	Actors   []string                    `json:"actors,omitempty"`
	Since    uint64                      `json:"since,omitempty"` // lookups made when it was asked for, later when packages were claimed
	Claimed  bool                        `json:"claimed,omitempty"`
	Packages map[string][]ClaimedPackage `json:"packages,omitempty"` // by actor
	Admin    bool                        `json:"admin,omitempty"`    // of a role
	InFlight bool                        `json:"in_flight,omitempty"`
	Lost     int                         `json:"lost,omitempty"`      // races
	HasLease bool                        `json:"has_lease,omitempty"` // or goes on without, if the hub gives none
	LeaseKey []byte                      `json:"lease_key,omitempty"` // seed
	Proposed uint64                      `json:"proposed,omitempty"`  // of a leaving: the epoch it was proposed in, and one more
	Passed   bool                        `json:"passed,omitempty"`    // the person knows that messages go before it

	Hubs []receipt.NextHub `json:"hubs,omitempty"` // fallbacks, or of a move the next

	// Of a message.
	Message uint64   `json:"message,omitempty"`
	Uploads []string `json:"uploads,omitempty"` // blobs the sidecar does not have yet
	Again   *again   `json:"again,omitempty"`   // it was sent before

	// Of a log to show.
	Log      string `json:"log,omitempty"`      // instance
	Asks     string `json:"asks,omitempty"`     // actor
	Evidence bool   `json:"evidence,omitempty"` // instead of the newest checkpoint
	Tell     *shown `json:"tell,omitempty"`     // instead of both
}

func stepBucket(id string) string { return "step:" + id }

func (t *txn) queue(id string, s step) error {
	key, err := uuid.NewRandomFromReader(t.rand)
	if err != nil {
		return fmt.Errorf("device: naming a step: %w", err)
	}
	return t.putRow(stepBucket(id), key.String(), s)
}

// queueOf reads a queue.
func (t *txn) queueOf(id string) (keys []string, steps []step, err error) {
	err = t.Each(stepBucket(id), func(key string, value []byte) error {
		var s step
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("device: decoding a step of %s: %w", id, err)
		}
		keys, steps = append(keys, key), append(steps, s)
		return nil
	})
	return keys, steps, err
}

var errEnough = errors.New("device: enough rows")

// firstStep reads the step at the head of a queue.
func (t *txn) firstStep(id string) (key string, s step, ok bool, err error) {
	err = t.Each(stepBucket(id), func(k string, value []byte) error {
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("device: decoding a step of %s: %w", id, err)
		}
		key, ok = k, true
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return key, s, ok, err
}

// advance works off the queue as far as it goes now.
func (t *txn) advance(c *conversation) error {
	if c.State == StateOpening {
		return nil
	}
	for {
		before := t.partFirst
		if c.Plain != nil {
			before = t.plainFirst
		}
		if err := before(c); err != nil {
			return err
		}
		key, s, ok, err := t.firstStep(c.id)
		if err != nil || !ok {
			return err
		}
		done, err := t.work(c, &s)
		if err != nil {
			return err
		}
		if !done && s.Again != nil {
			if done, err = t.letPass(c.id, s); err != nil {
				return err
			}
		}
		if !done {
			if err := t.putRow(stepBucket(c.id), key, s); err != nil {
				return err
			}
			return t.pass(c)
		}
		if err := t.Delete(stepBucket(c.id), key); err != nil {
			return fmt.Errorf("device: removing a step of %s: %w", c.id, err)
		}
	}
}

// work does what can be done of a step and tells whether that was all of it.
func (t *txn) work(c *conversation, s *step) (done bool, err error) {
	switch {
	case c.Plain != nil && c.State != StateLeft:
		return t.workPlain(c, s)
	case s.Kind == stepSend && c.State == StateLeft:
		return true, t.messageFailed(c.id, s.Message, CodeRemoved, "this device is no longer in the conversation")
	case s.Kind == stepSend && c.Resync != nil && t.now.Sub(c.Resync.Since) < hubPatience:
		return false, nil // it is back at once, and then the others can read it
	case s.Kind == stepSend:
		held, err := t.heldFor(&c.conversationRow, c.Members)
		if err != nil || len(held) > 0 {
			return false, err
		}
		return t.workSend(c, s)
	case s.Kind == stepShow:
		return true, t.workShow(c, s)
	case s.Kind == stepLeave && c.State == StateLeft:
		return true, nil
	case s.Kind == stepLeave && c.State == StatePaused:
		return false, nil
	case c.Resync != nil:
		return false, nil
	case c.State == StateLeft:
		return true, t.intentFailed(c, s.Actors, CodeRemoved, "this device is no longer in the conversation")
	case c.State == StatePaused:
		return true, t.intentFailed(c, s.Actors, CodePaused, "membership is on hold: "+c.Reason)
	case s.InFlight || c.Disputed != 0 || c.Moved:
		return false, nil
	case s.Lost > maxLostRaces && s.Kind != stepPrune: // or whoever has to go could see to it that they stay
		if s.Kind == stepPart {
			c.Leaving = nil // else it would be tried for ever
		}
		return true, t.intentFailed(c, s.Actors, CodeCommitConflict, "others changed the conversation each time we tried")
	}
	if waiting, err := t.catchingUp(c); err != nil || waiting {
		return false, err
	}
	switch s.Kind {
	case stepRemove:
		return t.workRemove(c, s)
	case stepRole:
		return t.workRole(c, s)
	case stepPrune:
		return t.workPrune(c, s)
	case stepLeave:
		return t.workLeave(c, s)
	case stepPart:
		return t.workPart(c, s)
	case stepRenew:
		return t.propose(c, s, nil, change{})
	case stepHubs:
		return t.workHubs(c, s)
	case stepMove:
		return t.workMove(c, s)
	}
	return t.workAdd(c, s)
}

// catchingUp tells whether a step of the chain is known to be ahead of us: a commit made now would lose.
func (t *txn) catchingUp(c *conversation) (bool, error) {
	fetching, err := t.hasJobOf(c.id, TaskEvents)
	if err != nil || fetching {
		return fetching, err
	}
	items, err := t.parked(c.id)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(items, func(p parkedItem) bool { return p.Commit }), nil
}

func (t *txn) intentFailed(c *conversation, actors []string, code, detail string) error {
	for _, actor := range actors {
		if err := t.emit(Event{Type: EventMemberFailed, Conversation: c.id, Actor: actor, Code: code, Detail: detail}); err != nil {
			return err
		}
	}
	return nil
}

// changeFirst changes the step at the head of a queue.
func (t *txn) changeFirst(id string, f func(*step)) error {
	key, s, ok, err := t.firstStep(id)
	if err != nil || !ok {
		return err
	}
	f(&s)
	return t.putRow(stepBucket(id), key, s)
}

// popFirst removes the step at the head of a queue and returns it.
func (t *txn) popFirst(id string) (step, error) {
	key, s, ok, err := t.firstStep(id)
	if err != nil || !ok {
		return step{}, err
	}
	return s, t.Delete(stepBucket(id), key)
}
