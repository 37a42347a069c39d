package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// JoinParams is what a newcomer brings.
type JoinParams struct {
	KeyPackage  *KeyPackageSecret
	Signer      *SignatureKey
	RatchetTree []byte // if the Welcome does not carry it
	PSKs        PSKs   // if it is made with pre-shared keys
	From        *Group // the group that the new one re-initializes or branches off from
}

// StagedJoin is a Welcome that checks out. Whether its members are who they say is for the caller to decide before it
// takes the group.
type StagedJoin struct {
	group      *Group
	adder      leafIndex
	extensions []Extension
}

// Members of the group, ourselves among them.
func (j *StagedJoin) Members() []Member { return j.group.Members() }

// Adder signed the Welcome's GroupInfo.
func (j *StagedJoin) Adder() Member {
	m, _ := j.group.Member(uint32(j.adder))
	return m
}

// GroupInfoExtensions are what the adder put into the Welcome besides the tree, for newcomers only.
func (j *StagedJoin) GroupInfoExtensions() []Extension {
	return slices.DeleteFunc(slices.Clone(j.extensions), func(e Extension) bool { return e.Type == extensionRatchetTree })
}

// Group takes the group.
func (j *StagedJoin) Group() *Group { return j.group }

// JoinWelcome opens a Welcome (section 12.4.3.1) for a key package of ours and checks the whole tree.
func JoinWelcome(m *Message, p JoinParams) (*StagedJoin, error) {
	if m == nil || p.KeyPackage == nil || p.KeyPackage.public == nil {
		return nil, argument("joining without a welcome or a key package")
	}
	if m.wireFormat != WireWelcome {
		return nil, invalid("wire format %d is not a Welcome", m.wireFormat)
	}
	s, err := m.welcome.suite.suite()
	if err != nil {
		return nil, err
	}
	if p.KeyPackage.public.Suite != s.id {
		return nil, invalid("welcome is of another suite than the key package (12.4.3.1)")
	}
	if err := s.checkSigner(p.Signer); err != nil {
		return nil, err
	}
	secrets, err := m.welcome.open(s, p.KeyPackage)
	if err != nil {
		return nil, err
	}
	psk, resumed, err := secrets.pskSecret(s, p)
	if err != nil {
		return nil, err
	}
	member := s.member(secrets.joiner, psk)
	info, err := m.welcome.openInfo(s, member)
	if err != nil {
		return nil, err
	}
	tree, err := info.tree(s, p.RatchetTree)
	if err != nil {
		return nil, err
	}
	if resumed != nil {
		if err := p.From.checkSuccessor(resumed, &info.context, tree); err != nil {
			return nil, err
		}
	}
	own, err := tree.find(&p.KeyPackage.public.Leaf)
	if err != nil {
		return nil, err
	}
	g := &Group{suite: s, context: info.context, tree: tree, own: own, signer: p.Signer, private: privateKeys{own.node(): p.KeyPackage.leafPriv}, psks: p.PSKs}
	if !bytes.Equal(p.Signer.Public(), p.KeyPackage.public.Leaf.SignatureKey) {
		return nil, invalid("signature key is not that of the key package")
	}
	if err := g.takePathSecret(secrets.pathSecret, info.signer); err != nil {
		return nil, err
	}
	g.startEpoch(s.epoch(member, marshal(&g.context)))
	if !s.checkMAC(g.secrets.confirmation, g.context.confirmed, info.confirmationTag) {
		return nil, invalid("confirmation tag of a welcome (12.4.3.1)")
	}
	g.interim = s.interimTranscript(g.context.confirmed, info.confirmationTag)
	return &StagedJoin{g, info.signer, info.extensions}, nil
}

// pskSecret of the keys that the Welcome names, and the one of them that says which group this one comes from.
func (g *groupSecrets) pskSecret(s *suite, p JoinParams) (secret []byte, resumed *preSharedKeyID, err error) {
	if len(g.psks) > maxPSKs {
		return nil, nil, invalid("more than %d pre-shared keys in a welcome", maxPSKs)
	}
	seen := map[string]bool{}
	for i := range g.psks {
		k := &g.psks[i]
		if err := s.checkPSK(k, seen, k.Usage); err != nil {
			return nil, nil, err
		}
		if k.external || k.Usage == ResumptionApplication {
			continue
		}
		if resumed != nil || p.From == nil {
			return nil, nil, invalid("welcome to a group that comes from another one, which was not named (11.2, 11.3)")
		}
		resumed = k
	}
	secret, err = s.pskSecret(g.psks, func(k *preSharedKeyID) ([]byte, bool) {
		if p.From != nil {
			if psk, ok := p.From.findPSK(k); ok {
				return psk, true
			}
		}
		if p.PSKs == nil {
			return nil, false
		}
		return p.PSKs(k.PSK)
	})
	return secret, resumed, err
}

// open finds and opens the secrets for our key package.
func (w *welcome) open(s *suite, kp *KeyPackageSecret) (*groupSecrets, error) {
	ref := kp.public.Ref()
	for _, e := range w.secrets {
		if !bytes.Equal(e.newMember, ref) {
			continue
		}
		plain, err := s.openWithLabel(kp.initPriv, "Welcome", w.encryptedGroupInfo, e.secrets)
		if err != nil {
			return nil, err
		}
		secrets := new(groupSecrets)
		return secrets, unmarshal(plain, secrets, "group secrets")
	}
	return nil, fmt.Errorf("mls: opening a welcome: %w", errNotForUs)
}

func (w *welcome) openInfo(s *suite, member memberSecret) (*groupInfo, error) {
	key, nonce := s.welcomeKey(member)
	plain, err := s.openMessage(messageKey{key, nonce}, nil, w.encryptedGroupInfo)
	if err != nil {
		return nil, err
	}
	info := new(groupInfo)
	if err := unmarshal(plain, info, "group info"); err != nil {
		return nil, err
	}
	if info.context.suite != s.id {
		return nil, invalid("group info is of another suite (12.4.3.1)")
	}
	return info, nil
}

// tree takes the ratchet tree from the extension or from outside, and checks it and the signature of the GroupInfo
// against it. Neither check depends on where the tree came from.
func (i *groupInfo) tree(s *suite, outside []byte) (*ratchetTree, error) {
	data, ok := findExtension(i.extensions, extensionRatchetTree)
	if !ok {
		data = outside
	}
	if data == nil {
		return nil, invalid("welcome without a ratchet tree (12.4.3.3)")
	}
	t, err := parseTree(s, data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(t.treeHash(), i.context.treeHash) {
		return nil, invalid("tree hash of a welcome (12.4.3.1)")
	}
	if err := i.checkAppData(); err != nil {
		return nil, err
	}
	signer := t.leaf(i.signer)
	if signer == nil || !s.verifyWithLabel(signer.SignatureKey, "GroupInfoTBS", build(i.addUnsigned), i.signature) {
		return nil, invalid("signature of a group info (12.4.3.1)")
	}
	return t, t.check(i.context.groupID, i.context.extensions)
}

func (i *groupInfo) checkAppData() error {
	if err := checkAppData(i.extensions); err != nil {
		return err
	}
	return checkGroupData(i.context.extensions)
}

// find our own leaf, which must stand in the tree as we made it.
func (t *ratchetTree) find(leaf *LeafNode) (leafIndex, error) {
	for i := leafIndex(0); uint32(i) < t.leaves(); i++ {
		if l := t.leaf(i); l != nil && bytes.Equal(l.SignatureKey, leaf.SignatureKey) && l.equal(leaf) {
			return i, nil
		}
	}
	return 0, invalid("our leaf is not in the tree of a welcome (12.4.3.1)")
}

// takePathSecret derives the keys above us and the committer, if the commit had a path.
func (g *Group) takePathSecret(secret []byte, from leafIndex) error {
	if secret == nil {
		return nil
	}
	steps := g.tree.filteredPath(from)
	for i, st := range steps {
		if !st.node.covers(g.own) {
			continue
		}
		for _, above := range steps[i:] {
			if g.tree.nodes[above.node].blank() {
				return invalid("path secret of a welcome for a blank node (12.4.3.1)")
			}
		}
		keys, _, err := g.tree.derivePath(steps[i:], secret)
		if err != nil {
			return err
		}
		for x, key := range keys {
			g.private[x] = key
		}
		return nil
	}
	return invalid("path secret of a welcome that does not reach us (12.4.3.1)")
}
