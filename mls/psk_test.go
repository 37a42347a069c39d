package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVectorsPSKSecret(t *testing.T) {
	type tc struct {
		Suite CipherSuite `json:"cipher_suite"`
		PSKs  []struct {
			ID    hexBytes `json:"psk_id"`
			PSK   hexBytes
			Nonce hexBytes `json:"psk_nonce"`
		}
		Secret hexBytes `json:"psk_secret"`
	}
	eachVector(t, "psk_secret.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, err := c.Suite.suite()
		require.NoError(t, err)
		var ids []preSharedKeyID
		for _, p := range c.PSKs {
			ids = append(ids, preSharedKeyID{PSK: PSK{ID: p.ID}, external: true, nonce: p.Nonce})
		}
		next := 0
		got, err := s.pskSecret(ids, func(*preSharedKeyID) ([]byte, bool) { next++; return c.PSKs[next-1].PSK, true })
		require.NoError(t, err)
		require.EqualValues(t, c.Secret, got)
	})
}

// shared is a PSKs that knows one secret.
func shared(id, secret string) PSKs {
	return func(k PSK) ([]byte, bool) { return []byte(secret), string(k.ID) == id }
}

func TestExternalPSK(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	alice.psks, bob.psks, carol.psks = shared("door", "knock"), shared("door", "knock"), shared("door", "another knock")
	dave := newParty(t, "dave")
	dave.psks = alice.psks
	for _, p := range all {
		p.reload()
	}
	proposal, err := alice.g.PSKProposal(rand.Reader, PSK{ID: []byte("door")})
	require.NoError(t, err)
	kp := dave.keyPackage()
	p := alice.commit(CommitParams{Proposals: []Proposal{proposal, AddProposal(kp.KeyPackage())}})
	require.Nil(t, parsed(t, p.Welcome()).welcome.pathSecretOf(t, dave, kp), "neither proposal needs a path")
	alice.confirm()
	bob.apply(p.Message())
	dave.join(kp, p.Welcome())
	agree(t, alice, bob, dave)
	_, err = carol.process(p.Message())
	requireRule(t, err, "confirmation tag") // her secret is another one, which is all that anybody can tell
	carol.psks = nil
	carol.reload()
	_, err = carol.process(p.Message())
	require.ErrorIs(t, err, ErrUnknownPSK)
	_, err = JoinWelcome(parsed(t, p.Welcome()), JoinParams{KeyPackage: kp, Signer: dave.signer})
	require.ErrorIs(t, err, ErrUnknownPSK)
	_, err = JoinWelcome(parsed(t, p.Welcome()), JoinParams{KeyPackage: kp, Signer: dave.signer, PSKs: shared("door", "x")})
	require.ErrorIs(t, err, ErrDecrypt)
	carol.psks = alice.psks
	carol.reload()
	carol.apply(p.Message())
	agree(t, alice, carol)
}

// pathSecretOf is what a welcome gives a newcomer of the committer's path.
func (w *welcome) pathSecretOf(t *testing.T, p *party, kp *KeyPackageSecret) []byte {
	secrets, err := w.open(suites[p.suite], kp)
	require.NoError(t, err)
	return secrets.pathSecret
}

func TestResumptionPSK(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	first := alice.g.Epoch()
	for range maxResumptions {
		p := alice.commit(CommitParams{})
		alice.confirm()
		bob.apply(p.Message())
	}
	for _, epoch := range []uint64{first, alice.g.Epoch() - 1, alice.g.Epoch()} {
		proposal, err := bob.g.PSKProposal(rand.Reader, PSK{Usage: ResumptionApplication, GroupID: bob.g.GroupID(), Epoch: epoch})
		require.NoError(t, err)
		p := bob.commit(CommitParams{Proposals: []Proposal{proposal}})
		bob.confirm()
		alice.apply(p.Message())
		agree(t, alice, bob)
	}
	proposal, err := bob.g.PSKProposal(rand.Reader, PSK{Usage: ResumptionApplication, GroupID: bob.g.GroupID(), Epoch: first})
	require.NoError(t, err)
	before := bob.g.Marshal()
	_, err = bob.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{proposal}, Now: testNow})
	require.ErrorIs(t, err, ErrUnknownPSK, "secrets older than %d epochs are forgotten", maxResumptions)
	bob.requireSame(before)
}

func TestPSKRules(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	alice.psks, bob.psks = shared("a", "x"), shared("a", "x")
	alice.reload()
	bob.reload()
	external := func(id string, nonce int) Proposal {
		return Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: PSK{ID: []byte(id)}, external: true, nonce: make([]byte, nonce)}}
	}
	branch := Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: PSK{Usage: ResumptionBranch, GroupID: []byte("g")}, nonce: make([]byte, 32)}}
	reinit := Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: PSK{Usage: ResumptionReInit, GroupID: []byte("g")}, nonce: make([]byte, 32)}}
	many := make([]Proposal, maxPSKs+1)
	for i := range many {
		many[i] = external(string(rune('a'+i)), 32)
	}
	for name, c := range map[string][]Proposal{
		"M73 short nonce":       {external("a", 31)},
		"M73 empty nonce":       {external("a", 0)},
		"M73 long nonce":        {external("a", 33)},
		"M75 the same twice":    {external("a", 32), external("a", 32)},
		"M74 branch":            {branch},
		"M74 re-initialization": {reinit},
		"M62 too many":          many,
	} {
		t.Run(name, func(t *testing.T) {
			refusedCommit(t, alice, bob, c...)
			if len(c) <= maxRefsOfOne {
				refusedReferences(t, alice, alice, bob, c...)
			}
			refusedToMake(t, alice, c...)
		})
	}
}
