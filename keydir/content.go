package keydir

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/waxwing-dm/waxwing/transparency"
)

// What a statement commits to is one of three things, told apart by the first byte: a device list, a revocation, a move. An
// erase commits to nothing.
const (
	revocationVersion = 3
	moveVersion       = 4
)

// Revocation is what a device key that revokes itself commits to: the list that the account signed last, and the revocations
// since. So it can be judged by somebody who has seen neither.
type Revocation struct {
	Base    transparency.Statement // signed by the account
	Opening [32]byte               // of Base
	List    DeviceList
	Earlier []transparency.Statement // revocations between Base and the statement that commits to this
}

// Marshal encodes the revocation.
func (r Revocation) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(revocationVersion)
	b.AddBytes(r.Base.Marshal())
	b.AddBytes(r.Opening[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.List.Marshal()) })
	b.AddUint8(uint8(len(r.Earlier)))
	for _, s := range r.Earlier {
		b.AddBytes(s.Marshal())
	}
	return b.BytesOrPanic()
}

func parseRevocation(b []byte) (r Revocation, err error) {
	s := cryptobyte.String(b)
	var version, earlier uint8
	var base []byte
	var list cryptobyte.String
	if !s.ReadUint8(&version) || version != revocationVersion || !s.ReadBytes(&base, transparency.StatementSize) || !s.CopyBytes(r.Opening[:]) ||
		!s.ReadUint16LengthPrefixed(&list) || !s.ReadUint8(&earlier) || earlier >= MaxDevices || len(s) != int(earlier)*transparency.StatementSize {
		return r, fmt.Errorf("keydir: reading a revocation of %d bytes: malformed", len(b))
	}
	if r.Base, err = transparency.ParseStatement(base); err != nil {
		return r, err
	}
	if r.List, err = ParseDeviceList(list); err != nil {
		return r, err
	}
	for !s.Empty() {
		var next []byte
		s.ReadBytes(&next, transparency.StatementSize)
		e, err := transparency.ParseStatement(next)
		if err != nil {
			return r, err
		}
		r.Earlier = append(r.Earlier, e)
	}
	return r, nil
}

// chain checks everything from the list that the account signed to last, and returns what is left of the list. Each revocation
// is signed by a device that was still in it.
func (r Revocation) chain(last transparency.Statement) ([]transparency.Statement, DeviceList, error) {
	base := r.Base
	if base.Kind != transparency.KindFirst && base.Kind != transparency.KindUpdate && base.Kind != transparency.KindReset {
		return nil, DeviceList{}, transparency.Failed("L4", "a revocation that begins with an entry of kind %d", base.Kind)
	}
	if err := verify(base, r.Opening, r.List.Marshal()); err != nil {
		return nil, DeviceList{}, err
	}
	if r.List.Seq != base.Seq {
		return nil, DeviceList{}, transparency.Failed("L4", "the list is of seq %d and its entry of %d", r.List.Seq, base.Seq)
	}
	chain := append([]transparency.Statement{base}, r.Earlier...)
	chain = append(chain, last)
	left := r.List
	for i, s := range chain[1:] {
		if s.Kind != transparency.KindRevoke {
			return nil, DeviceList{}, transparency.Failed("L4", "a revocation of kind %d", s.Kind)
		}
		if err := s.Follows(&chain[i]); err != nil {
			return nil, DeviceList{}, err
		}
		if err := s.VerifySignature(&chain[i]); err != nil {
			return nil, DeviceList{}, err
		}
		var ok bool
		if left, ok = left.without(s.AuthKey[:]); !ok {
			return nil, DeviceList{}, transparency.Failed("L4", "a revocation by a key that is of no device in the list")
		}
	}
	left.Seq = last.Seq
	return chain, left, nil
}

// verify is L6 but for what the content says; a revocation's signature wants to know what it comes after.
func verify(s transparency.Statement, opening [32]byte, content []byte) error {
	if err := s.WellFormed(); err != nil {
		return err
	}
	if s.Kind != transparency.KindRevoke {
		if err := s.VerifySignature(nil); err != nil {
			return err
		}
	}
	return s.Opens(opening, content)
}

// Move is what the last statement of an account commits to that goes on elsewhere. The list there names the actor as its
// Former, and its first entry is signed by the key that the move promises: each side names the other.
type Move struct {
	Actor string
	Seq   uint32
	To    string // actor
}

// Marshal encodes the move.
func (m Move) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(moveVersion)
	addActor(&b, m.Actor)
	b.AddUint32(m.Seq)
	addActor(&b, m.To)
	return b.BytesOrPanic()
}

func parseMove(b []byte) (m Move, err error) {
	s := cryptobyte.String(b)
	var version uint8
	if !s.ReadUint8(&version) || version != moveVersion || !readActor(&s, 1, &m.Actor) || !s.ReadUint32(&m.Seq) || !readActor(&s, 1, &m.To) || !s.Empty() {
		return Move{}, fmt.Errorf("keydir: reading a move of %d bytes: malformed", len(b))
	}
	return m, nil
}

// State is what an actor's newest statement comes to.
type State struct {
	List    DeviceList // with no device after a move or an erase
	MovedTo string     // actor
	// Since has the statements that are proven to have come before the newest, oldest first, and the newest: more than one only
	// after a revocation.
	Since []transparency.Statement
	base  *Revocation
}

// Open reads what a statement commits to and holds L4 to L6: signature, commitment, actor and seq. Errors are
// *transparency.CheckError.
func Open(actor string, s transparency.Statement, opening [32]byte, content []byte) (State, error) {
	state := State{Since: []transparency.Statement{s}}
	if s.Kind == transparency.KindErase {
		return state.erased(actor, s, opening, content)
	}
	if err := verify(s, opening, content); err != nil {
		return State{}, err
	}
	var err error
	switch s.Kind {
	case transparency.KindRevoke:
		err = state.revoked(s, content)
	case transparency.KindMove:
		var m Move
		m, err = parseMove(content)
		state.List, state.MovedTo = DeviceList{Actor: m.Actor, Seq: m.Seq}, m.To
	case transparency.KindFirst, transparency.KindUpdate, transparency.KindReset:
		state.List, err = ParseDeviceList(content)
	default:
		err = fmt.Errorf("keydir: an entry of kind %d is nobody's", s.Kind)
	}
	if err != nil {
		return State{}, asCheck("L6", err)
	}
	if state.List.Actor != actor || state.List.Seq != s.Seq {
		return State{}, transparency.Failed("L6", "the content is of another actor or seq")
	}
	return state, nil
}

func (state State) erased(actor string, s transparency.Statement, opening [32]byte, content []byte) (State, error) {
	if opening != ([32]byte{}) || len(content) != 0 {
		return State{}, transparency.Failed("L5", "an erase that opens to something")
	}
	if err := s.WellFormed(); err != nil {
		return State{}, err
	}
	if err := s.VerifySignature(nil); err != nil {
		return State{}, err
	}
	state.List = DeviceList{Actor: actor, Seq: s.Seq}
	return state, nil
}

func (state *State) revoked(s transparency.Statement, content []byte) error {
	r, err := parseRevocation(content)
	if err != nil {
		return err
	}
	state.base = &r
	state.Since, state.List, err = r.chain(s)
	return err
}

// Revoke gives what a revocation of one more device commits to, after the statement that opened to state.
func (state State) Revoke(opening [32]byte) Revocation {
	last := state.Since[len(state.Since)-1]
	if state.base == nil {
		return Revocation{Base: last, Opening: opening, List: state.List}
	}
	r := *state.base
	r.Earlier = append(append([]transparency.Statement(nil), r.Earlier...), last)
	return r
}
