package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// The doors by which somebody comes in, or looks in, from outside: each takes bytes of whoever likes to send them.

// FuzzObserve: a GroupInfo of anybody, as it came and signed by a member, and the tree beside it.
func FuzzObserve(f *testing.F) {
	alice := newGroup(f, WirePublicMessage, "alice", "bob", "carol")[0]
	for _, withTree := range []bool{true, false} {
		raw, err := alice.g.GroupInfo(withTree)
		require.NoError(f, err)
		f.Add(raw, alice.g.RatchetTree())
	}
	eve := newParty(f, "eve")
	k := eve.params()
	f.Fuzz(func(t *testing.T, raw, tree []byte) {
		m, err := ParseMessage(raw)
		if err != nil || m.groupInfo == nil {
			return
		}
		for range 2 {
			o, err := Observe(m, tree)
			j, joinErr := JoinExternal(rand.Reader, m, ExternalJoinParams{
				Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities, RatchetTree: tree,
			})
			if err != nil {
				require.Error(t, joinErr, "who may not look may come in")
			} else {
				require.NotEmpty(t, o.Members())
			}
			if joinErr == nil {
				_, err := UnmarshalGroup(j.Group().Marshal())
				require.NoError(t, err)
				c, err := o.Process(parsed(t, j.Message()), testNow)
				require.NoError(t, err, "what we make others accept")
				require.Equal(t, eve.signer.Public(), c.Committer.Node.SignatureKey)
			}
			m.groupInfo.signature = alice.signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
		}
	})
}

// FuzzObserver: whoever watches is handed anything, also signed by a member gone bad. What it refuses leaves no trace.
func FuzzObserver(f *testing.F) {
	all := newGroup(f, WirePublicMessage, "alice", "bob", "carol")
	o := all[0].observer()
	for _, m := range seedMessagesOf(all[1]) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, message := range [][]byte{raw, authenticated(t, all[2], raw)} {
			m, err := ParseMessage(message)
			if err != nil {
				continue
			}
			g := *o.g
			watcher := &Observer{g: &g}
			c, err := watcher.Process(m, testNow)
			if err != nil {
				require.Equal(t, o.g.context, watcher.g.context)
				require.Equal(t, o.g.proposals, watcher.g.proposals)
				require.Same(t, o.g.tree, watcher.g.tree)
			} else if c != nil {
				require.NoError(t, watcher.Apply(c))
				require.Equal(t, o.Epoch()+1, watcher.Epoch())
			}
		}
	})
}

// FuzzJoinWelcome: a Welcome whose inside is anything, well encrypted to us and signed by a member.
func FuzzJoinWelcome(f *testing.F) {
	all := newGroup(f, WirePrivateMessage, "alice", "bob", "carol")
	alice, eve := all[0], newParty(f, "eve")
	kp := eve.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
	s := alice.g.suite
	w := parsed(f, alice.g.pending.welcome).welcome
	secrets, err := w.open(s, kp)
	require.NoError(f, err)
	info, err := w.openInfo(s, s.member(secrets.joiner, make([]byte, s.nh)))
	require.NoError(f, err)
	f.Add(marshal(info), marshal(secrets), false)
	f.Add(marshal(info), marshal(secrets), true)
	f.Add(marshal(info), marshal(&groupSecrets{joiner: secrets.joiner}), true)
	f.Fuzz(func(t *testing.T, rawInfo, rawSecrets []byte, sign bool) {
		var i groupInfo
		if sign && unmarshal(rawInfo, &i, "group info") == nil {
			i.signature = alice.signer.signWithLabel("GroupInfoTBS", build(i.addUnsigned))
			rawInfo = marshal(&i)
		}
		joiner := secrets.joiner
		var g groupSecrets
		if unmarshal(rawSecrets, &g, "secrets") == nil {
			joiner = g.joiner
		}
		key, nonce := s.welcomeKey(s.member(joiner, make([]byte, s.nh)))
		sealed, err := s.sealMessage(messageKey{key, nonce}, nil, rawInfo)
		require.NoError(t, err)
		ct, err := s.sealWithLabel(rand.Reader, kp.public.InitKey, "Welcome", sealed, rawSecrets)
		require.NoError(t, err)
		m := &Message{wireFormat: WireWelcome, welcome: &welcome{s.id, []encryptedGroupSecrets{{kp.public.Ref(), ct}}, sealed}}
		j, err := JoinWelcome(parsed(t, m.Marshal()), JoinParams{KeyPackage: kp, Signer: eve.signer, From: all[1].g})
		if err != nil {
			return
		}
		require.NotEmpty(t, j.Adder().Node.SignatureKey)
		again, err := UnmarshalGroup(j.Group().Marshal())
		require.NoError(t, err)
		require.Equal(t, j.Group().EpochAuthenticator(), again.EpochAuthenticator())
	})
}

// FuzzStoredSecret: what was stored has been changed. Who joins with it gets an error, or joins.
func FuzzStoredSecret(f *testing.F) {
	alice, eve := newParty(f, "alice"), newParty(f, "eve")
	alice.create()
	kp := eve.keyPackage()
	welcome := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}}).Welcome()
	f.Add(kp.Marshal())
	f.Add(marshal(&KeyPackageSecret{kp.public, nil, nil}))
	f.Add(marshal(&KeyPackageSecret{kp.public, kp.initPriv[1:], kp.leafPriv}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		stored, err := UnmarshalKeyPackageSecret(raw)
		if err != nil {
			return
		}
		_ = stored.KeyPackage().Verify(testNow)
		j, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: stored, Signer: eve.signer})
		if err == nil {
			require.Len(t, j.Members(), 2)
		}
	})
}

// FuzzSignatureKey: private keys come out of stores, too.
func FuzzSignatureKey(f *testing.F) {
	for id := range uint16(9) {
		for _, n := range []int{0, 31, 32, 33, 48, 57, 66, 67} {
			f.Add(id, make([]byte, n))
		}
	}
	f.Fuzz(func(t *testing.T, id uint16, raw []byte) {
		key, err := NewSignatureKey(CipherSuite(id), raw)
		if err != nil {
			return
		}
		require.Equal(t, raw, key.Private())
		s, err := CipherSuite(id).suite()
		require.NoError(t, err)
		require.True(t, s.verifyWithLabel(key.Public(), "l", raw, key.signWithLabel("l", raw)))
	})
}
