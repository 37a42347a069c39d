package device

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// A file travels as a blob, AES-256-GCM(key, nonce = 0^12, uint64 length || file || zeros), padded to a multiple of 64 KiB. Key and blob are
// used once, which is why the nonce may be fixed.

const (
	blobKeySize    = 32
	blobDigestSize = sha256.Size
	blobLength     = 8
	blobStep       = 64 << 10
	bucketBlob     = "blob" // by hash: what waits to be uploaded
)

func blobCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealFile encrypts a file with a fresh key. The URL is not known yet.
func (t *txn) sealFile(f File) (a attachment, hash string, blob []byte, err error) {
	if len(f.Data) > maxFile || len(f.Name) > maxName || len(f.MediaType) > maxMediaType {
		return a, "", nil, fmt.Errorf("device: sealing a file of %d bytes: %w", len(f.Data), ErrTooLarge)
	}
	key, err := t.random(blobKeySize)
	if err != nil {
		return a, "", nil, err
	}
	aead, err := blobCipher(key)
	if err != nil {
		return a, "", nil, fmt.Errorf("device: sealing a file: %w", err)
	}
	size := blobLength + len(f.Data) + aead.Overhead()
	size = (size+blobStep-1)/blobStep*blobStep - aead.Overhead()
	plain := make([]byte, size, size+aead.Overhead())
	binary.BigEndian.PutUint64(plain, uint64(len(f.Data)))
	copy(plain[blobLength:], f.Data)
	blob = aead.Seal(plain[:0], make([]byte, aead.NonceSize()), plain, nil)
	name, digest := sha256.Sum256(blob), sha256.Sum256(f.Data)
	a = attachment{Type: "Document", MediaType: f.MediaType, Name: f.Name, Size: int64(len(f.Data)), Digest: digest[:], Key: key}
	return a, hex.EncodeToString(name[:]), blob, nil
}

// open decrypts a blob and checks that it is the file that was promised.
func (a attachment) open(blob []byte) ([]byte, error) {
	if len(blob) > maxBlob {
		return nil, fmt.Errorf("device: opening a blob of %d bytes: %w", len(blob), ErrTooLarge)
	}
	name := sha256.Sum256(blob)
	if !strings.HasSuffix(a.URL, "/"+hex.EncodeToString(name[:])) {
		return nil, fmt.Errorf("device: opening a blob: it has another name than the message says: %w", ErrFile)
	}
	aead, err := blobCipher(a.Key)
	if err != nil {
		return nil, fmt.Errorf("device: opening a blob: %w", err)
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), blob, nil)
	if err != nil || len(plain) < blobLength {
		return nil, fmt.Errorf("device: opening a blob: it does not decrypt: %w", ErrFile)
	}
	size := binary.BigEndian.Uint64(plain)
	if size != uint64(a.Size) || size > uint64(len(plain)-blobLength) {
		return nil, fmt.Errorf("device: opening a blob: it holds another length than the message says: %w", ErrFile)
	}
	file := plain[blobLength : blobLength+size]
	digest := sha256.Sum256(file)
	if subtle.ConstantTimeCompare(digest[:], a.Digest) != 1 {
		return nil, fmt.Errorf("device: opening a blob: it holds another file than the message says: %w", ErrFile)
	}
	return file, nil
}

// OpenFile decrypts the blob of a message's n-th attachment (from 0) and checks that it is the file the sender meant.
func (d *Device) OpenFile(conversation string, message uint64, n int, blob []byte) (file []byte, err error) {
	err = d.view(func(t *txn) error {
		m, err := t.message(conversation, message)
		if err != nil {
			return err
		}
		if n < 0 || n >= len(m.Files) {
			return fmt.Errorf("device: opening file %d of message %d: %w", n, message, ErrNoSuchMessage)
		}
		file, err = m.Files[n].open(blob)
		return err
	})
	return file, err
}
