package mls

import "crypto/sha3"

// The experimental suite: X-Wing, the hybrid of ML-KEM-768 and X25519, in the place of the Diffie-Hellman KEM. Who records messages
// today and has a quantum computer one day does not read them; signatures are as they were. It is the second suite of
// draft-ietf-mls-pq-ciphersuites-06, which has no number yet: ours is of the range for private use, and members of other
// implementations, some of which give suites of their own making numbers like 0x004D, will not know it. When the draft has a number
// this one goes.

// MLKEM768X25519AES256GCMSHA384Ed25519 is experimental: no state that is to last and no group with others should depend on it.
const MLKEM768X25519AES256GCMSHA384Ed25519 CipherSuite = 0xF47A

const (
	kemXWing          = 0x647a // KEM of RFC 9180's registry
	mlkem768Key       = 1184   // bytes of an ML-KEM-768 encapsulation key
	mlkem768KeyCoeffs = 1152   // of which are coefficients, two in three bytes
	mlkemModulus      = 3329
)

// xwingSeed is DeriveKeyPair of draft-ietf-hpke-pq, whose private keys are seeds of 32 bytes that X-Wing itself expands: the
// SHAKE256 of the secret, "HPKE-v1", the KEM's name, and label, length and context of what is derived (LabeledDerive). Older drafts
// of X-Wing and libraries after them take the plain SHAKE256 of the secret, which gives other keys.
func xwingSeed(secret []byte) []byte {
	h := sha3.NewSHAKE256()
	for _, part := range [][]byte{secret, []byte("HPKE-v1KEM"), {kemXWing >> 8, kemXWing & 0xff}, {0, 13}, []byte("DeriveKeyPair"), {0, 32}} {
		_, _ = h.Write(part) // a hash takes everything
	}
	seed := make([]byte, 32)
	_, _ = h.Read(seed)
	return seed
}

// usableXWing holds for keys that every implementation encrypts to: the ML-KEM half has no coefficient beyond the modulus (FIPS 203
// section 7.2), and the X25519 half is not of small order, which would leave ML-KEM alone and which some refuse.
func usableXWing(key []byte) bool {
	for i := 0; i < mlkem768KeyCoeffs; i += 3 {
		a := int(key[i]) | int(key[i+1]&0x0f)<<8
		b := int(key[i+1]>>4) | int(key[i+2])<<4
		if a >= mlkemModulus || b >= mlkemModulus {
			return false
		}
	}
	return usable25519(key[mlkem768Key:])
}

// checkKEMOutput is checkPublicKey for what came out of an encryption: of the Diffie-Hellman KEMs a public key, too. X-Wing's begins
// with a ciphertext of ML-KEM, of which any is as good as any other.
func (s *suite) checkKEMOutput(what string, output []byte) error {
	if s.id != MLKEM768X25519AES256GCMSHA384Ed25519 {
		return s.checkPublicKey(what, output)
	}
	if len(output) != s.nenc {
		return invalid("%s of %d bytes (5.1.1)", what, len(output))
	}
	if !usable25519(output[s.nenc-32:]) {
		return invalid("%s that nothing can be encrypted to (RFC 9180 7.1.4)", what)
	}
	return nil
}
