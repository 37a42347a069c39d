package federation

import (
	"crypto/ed25519"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// Ed25519KeyID of an actor's second HTTP signature key, for RFC 9421 between sidecars.
func Ed25519KeyID(actor string) string { return actor + "#ed25519-key" }

const maxMultikeys = 4 // that are kept of one actor; what is kept of a stranger's document must be small

// actorKey is an Ed25519 key of an actor.
type actorKey struct {
	id     string
	public ed25519.PublicKey
}

// multikeyDocument is a Multikey (FEP-521a).
type multikeyDocument struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Controller string `json:"controller"`
	Key        string `json:"publicKeyMultibase"`
}

func newMultikey(actor string, key ed25519.PublicKey) multikeyDocument {
	return multikeyDocument{Ed25519KeyID(actor), "Multikey", actor, encodeMultikey(key)}
}

// parseMultikeys takes the Ed25519 keys out of an actor's assertionMethod. What it cannot use it leaves out: others have keys of
// many kinds there, or the names of keys elsewhere.
func parseMultikeys(raw json.RawMessage, actor string) (keys []actorKey) {
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil {
		many = []json.RawMessage{raw}
	}
	for _, one := range many {
		var doc multikeyDocument
		if json.Unmarshal(one, &doc) != nil || doc.Type != "Multikey" || doc.Controller != actor || len(doc.ID) > 2048 || !strings.HasPrefix(doc.ID, actor+"#") {
			continue
		}
		if key, ok := decodeMultikey(doc.Key); ok && len(keys) < maxMultikeys {
			keys = append(keys, actorKey{doc.ID, key})
		}
	}
	return keys
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

const maxMultikey = 64 // characters; one of Ed25519 has 48

var multicodecEd25519 = []byte{0xed, 0x01}

// encodeMultikey writes a key as base58btc of multicodec and key. The codec's first byte is not zero, so the number is all there is.
func encodeMultikey(key ed25519.PublicKey) string {
	n, radix, digit := new(big.Int).SetBytes(slices.Concat(multicodecEd25519, key)), big.NewInt(58), new(big.Int)
	var digits []byte
	for n.Sign() > 0 {
		n.DivMod(n, radix, digit)
		digits = append(digits, base58[digit.Int64()])
	}
	slices.Reverse(digits)
	return "z" + string(digits)
}

func decodeMultikey(s string) (ed25519.PublicKey, bool) {
	digits, ok := strings.CutPrefix(s, "z")
	if !ok || len(s) > maxMultikey {
		return nil, false
	}
	n, radix := new(big.Int), big.NewInt(58)
	for _, c := range []byte(digits) {
		d := strings.IndexByte(base58, c)
		if d < 0 {
			return nil, false
		}
		n.Add(n.Mul(n, radix), big.NewInt(int64(d)))
	}
	raw := n.Bytes()
	if len(raw) != len(multicodecEd25519)+ed25519.PublicKeySize || raw[0] != multicodecEd25519[0] || raw[1] != multicodecEd25519[1] {
		return nil, false
	}
	key := ed25519.PublicKey(raw[2:])
	return key, encodeMultikey(key) == s
}
