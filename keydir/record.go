package keydir

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waxwing-dm/waxwing/transparency"
)

// Record is what an agent remembers of one actor: the newest statement that was proven to it, and what it comes to.
type Record struct {
	Actor     string
	Statement transparency.Statement // the newest
	List      DeviceList             // with no device after a move or an erase
	MovedTo   string                 // actor
	Checked   uint64                 // milliseconds: when it was last proven
	// Reset says that this lookup showed a reset since what was remembered before: the keys are not vouched for by the old ones.
	Reset bool
	// First is the label's first statement, if it was ever shown and nothing was reset since; nil otherwise. See [Moved].
	First *transparency.Statement
}

type recordJSON struct {
	Statement []byte `json:"statement"`
	List      []byte `json:"list"`
	MovedTo   string `json:"moved_to,omitempty"`
	Checked   uint64 `json:"checked"`
	Reset     bool   `json:"reset,omitempty"`
	First     []byte `json:"first,omitempty"`
}

// Marshal for storage.
func (r Record) Marshal() []byte {
	j := recordJSON{Statement: r.Statement.Marshal(), List: r.List.Marshal(), MovedTo: r.MovedTo, Checked: r.Checked, Reset: r.Reset}
	if r.First != nil {
		j.First = r.First.Marshal()
	}
	b, err := json.Marshal(j)
	if err != nil {
		panic("keydir: encoding a record: " + err.Error())
	}
	return b
}

// ParseRecord reads what Marshal wrote.
func ParseRecord(b []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Record{}, fmt.Errorf("keydir: reading a stored record: malformed")
	}
	s, err := transparency.ParseStatement(j.Statement)
	if err != nil {
		return Record{}, err
	}
	list, err := ParseDeviceList(j.List)
	if err != nil {
		return Record{}, err
	}
	r := Record{Actor: list.Actor, Statement: s, List: list, MovedTo: j.MovedTo, Checked: j.Checked, Reset: j.Reset}
	if len(j.First) > 0 {
		first, err := transparency.ParseStatement(j.First)
		if err != nil {
			return Record{}, err
		}
		r.First = &first
	}
	return r, nil
}

// Verify checks an answer about an actor, A1 to A8 of spec/log-entry.md and W13 and W14 of spec/witness.md, against the log as
// remembered and, if the actor is known, the record of it. It returns both as they are to be remembered next, and what the
// log was found to say; the record is nil if the answer proves that the actor has none. On an error neither has changed.
func Verify(log transparency.Log, known *Record, actor string, a transparency.Answer, t transparency.Terms) (transparency.Log, *Record, transparency.Finding, error) {
	fail := func(err error) (transparency.Log, *Record, transparency.Finding, error) {
		return log, nil, transparency.Finding{}, fmt.Errorf("keydir: verifying the directory's answer about %s: %w", actor, err)
	}
	next, found, err := log.Check(actor, a, t)
	if err != nil {
		return fail(err)
	}
	if found.Statement == nil {
		if known != nil {
			return fail(transparency.Failed("A8", "the list of seq %d is gone", known.Statement.Seq))
		}
		return next, nil, found, nil
	}
	s := *found.Statement
	state, err := Open(actor, s, a.Found.Opening, a.Found.Content)
	if err != nil {
		return fail(err)
	}
	r := Record{Actor: actor, Statement: s, List: state.List, MovedTo: state.MovedTo, Checked: uint64(max(t.Now, 0)) * 1000}
	if known != nil {
		if err := follows(known.Statement, state.Since); err != nil {
			return fail(err)
		}
		r.Reset = s.LastReset > known.Statement.Seq
	}
	r.First = firstOf(known, state.Since)
	return next, &r, found, nil
}

// firstOf is the label's first statement, as far as it was ever shown.
func firstOf(known *Record, since []transparency.Statement) *transparency.Statement {
	switch {
	case since[len(since)-1].LastReset > 0:
		return nil
	case since[0].Kind == transparency.KindFirst:
		return &since[0]
	case known != nil:
		return known.First
	}
	return nil
}

// Moved says whether both sides of a move say so: the account of from has moved to the actor of to, whose list names the other as its
// former, and whose first statement is signed by the key that was promised at the end of from. What one side alone says is no proof of
// anything; nor can it be told of an account that had changed before it was first looked up, or that was reset.
func Moved(from, to Record) bool {
	return from.Statement.Kind == transparency.KindMove && from.MovedTo == to.Actor && to.List.Former == from.Actor &&
		to.First != nil && transparency.AccountKeyHash(to.First.AuthKey) == from.Statement.AuthNext
}

// follows is A8: what is known of an actor and what was shown of it now are of one history. since is as State has it.
func follows(known transparency.Statement, since []transparency.Statement) error {
	newest := since[len(since)-1]
	switch {
	case newest.Seq < known.Seq || newest.LastReset < known.LastReset:
		return transparency.Failed("A8", "the list went back from seq %d to %d", known.Seq, newest.Seq)
	case newest.LastReset > known.LastReset && newest.LastReset <= known.Seq:
		return transparency.Failed("A8", "a reset at seq %d appears that was not there before", newest.LastReset)
	case newest.Time < known.Time:
		return transparency.Failed("A8", "time goes backwards")
	}
	for _, s := range since {
		if s.Seq == known.Seq && s != known {
			return transparency.Failed("A8", "two entries with seq %d", s.Seq)
		}
		if s.Seq == known.Seq+1 {
			if err := s.Follows(&known); err != nil {
				return transparency.Failed("A8", "%v", err)
			}
		}
	}
	return nil
}

func asCheck(number string, err error) error {
	var check *transparency.CheckError
	if errors.As(err, &check) {
		return err
	}
	return transparency.Failed(number, "%v", err)
}

// Change is what an account says next: a list of devices, or with MovedTo that it goes on elsewhere.
type Change struct {
	Kind    transparency.Kind // first, update, reset or move
	Label   [32]byte
	List    DeviceList // Seq is filled in
	MovedTo string
	Next    [32]byte // the account key that is promised for the change after this
	Opening [32]byte
}

// Sign makes the statement of a change and the content that it commits to. previous is the newest statement, nil for the first.
// now is in milliseconds.
func (c Change) Sign(previous *transparency.Statement, account ed25519.PrivateKey, now uint64) (transparency.Statement, []byte) {
	s := transparency.Statement{Kind: c.Kind, Time: now, Label: c.Label, AuthNext: transparency.AccountKeyHash(c.Next)}
	if previous != nil {
		s.Seq, s.LastReset, s.Time = previous.Seq+1, previous.LastReset, max(now, previous.Time)
	}
	if c.Kind == transparency.KindReset {
		s.LastReset = s.Seq
	}
	c.List.Seq = s.Seq
	content := c.List.Marshal()
	if c.Kind == transparency.KindMove {
		content = Move{c.List.Actor, s.Seq, c.MovedTo}.Marshal()
	}
	s.Commitment = transparency.Commit(c.Opening, content)
	s.Sign(account, nil)
	return s, content
}

// RevokeDevice makes the statement by which a device key takes itself off the list, whoever holds it, and the content that it
// commits to. state and the opening are those of the newest statement.
func RevokeDevice(state State, opening, newOpening [32]byte, device ed25519.PrivateKey, now uint64) (transparency.Statement, []byte) {
	last := state.Since[len(state.Since)-1]
	content := state.Revoke(opening).Marshal()
	s := transparency.Statement{
		Kind: transparency.KindRevoke, Time: max(now, last.Time), Label: last.Label, Seq: last.Seq + 1, LastReset: last.LastReset,
		AuthNext: last.AuthNext, Commitment: transparency.Commit(newOpening, content),
	}
	s.Sign(device, &last)
	return s, content
}
