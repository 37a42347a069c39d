package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

// Tools of a member that does not keep to the rules: it has the keys of the group and signs whatever it likes.

// requireRule expects an *InvalidError that names the rule, so that a test cannot pass because something else was wrong.
func requireRule(t *testing.T, err error, rule string) {
	t.Helper()
	var inv *InvalidError
	require.ErrorAs(t, err, &inv)
	require.Contains(t, inv.Rule, rule)
}

// forgeMessage signs content as p does and gives it a right membership tag. change is made before that.
func forgeMessage(p *party, kind ContentType, change func(*authenticatedContent)) []byte {
	a := p.g.content(kind, nil)
	a.wireFormat = WirePublicMessage
	if kind == ContentCommit {
		a.confirmationTag = make([]byte, 32)
	}
	change(a)
	context := marshal(&p.g.context)
	a.sign(p.signer, context)
	return marshal(&Message{wireFormat: WirePublicMessage, public: p.g.suite.protectPublic(a, p.g.secrets.membership, context)})
}

func forgeCommit(p *party, c *commit) []byte {
	return forgeMessage(p, ContentCommit, func(a *authenticatedContent) { a.content.commit = c })
}

func byValue(list ...Proposal) []proposalOrRef {
	var out []proposalOrRef
	for i := range list {
		out = append(out, proposalOrRef{proposal: &list[i]})
	}
	return out
}

// forgePath makes a commit of p with a path that change has spoilt. Unless change does it, the leaf is signed again, with the
// parent hash that belongs to the spoilt nodes.
func forgePath(t *testing.T, p *party, list []Proposal, change func(*newPath, *ratchetTree)) []byte {
	var stored []storedProposal
	for _, v := range list {
		stored = append(stored, storedProposal{sender: p.g.own, proposal: v})
	}
	c, err := p.g.applyProposals(stored, p.g.own, testNow)
	require.NoError(t, err)
	path, err := c.tree.makePath(rand.Reader, p.g.own, *p.g.tree.leaf(p.g.own), p.signer, p.g.context.groupID)
	require.NoError(t, err)
	provisional := p.g.nextContext(c, p.g.context.confirmed)
	require.NoError(t, path.encrypt(rand.Reader, c.tree, marshal(&provisional), c.added))
	change(path, c.tree)
	return forgeCommit(p, &commit{byValue(list...), &path.path})
}

// resign gives the path's leaf the parent hash of its nodes and a signature.
func (p *party) resign(path *newPath, tree *ratchetTree) {
	path.path.leaf.ParentHash = tree.clone().setPath(path.steps, path.path.nodes)
	path.path.leaf.sign(p.signer, p.g.context.groupID, p.g.own)
}

func rawPlaintext(a *authenticatedContent) []byte {
	return build(func(b *cryptobyte.Builder) {
		a.content.addBody(b)
		a.addAuth(b)
	})
}

// sealRaw encrypts a plaintext of any shape as a PrivateMessage of p.
func sealRaw(t *testing.T, p *party, kind ContentType, plaintext func(*authenticatedContent) []byte) []byte {
	g := p.g
	a := g.content(kind, nil)
	a.wireFormat = WirePrivateMessage
	m := &privateMessage{groupID: g.context.groupID, epoch: g.context.epoch, contentType: kind}
	r, err := g.messages.of(g.own, kind.ratchet())
	require.NoError(t, err)
	data := senderData{leaf: g.own, generation: r.next}
	key := r.step(g.suite)
	m.ciphertext, err = g.suite.sealMessage(key.guarded(data.guard), build(m.addAAD), plaintext(a))
	require.NoError(t, err)
	m.encryptedSenderData, err = g.suite.sealMessage(g.suite.senderDataKey(g.secrets.senderData, m.ciphertext), build(m.addHeader), marshal(&data))
	require.NoError(t, err)
	return marshal(&Message{wireFormat: WirePrivateMessage, private: m})
}

// reWelcome opens the Welcome of p's pending commit with the newcomer's keys and makes it anew, spoilt and signed by p.
func reWelcome(t *testing.T, p *party, kp *KeyPackageSecret, change func(*groupInfo)) []byte {
	return reWelcomeWith(t, p, kp, func(i *groupInfo, _ *groupSecrets) {
		change(i)
		i.signature = p.signer.signWithLabel("GroupInfoTBS", build(i.addUnsigned))
	})
}

func reWelcomeWith(t *testing.T, p *party, kp *KeyPackageSecret, change func(*groupInfo, *groupSecrets)) []byte {
	s := p.g.suite
	w := parsed(t, p.g.pending.welcome).welcome
	secrets, err := w.open(s, kp)
	require.NoError(t, err)
	member := s.member(secrets.joiner, make([]byte, s.nh))
	info, err := w.openInfo(s, member)
	require.NoError(t, err)
	change(info, secrets)
	key, nonce := s.welcomeKey(member)
	sealed, err := s.sealMessage(messageKey{key, nonce}, nil, marshal(info))
	require.NoError(t, err)
	ct, err := s.sealWithLabel(rand.Reader, kp.public.InitKey, "Welcome", sealed, marshal(secrets))
	require.NoError(t, err)
	again := &welcome{s.id, []encryptedGroupSecrets{{kp.public.Ref(), ct}}, sealed}
	return marshal(&Message{wireFormat: WireWelcome, welcome: again})
}
