package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Marshal returns the whole state in one piece, for tests that compare states.
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
	if len(data) > maxState {
		return nil, damaged("%d bytes; at most %d are read", len(data), maxState)
	}
	var list []Record
	for s := cryptobyte.String(data); !s.Empty(); {
		var key, value cryptobyte.String
		if !readVector(&s, &key) || !readVector(&s, &value) || len(key) == 0 || len(list) >= maxRecords ||
			len(list) > 0 && string(key) <= list[len(list)-1].Key {
			return nil, fmt.Errorf("mls: reading a stored group: %w: %w", ErrDamaged, errSyntax)
		}
		list = append(list, Record{string(key), value})
	}
	return LoadGroup(list)
}
