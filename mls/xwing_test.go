package mls

import (
	"bytes"
	stdhpke "crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors of draft-ietf-hpke-pq for this KEM: what DeriveKeyPair makes of ikmR, and the hash of the public key.
func TestXWingDerivesKeysAsTheDraftDoes(t *testing.T) {
	s := suites[MLKEM768X25519AES256GCMSHA384Ed25519]
	for _, v := range [][3]string{
		{"0379761fa4f6869592b0d1f9a71eb92b122dc030a7a8858132109f6b1a4bbde4", "b3f98b03126a431ccecc62ae0f68e102c2d8e1cc7b21ba85d821d8e31761e0f8",
			"120b60e0ae3c00c1c9def1c61aeb12de710bfa49646ae6f99a7e564b25ace493"},
		{"9ed657ed25ee70055f12f2f1cf6f93165e5a6760a7bf6d4c2d9d6028c482781c", "977e67dd1cb3cbe7d2ba07816bd3d3d00f9b57a1c69426a628f4a1ca5ecb49fc",
			"672edcd9fc7874e45fe644c88bdf42acda487160a407e592d7e39e08043ab641"},
	} {
		ikm, err := hex.DecodeString(v[0])
		require.NoError(t, err)
		public, private := s.deriveKeyPair(ikm)
		require.Equal(t, v[1], hex.EncodeToString(private))
		digest := sha256.Sum256(public)
		require.Equal(t, v[2], hex.EncodeToString(digest[:]))
	}
}

// Another implementation of X-Wing and of HPKE has the same keys and reads and writes the same ciphertexts.
func TestXWingAgreesWithTheStandardLibrary(t *testing.T) {
	s := suites[MLKEM768X25519AES256GCMSHA384Ed25519]
	kem, kdf, aead := stdhpke.MLKEM768X25519(), stdhpke.HKDFSHA384(), stdhpke.AES256GCM()
	for range 10 {
		secret, err := s.randomSecret(rand.Reader)
		require.NoError(t, err)
		require.Len(t, secret, 48)
		public, private := s.deriveKeyPair(secret)
		require.Len(t, public, s.npk)
		theirs, err := kem.DeriveKeyPair(secret)
		require.NoError(t, err)
		raw, err := theirs.Bytes()
		require.NoError(t, err)
		require.Equal(t, raw, private)
		require.Equal(t, theirs.PublicKey().Bytes(), public)

		text, context := []byte("text"), []byte("context")
		c, err := s.sealWithLabel(rand.Reader, public, "label", context, text)
		require.NoError(t, err)
		require.Len(t, c.kemOutput, s.nenc)
		receiver, err := stdhpke.NewRecipient(c.kemOutput, theirs, kdf, aead, signContent("label", context))
		require.NoError(t, err)
		got, err := receiver.Open(nil, c.ciphertext)
		require.NoError(t, err)
		require.Equal(t, text, got)
		enc, sender, err := stdhpke.NewSender(theirs.PublicKey(), kdf, aead, signContent("label", context))
		require.NoError(t, err)
		sealed, err := sender.Seal(nil, text)
		require.NoError(t, err)
		got, err = s.openWithLabel(private, "label", context, hpkeCiphertext{enc, sealed})
		require.NoError(t, err)
		require.Equal(t, text, got)

		init, err := s.sendInit(rand.Reader, public)
		require.NoError(t, err)
		receiver, err = stdhpke.NewRecipient(init.output, theirs, kdf, aead, nil)
		require.NoError(t, err)
		exported, err := receiver.Export(externalInitLabel, s.nh)
		require.NoError(t, err)
		require.Equal(t, exported, init.secret)
	}
}

// What is refused is what the standard library cannot use: keys by either half, KEM outputs by the X25519 one.
func TestXWingKeys(t *testing.T) {
	s := suites[MLKEM768X25519AES256GCMSHA384Ed25519]
	public, private := s.deriveKeyPair([]byte("secret"))
	decapsulation, err := stdhpke.MLKEM768X25519().NewPrivateKey(private)
	require.NoError(t, err)
	c, err := s.sealWithLabel(rand.Reader, public, "x", nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.checkKEMOutput("output", c.kemOutput))
	seal := func(key []byte) error {
		pk, err := stdhpke.MLKEM768X25519().NewPublicKey(key)
		if err == nil {
			_, _, err = stdhpke.NewSender(pk, stdhpke.HKDFSHA384(), stdhpke.AES256GCM(), nil)
		}
		return err
	}
	for point := range smallOrder25519 {
		bad := append(bytes.Clone(public[:mlkem768Key]), point[:]...)
		require.Error(t, seal(bad))
		requireRule(t, s.checkPublicKey("key", bad), "key that nothing can be encrypted to")
		output := append(bytes.Clone(c.kemOutput[:s.nenc-32]), point[:]...)
		_, err := stdhpke.NewRecipient(output, decapsulation, stdhpke.HKDFSHA384(), stdhpke.AES256GCM(), nil)
		require.Error(t, err)
		requireRule(t, s.checkKEMOutput("output", output), "output that nothing can be encrypted to")
	}
	for _, wrong := range [][]byte{nil, c.kemOutput[1:], append(bytes.Clone(c.kemOutput), 0), public} {
		requireRule(t, s.checkKEMOutput("output", wrong), "output of")
		_, err := s.openWithLabel(private, "x", nil, hpkeCiphertext{wrong, c.ciphertext})
		require.ErrorIs(t, err, ErrDecrypt)
		_, err = s.receiveInit(private, wrong)
		require.ErrorIs(t, err, ErrDecrypt)
	}
	for i := 0; i < mlkem768KeyCoeffs; i += 3 { // the largest coefficient there can be, and one more, in each half of each place
		for _, v := range []int{mlkemModulus - 1, mlkemModulus} {
			for half := range 2 {
				key := bytes.Clone(public)
				if half == 0 {
					key[i], key[i+1] = byte(v), key[i+1]&0xf0|byte(v>>8)
				} else {
					key[i+1], key[i+2] = key[i+1]&0x0f|byte(v<<4), byte(v>>4)
				}
				require.Equal(t, v < mlkemModulus, s.checkPublicKey("key", key) == nil)
				require.Equal(t, v < mlkemModulus, seal(key) == nil)
			}
		}
	}
}

// A group of several, whose messages are much larger than those of other suites, through both framings and a restart.
func TestXWingGroup(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		var all []*party
		var adds []Proposal
		var kps []*KeyPackageSecret
		for i, name := range names(9) {
			p := newPartyOf(t, MLKEM768X25519AES256GCMSHA384Ed25519, name)
			all = append(all, p)
			if i > 0 {
				kps = append(kps, p.keyPackage())
				adds = append(adds, AddProposal(kps[i-1].KeyPackage()))
			}
		}
		all[0].create()
		w := all[0].commit(CommitParams{Proposals: adds, ForcePath: true, Framing: f}).Welcome()
		all[0].confirm()
		for i, p := range all[1:] {
			p.join(kps[i], w)
		}
		for _, p := range all[:3] {
			spread(p, CommitParams{Framing: f}, without(all, p)...)
		}
		m, err := all[4].g.ProposeUpdate(rand.Reader, f, nil)
		require.NoError(t, err)
		all[4].reload()
		for _, p := range without(all, all[4]) {
			p.receiveProposal(m)
		}
		spread(all[5], CommitParams{Framing: f, Proposals: []Proposal{RemoveProposal(leafOf(all[1]))}}, without(all, all[5])...)
		agree(t, slices.Delete(slices.Clone(all), 1, 2)...)
	})
}

// Nothing offers the experimental suite by itself.
func TestXWingIsNotOffered(t *testing.T) {
	for cs := range suites {
		if cs != MLKEM768X25519AES256GCMSHA384Ed25519 {
			require.NotContains(t, newPartyOf(t, cs, "x").keyPackage().KeyPackage().Leaf.Capabilities.CipherSuites, MLKEM768X25519AES256GCMSHA384Ed25519)
		}
	}
}
