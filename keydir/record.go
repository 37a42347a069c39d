package keydir

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/waxwing-dm/waxwing/transparency"
)

// Record is what an agent remembers of one actor: the newest list that was proven to it.
type Record struct {
	Actor     string
	Seq       uint32
	LastReset uint32
	AuthNext  [32]byte
	EntryHash [32]byte
	List      DeviceList
	Checked   uint64 // milliseconds: when it was last proven
	// Reset says that this lookup showed a reset since what was remembered before: the keys are not vouched for by the old ones.
	Reset bool
}

type recordJSON struct {
	Seq       uint32 `json:"seq"`
	LastReset uint32 `json:"last_reset"`
	AuthNext  []byte `json:"auth_next"`
	EntryHash []byte `json:"entry_hash"`
	List      []byte `json:"list"`
	Checked   uint64 `json:"checked"`
	Reset     bool   `json:"reset,omitempty"`
}

// Marshal for storage.
func (r Record) Marshal() []byte {
	b, err := json.Marshal(recordJSON{r.Seq, r.LastReset, r.AuthNext[:], r.EntryHash[:], r.List.Marshal(), r.Checked, r.Reset})
	if err != nil {
		panic("keydir: encoding a record: " + err.Error())
	}
	return b
}

// ParseRecord reads what Marshal wrote.
func ParseRecord(b []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(b, &j); err != nil || len(j.AuthNext) != 32 || len(j.EntryHash) != 32 {
		return Record{}, fmt.Errorf("keydir: reading a stored record: malformed")
	}
	list, err := ParseDeviceList(j.List)
	if err != nil {
		return Record{}, err
	}
	return Record{list.Actor, j.Seq, j.LastReset, [32]byte(j.AuthNext), [32]byte(j.EntryHash), list, j.Checked, j.Reset}, nil
}

// Verify checks an answer about an actor, A1 to A6 of spec/log-entry.md, against the log as remembered and, if the actor is
// known, the record of it. It returns both as they are to be remembered next; on an error neither has changed. now is in
// milliseconds.
func Verify(log transparency.Log, known *Record, actor string, a transparency.Answer, now uint64) (transparency.Log, Record, error) {
	fail := func(err error) (transparency.Log, Record, error) {
		return log, Record{}, fmt.Errorf("keydir: verifying the directory's answer about %s: %w", actor, err)
	}
	next, e, err := log.Check(a)
	if err != nil {
		return fail(err)
	}
	list, err := ParseDeviceList(a.Devices)
	if err != nil {
		return fail(err)
	}
	if list.Seq != e.Seq || list.Actor != actor {
		return fail(transparency.Failed("L5", "the list is of another actor or seq"))
	}
	if e.Label != transparency.Label(actor) {
		return fail(transparency.Failed("A5", "the entry is of another label"))
	}
	r := Record{actor, e.Seq, e.LastReset, e.AuthNext, sha256.Sum256(a.Entry), list, now, false}
	if err := r.follows(known, e); err != nil {
		return fail(err)
	}
	r.Reset = known != nil && e.LastReset > known.Seq
	return next, r, nil
}

// follows is A6.
func (r Record) follows(known *Record, e transparency.Entry) error {
	if known == nil {
		return nil
	}
	switch {
	case e.Seq < known.Seq || e.LastReset < known.LastReset:
		return transparency.Failed("A6", "the list went back from seq %d to %d", known.Seq, e.Seq)
	case e.Seq == known.Seq && r.EntryHash != known.EntryHash:
		return transparency.Failed("A6", "two entries with seq %d", e.Seq)
	case e.Seq > known.Seq && e.LastReset > known.LastReset && e.LastReset <= known.Seq:
		return transparency.Failed("A6", "a reset at seq %d appears that was not there before", e.LastReset)
	case e.Seq == known.Seq+1 && e.Kind == transparency.KindUpdate && transparency.AccountKeyHash(e.AuthKey) != known.AuthNext:
		return transparency.Failed("A6", "the update is not by the account key promised before")
	}
	return nil
}

// NewEntry builds and signs the entry that publishes list. previous is the actor's record, nil for the first entry; kind
// is first, update or reset. The same account key is promised for the next update. now is in milliseconds.
func NewEntry(kind transparency.Kind, previous *Record, list DeviceList, opening [32]byte, account ed25519.PrivateKey, now uint64) transparency.Entry {
	e := transparency.Entry{
		Kind: kind, Time: now, Label: transparency.Label(list.Actor), Seq: list.Seq,
		AuthNext:   transparency.AccountKeyHash([32]byte(account.Public().(ed25519.PublicKey))),
		Commitment: transparency.Commit(opening, list.Marshal()),
	}
	switch {
	case kind == transparency.KindReset:
		e.LastReset = e.Seq
	case previous != nil:
		e.LastReset = previous.LastReset
	}
	e.Sign(account)
	return e
}
