package store

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// keys are what the master key is for.
type keys struct {
	names []byte // HMAC key
	aead  cipher.AEAD
}

func newKeys(master []byte) (keys, error) {
	names, err := hkdf.Expand(sha256.New, master, "waxwing store names v1", sha256.Size)
	if err != nil {
		return keys{}, err
	}
	sealing, err := hkdf.Expand(sha256.New, master, "waxwing store rows v1", chacha20poly1305.KeySize)
	if err != nil {
		return keys{}, err
	}
	defer clear(sealing)
	aead, err := chacha20poly1305.NewX(sealing)
	return keys{names, aead}, err
}

// hash names a row. Lengths keep ("a", "bc") and ("ab", "c") apart, kind a bucket and a log of one name.
func (k *keys) hash(kind string, parts ...string) []byte {
	h := hmac.New(sha256.New, k.names)
	for _, p := range append([]string{kind}, parts...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func (k *keys) bucket(name string) []byte      { return k.hash("bucket", name) }
func (k *keys) item(bucket, key string) []byte { return k.hash("item", bucket, key) }
func (k *keys) log(name string) []byte         { return k.hash("log", name) }

// A place is where a row stands; a sealed value opens only there.
type place struct {
	table  string
	hash   []byte // of bucket and key, or of the log
	number int64  // the row's turn in its bucket, or its seq
}

func (p place) aad() []byte {
	b := append([]byte("waxwing "+p.table+" v1\x00"), p.hash...) // of one length
	return binary.BigEndian.AppendUint64(b, uint64(p.number))
}

func (p place) tampered() error {
	return fmt.Errorf("store: opening a row of table %s: %w", p.table, ErrTampered)
}

func (k *keys) seal(at place, value []byte) []byte {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(value)+k.aead.Overhead())
	_, _ = rand.Read(nonce) // does not fail: crypto/rand ends the program instead
	return k.aead.Seal(nonce, nonce, value, at.aad())
}

func (k *keys) open(at place, sealed []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, at.tampered()
	}
	value, err := k.aead.Open(nil, sealed[:n], sealed[n:], at.aad())
	if err != nil {
		return nil, at.tampered()
	}
	return value, nil
}

// sealItem keeps bucket and key inside too: Each wants the key back, and a row must say itself whose it is.
func (k *keys) sealItem(at place, bucket, key string, value []byte) []byte {
	plain := make([]byte, 0, 8+len(bucket)+len(key)+len(value))
	for _, name := range []string{bucket, key} {
		plain = append(binary.BigEndian.AppendUint32(plain, uint32(len(name))), name...)
	}
	return k.seal(at, append(plain, value...))
}

// openItem opens a row of a bucket.
func (k *keys) openItem(at place, bucket string, sealed []byte) (key string, value []byte, err error) {
	plain, err := k.open(at, sealed)
	if err != nil {
		return "", nil, err
	}
	var names [2]string
	for i := range names {
		if len(plain) < 4 || uint64(binary.BigEndian.Uint32(plain)) > uint64(len(plain)-4) {
			return "", nil, at.tampered()
		}
		end := 4 + int(binary.BigEndian.Uint32(plain))
		names[i], plain = string(plain[4:end]), plain[end:]
	}
	if names[0] != bucket || !hmac.Equal(at.hash, k.item(names[0], names[1])) {
		return "", nil, at.tampered()
	}
	return names[1], plain, nil
}
