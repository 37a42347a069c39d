package mls

import (
	"crypto/hmac"

	"golang.org/x/crypto/cryptobyte"
)

// Section 5: hashes and MACs. What opens ciphertexts is in hpke.go.

func (s *suite) digest(data ...[]byte) []byte {
	h := s.hash.New()
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

func (s *suite) mac(key, data []byte) []byte {
	m := hmac.New(s.hash.New, key)
	m.Write(data)
	return m.Sum(nil)
}

// checkMAC compares in constant time, and only tags of the full length.
func (s *suite) checkMAC(key, data, tag []byte) bool {
	return len(tag) == s.nh && hmac.Equal(s.mac(key, data), tag)
}

// refHash is RefHash of section 5.2.
func (s *suite) refHash(label string, value []byte) []byte {
	return s.digest(build(func(b *cryptobyte.Builder) {
		addOpaque(b, []byte(label))
		addOpaque(b, value)
	}))
}
