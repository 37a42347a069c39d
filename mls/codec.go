package mls

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Presentation language, RFC 9420 section 2.1. Readers work on slices of the input and copy nothing until a value is kept,
// so a length field can never make them take memory that the input itself does not fill.

var errSyntax = errors.New("malformed")

// readVarint reads a variable-size vector length (section 2.1.2). Longer encodings than needed are refused.
func readVarint(s *cryptobyte.String, out *uint32) bool {
	var first uint8
	if !s.ReadUint8(&first) {
		return false
	}
	v := uint32(first & 0x3f)
	switch first >> 6 {
	case 0:
		*out = v
		return true
	case 1:
		var b uint8
		if !s.ReadUint8(&b) {
			return false
		}
		*out = v<<8 | uint32(b)
		return *out >= 1<<6
	case 2:
		var b []byte
		if !s.ReadBytes(&b, 3) {
			return false
		}
		*out = v<<24 | uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
		return *out >= 1<<14
	}
	return false
}

func addVarint(b *cryptobyte.Builder, n int) {
	switch {
	case n < 1<<6:
		b.AddUint8(uint8(n))
	case n < 1<<14:
		b.AddUint16(1<<14 | uint16(n))
	case n < 1<<30:
		b.AddUint32(2<<30 | uint32(n))
	default:
		b.SetError(fmt.Errorf("mls: vector of %d bytes is too long", n))
	}
}

// readVector reads one vector and leaves its content for reading.
func readVector(s, out *cryptobyte.String) bool {
	var n uint32
	if !readVarint(s, &n) || uint64(n) > uint64(len(*s)) {
		return false
	}
	return s.ReadBytes((*[]byte)(out), int(n))
}

// readOpaque reads an opaque<V> into memory of its own.
func readOpaque(s *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	if !readVector(s, &v) {
		return false
	}
	*out = append([]byte{}, v...)
	return true
}

func addOpaque(b *cryptobyte.Builder, v []byte) {
	addVarint(b, len(v))
	b.AddBytes(v)
}

func addVector(b *cryptobyte.Builder, content func(*cryptobyte.Builder)) {
	var c cryptobyte.Builder
	content(&c)
	v, err := c.Bytes()
	if err != nil {
		b.SetError(err)
		return
	}
	addOpaque(b, v)
}

// readList reads a vector of at most limit structures, one call of item for each.
func readList(s *cryptobyte.String, limit int, item func(*cryptobyte.String) bool) bool {
	var v cryptobyte.String
	if !readVector(s, &v) {
		return false
	}
	for ; !v.Empty(); limit-- {
		if limit <= 0 || !item(&v) {
			return false
		}
	}
	return true
}

func readOptional(s *cryptobyte.String, present *bool) bool {
	var p uint8
	if !s.ReadUint8(&p) || p > 1 {
		return false
	}
	*present = p == 1
	return true
}

func addOptional(b *cryptobyte.Builder, present bool) {
	if present {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
}

// A structure knows its own wire form.
type structure interface {
	read(s *cryptobyte.String) bool
	add(b *cryptobyte.Builder)
}

// marshal encodes a structure of our own making; that cannot fail but for lengths beyond 2^30, which the limits exclude.
func marshal(v interface{ add(*cryptobyte.Builder) }) []byte {
	var b cryptobyte.Builder
	v.add(&b)
	return b.BytesOrPanic()
}

// unmarshal is the one entry for bytes from outside: nothing may be left over.
func unmarshal(data []byte, v structure, what string) error {
	s := cryptobyte.String(data)
	if !v.read(&s) {
		return fmt.Errorf("mls: reading %s: %w", what, errSyntax)
	}
	if !s.Empty() {
		return fmt.Errorf("mls: reading %s: %d bytes after its end", what, len(s))
	}
	return nil
}

// readable refuses to make what others, and we after a restart, could not read: an extension twice, a list that is too long.
func readable(made, again structure, what string) error {
	if err := unmarshal(marshal(made), again, what); err != nil {
		return fmt.Errorf("mls: making %s that nobody could read: %w", what, errSyntax)
	}
	return nil
}

func build(f func(*cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	f(&b)
	return b.BytesOrPanic()
}
