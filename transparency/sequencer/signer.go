package sequencer

import (
	"crypto/ed25519"
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"golang.org/x/mod/sumdb/note"
)

// signer signs checkpoints with the log's key (C2SP signed-note, type 0x01). The library gives the signatures that crypto/ed25519
// gives, in half the time: each single insert waits for one.
type signer struct {
	note.Verifier // of the same key: its name and its number are the signatures'
	key           voi.PrivateKey
}

func newSigner(origin string, key ed25519.PrivateKey) (signer, error) {
	public, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return signer{}, fmt.Errorf("sequencer: %q cannot be an origin: %w", origin, err)
	}
	v, err := note.NewVerifier(public)
	return signer{v, voi.PrivateKey(key)}, err
}

func (s signer) Sign(message []byte) ([]byte, error) { return voi.Sign(s.key, message), nil }
