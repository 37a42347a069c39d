package device

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// A fence is the authenticated data of every PrivateMessage: where its sender stands.
//
//	struct {
//	  uint8  version = 1;
//	  uint64 term; uint64 seq; opaque head[8];
//	  opaque epoch_authenticator[8];
//	  opaque franking_tag[32];
//	} Fence;
type fence struct {
	place
	franking [32]byte // zero in a commit
}

// A place is a point of the receipt chain and the epoch it led to.
type place struct {
	Epoch         uint64  `json:"epoch"` // not on the wire: it is the message's
	Term          uint64  `json:"term"`
	Seq           uint64  `json:"seq"`
	Head          [8]byte `json:"head"`
	Authenticator [8]byte `json:"authenticator"`
}

const fenceSize = 1 + 8 + 8 + 8 + 8 + 32

func (f fence) marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, fenceSize))
	b.AddUint8(formatVersion)
	b.AddUint64(f.Term)
	b.AddUint64(f.Seq)
	b.AddBytes(f.Head[:])
	b.AddBytes(f.Authenticator[:])
	b.AddBytes(f.franking[:])
	return b.BytesOrPanic()
}

// parseFence decodes the fence of a message of the given epoch.
func parseFence(b []byte, epoch uint64) (fence, error) {
	f := fence{place: place{Epoch: epoch}}
	var version uint8
	s := cryptobyte.String(b)
	if !s.ReadUint8(&version) || version != formatVersion {
		return fence{}, fmt.Errorf("device: decoding a fence: not version %d", formatVersion)
	}
	if !s.ReadUint64(&f.Term) || !s.ReadUint64(&f.Seq) || !s.CopyBytes(f.Head[:]) || !s.CopyBytes(f.Authenticator[:]) ||
		!s.CopyBytes(f.franking[:]) || !s.Empty() {
		return fence{}, fmt.Errorf("device: decoding a fence: %d bytes", len(b))
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
