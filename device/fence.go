package device

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/waxwing-dm/waxwing/transparency"
)

// A fence is the authenticated data of every PrivateMessage: where its sender stands.
//
//	struct {
//	  uint8    version = 2;
//	  uint64   term; uint64 seq; opaque head[8];
//	  opaque   epoch_authenticator[8];
//	  opaque   franking_tag[32];
//	  uint8    count;             // at most 8
//	  Sighting seen[count];
//	  opaque   leaving<1..1024>[]; // in a commit: at most 16 MLSMessages, to the end
//	} Fence;
type fence struct {
	place
	franking [32]byte                // zero in a commit
	seen     []transparency.Sighting // of the logs of the members' instances, for the others to compare
	leaving  [][]byte                // the proposals that a commit takes up: whoever has it has them, too
}

// A place is a point of the receipt chain and the epoch it led to.
type place struct {
	Epoch         uint64  `json:"epoch"` // not on the wire: it is the message's
	Term          uint64  `json:"term"`
	Seq           uint64  `json:"seq"`
	Head          [8]byte `json:"head"`
	Authenticator [8]byte `json:"authenticator"`
}

const (
	fenceVersion = 2
	fenceSize    = 1 + 8 + 8 + 8 + 8 + 32 + 1 // without sightings
)

func (f fence) size() int {
	n := fenceSize + len(f.seen)*transparency.SightingSize
	for _, m := range f.leaving {
		n += 2 + len(m)
	}
	return n
}

func (f fence) marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, f.size()))
	b.AddUint8(fenceVersion)
	b.AddUint64(f.Term)
	b.AddUint64(f.Seq)
	b.AddBytes(f.Head[:])
	b.AddBytes(f.Authenticator[:])
	b.AddBytes(f.franking[:])
	b.AddUint8(uint8(len(f.seen)))
	for _, s := range f.seen {
		b.AddBytes(s.Marshal())
	}
	for _, m := range f.leaving {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m) })
	}
	return b.BytesOrPanic()
}

// parseFence decodes the fence of a message of the given epoch.
func parseFence(b []byte, epoch uint64) (fence, error) {
	f := fence{place: place{Epoch: epoch}}
	var version, count uint8
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != fenceVersion {
		return fence{}, fmt.Errorf("device: decoding a fence: not version %d", fenceVersion)
	}
	if !s.ReadUint64(&f.Term) || !s.ReadUint64(&f.Seq) || !s.CopyBytes(f.Head[:]) || !s.CopyBytes(f.Authenticator[:]) ||
		!s.CopyBytes(f.franking[:]) || !s.ReadUint8(&count) || count > maxSightings || len(s) < int(count)*transparency.SightingSize {
		return fence{}, fmt.Errorf("device: decoding a fence: %d bytes", len(b))
	}
	for ; count > 0; count-- {
		var raw []byte
		s.ReadBytes(&raw, transparency.SightingSize)
		seen, err := transparency.ParseSighting(raw)
		if err != nil {
			return fence{}, fmt.Errorf("device: decoding a fence: %w", err)
		}
		f.seen = append(f.seen, seen)
	}
	for !s.Empty() {
		var m cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&m) || len(m) < 1 || len(m) > maxProposal || len(f.leaving) == maxLeaving {
			return fence{}, fmt.Errorf("device: decoding a fence: what follows the sightings is no list of proposals")
		}
		f.leaving = append(f.leaving, m)
	}
	return f, nil
}

// check is F1: the sender stood in the epoch where we stood in it.
func (f fence) check(places []place) error {
	for _, p := range places {
		if p.Epoch != f.Epoch {
			continue
		}
		if p != f.place {
			return failed("F1", "the sender's place in epoch %d is another than ours", f.Epoch)
		}
		return nil
	}
	return failed("F1", "no place is remembered for epoch %d", f.Epoch)
}

// frankingTag commits the sender to the application data for whoever knows the salt in it.
func frankingTag(salt, application []byte) (tag [32]byte) {
	m := hmac.New(sha256.New, salt)
	m.Write(application)
	m.Sum(tag[:0])
	return tag
}

// checkFranking is F2.
func (f fence) checkFranking(salt, application []byte) error {
	tag := frankingTag(salt, application)
	if !hmac.Equal(tag[:], f.franking[:]) {
		return failed("F2", "the franking tag is not that of the application data")
	}
	return nil
}

// bucketOf is the length that a plaintext of n bytes is padded to.
func bucketOf(n int) int {
	for _, size := range []int{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		if n <= size {
			return size
		}
	}
	const step = 64 << 10
	return (n + step - 1) / step * step
}
