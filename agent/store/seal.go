package store

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// keys are what the master key is for.
type keys struct {
	names []byte // HMAC key
	aead  cipher.AEAD
}

const masterSize = 32

func newKeys(master []byte) (keys, error) {
	names, err := hkdf.Expand(sha256.New, master, "waxwing store names v1", sha256.Size)
	if err != nil {
		return keys{}, err
	}
	sealing, err := hkdf.Expand(sha256.New, master, "waxwing store rows v1", chacha20poly1305.KeySize)
	if err != nil {
		return keys{}, err
	}
	aead, err := chacha20poly1305.NewX(sealing)
	return keys{names, aead}, err
}

// A place is where a row stands; a sealed value opens only there.
type place struct {
	table string
	group []byte // bucket or log, hashed
	name  []byte // key, hashed; or seq
}

func (p place) aad() []byte {
	b := append([]byte("waxwing "+p.table+" v1\x00"), p.group...) // of fixed length
	return append(b, p.name...)
}

func (k *keys) group(kind, name string) []byte { return k.hash(kind, name) }

func (k *keys) hash(kind string, parts ...string) []byte {
	h := hmac.New(sha256.New, k.names)
	h.Write([]byte(kind))
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func (k *keys) item(bucket, key string) place {
	return place{"item", k.group("bucket", bucket), k.hash("key", bucket, key)}
}

func entryPlace(group []byte, seq uint64) place {
	return place{"entry", group, binary.BigEndian.AppendUint64(nil, seq)}
}

func (k *keys) seal(at place, value []byte) []byte {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(value)+k.aead.Overhead())
	_, _ = rand.Read(nonce) // does not fail: crypto/rand ends the program instead
	return k.aead.Seal(nonce, nonce, value, at.aad())
}

func (k *keys) open(at place, sealed []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("store: opening a row of table %s: %w", at.table, ErrTampered)
	}
	value, err := k.aead.Open(nil, sealed[:n], sealed[n:], at.aad())
	if err != nil {
		return nil, fmt.Errorf("store: opening a row of table %s: %w", at.table, ErrTampered)
	}
	return value, nil
}

// sealItem keeps the key inside too: Each wants it back.
func (k *keys) sealItem(at place, key string, value []byte) []byte {
	plain := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(key)+len(value)), uint32(len(key)))
	return k.seal(at, append(append(plain, key...), value...))
}

func (k *keys) openItem(at place, sealed []byte) (key string, value []byte, err error) {
	plain, err := k.open(at, sealed)
	if err != nil {
		return "", nil, err
	}
	if len(plain) < 4 || uint64(binary.BigEndian.Uint32(plain)) > uint64(len(plain)-4) {
		return "", nil, fmt.Errorf("store: opening a row of table %s: %w", at.table, ErrTampered)
	}
	n := 4 + int(binary.BigEndian.Uint32(plain))
	return string(plain[4:n]), plain[n:], nil
}

// The header of a store, in the clear:
//
//	uint8 version = 1; uint32 time; uint32 memory (KiB); uint8 threads; opaque salt[16]; opaque nonce[24]; opaque master[48] (sealed)
const (
	headerVersion = 1
	saltSize      = 16
	paramSize     = 1 + 4 + 4 + 1 + saltSize
	headerSize    = paramSize + chacha20poly1305.NonceSizeX + masterSize + chacha20poly1305.Overhead
)

// params of Argon2id. The least are RFC 9106's second recommended option; the most keep a changed file from asking for the
// machine's memory.
type params struct {
	time, memory uint32
	threads      uint8
}

var usual = params{time: 3, memory: 64 << 10, threads: 4}

func (p params) sane() bool {
	return p.time >= usual.time && p.time <= 64 && p.memory >= usual.memory && p.memory <= 1<<20 && p.threads >= 1 && p.threads <= 64
}

func newHeader(passphrase []byte) ([]byte, error) {
	h := []byte{headerVersion}
	h = binary.BigEndian.AppendUint32(h, usual.time)
	h = binary.BigEndian.AppendUint32(h, usual.memory)
	h = append(h, usual.threads)
	random := make([]byte, saltSize+chacha20poly1305.NonceSizeX+masterSize)
	_, _ = rand.Read(random) // does not fail
	salt, nonce, master := random[:saltSize], random[saltSize:saltSize+chacha20poly1305.NonceSizeX], random[saltSize+chacha20poly1305.NonceSizeX:]
	h = append(h, salt...)
	aead, err := wrap(passphrase, salt, usual)
	if err != nil {
		return nil, err
	}
	return aead.Seal(append(h, nonce...), nonce, master, h), nil
}

// wrap makes the cipher that holds the master key.
func wrap(passphrase, salt []byte, p params) (cipher.AEAD, error) {
	key := argon2.IDKey(passphrase, salt, p.time, p.memory, p.threads, chacha20poly1305.KeySize)
	defer clear(key)
	return chacha20poly1305.NewX(key)
}

func parseHeader(h []byte) (p params, salt, nonce, sealed []byte, err error) {
	if len(h) != headerSize || h[0] != headerVersion {
		return p, nil, nil, nil, fmt.Errorf("store: reading the header: %w", sqlite.ErrDamaged)
	}
	p = params{binary.BigEndian.Uint32(h[1:]), binary.BigEndian.Uint32(h[5:]), h[9]}
	if !p.sane() {
		return p, nil, nil, nil, fmt.Errorf("store: reading the header: figures out of bounds: %w", sqlite.ErrDamaged)
	}
	rest := h[paramSize:]
	return p, h[paramSize-saltSize : paramSize], rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:], nil
}

func openHeader(h, passphrase []byte) (keys, error) {
	p, salt, nonce, sealed, err := parseHeader(h)
	if err != nil {
		return keys{}, err
	}
	aead, err := wrap(passphrase, salt, p)
	if err != nil {
		return keys{}, err
	}
	master, err := aead.Open(nil, nonce, sealed, h[:paramSize])
	if err != nil {
		return keys{}, ErrPassphrase
	}
	defer clear(master)
	return newKeys(master)
}
