package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/waxwing-dm/waxwing/agent/store/internal/passphrase"
)

// The header of a store stands in the clear; numbers are big-endian:
//
//	uint8 version = 2; uint32 time; uint32 memory (KiB); uint8 threads; opaque salt[16]; opaque nonce[24]; opaque master[48] (sealed)
//
// What comes before the nonce is authenticated with the sealed master key. The version is that of the rows, too: a device does not
// find its groups in a store of version 1.
const (
	headerVersion = 2
	saltSize      = 16
	masterSize    = 32
	clearSize     = 1 + 4 + 4 + 1 + saltSize
	headerSize    = clearSize + chacha20poly1305.NonceSizeX + masterSize + chacha20poly1305.Overhead
)

// most keeps a changed file from asking for the memory of the machine or for its whole day.
var most = passphrase.Cost{Time: 16, Memory: 512 << 10, Threads: 16}

func affordable(c passphrase.Cost) bool {
	least := passphrase.Least
	return c.Time >= least.Time && c.Time <= most.Time && c.Memory >= least.Memory && c.Memory <= most.Memory &&
		c.Threads >= 1 && c.Threads <= most.Threads // fewer threads are not a weaker key
}

type header struct {
	cost   passphrase.Cost
	salt   [saltSize]byte
	nonce  [chacha20poly1305.NonceSizeX]byte
	master [masterSize + chacha20poly1305.Overhead]byte // sealed
}

func (h *header) clearPart() []byte {
	b := append(make([]byte, 0, headerSize), headerVersion)
	b = binary.BigEndian.AppendUint32(b, h.cost.Time)
	b = binary.BigEndian.AppendUint32(b, h.cost.Memory)
	return append(append(b, h.cost.Threads), h.salt[:]...)
}

func (h *header) encode() []byte {
	return append(append(h.clearPart(), h.nonce[:]...), h.master[:]...)
}

func parseHeader(b []byte) (*header, error) {
	if len(b) != headerSize || b[0] < 1 || b[0] > headerVersion {
		return nil, fmt.Errorf("reading the header: %w", ErrTampered)
	}
	if b[0] < headerVersion {
		return nil, fmt.Errorf("reading the header: version %d: %w", b[0], ErrOlder)
	}
	h := &header{cost: passphrase.Cost{Time: binary.BigEndian.Uint32(b[1:]), Memory: binary.BigEndian.Uint32(b[5:]), Threads: b[9]}}
	if !affordable(h.cost) {
		return nil, fmt.Errorf("reading the header: the cost of the passphrase is out of bounds: %w", ErrTampered)
	}
	rest := bytes.NewBuffer(b[clearSize-saltSize:])
	for _, part := range [][]byte{h.salt[:], h.nonce[:], h.master[:]} {
		copy(part, rest.Next(len(part)))
	}
	return h, nil
}

// newHeader makes a master key and seals it.
func newHeader(phrase []byte) (*header, keys, error) {
	h := &header{cost: passphrase.Least}
	var master [masterSize]byte
	defer clear(master[:])
	for _, b := range [][]byte{h.salt[:], h.nonce[:], master[:]} {
		_, _ = rand.Read(b) // does not fail: crypto/rand ends the program instead
	}
	aead, err := h.wrapping(phrase)
	if err != nil {
		return nil, keys{}, err
	}
	aead.Seal(h.master[:0], h.nonce[:], master[:], h.clearPart())
	k, err := newKeys(master[:])
	return h, k, err
}

// unlock opens the master key. A header whose figures were changed within the bounds looks like a wrong passphrase.
func (h *header) unlock(phrase []byte) (keys, error) {
	aead, err := h.wrapping(phrase)
	if err != nil {
		return keys{}, err
	}
	master, err := aead.Open(nil, h.nonce[:], h.master[:], h.clearPart())
	if err != nil {
		return keys{}, ErrPassphrase
	}
	defer clear(master)
	return newKeys(master)
}

// wrapping makes the cipher that holds the master key.
func (h *header) wrapping(phrase []byte) (cipher.AEAD, error) {
	key := argon2.IDKey(phrase, h.salt[:], h.cost.Time, h.cost.Memory, h.cost.Threads, chacha20poly1305.KeySize)
	defer clear(key)
	return chacha20poly1305.NewX(key)
}
