package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComponentLabel(t *testing.T) {
	require.Equal(t, "\x0dMLS Component\x80\x01\x05hello", componentLabel(journal, "hello"))
}

func TestSafeSign(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	text := []byte("text")
	sig := alice.g.SafeSign(journal, "label", text)
	require.True(t, bob.g.SafeVerify(leafOf(alice), journal, "label", text, sig))
	require.False(t, bob.g.SafeVerify(leafOf(alice), counter, "label", text, sig), "another component")
	require.False(t, bob.g.SafeVerify(leafOf(alice), journal, "other", text, sig), "another label")
	require.False(t, bob.g.SafeVerify(leafOf(alice), journal, "label", nil, sig), "another text")
	require.False(t, bob.g.SafeVerify(leafOf(bob), journal, "label", text, sig), "another member")
	require.False(t, bob.g.SafeVerify(7, journal, "label", text, sig), "nobody")
	require.False(t, bob.g.suite.verifyWithLabel(alice.signer.Public(), "label", text, sig), "nothing of MLS")
}

func TestSafeEncrypt(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	text, context := []byte("text"), []byte("context")
	kem, ct, err := alice.g.SafeEncrypt(rand.Reader, leafOf(bob), journal, "label", context, text)
	require.NoError(t, err)
	got, err := bob.g.SafeDecrypt(journal, "label", context, kem, ct)
	require.NoError(t, err)
	require.Equal(t, text, got)
	for _, try := range []func() ([]byte, error){
		func() ([]byte, error) { return bob.g.SafeDecrypt(counter, "label", context, kem, ct) },
		func() ([]byte, error) { return bob.g.SafeDecrypt(journal, "other", context, kem, ct) },
		func() ([]byte, error) { return bob.g.SafeDecrypt(journal, "label", nil, kem, ct) },
		func() ([]byte, error) { return bob.g.SafeDecrypt(journal, "label", context, kem[1:], ct) },
		func() ([]byte, error) { return bob.g.SafeDecrypt(journal, "label", context, nil, nil) },
		func() ([]byte, error) { return carol.g.SafeDecrypt(journal, "label", context, kem, ct) },
	} {
		_, err := try()
		require.ErrorIs(t, err, ErrDecrypt)
	}
	_, _, err = alice.g.SafeEncrypt(rand.Reader, 9, journal, "label", nil, text)
	require.Error(t, err)
	spread(bob, CommitParams{}, alice, carol)
	_, err = bob.g.SafeDecrypt(journal, "label", context, kem, ct)
	require.ErrorIs(t, err, ErrDecrypt, "the key went with the commit")
}

// A pre-shared key of a component is another one than the key of that name of nobody or of another component.
func TestComponentPSK(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	know := func(k PSK) ([]byte, bool) {
		return []byte("secret"), bytes.Equal(k.ID, []byte("id")) && (k.Component == journal || k.Component == 0)
	}
	for _, p := range all {
		p.psks = know
		p.reload()
	}
	authenticators := map[string]bool{}
	for _, c := range []ComponentID{journal, 0} {
		p, err := alice.g.PSKProposal(rand.Reader, PSK{ID: []byte("id"), Component: c})
		require.NoError(t, err)
		spread(alice, CommitParams{Proposals: []Proposal{p}}, bob)
		agree(t, all...)
		authenticators[string(alice.g.EpochAuthenticator())] = true
	}
	p, err := alice.g.PSKProposal(rand.Reader, PSK{ID: []byte("id"), Component: counter})
	require.NoError(t, err)
	require.ErrorIs(t, alice.appCommit(CommitParams{}, p), ErrUnknownPSK)
	require.Equal(t, []byte{0, 4, 3, 0x80, 2, 2, 'i', 'd', 32}, marshal(&p)[:9])
	nonce := make([]byte, 33)
	nonce[0] = 32
	require.ErrorIs(t, unmarshal(append([]byte{3, 0, 0, 0}, nonce...), new(preSharedKeyID), "a key"), errSyntax, "component 0 is reserved")
	s := alice.g.suite
	secretOf := func(c ComponentID) []byte {
		k := preSharedKeyID{PSK: PSK{ID: []byte("id"), Component: c}, external: true, nonce: nonce[1:]}
		secret, err := s.pskSecret([]preSharedKeyID{k}, func(*preSharedKeyID) ([]byte, bool) { return []byte("secret"), true })
		require.NoError(t, err)
		return secret
	}
	require.NotEqual(t, secretOf(0), secretOf(journal))
	require.NotEqual(t, secretOf(counter), secretOf(journal))
}
