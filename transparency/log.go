package transparency

import (
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Log is what a reader remembers of one log: the pinned key and the newest checkpoint it has accepted. Size 0 means none yet.
type Log struct {
	Origin string    `json:"origin"`
	Key    string    `json:"key"` // note verifier key
	Size   int64     `json:"size"`
	Root   tlog.Hash `json:"root"`
	Note   []byte    `json:"note,omitempty"` // the signed checkpoint: evidence, should another of its size turn up
}

// Marshal for storage.
func (l Log) Marshal() []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic("transparency: encoding a log's state: " + err.Error())
	}
	return b
}

// ParseLog reads what Marshal wrote.
func ParseLog(b []byte) (Log, error) {
	var l Log
	if err := json.Unmarshal(b, &l); err != nil {
		return Log{}, fmt.Errorf("transparency: reading a stored log state: %w", err)
	}
	return l, nil
}

// Verifier of the pinned key; its name is the origin.
func (l Log) Verifier() (note.Verifier, error) {
	v, err := note.NewVerifier(l.Key)
	if err != nil {
		return nil, fmt.Errorf("transparency: key of log %s: %w", l.Origin, err)
	}
	if v.Name() != l.Origin {
		return nil, fmt.Errorf("transparency: key of log %s is for %s", l.Origin, v.Name())
	}
	return v, nil
}

// Check holds A1 to A4 of spec/log-entry.md: the log only grew, and the entry is in it. It returns what to remember next and
// the entry; on an error, l as it was.
func (l Log) Check(a Answer) (Log, Entry, error) {
	next, err := l.advance(a.Checkpoint, a.Consistency)
	if err != nil {
		return l, Entry{}, err
	}
	if a.Index >= next.Size {
		return l, Entry{}, Failed("A3", "index %d in a tree of %d", a.Index, next.Size)
	}
	if err := tlog.CheckRecord(a.Inclusion, next.Size, next.Root, a.Index, LeafHash(a.Entry)); err != nil {
		return l, Entry{}, Failed("A3", "%v", err)
	}
	e, err := ParseEntry(a.Entry)
	if err != nil {
		return l, Entry{}, Failed("A4", "%v", err)
	}
	if err := e.wellFormed(); err != nil {
		return l, Entry{}, err
	}
	if err := e.VerifySignature(); err != nil {
		return l, Entry{}, err
	}
	if err := e.Opens(a.Opening, a.Devices); err != nil {
		return l, Entry{}, err
	}
	return next, e, nil
}

func (l Log) advance(signed []byte, consistency []tlog.Hash) (Log, error) {
	v, err := l.Verifier()
	if err != nil {
		return l, err
	}
	c, err := OpenCheckpoint(signed, v)
	if err != nil {
		return l, err
	}
	switch {
	case c.Size < l.Size:
		return l, Failed("A2", "the log shrank from %d to %d entries", l.Size, c.Size)
	case c.Size == l.Size && l.Size > 0 && c.Root != l.Root:
		return l, Failed("A2", "two roots for %d entries", c.Size)
	case c.Size > l.Size && l.Size > 0:
		if err := tlog.CheckTree(consistency, c.Size, c.Root, l.Size, l.Root); err != nil {
			return l, Failed("A2", "from %d to %d entries: %v", l.Size, c.Size, err)
		}
	}
	return Log{l.Origin, l.Key, c.Size, c.Root, signed}, nil
}
