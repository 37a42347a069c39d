package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
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

// params of Argon2id (RFC 9106).
type params struct {
	time, memory uint32 // passes, KiB
	threads      uint8
}

// cost is what a new store takes and the least that is accepted of one: RFC 9106's second recommended option. most keeps a
// changed file from asking for the memory of the machine or for its whole day.
var (
	cost = params{time: 3, memory: 64 << 10, threads: 4}
	most = params{time: 16, memory: 512 << 10, threads: 16}
)

func (p params) within(least, most params) bool {
	return p.time >= least.time && p.time <= most.time && p.memory >= least.memory && p.memory <= most.memory &&
		p.threads >= 1 && p.threads <= most.threads // fewer threads are not a weaker key
}

type header struct {
	params
	salt   [saltSize]byte
	nonce  [chacha20poly1305.NonceSizeX]byte
	master [masterSize + chacha20poly1305.Overhead]byte // sealed
}

func (h *header) clearPart() []byte {
	b := append(make([]byte, 0, headerSize), headerVersion)
	b = binary.BigEndian.AppendUint32(b, h.time)
	b = binary.BigEndian.AppendUint32(b, h.memory)
	return append(append(b, h.threads), h.salt[:]...)
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
	h := &header{params: params{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), b[9]}}
	if !h.within(cost, most) {
		return nil, fmt.Errorf("reading the header: the cost of the passphrase is out of bounds: %w", ErrTampered)
	}
	rest := bytes.NewBuffer(b[clearSize-saltSize:])
	for _, part := range [][]byte{h.salt[:], h.nonce[:], h.master[:]} {
		copy(part, rest.Next(len(part)))
	}
	return h, nil
}

// newHeader makes a master key and seals it.
func newHeader(passphrase []byte) (*header, keys, error) {
	h := &header{params: cost}
	var master [masterSize]byte
	defer clear(master[:])
	for _, b := range [][]byte{h.salt[:], h.nonce[:], master[:]} {
		_, _ = rand.Read(b) // does not fail: crypto/rand ends the program instead
	}
	aead, err := h.wrapping(passphrase)
	if err != nil {
		return nil, keys{}, err
	}
	aead.Seal(h.master[:0], h.nonce[:], master[:], h.clearPart())
	k, err := newKeys(master[:])
	return h, k, err
}

// unlock opens the master key. A header whose figures were changed within the bounds looks like a wrong passphrase.
func (h *header) unlock(passphrase []byte) (keys, error) {
	aead, err := h.wrapping(passphrase)
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
func (h *header) wrapping(passphrase []byte) (cipher.AEAD, error) {
	key := argon2.IDKey(passphrase, h.salt[:], h.time, h.memory, h.threads, chacha20poly1305.KeySize)
	defer clear(key)
	return chacha20poly1305.NewX(key)
}
