package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Tests compare whole states, and hand them about. A program has no use for that: what it would restore from a copy encrypts twice
// under one key.

// Marshal returns all records in one piece.
func (g *Group) Marshal() []byte {
	return build(func(b *cryptobyte.Builder) {
		for _, x := range g.Changes(nil) {
			addOpaque(b, []byte(x.Key))
			addOpaque(b, x.Value)
		}
	})
}

// UnmarshalGroup reads what Marshal wrote.
func UnmarshalGroup(data []byte) (*Group, error) {
	var list []Record
	for s := cryptobyte.String(data); !s.Empty(); {
		var key, value []byte
		if !readOpaque(&s, &key) || !readOpaque(&s, &value) {
			return nil, fmt.Errorf("mls: reading a whole state: %w", errSyntax)
		}
		list = append(list, Record{string(key), value})
	}
	return LoadGroup(list)
}
