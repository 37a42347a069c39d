package device

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// roomExtension is the type of the room extension in the GroupContext.
const roomExtension mls.ExtensionType = 0xF7A1

const (
	formatVersion = 2 // of Room
	maxFallbacks  = 3
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
//	struct { opaque instance<1..255>; opaque key[32]; } Hub;
//
//	struct {
//	  uint8  version = 2;
//	  opaque conversation<1..2048>;
//	  Hub    hub;
//	  uint64 created;
//	  Grant  grants<0..65535>;
//	  Hub    fallbacks<0..1023>;
//	} Room;
//
// In version 1, which is still read, hub is its key alone, and there are no fallbacks.
type room struct {
	version      uint8
	conversation string
	hub          string // origin of the present one
	hubKey       [ed25519.PublicKeySize]byte
	created      uint64
	grants       []grant // strictly ascending by actor
	fallbacks    []receipt.NextHub
}

// hubs are those that may have a term: the present one and those that it can be handed over to.
func (r room) hubs() []receipt.NextHub {
	return append([]receipt.NextHub{{Hub: r.hub, Key: r.hubKey}}, r.fallbacks...)
}

func (r room) admin(actor string) bool {
	for _, g := range r.grants {
		if g.actor == actor {
			return g.role == roleAdmin
		}
	}
	return false
}

// within tells whether a room gives nobody more than another one does.
func (r room) within(known room) bool {
	hubs := known.hubs()
	return !slices.ContainsFunc(r.grants, func(g grant) bool { return !known.admin(g.actor) }) &&
		!slices.ContainsFunc(r.hubs(), func(h receipt.NextHub) bool { return !slices.Contains(hubs, h) })
}

func (r room) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(r.version)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.conversation)) })
	if r.version > 1 {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.hub)) })
	}
	b.AddBytes(r.hubKey[:])
	b.AddUint64(r.created)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, g := range r.grants {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(g.actor)) })
			b.AddUint8(g.role)
		}
	})
	if r.version > 1 {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, h := range r.fallbacks {
				b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.Hub)) })
				b.AddBytes(h.Key[:])
			}
		})
	}
	return b.BytesOrPanic()
}

func parseRoom(b []byte) (room, error) {
	var (
		r                                    room
		conversation, hub, grants, fallbacks cryptobyte.String
	)
	s := cryptobyte.String(b)
	if !s.ReadUint8(&r.version) || r.version < 1 || r.version > formatVersion {
		return room{}, fmt.Errorf("device: decoding a room: not version 1 to %d", formatVersion)
	}
	second := r.version > 1
	if !s.ReadUint16LengthPrefixed(&conversation) || second && !s.ReadUint8LengthPrefixed(&hub) || !s.CopyBytes(r.hubKey[:]) ||
		!s.ReadUint64(&r.created) || !s.ReadUint16LengthPrefixed(&grants) || second && !s.ReadUint16LengthPrefixed(&fallbacks) || !s.Empty() {
		return room{}, fmt.Errorf("device: decoding a room: wrong length")
	}
	if r.hub = string(hub); !second {
		r.hub = hubOf(string(conversation))
	} else if !isHub(r.hub) {
		return room{}, fmt.Errorf("device: decoding a room: its hub is no instance")
	}
	var err error
	if r.fallbacks, err = parseFallbacks(fallbacks, r.hub); err != nil {
		return room{}, err
	}
	if len(conversation) < 1 || len(conversation) > maxURL {
		return room{}, fmt.Errorf("device: decoding a room: conversation of %d bytes", len(conversation))
	}
	r.conversation = string(conversation)
	r.grants, err = parseGrants(grants)
	if err != nil {
		return room{}, err
	}
	return r, nil
}

func parseFallbacks(s cryptobyte.String, hub string) (list []receipt.NextHub, err error) {
	seen := map[string]bool{hub: true}
	for !s.Empty() {
		var name cryptobyte.String
		var h receipt.NextHub
		if !s.ReadUint8LengthPrefixed(&name) || !s.CopyBytes(h.Key[:]) || len(list) == maxFallbacks || !isHub(string(name)) || seen[string(name)] {
			return nil, fmt.Errorf("device: decoding a room: malformed fallback hub %d", len(list))
		}
		h.Hub = string(name)
		seen[h.Hub] = true
		list = append(list, h)
	}
	return list, nil
}

// isHub tells whether this is the origin of an instance.
func isHub(origin string) bool {
	return len(origin) <= receipt.MaxHub && hubOf(receipt.ConversationURL(origin, []byte{0})) == origin
}

// hubOf is the instance that a conversation's URL names; it is empty if it names none.
func hubOf(conversation string) string {
	instance, _, err := receipt.ParseConversationURL(conversation)
	if err != nil {
		return ""
	}
	return instance
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
