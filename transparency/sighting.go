package transparency

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/tlog"
)

// SightingSize is the size of an encoded sighting.
const SightingSize = 4 + 8 + tlog.HashSize

// A Sighting is what somebody says they know of a log, small enough to go with every message. Nobody signed it: one that differs is
// a reason to ask, and never a proof (spec/gossip.md).
//
//	struct { opaque origin_hash[4]; uint64 size; opaque root[32]; } Sighting;
type Sighting struct {
	Origin [4]byte // see OriginHash; it tells the logs that a conversation has to do with apart, and no more
	Size   int64
	Root   tlog.Hash
}

// OriginHash is the short name that a log has in sightings.
func OriginHash(origin string) [4]byte {
	h := sha256.Sum256(append([]byte("waxwing log origin v1\x00"), origin...))
	return [4]byte(h[:4])
}

// Marshal encodes a sighting.
func (s Sighting) Marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, SightingSize))
	b.AddBytes(s.Origin[:])
	b.AddUint64(uint64(s.Size))
	b.AddBytes(s.Root[:])
	return b.BytesOrPanic()
}

// ParseSighting is check G1: there is no tree of no entries to have seen, and none of more than 2^62.
func ParseSighting(b []byte) (s Sighting, err error) {
	var size uint64
	r := cryptobyte.String(b)
	if !r.CopyBytes(s.Origin[:]) || !r.ReadUint64(&size) || !r.CopyBytes(s.Root[:]) || !r.Empty() {
		return Sighting{}, fmt.Errorf("transparency: reading a sighting of %d bytes", len(b))
	}
	if size == 0 || size > maxTree {
		return Sighting{}, Failed("G1", "a tree of %d entries", size)
	}
	s.Size = int64(size)
	return s, nil
}

// Open is check A1 for a checkpoint of this log, whoever brought it.
func (l Log) Open(signed []byte) (Checkpoint, error) {
	v, err := l.verifier()
	if err != nil {
		return Checkpoint{}, err
	}
	return OpenCheckpoint(signed, v)
}
