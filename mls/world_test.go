package mls

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testNow is the time of all tests; nothing here looks at a clock.
var testNow = time.Unix(1_800_000_000, 0)

const testExtension ExtensionType = 0xF7A1

// A party is one client. After every step what has changed is put with its other records, and the group is loaded from them: what
// is not stored is missing in the next step.
type party struct {
	t      require.TestingT
	name   string
	suite  CipherSuite
	signer *SignatureKey
	psks   PSKs
	leaves bool // knows self-removes
	framed bool // is in a group whose authenticated data is framed by component
	up     bool // goes on with the group that it has
	change func(*KeyPackageParams)

	appData AppDataUpdates
	g       *Group
	saved   *Group // what stored is of
	stored  records
}

func newParty(t require.TestingT, name string) *party {
	return newPartyOf(t, X25519AES128GCMSHA256Ed25519, name)
}

func newPartyOf(t require.TestingT, cs CipherSuite, name string) *party {
	signer, err := GenerateSignatureKey(cs, rand.Reader)
	require.NoError(t, err)
	return &party{t: t, name: name, suite: cs, signer: signer}
}

func (p *party) params() KeyPackageParams {
	k := p.plainParams()
	if p.leaves {
		k.Capabilities.Proposals = []ProposalType{ProposalSelfRemove}
	}
	if p.change != nil {
		p.change(&k)
	}
	return k
}

func (p *party) plainParams() KeyPackageParams {
	return KeyPackageParams{
		Suite: p.suite, Signer: p.signer, Credential: BasicCredential([]byte("https://a.example/users/" + p.name)),
		Capabilities: Capabilities{Extensions: []ExtensionType{testExtension}},
		Lifetime:     Lifetime{uint64(testNow.Unix()) - 3600, uint64(testNow.Unix()) + 30*86400},
	}
}

func (p *party) keyPackage() *KeyPackageSecret { return p.keyPackageWith(func(*KeyPackageParams) {}) }

func (p *party) keyPackageWith(change func(*KeyPackageParams)) *KeyPackageSecret {
	params := p.params()
	change(&params)
	kp, err := NewKeyPackage(rand.Reader, params)
	require.NoError(p.t, err)
	again, err := UnmarshalKeyPackageSecret(kp.Marshal())
	require.NoError(p.t, err)
	require.Equal(p.t, kp.Marshal(), again.Marshal())
	return again
}

func (p *party) create(extensions ...Extension) {
	k := p.params()
	g, err := NewGroup(rand.Reader, GroupParams{
		Suite: k.Suite, GroupID: []byte("group"), Signer: p.signer, Credential: k.Credential,
		Capabilities: k.Capabilities, Lifetime: k.Lifetime, LeafExtensions: k.LeafExtensions, Extensions: extensions,
	})
	require.NoError(p.t, err)
	p.g = g
	p.reload()
}

// reload is a restart of the client, unless it stays up.
func (p *party) reload() {
	changes := p.g.Changes(p.saved)
	if p.stored == nil {
		p.stored = records{}
	}
	for _, x := range changes {
		if x.Value == nil {
			require.Contains(p.t, p.stored, x.Key, "deleted and not there")
			delete(p.stored, x.Key)
			continue
		}
		require.NotEqual(p.t, p.stored[x.Key], x.Value, "%s is written again", x.Key)
		p.stored[x.Key] = x.Value
	}
	require.True(p.t, slices.IsSortedFunc(changes, func(a, b Record) int { return strings.Compare(a.Key, b.Key) }))
	g := p.restored()
	require.Equal(p.t, p.g.Changes(nil), g.Changes(nil), "the state of %s is not what is stored", p.name)
	if p.saved = p.g.Clone(); p.up {
		return
	}
	p.g, p.saved = g, g.Clone()
}

// restored is the group after a crash.
func (p *party) restored() *Group {
	g, err := LoadGroup(p.stored.list())
	require.NoError(p.t, err)
	g.UsePSKs(p.psks)
	g.UseAppData(p.appData)
	return g
}

// list is in no order.
func (r records) list() (list []Record) {
	for key, value := range r {
		list = append(list, Record{key, value})
	}
	return list
}

func (p *party) join(kp *KeyPackageSecret, welcome []byte) *StagedJoin {
	j, err := JoinWelcome(parsed(p.t, welcome), JoinParams{KeyPackage: kp, Signer: p.signer, PSKs: p.psks})
	require.NoError(p.t, err)
	p.g = j.Group()
	p.reload()
	return j
}

func (p *party) encrypt(text string) []byte {
	m, err := p.g.Encrypt(rand.Reader, []byte(text), p.aad(), nil)
	require.NoError(p.t, err)
	p.reload()
	return m
}

func (p *party) aad() []byte {
	data := []byte("aad of " + p.name)
	if p.framed {
		return AppData{0x8000: data}.Marshal()
	}
	return data
}

func (p *party) process(raw []byte) (Processed, error) {
	before := p.g.Marshal()
	got, err := p.g.Process(parsed(p.t, raw), testNow)
	if err != nil {
		p.requireSame(before)
	}
	return got, err
}

// requireSame: what is refused leaves no trace, not even in how far the secret tree has been unfolded.
func (p *party) requireSame(before []byte) {
	require.True(p.t, bytes.Equal(before, p.g.Marshal()), "a refused input changed the state of %s", p.name)
}

// read expects an application message with that text.
func (p *party) read(raw []byte, text string) *ApplicationMessage {
	got, err := p.process(raw)
	require.NoError(p.t, err, "%s reads %q", p.name, text)
	m, ok := got.(*ApplicationMessage)
	require.True(p.t, ok)
	require.Equal(p.t, text, string(m.Data))
	p.reload()
	return m
}

// stage expects a commit.
func (p *party) stage(raw []byte) *StagedCommit {
	got, err := p.process(raw)
	require.NoError(p.t, err, "%s processes a commit", p.name)
	c, ok := got.(*StagedCommit)
	require.True(p.t, ok)
	return c
}

func (p *party) apply(raw []byte) *StagedCommit {
	c := p.stage(raw)
	require.NoError(p.t, p.g.Apply(c))
	p.reload()
	return c
}

// receiveProposal expects a proposal by reference.
func (p *party) receiveProposal(raw []byte) {
	got, err := p.process(raw)
	require.NoError(p.t, err)
	_, ok := got.(*ReceivedProposal)
	require.True(p.t, ok)
	p.reload()
}

func (p *party) commit(params CommitParams) *PendingCommit {
	params.Now = testNow
	_, err := p.g.Commit(rand.Reader, params)
	require.NoError(p.t, err, "%s commits", p.name)
	p.reload()
	return p.g.Pending()
}

func (p *party) confirm() {
	require.NoError(p.t, p.g.ConfirmPending())
	p.reload()
}

// spread commits and lets everybody follow.
func spread(committer *party, params CommitParams, others ...*party) []*StagedCommit {
	pending := committer.commit(params)
	var staged []*StagedCommit
	for _, p := range others {
		staged = append(staged, p.apply(pending.Message()))
	}
	committer.confirm()
	return staged
}

// newGroup makes a group of parties with those names. The tree is filled in as the members commit in turn.
func newGroup(t require.TestingT, framing WireFormat, names ...string) []*party {
	var all, joining []*party
	for _, name := range names {
		all = append(all, newParty(t, name))
	}
	all[0].create()
	joining = all[1:]
	if len(joining) == 0 {
		return all
	}
	var kps []*KeyPackageSecret
	var adds []Proposal
	for _, p := range joining {
		kp := p.keyPackage()
		kps = append(kps, kp)
		adds = append(adds, AddProposal(kp.KeyPackage()))
	}
	welcome := all[0].commit(CommitParams{Proposals: adds, Framing: framing}).Welcome()
	all[0].confirm()
	for i, p := range joining {
		p.join(kps[i], welcome)
	}
	for _, p := range all {
		spread(p, CommitParams{Framing: framing}, without(all, p)...)
	}
	agree(t, all...)
	return all
}

func without(all []*party, out *party) []*party {
	var rest []*party
	for _, p := range all {
		if p != out {
			rest = append(rest, p)
		}
	}
	return rest
}

// agree: all are in the same state, derive the same secrets and read each other.
func agree(t require.TestingT, all ...*party) {
	want, err := all[0].g.Export("test", []byte("context"), 32)
	require.NoError(t, err)
	for _, p := range all {
		require.Equal(t, all[0].g.Epoch(), p.g.Epoch(), "epoch of %s", p.name)
		require.Equal(t, all[0].g.EpochAuthenticator(), p.g.EpochAuthenticator(), "authenticator of %s", p.name)
		got, err := p.g.Export("test", []byte("context"), 32)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, all[0].g.tree.marshal(), p.g.tree.marshal(), "tree of %s", p.name)
		for x, key := range p.g.private {
			public, err := publicOf(p.g.suite, key)
			require.NoError(t, err)
			require.Equal(t, p.g.tree.nodes[x].encryptionKey(), public, "private key of %s for node %d", p.name, x)
		}
	}
	for _, from := range all {
		text := "hello from " + from.name
		m := from.encrypt(text)
		for _, to := range without(all, from) {
			got := to.read(m, text)
			require.Equal(t, from.g.OwnLeaf(), got.Sender.Leaf)
			require.Equal(t, from.aad(), got.AuthenticatedData)
		}
	}
}

func publicOf(s *suite, private []byte) ([]byte, error) {
	kem, _, _ := s.hpke().Params()
	sk, err := kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return sk.Public().MarshalBinary()
}

func parsed(t require.TestingT, raw []byte) *Message {
	m, err := ParseMessage(raw)
	require.NoError(t, err)
	require.Equal(t, raw, m.Marshal(), "a message is not what it was parsed from")
	return m
}

func bothFramings(t *testing.T, run func(t *testing.T, f WireFormat)) {
	for name, f := range map[string]WireFormat{"private": WirePrivateMessage, "public": WirePublicMessage} {
		t.Run(name, func(t *testing.T) { run(t, f) })
	}
}

func leafOf(p *party) uint32 { return p.g.OwnLeaf() }

func names(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("m%02d", i))
	}
	return list
}
