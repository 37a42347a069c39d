package transparency

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// Log is what a reader remembers of one log: the pinned keys and the newest checkpoint it has accepted. Size 0 means none yet.
type Log struct {
	Origin string    `json:"origin"`
	Key    string    `json:"key"` // note verifier key
	VRF    []byte    `json:"vrf"` // public key, which the origin names
	Size   int64     `json:"size"`
	Root   tlog.Hash `json:"root"`
	Note   []byte    `json:"note,omitempty"` // the signed checkpoint: evidence, should another of its size turn up
}

// Pin gives the state of a log nothing of which was seen yet. origin must be the one that host and VRF key make.
func Pin(host, origin, key string, vrfKey []byte) (Log, error) {
	if want := Origin(host, vrfKey); origin != want {
		return Log{}, fmt.Errorf("transparency: the log of %s with origin %.100q: it must be %s", host, origin, want)
	}
	l := Log{Origin: origin, Key: key, VRF: vrfKey}
	if _, err := l.verifier(); err != nil {
		return Log{}, err
	}
	if _, err := vrf.ParsePublicKey(vrfKey); err != nil {
		return Log{}, fmt.Errorf("transparency: VRF key of log %s: %w", origin, err)
	}
	return l, nil
}

// Origin of an instance's log. It names the VRF key, and every checkpoint names it: with two keys for one log two people could be
// shown two labels, and two lists, of one actor.
func Origin(host string, vrfKey []byte) string {
	h := sha256.Sum256(append([]byte("waxwing vrf key v1\x00"), vrfKey...))
	return strings.ToLower(host) + "/waxwing/log/" + base64.RawURLEncoding.EncodeToString(h[:24])
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

// verifier of the pinned key; its name is the origin.
func (l Log) verifier() (note.Verifier, error) {
	v, err := note.NewVerifier(l.Key)
	if err != nil {
		return nil, fmt.Errorf("transparency: key of log %s: %w", l.Origin, err)
	}
	if v.Name() != l.Origin {
		return nil, fmt.Errorf("transparency: key of log %s is for %s", l.Origin, v.Name())
	}
	return v, nil
}

// Finding is what an answer proves of a label.
type Finding struct {
	Label     [32]byte
	Statement *Statement // the label's newest; nil: the label has none
	Witnessed Verdict    // of the log that says so
}

// Check holds A1 to A6 of spec/log-entry.md, and W13 and W14 of spec/witness.md: the log only grew, its map has this for the actor's
// label and nothing else, and the witnesses that the terms ask for have seen it lately. It returns what to remember next and
// what was found; on an error, l as it was. What the statement commits to, and its signature, are package keydir's to check.
func (l Log) Check(actor string, a Answer, t Terms) (Log, Finding, error) {
	next, verdict, err := l.extended(a.Checkpoint, a.Consistency, t)
	if err != nil {
		return l, Finding{}, err
	}
	newest, err := next.newest(a)
	if err != nil {
		return l, Finding{}, err
	}
	f, err := l.find(actor, newest.MapRoot, a)
	if err != nil {
		return l, Finding{}, err
	}
	if err := t.check(verdict); err != nil {
		return l, Finding{}, err
	}
	f.Witnessed = verdict
	return next, f, nil
}

// newest is A3 and A4: not just any entry, for an older one has an older map.
func (l Log) newest(a Answer) (Entry, error) {
	if l.Size == 0 {
		return Entry{}, Failed("A3", "the log is empty")
	}
	if err := tlog.CheckRecord(a.Inclusion, l.Size, l.Root, l.Size-1, LeafHash(a.Newest)); err != nil {
		return Entry{}, Failed("A3", "%v", err)
	}
	e, err := ParseEntry(a.Newest)
	if err != nil {
		return Entry{}, Failed("A4", "%v", err)
	}
	return e, nil
}

// find is A5 and A6.
func (l Log) find(actor string, mapRoot [32]byte, a Answer) (f Finding, err error) {
	key, err := vrf.ParsePublicKey(l.VRF)
	if err != nil {
		return f, fmt.Errorf("transparency: VRF key of log %s: %w", l.Origin, err)
	}
	output, err := key.Verify([]byte(actor), a.VRF)
	if err != nil {
		return f, Failed("A5", "%v", err)
	}
	f.Label = [32]byte(output[:32])
	proof, err := prefixtree.ParseProof(a.Map)
	if err != nil {
		return f, Failed("A6", "%v", err)
	}
	if a.Found == nil {
		if err := proof.VerifyAbsence(mapRoot, f.Label); err != nil {
			return f, Failed("A6", "%v", err)
		}
		return f, nil
	}
	s, err := ParseStatement(a.Found.Statement)
	if err != nil {
		return f, Failed("A6", "%v", err)
	}
	if s.Label != f.Label {
		return f, Failed("A6", "the statement is of another label")
	}
	if err := proof.Verify(mapRoot, f.Label, s.MapValue()); err != nil {
		return f, Failed("A6", "%v", err)
	}
	f.Statement = &s
	return f, nil
}

// Advance holds A1, A2, W13 and W14: the checkpoint is the log's, extends the one that is remembered, and satisfies the terms. On an
// error it returns l as it was.
func (l Log) Advance(signed []byte, consistency []tlog.Hash, t Terms) (Log, Verdict, error) {
	next, verdict, err := l.extended(signed, consistency, t)
	if err == nil {
		err = t.check(verdict)
	}
	if err != nil {
		return l, Verdict{}, err
	}
	return next, verdict, nil
}

// extended is A1 and A2, and what the policy makes of the checkpoint.
func (l Log) extended(signed []byte, consistency []tlog.Hash, t Terms) (Log, Verdict, error) {
	verdict, err := t.evaluate(signed, l)
	if err != nil {
		return l, Verdict{}, err
	}
	c := verdict.Checkpoint
	switch {
	case c.Size < l.Size:
		return l, Verdict{}, Failed("A2", "the log shrank from %d to %d entries", l.Size, c.Size)
	case c.Size == l.Size && l.Size > 0 && c.Root != l.Root:
		return l, Verdict{}, Failed("A2", "two roots for %d entries", c.Size)
	case c.Size > l.Size && l.Size > 0:
		if err := tlog.CheckTree(consistency, c.Size, c.Root, l.Size, l.Root); err != nil {
			return l, Verdict{}, Failed("A2", "from %d to %d entries: %v", l.Size, c.Size, err)
		}
	}
	verdict, signed = t.newest(verdict, signed, l)
	l.Size, l.Root, l.Note = c.Size, c.Root, signed
	return l, verdict, nil
}
