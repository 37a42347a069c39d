// Package transparency has the formats of an instance's log and the checks of who reads it: entries, checkpoints, lookup
// answers (spec/log-entry.md). It does no input or output; [Log.Check] takes bytes that somebody fetched and what is
// remembered, and gives what to remember next.
//
// The log is RFC 6962 shaped and served as C2SP tlog-tiles with signed-note checkpoints, so other tools read it too. Version 1
// proves that an entry was published to everybody who reads this log. It does not prove that the entry is its label's newest;
// a map root in a later version of the entry will.
//
// The half that appends and signs is package transparency/sequencer; what stands inside an entry's commitment is package keydir's.
package transparency

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Kind of an entry.
type Kind uint8

const (
	KindFirst  Kind = 1
	KindUpdate Kind = 2
	KindReset  Kind = 3
)

// EntrySize is the length of an encoded entry in bytes.
const EntrySize = 210

const entryVersion = 1

// Entry is one change of one actor's device list (spec/log-entry.md).
type Entry struct {
	Kind       Kind
	Time       uint64 // milliseconds
	Label      [32]byte
	Seq        uint32
	LastReset  uint32
	AuthNext   [32]byte
	Commitment [32]byte
	AuthKey    [32]byte
	Signature  [64]byte
}

// A CheckError names the numbered check of spec/log-entry.md that did not hold.
type CheckError struct {
	Check  string // "L2", "A1", …
	Reason string
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("transparency: check %s: %s", e.Check, e.Reason)
}

// Failed makes a CheckError; package keydir uses it for the checks of the same page.
func Failed(check, format string, args ...any) error {
	return &CheckError{check, fmt.Sprintf(format, args...)}
}

// ParseEntry reads an entry of version 1. Its signature is not checked.
func ParseEntry(b []byte) (Entry, error) {
	var e Entry
	if len(b) != EntrySize || b[0] != entryVersion {
		return e, fmt.Errorf("transparency: reading an entry of %d bytes: not a version 1 entry", len(b))
	}
	e.Kind = Kind(b[1])
	if e.Kind < KindFirst || e.Kind > KindReset {
		return Entry{}, fmt.Errorf("transparency: reading an entry: unknown kind %d", b[1])
	}
	e.Time = binary.BigEndian.Uint64(b[2:])
	b = b[10:]
	b = take(b, e.Label[:])
	e.Seq, e.LastReset = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	b = take(b[8:], e.AuthNext[:])
	b = take(b, e.Commitment[:])
	b = take(b, e.AuthKey[:])
	take(b, e.Signature[:])
	return e, nil
}

func take(b, into []byte) []byte { return b[copy(into, b):] }

func (e *Entry) unsigned() []byte {
	b := make([]byte, 0, EntrySize)
	b = append(b, entryVersion, byte(e.Kind))
	b = binary.BigEndian.AppendUint64(b, e.Time)
	b = append(b, e.Label[:]...)
	b = binary.BigEndian.AppendUint32(b, e.Seq)
	b = binary.BigEndian.AppendUint32(b, e.LastReset)
	b = append(b, e.AuthNext[:]...)
	b = append(b, e.Commitment[:]...)
	return append(b, e.AuthKey[:]...)
}

// Marshal returns the EntrySize bytes of the entry.
func (e Entry) Marshal() []byte { return append(e.unsigned(), e.Signature[:]...) }

func (e *Entry) signed() []byte { return append([]byte("waxwing entry v1\x00"), e.unsigned()...) }

// Sign fills in the account key and signs with it.
func (e *Entry) Sign(key ed25519.PrivateKey) {
	copy(e.AuthKey[:], key.Public().(ed25519.PublicKey))
	copy(e.Signature[:], ed25519.Sign(key, e.signed()))
}

// VerifySignature is the first part of check L5.
func (e Entry) VerifySignature() error {
	if !ed25519.Verify(e.AuthKey[:], e.signed(), e.Signature[:]) {
		return Failed("L5", "the signature does not verify")
	}
	return nil
}

// Opens is the rest of check L5: the commitment is to these bytes.
func (e Entry) Opens(opening [32]byte, list []byte) error {
	c := Commit(opening, list)
	if !hmac.Equal(c[:], e.Commitment[:]) {
		return Failed("L5", "the commitment does not open to the list")
	}
	return nil
}

// wellFormed is what L1 to L3 say of an entry whatever came before it. A reader may not have seen what came before; without
// this it could be shown a reset that counts itself as none.
func (e *Entry) wellFormed() error {
	switch {
	case e.Kind == KindFirst && (e.Seq != 0 || e.LastReset != 0):
		return Failed("L1", "a first entry has seq %d and last_reset %d", e.Seq, e.LastReset)
	case e.Kind == KindUpdate && e.LastReset >= e.Seq:
		return Failed("L2", "an update has last_reset %d at seq %d", e.LastReset, e.Seq)
	case e.Kind == KindReset && (e.Seq == 0 || e.LastReset != e.Seq):
		return Failed("L3", "a reset has last_reset %d at seq %d", e.LastReset, e.Seq)
	}
	return nil
}

// Follows checks L1 to L4 against the label's newest entry, nil if there is none. The distance to the clock is the
// appending side's to check.
func (e Entry) Follows(previous *Entry) error {
	if previous == nil {
		if e.Kind != KindFirst || e.Seq != 0 || e.LastReset != 0 {
			return Failed("L1", "the first entry of a label is of kind first with seq 0")
		}
		return nil
	}
	if e.Kind == KindFirst {
		return Failed("L1", "the label has an entry already")
	}
	if err := e.wellFormed(); err != nil {
		return err
	}
	check := "L2"
	if e.Kind == KindReset {
		check = "L3"
	}
	switch {
	case e.Label != previous.Label:
		return Failed("L5", "the label is another one")
	case e.Seq != previous.Seq+1:
		return Failed(check, "seq is %d after %d", e.Seq, previous.Seq)
	case e.Kind == KindUpdate && e.LastReset != previous.LastReset:
		return Failed("L2", "an update changes last_reset from %d to %d", previous.LastReset, e.LastReset)
	case e.Kind == KindUpdate && AccountKeyHash(e.AuthKey) != previous.AuthNext:
		return Failed("L2", "the account key is not the one promised before")
	case e.Kind == KindReset && (e.AuthKey == previous.AuthKey || AccountKeyHash(e.AuthKey) == previous.AuthNext):
		return Failed("L3", "a reset keeps the account key")
	case e.Time < previous.Time:
		return Failed("L4", "time goes backwards")
	}
	return nil
}

// Label of an actor URL.
func Label(actor string) [32]byte { return sha256.Sum256([]byte("waxwing label v1\x00" + actor)) }

// AccountKeyHash is what auth_next promises.
func AccountKeyHash(key [32]byte) [32]byte { return sha256.Sum256(key[:]) }

// Commit is the commitment of an entry to an encoded device list.
func Commit(opening [32]byte, list []byte) (c [32]byte) {
	m := hmac.New(sha256.New, opening[:])
	m.Write(list)
	m.Sum(c[:0])
	return c
}

// LeafHash is the RFC 6962 hash of an encoded entry.
func LeafHash(entry []byte) tlog.Hash { return tlog.RecordHash(entry) }
