package device

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/waxwing-dm/waxwing/mls"
)

// roomExtension is the type of the room extension in the GroupContext.
const roomExtension mls.ExtensionType = 0xF7A1

const (
	formatVersion = 1 // of Room
	roleAdmin     = 2
)

// A grant gives an actor a role.
//
//	struct { opaque actor<1..2048>; uint8 role; } Grant;
type grant struct {
	actor string
	role  uint8
}

// A room is the policy of a conversation.
//
//	struct {
//	  uint8  version = 1;
//	  opaque conversation<1..2048>;
//	  opaque hub_key[32];
//	  uint64 created;
//	  Grant  grants<0..65535>;
//	} Room;
type room struct {
	conversation string
	hubKey       [ed25519.PublicKeySize]byte
	created      uint64
	grants       []grant // strictly ascending by actor
}

func (r room) admin(actor string) bool {
	for _, g := range r.grants {
		if g.actor == actor {
			return g.role == roleAdmin
		}
	}
	return false
}

func (r room) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(formatVersion)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.conversation)) })
	b.AddBytes(r.hubKey[:])
	b.AddUint64(r.created)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, g := range r.grants {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(g.actor)) })
			b.AddUint8(g.role)
		}
	})
	return b.BytesOrPanic()
}

func parseRoom(b []byte) (room, error) {
	var (
		r            room
		version      uint8
		conversation cryptobyte.String
		grants       cryptobyte.String
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != formatVersion {
		return room{}, fmt.Errorf("device: decoding a room: not version %d", formatVersion)
	}
	if !s.ReadUint16LengthPrefixed(&conversation) || !s.CopyBytes(r.hubKey[:]) || !s.ReadUint64(&r.created) ||
		!s.ReadUint16LengthPrefixed(&grants) || !s.Empty() {
		return room{}, fmt.Errorf("device: decoding a room: wrong length")
	}
	if len(conversation) < 1 || len(conversation) > maxURL {
		return room{}, fmt.Errorf("device: decoding a room: conversation of %d bytes", len(conversation))
	}
	r.conversation = string(conversation)
	var err error
	r.grants, err = parseGrants(grants)
	if err != nil {
		return room{}, err
	}
	return r, nil
}

func parseGrants(s cryptobyte.String) ([]grant, error) {
	var (
		grants []grant
		admins int
	)
	for !s.Empty() {
		var (
			actor cryptobyte.String
			g     grant
		)
		if !s.ReadUint16LengthPrefixed(&actor) || !s.ReadUint8(&g.role) || len(actor) < 1 || len(actor) > maxURL {
			return nil, fmt.Errorf("device: decoding a room: malformed grant %d", len(grants))
		}
		g.actor = string(actor)
		if n := len(grants); n > 0 && grants[n-1].actor >= g.actor {
			return nil, fmt.Errorf("device: decoding a room: grant %d is not above the one before", n)
		}
		if g.role != roleAdmin {
			return nil, fmt.Errorf("device: decoding a room: grant %d has the unknown role %d", len(grants), g.role)
		}
		admins++
		grants = append(grants, g)
	}
	if admins == 0 {
		return nil, fmt.Errorf("device: decoding a room: no admin")
	}
	return grants, nil
}

// roomOf finds the room among a group's extensions.
func roomOf(extensions []mls.Extension) (room, error) {
	for _, e := range extensions {
		if e.Type == roomExtension {
			return parseRoom(e.Data)
		}
	}
	return room{}, fmt.Errorf("device: the group has no room extension")
}

// sameButRoom tells whether two lists of extensions differ at most in the room.
func sameButRoom(a, b []mls.Extension) bool {
	rest := func(list []mls.Extension) map[mls.ExtensionType]string {
		m := map[mls.ExtensionType]string{}
		for _, e := range list {
			if e.Type != roomExtension {
				m[e.Type] = string(bytes.Clone(e.Data))
			}
		}
		return m
	}
	x, y := rest(a), rest(b)
	if len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if w, ok := y[k]; !ok || v != w {
			return false
		}
	}
	return true
}
