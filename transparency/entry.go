// Package transparency has the formats of an instance's log and the checks of who reads it: statements and entries, checkpoints
// and their cosignatures, lookup answers, policies, offline proofs (spec/log-entry.md, spec/witness.md), and evidence that a log told
// two histories (spec/gossip.md). It does no input or output; [Log.Check] takes bytes that somebody fetched and what is remembered,
// and gives what to remember next. [Replay] is for who audits.
//
// The log is RFC 6962 shaped and served as C2SP tlog-tiles with signed-note checkpoints, so other tools read it too. Each entry has
// the root of a map from labels to the newest statement of each (package prefixtree), so a lookup proves that there is nothing
// newer, or nothing at all. Labels come from package vrf.
//
// The halves that serve are the packages transparency/sequencer and transparency/witness; what a statement commits to is package
// keydir's.
package transparency

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"golang.org/x/mod/sumdb/tlog"
)

// likeTheStandardLibrary takes the signatures that crypto/ed25519 takes and no others, in about half the time: a log verifies one for each
// entry, and so does whoever audits it.
var likeTheStandardLibrary = &voi.Options{Verify: voi.VerifyOptionsStdLib}

// Kind of an entry.
type Kind uint8

const (
	KindFirst  Kind = 1 // the label's first list
	KindUpdate Kind = 2 // signed by the account key that was promised
	KindReset  Kind = 3 // signed by an account key that nobody promised
	KindRevoke Kind = 4 // signed by a device key that is to leave the list
	KindMove   Kind = 5 // signed by the account key that was promised; the account goes on elsewhere
	KindErase  Kind = 6 // the log's own word: what the commitment opened to is gone
	KindPad    Kind = 7 // of no label; the map stays as it is
)

// Sizes of what is encoded, in bytes.
const (
	StatementSize = 210
	EntrySize     = StatementSize + 32
)

const statementVersion = 2

// Statement is one change of one actor's device list, as the account signed it (spec/log-entry.md).
type Statement struct {
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

// Entry is what the log's leaves are made of: a statement, and the root of the map once it holds.
type Entry struct {
	Statement
	MapRoot [32]byte
}

// A CheckError names the numbered check of spec/log-entry.md, spec/witness.md or spec/gossip.md that did not
// hold.
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

// ParseStatement reads a statement. Its signature is not checked.
func ParseStatement(b []byte) (Statement, error) {
	var s Statement
	if len(b) != StatementSize || b[0] != statementVersion {
		return s, fmt.Errorf("transparency: reading a statement of %d bytes: not one of version %d", len(b), statementVersion)
	}
	s.Kind = Kind(b[1])
	if s.Kind < KindFirst || s.Kind > KindPad {
		return Statement{}, fmt.Errorf("transparency: reading a statement: unknown kind %d", b[1])
	}
	s.Time = binary.BigEndian.Uint64(b[2:])
	b = take(b[10:], s.Label[:])
	s.Seq, s.LastReset = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	b = take(b[8:], s.AuthNext[:])
	b = take(b, s.Commitment[:])
	b = take(b, s.AuthKey[:])
	take(b, s.Signature[:])
	return s, nil
}

// ParseEntry reads an entry. Nothing in it is checked.
func ParseEntry(b []byte) (e Entry, err error) {
	if len(b) != EntrySize {
		return e, fmt.Errorf("transparency: reading an entry of %d bytes: it must be %d", len(b), EntrySize)
	}
	if e.Statement, err = ParseStatement(b[:StatementSize]); err != nil {
		return Entry{}, err
	}
	take(b[StatementSize:], e.MapRoot[:])
	return e, nil
}

func take(b, into []byte) []byte { return b[copy(into, b):] }

func (s *Statement) unsigned() []byte {
	b := make([]byte, 0, EntrySize)
	b = append(b, statementVersion, byte(s.Kind))
	b = binary.BigEndian.AppendUint64(b, s.Time)
	b = append(b, s.Label[:]...)
	b = binary.BigEndian.AppendUint32(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, s.LastReset)
	b = append(b, s.AuthNext[:]...)
	b = append(b, s.Commitment[:]...)
	return append(b, s.AuthKey[:]...)
}

// Marshal returns the StatementSize bytes of the statement.
func (s Statement) Marshal() []byte { return append(s.unsigned(), s.Signature[:]...) }

// Marshal returns the EntrySize bytes of the entry.
func (e Entry) Marshal() []byte { return append(e.Statement.Marshal(), e.MapRoot[:]...) }

// signed are the bytes that are signed. A revocation's take in what it comes after: who holds an old device key could otherwise
// make up another past for it, in which that key was never taken off the list.
func (s *Statement) signed(previous *Statement) []byte {
	b := append([]byte("waxwing statement v2\x00"), s.unsigned()...)
	if s.Kind == KindRevoke && previous != nil {
		value := previous.MapValue()
		b = append(b, value[:]...)
	}
	return b
}

// Sign fills in the public half of a key and signs with it: an account key, or for KindRevoke the key of the device. previous is
// the statement that a revocation comes after; for the other kinds it says nothing and may be nil.
func (s *Statement) Sign(key ed25519.PrivateKey, previous *Statement) {
	copy(s.AuthKey[:], key.Public().(ed25519.PublicKey))
	copy(s.Signature[:], ed25519.Sign(key, s.signed(previous)))
}

// VerifySignature is the first part of check L6; previous is as [Statement.Sign] has it. What the log says by itself has no
// signature, and no room for one.
func (s Statement) VerifySignature(previous *Statement) error {
	if s.Kind == KindErase || s.Kind == KindPad {
		if s.AuthKey != [32]byte{} || s.Signature != [64]byte{} {
			return Failed("L6", "an entry of kind %d has a signature", s.Kind)
		}
		return nil
	}
	if s.Kind == KindRevoke && previous == nil {
		return Failed("L6", "a revocation that comes after nothing")
	}
	if !voi.VerifyWithOptions(s.AuthKey[:], s.signed(previous), s.Signature[:], likeTheStandardLibrary) {
		return Failed("L6", "the signature does not verify")
	}
	return nil
}

// Opens is the rest of check L6: the commitment is to these bytes.
func (s Statement) Opens(opening [32]byte, content []byte) error {
	c := Commit(opening, content)
	if !hmac.Equal(c[:], s.Commitment[:]) {
		return Failed("L6", "the commitment does not open to the content")
	}
	return nil
}

// MapValue is what the map has for the statement's label while it is the newest one.
func (s Statement) MapValue() [32]byte {
	return sha256.Sum256(append([]byte("waxwing map value v1\x00"), s.Marshal()...))
}

// WellFormed is what L1 to L5 say of a statement whatever came before it. A reader may not have seen what came before;
// without this it could be shown a reset that counts itself as none.
func (s Statement) WellFormed() error {
	zero := [32]byte{}
	switch s.Kind {
	case KindFirst:
		if s.Seq != 0 || s.LastReset != 0 {
			return Failed("L1", "a first entry has seq %d and last_reset %d", s.Seq, s.LastReset)
		}
	case KindUpdate, KindMove, KindRevoke:
		if s.LastReset >= s.Seq {
			return Failed(s.Kind.check(), "an entry of kind %d has last_reset %d at seq %d", s.Kind, s.LastReset, s.Seq)
		}
	case KindReset:
		if s.Seq == 0 || s.LastReset != s.Seq {
			return Failed("L3", "a reset has last_reset %d at seq %d", s.LastReset, s.Seq)
		}
	case KindErase:
		if s.Seq == 0 || s.LastReset != s.Seq || s.AuthNext != zero || s.Commitment != zero {
			return Failed("L5", "an erase that keeps something")
		}
	case KindPad:
		if s != (Statement{Kind: KindPad, Time: s.Time}) {
			return Failed("L5", "padding that says something")
		}
	}
	return nil
}

// check is the number that a kind's rules have on the page.
func (k Kind) check() string {
	switch k {
	case KindFirst:
		return "L1"
	case KindUpdate, KindMove:
		return "L2"
	case KindReset:
		return "L3"
	case KindRevoke:
		return "L4"
	}
	return "L5"
}

// Follows checks L1 to L5 and L7 against the label's newest statement, nil if there is none. The distance to the clock is the
// appending side's to check, and the signature VerifySignature's.
func (s Statement) Follows(previous *Statement) error {
	if err := s.WellFormed(); err != nil {
		return err
	}
	if s.Kind == KindPad {
		return nil
	}
	if previous == nil {
		if s.Kind != KindFirst {
			return Failed("L1", "the first entry of a label is of kind %d", s.Kind)
		}
		return nil
	}
	check := s.Kind.check()
	switch {
	case s.Kind == KindFirst:
		return Failed("L1", "the label has an entry already")
	case s.Label != previous.Label:
		return Failed("L6", "the label is another one")
	case s.Seq != previous.Seq+1 || previous.Seq == 1<<32-1:
		return Failed(check, "seq is %d after %d", s.Seq, previous.Seq)
	case s.Time < previous.Time:
		return Failed("L7", "time goes backwards")
	case s.Kind == KindReset && (s.AuthKey == previous.AuthKey || AccountKeyHash(s.AuthKey) == previous.AuthNext):
		return Failed("L3", "a reset keeps the account key")
	}
	if s.Kind == KindReset || s.Kind == KindErase {
		return nil
	}
	return s.continues(previous)
}

// continues: the kinds that are no reset keep its count, need a list to change, and the right key.
func (s *Statement) continues(previous *Statement) error {
	check := s.Kind.check()
	switch {
	case s.LastReset != previous.LastReset:
		return Failed(check, "last_reset goes from %d to %d without a reset", previous.LastReset, s.LastReset)
	case previous.Kind == KindErase || previous.Kind == KindMove:
		return Failed(check, "after an entry of kind %d only a reset or an erase may follow", previous.Kind)
	case s.Kind == KindRevoke && s.AuthNext != previous.AuthNext:
		return Failed(check, "a revocation changes the promised account key")
	case s.Kind != KindRevoke && AccountKeyHash(s.AuthKey) != previous.AuthNext:
		return Failed(check, "the account key is not the one promised before")
	}
	return nil
}

// AccountKeyHash is what auth_next promises.
func AccountKeyHash(key [32]byte) [32]byte { return sha256.Sum256(key[:]) }

// Commit is the commitment of a statement to the content it publishes.
func Commit(opening [32]byte, content []byte) (c [32]byte) {
	m := hmac.New(sha256.New, opening[:])
	m.Write(content)
	m.Sum(c[:0])
	return c
}

// LeafHash is the RFC 6962 hash of an encoded entry.
func LeafHash(entry []byte) tlog.Hash { return tlog.RecordHash(entry) }
